"""No name of a class, a file, a user or a server commands the terminal."""

from __future__ import annotations

import io
import json

import pytest
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text

from annoloop.cli import screen as screens
from annoloop.cli.doctor import Check, DoctorReport
from annoloop.cli.foreign_text import shown, shown_json
from annoloop.cli.main import run
from annoloop.cli.screen import Screen
from annoloop.errors import ConfigError

BAD = "\x1b]0;mine\x07\x1b[2J\r\x9b31mred\u202egpj\x00\x7f"
RAW = "\x1b\x07\r\x9b\u202e\x00\x7f"


def test_control_characters_are_shown_and_nothing_else_changes() -> None:
    assert shown("\x1b[2J\x9b\u202e") == "\\x1b[2J\\x9b\\u202e"
    good = "Grün, 赤, עברית, 👩‍🔬\tand\na line"
    assert shown(good) == good
    assert json.loads(shown_json(json.dumps({BAD: BAD}, ensure_ascii=False))) == {BAD: BAD}


@pytest.mark.parametrize("terminal", [True, False])
def test_whatever_is_printed_holds_no_command(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    out, err = io.StringIO(), io.StringIO()
    screen = Screen(verbose=True)
    for console, stream in ((screen._out, out), (screen._err, err)):
        monkeypatch.setattr(console, "_file", stream)
        monkeypatch.setattr(console, "_color_system", None)
        monkeypatch.setattr(console, "_force_terminal", terminal)
    table = Table(title=BAD)
    table.add_column(BAD)
    table.add_row(BAD)
    table.add_row(Text(BAD))
    screen.print(table)
    screen.print(BAD)
    screen.note(BAD)
    screen.detail(BAD)
    screen.next(BAD, BAD)
    screen.result(DoctorReport((Check(BAD, "fault", BAD, BAD),)))
    assert not set(RAW) & set(out.getvalue() + err.getvalue())
    assert "\\x1b[2J" in out.getvalue()
    assert "\\x1b[2J" in err.getvalue()


def test_the_title_of_a_bar_holds_no_command_but_rich_s_own() -> None:
    stream = io.StringIO()
    console = screens._Console(file=stream, force_terminal=True, color_system=None, width=100)
    with Progress(TextColumn("{task.description}"), console=console) as bar:
        bar.add_task("a\x1b[2Jb\x07")
    assert "a\\x1b" in stream.getvalue()
    assert "\x1b[2J" not in stream.getvalue()
    assert "\x07" not in stream.getvalue()


@pytest.mark.parametrize("as_json", [True, False])
def test_errors_hold_none(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    Screen(as_json=as_json).error(ConfigError(BAD, where=BAD, hint=BAD))
    found = capsys.readouterr()
    assert not set(RAW) & set(found.out + found.err)
    if as_json:
        assert json.loads(found.out)["error"]["message"] == BAD


def test_a_bug_s_words_hold_none(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(BAD)

    monkeypatch.setattr("annoloop.cli.main.commands.main", broken)
    assert run(["status"]) == 70
    assert not set(RAW) & set(capsys.readouterr().err)
