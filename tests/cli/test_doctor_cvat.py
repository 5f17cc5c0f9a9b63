"""What ``doctor`` says of a server that is none, is down, or does not let us in."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from running_loop import make_project

from annoloop.cli.demo import Server
from annoloop.cli.main import run
from annoloop.cvat import session
from annoloop.cvat.credentials import Credentials
from annoloop.cvat.server import connect
from annoloop.data.config import CvatConfig
from annoloop.errors import CvatError


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def checked(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, str]]:
    code = run(["doctor", "--no-measure", "--json", "--project", str(folder)])
    report = json.loads(capsys.readouterr().out)
    (cvat,) = [check for check in report["checks"] if check["name"] == "CVAT"]
    return code, cvat


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CVAT_ACCESS_TOKEN", "t0ken-of-nobody")
    monkeypatch.setattr(session, "TRIES", 2)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (502, b"<html>Bad Gateway</html>"),
        (200, b"<html>It works!</html>"),
        (200, b'{"status": "ok"}'),
        (404, b"no"),
        (200, b'{"version": 3}'),
        (401, b'{"detail": "Invalid token."}'),
    ],
)
def test_a_server_that_answers_but_is_no_cvat_is_a_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], account: None, status: int, body: bytes
) -> None:
    with answering(status, body) as url:
        make_project(tmp_path, url, name="doctor")
        code, check = checked(tmp_path, capsys)
    assert code == 9
    assert check["state"] == "fault"
    assert url in check["found"]
    assert check["hint"]


def test_a_server_that_is_not_there_and_no_account_are_warnings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, account: None
) -> None:
    make_project(tmp_path, "http://127.0.0.1:9", name="doctor")
    began = time.monotonic()
    _, check = checked(tmp_path, capsys)
    assert time.monotonic() - began < 20
    assert (check["state"], "cannot be reached" in check["found"]) == ("warning", True)
    monkeypatch.delenv("CVAT_ACCESS_TOKEN")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    _, check = checked(tmp_path, capsys)
    assert (check["state"], check["found"]) == ("warning", "no CVAT credentials")


def test_a_wrong_password_is_said_in_plain_words(sandbox: Server) -> None:
    with pytest.raises(CvatError, match="the user name or the password is wrong") as caught:
        connect(CvatConfig(url=sandbox.url), Credentials(username="annoloop", password="wr0ng-w0rd"))
    assert "annoloop login" in str(caught.value.hint)


def test_who_may_not_look_up_users_is_told_so() -> None:
    with (
        answering(403, b'{"detail": "You do not have permission to perform this action."}') as url,
        connect(CvatConfig(url=url), Credentials(token="t0ken-of-nobody")) as cvat,
        pytest.raises(CvatError, match="may not look up users") as caught,
    ):
        cvat.user_ids(["ann"])
    assert "leave out --assignee" in str(caught.value.hint)
