"""``import annoloop``: light, complete, typed, and the same as the commands."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
import typing
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest
from running_loop import Loop

import annoloop
from annoloop import errors
from annoloop.cli.main import commands
from annoloop.project.project import Project

PACKAGE = Path(annoloop.__file__).parent

FUNCTIONS = {
    "init": "init",
    "login": "login",
    "eda": "data_report",
    "convert to-coco": "to_coco",
    "convert from-coco": "from_coco",
    "convert to-yolo": "to_yolo",
    "convert from-yolo": "from_yolo",
    "convert to-cvat": "to_cvat",
    "convert from-cvat": "from_cvat",
    "convert from-colors": "from_colors",
    "retrain": "retrain",
    "predict": "predict",
    "simulate": "simulate",
    "evaluate": "evaluate",
    "push": "push",
    "pull": "pull",
    "tasks": "tasks",
    "effort": "effort",
    "quality": "quality",
    "undo": "undo",
    "export data": "export_data",
    "export model": "export_model",
    "snapshot": "take_snapshot",
    "diff": "compare",
    "status": "status",
    "log": "history",
    "browse": "browse",
    "serve": "serve",
}
"""The function that does what a command does."""

ONLY_COMMANDS = {"doctor", "demo", "help", "sandbox", "sandbox annotate", "watch"}

CALLED_OTHERWISE = {
    "convert from-coco": {"images": "images_dir", "segments": "segments_dir", "own_classes": "project"},
    "convert from-yolo": {"images": "images_dir", "own_classes": "project"},
    "convert from-cvat": {"own_classes": "project"},
    "evaluate": {"run_id": "run"},
    "predict": {"run_id": "run", "dry_run": None},  # plan_prediction
    "export model": {"run_id": "run", "model_format": "format", "license_name": "license"},
    "push": {"only": "images"},
    "retrain": {"plan": None},  # plan_training
    "browse": {"no_app": "port", "folder": None},  # export_gallery
    "login": {"url": None, "forget": None},  # a project says which server; to forget is for the command line
}
"""Options whose parameter has another name, or that another function has."""

COMMON = {"project_dir", "as_json", "verbose", "quiet", "debug", "workers", "ray"}


def command(name: str) -> click.Command:
    found: click.Command = commands
    for part in name.split():
        assert isinstance(found, click.Group)
        found = found.commands[part]
    return found


def all_commands(group: click.Group, above: str = "") -> set[str]:
    names = set()
    for name, one in group.commands.items():
        nested = all_commands(one, f"{above}{name} ") if isinstance(one, click.Group) else set()
        names |= nested | ({above + name} if not nested or getattr(one, "invoke_without_command", False) else set())
    return names


def test_every_command_has_a_function_or_is_for_the_command_line() -> None:
    assert all_commands(commands) == FUNCTIONS.keys() | ONLY_COMMANDS


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_takes_what_its_command_takes(name: str) -> None:
    renamed = CALLED_OTHERWISE.get(name, {})
    options = {one.name for one in command(name).params if one.name} - COMMON
    wanted = {renamed.get(option, option) for option in options} - {None}
    parameters = inspect.signature(getattr(annoloop, FUNCTIONS[name])).parameters
    assert wanted <= parameters.keys()


def exported() -> dict[str, str]:
    """Names and modules of the imports that type checkers see."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    seen = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in seen.body if isinstance(node, ast.ImportFrom)]
    assert len(imports) == len(seen.body)
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def test_what_type_checkers_see_is_what_is_there() -> None:
    assert exported() == annoloop._HOME_OF
    assert sorted({"__version__", *exported()}) == annoloop.__all__
    assert set(annoloop.__all__) <= set(dir(annoloop))
    for name, module in exported().items():
        assert getattr(annoloop, name) is getattr(import_module(module), name)


def test_the_whole_error_tree_is_public() -> None:
    tree = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert tree <= set(annoloop.__all__)


def test_every_report_that_a_function_returns_is_public() -> None:
    for name in FUNCTIONS.values():
        returned = typing.get_type_hints(getattr(annoloop, name))["return"]
        for one in typing.get_args(returned) or (returned,):
            assert one.__name__ in annoloop.__all__, name


def test_no_function_is_hidden_by_a_package_of_its_name() -> None:
    modules = {path.stem for path in PACKAGE.iterdir()}
    assert not modules & set(exported())


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'annoloop' has no attribute 'pusch'"):
        annoloop.pusch  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS.values()) | {"open_project", "export_gallery", "connect"}))
def test_a_function_is_typed_and_says_what_it_raises(name: str) -> None:
    function = getattr(annoloop, name)
    parameters = inspect.signature(function).parameters
    assert typing.get_type_hints(function).keys() == {*parameters, "return"}
    text = inspect.getdoc(function) or ""
    if name not in ("status", "history"):
        raised = [line.strip().split(":")[0] for line in text.partition("Raises:")[2].splitlines() if line.strip()]
        assert {one for one in raised if one.endswith("Error")} <= set(annoloop.__all__)
        assert raised


