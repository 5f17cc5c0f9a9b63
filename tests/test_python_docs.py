"""docs/python.md: its session runs as it stands there, and its table names every command with a call that can be."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from running_loop import add_model, make_project, opened, train_here
from test_api import all_commands

import annoloop
from annoloop.cli.demo import Server
from annoloop.cli.main import commands
from annoloop.simulation.annotator import annotate

PAGE = (Path(annoloop.__file__).parent.parent / "docs" / "python.md").read_text(encoding="utf-8")
PEOPLE = "People open the task, correct its masks and complete their jobs."

COMMAND = re.compile(r"`annoloop ([^`]+)`")
CALL = re.compile(r"`(annoloop\.[^`]+)`")


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page, re.DOTALL)


def rows() -> Iterator[tuple[str, str]]:
    table = PAGE.partition("| command | Python |")[2]
    for line in table.splitlines()[2:]:
        left, right = line.strip("| ").split(" | ")
        yield left, right


@pytest.fixture
def truth(tmp_path: Path, sandbox: Server, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder is a project with a model of known mistakes; the masks that it should have."""
    made = make_project(tmp_path, sandbox.url, name=f"docs-{uuid4().hex[:8]}")
    train_here(tmp_path)
    with opened(tmp_path, sandbox) as (project, _):
        add_model(project, made.truth, recipe="unet_small")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CVAT_ACCESS_TOKEN", sandbox.token)
    return made.truth


@pytest.mark.slow
def test_the_session_runs_as_it_stands_there(truth: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = PAGE.split(PEOPLE)
    there: dict[str, Any] = {}
    for block in blocks(before):
        exec(compile(block, "docs/python.md", "exec"), there)
    project = there["project"]
    with annoloop.connect(project) as server:
        annotate(project, server, there["pushed"].task, truth)
    for block in blocks(after):
        # The model of known mistakes is made of predictions alone: there are no weights to go on from.
        block = block.replace("iterations=20)", "iterations=20, from_scratch=True)")
        exec(compile(block, "docs/python.md", "exec"), there)
    told = capsys.readouterr().out
    for line in (
        "annoloop push --worst 50",
        "3 of 3 frames in completed jobs",
        "3 masks written",
        "mDice 0.",
        "unicorn",
    ):
        assert line in told
    assert [one["what"] for one in there["rounds"]] == ["retrain", "push", "pull", "retrain"]
    assert there["report"].page.is_file()
    assert Path("gallery/index.html").is_file()
    assert there["trained"].iterations == 20


def test_every_command_is_in_the_table() -> None:
    told = {" ".join(text.split(" -")[0].split()) for left, _ in rows() for text in COMMAND.findall(left)}
    names = all_commands(commands)
    assert {name for name in names if any(text == name or text.startswith(f"{name} ") for text in told)} == names


@pytest.mark.parametrize("call", [call for _, right in rows() for call in CALL.findall(right)])
def test_a_call_in_the_table_can_be_made(call: str) -> None:
    tree = ast.parse(call, mode="eval").body
    while not (isinstance(tree, ast.Call) and isinstance(tree.func, ast.Attribute) and _is_ours(tree.func)):
        assert isinstance(tree, ast.Call)
        assert isinstance(tree.func, ast.Attribute)
        tree = tree.func.value  # .wait() of what a function returns
    given = {one.arg: None for one in tree.keywords if one.arg is not None}
    inspect.signature(getattr(annoloop, tree.func.attr)).bind(*tree.args, **given)


def _is_ours(one: ast.Attribute) -> bool:
    return isinstance(one.value, ast.Name) and one.value.id == "annoloop"
