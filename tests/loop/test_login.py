"""``annoloop login``: tried on the server first, stored for later commands, never an option."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from running_loop import make_project

from annoloop.cli.demo import Server
from annoloop.cli.main import run
from annoloop.cvat.credentials import credentials_file


@pytest.fixture
def folder(tmp_path: Path, sandbox: Server, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_project(tmp_path, sandbox.url, name="login-test")
    for name in ("CVAT_ACCESS_TOKEN", "CVAT_USERNAME", "CVAT_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def log_in(monkeypatch: pytest.MonkeyPatch, secret: str, *arguments: str) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{secret}\n"))
    return run(["login", *arguments])


def test_what_is_stored_lets_later_commands_in(
    folder: Path, sandbox: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = ["--project", str(folder)]
    assert run(["tasks", *project]) == 3
    assert "annoloop login" in capsys.readouterr().err
    assert log_in(monkeypatch, sandbox.token, *project) == 0
    assert credentials_file().stat().st_mode & 0o777 == 0o600
    assert sandbox.token not in capsys.readouterr().out
    assert run(["tasks", *project, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"tasks": [], "half_made": []}
    assert log_in(monkeypatch, "", "--forget", *project) == 0
    assert run(["tasks", *project]) == 3


def test_a_wrong_token_is_not_stored(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert log_in(monkeypatch, "wrong-token", "--project", str(folder)) == 6
    assert not credentials_file().exists()


def test_a_wrong_password_is_not_stored(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert log_in(monkeypatch, "wrong", "--username", "me", "--project", str(folder)) == 6
    assert not credentials_file().exists()


def test_nothing_given_is_wrong_usage(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert log_in(monkeypatch, "", "--project", str(folder)) == 2


def test_an_environment_that_goes_first_is_said(
    folder: Path, sandbox: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CVAT_ACCESS_TOKEN", sandbox.token)
    assert log_in(monkeypatch, sandbox.token, "--url", sandbox.url, "--json") == 0
    assert json.loads(capsys.readouterr().out)["overruled"] is True