def child(code: str) -> Any:
    """What a program prints as JSON."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    return json.loads(done.stdout)


def test_to_import_it_loads_nothing() -> None:
    code = "import json, sys\nbefore = set(sys.modules)\nimport annoloop\n"
    code += "print(json.dumps(sorted(set(sys.modules) - before)))"
    loaded = child(code)
    assert [name for name in loaded if name.startswith("annoloop")] == ["annoloop"]
    assert {name.split(".")[0] for name in loaded} - {"annoloop"} <= set(sys.stdlib_module_names)


def test_functions_stay_whatever_is_imported() -> None:
    code = (
        "import json, annoloop, annoloop.eda.findings, annoloop.loop.push, annoloop.loop.status, annoloop.app.browse\n"
    )
    code += "print(json.dumps([type(getattr(annoloop, name)).__name__ for name in annoloop.__all__]))"
    assert "module" not in child(code)


def test_status_needs_no_extra() -> None:
    code = "import json, sys, annoloop\nannoloop.status, annoloop.push, annoloop.browse, annoloop.retrain\n"
    code += "print(json.dumps(sorted(sys.modules)))"
    heavy = {"torch", "mmseg", "fiftyone", "ray", "starlette", "matplotlib", "cvat_sdk", "click", "rich"}
    assert not heavy & set(child(code))


def test_a_project_is_opened_and_closed(project: Project) -> None:
    folder = project.path.parent
    with annoloop.open_project(folder / "data") as inside:
        assert annoloop.status(inside).project == project.config.project
        assert inside.recovered is not None
    inside.close()
    with pytest.raises(annoloop.LedgerError):
        annoloop.status(inside)
    with pytest.raises(annoloop.ConfigError):
        annoloop.open_project(folder.parent)


def test_what_changes_a_project_waits_for_nobody_and_says_who_is_at_work(project: Project) -> None:
    with Project(project.path) as other, other.locked("retrain"):
        with pytest.raises(annoloop.LedgerError, match="another annoloop is at work here: retrain, pid"):
            annoloop.undo(project)
        assert annoloop.status(project).runs == 0


def test_what_cannot_be_asked_for_is_refused_before_anything_is_done(project: Project) -> None:
    refused: list[tuple[str, Any]] = [
        ("either worst or images", lambda: annoloop.push(project)),
        ("either worst or images", lambda: annoloop.push(project, worst=1, images="train/0000")),
        ("worst: 0 is not 1 or more", lambda: annoloop.push(project, worst=0)),
        ("budget: 'soon' is no duration", lambda: annoloop.retrain(project, budget="soon")),
        ("budget: 60.0 is not allowed beside", lambda: annoloop.retrain(project, budget="1m", iterations=1)),
        ("against: says what a report compares with", lambda: annoloop.evaluate(project, against=1)),
        ("port: 70000 is not 1 to 65535", lambda: annoloop.browse(project, port=70000)),
    ]
    for said, call in refused:
        with pytest.raises(annoloop.ConfigError, match=said):
            call()


def test_to_coco_and_back_by_strings(project: Project, tmp_path: Path) -> None:
    written = annoloop.to_coco(project, str(tmp_path / "val.json"), splits="val")
    assert (written.images, written.kept) == (2, 0)
    assert annoloop.from_coco(project, written.file, str(tmp_path / "masks")).written == 2
    assert annoloop.from_coco(None, written.file, tmp_path / "own").classes == project.classes.names
    for sample in project.samples(["val"]):
        assert isinstance(sample.mask, Path)
        assert (tmp_path / "masks" / f"{sample.id}.png").is_file()


def test_the_page_of_the_data_is_where_it_was_asked_for(project: Project, tmp_path: Path) -> None:
    report = annoloop.data_report(project, splits=["train"], out=tmp_path / "page.html")
    assert report.page == tmp_path / "page.html"
    assert report.page.is_file()
    assert json.loads(json.dumps(annoloop.to_plain(report)))["splits"][0]["split"] == "train"


def test_a_session_that_is_given_is_used_and_left_open(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CVAT_ACCESS_TOKEN", raising=False)
    monkeypatch.setenv("HOME", str(loop.folder))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(loop.folder))
    with pytest.raises(annoloop.ConfigError, match="no CVAT credentials"):
        annoloop.tasks(loop.project)
    pushed = annoloop.push(loop.project, images=["train/0001"], source="prediction", server=loop.cvat)
    assert [frame.sample_id for frame in pushed.frames] == ["train/0001"]
    told = annoloop.login(loop.project, loop.server.token)
    assert told.file.stat().st_mode & 0o777 == 0o600
    with annoloop.connect(loop.project) as server:
        assert [one.task for one in annoloop.tasks(loop.project, server=server).tasks] == [pushed.task]
        loop.complete(pushed.task)
        (pulled,) = annoloop.pull(loop.project, accept_untouched=True, server=server)
    assert pulled.accepted == ("train/0001",)
    assert [entry.what for entry in annoloop.history(loop.project)][-1] == "pull"
