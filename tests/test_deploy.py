"""What lies in deploy/ calls commands that there are, with options that they take, and holds no secret.

Neither Docker nor systemd is on every machine that runs the tests: that they start it is not tested here.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
import yaml

from annoloop.cli.main import commands

DEPLOY = Path(__file__).parent.parent / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))


def command_of_unit() -> list[str]:
    line = next(line for line in (DEPLOY / "annoloop-watch.service").read_text().splitlines() if "ExecStart=" in line)
    program, *words = shlex.split(line.partition("=")[2])
    assert Path(program).name == "annoloop"
    return words


@pytest.mark.parametrize("words", [command_of_unit(), COMPOSE["services"]["watch"]["command"]], ids=["unit", "compose"])
def test_the_command_takes_these_words(words: list[str]) -> None:
    name, *options = words
    command = commands.commands[name]
    context = command.make_context(name, list(options), parent=click.Context(commands))
    assert context.params["push_next"] == 50
    assert not context.args


def test_what_the_image_is_built_of_is_there() -> None:
    root = (DEPLOY / COMPOSE["services"]["watch"]["build"]["context"]).resolve()
    dockerfile = (root / COMPOSE["services"]["watch"]["build"]["dockerfile"]).read_text(encoding="utf-8")
    copied = [word for line in re.findall(r"^COPY (.+)$", dockerfile, re.M) for word in line.split()[:-1]]
    assert copied
    assert [word for word in copied if not (root / word).exists()] == []
    extras = re.search(r"'\.\[(.+)\]'", dockerfile)
    assert extras is not None
    optional = (root / "pyproject.toml").read_text(encoding="utf-8")
    assert all(re.search(rf"^{extra} = \[", optional, re.M) for extra in extras[1].split(","))


def test_secrets_come_from_outside() -> None:
    for value in COMPOSE["services"]["watch"]["environment"].values():
        assert re.fullmatch(r"\$\{.+\}", value)
