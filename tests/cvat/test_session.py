"""The session: TLS is verified, secrets stay secret, odd servers are errors that say what is wrong."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from running_loop import add_model, make_project, opened

from annoloop.cli.demo import Server
from annoloop.cvat.credentials import Credentials
from annoloop.cvat.server import connect
from annoloop.data.config import CvatConfig
from annoloop.errors import AnnoloopError, ConfigError, CvatError
from annoloop.loop.push import push
from annoloop.selection.request import PushRequest

CANARY = "c4nary-t0ken-0123456789"


class Odd(BaseHTTPRequestHandler):
    """Answers every request with what the test wants."""

    status: ClassVar[int] = 200
    body: ClassVar[bytes] = b"{}"

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(status: int, body: bytes, context: ssl.SSLContext | None = None) -> Iterator[str]:
    handler = type("Answer", (Odd,), {"status": status, "body": body})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"{'http' if context is None else 'https'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, b"<html>a login page</html>", "unexpected answer"),
        (404, b"<!doctype html><h1>Not Found</h1>", "HTTP 404"),
        (418, b'"a teapot"', "HTTP 418: a teapot"),
        (400, b'["first", "second"]', 'HTTP 400: ["first", "second"]'),
        (403, b'{"detail": "You do not have permission."}', "HTTP 403: You do not have permission."),
        (401, b'{"detail": "Invalid token."}', "HTTP 401: Invalid token."),
    ],
)
def test_what_an_odd_server_answers_is_an_error_in_one_line(status: int, body: bytes, said: str) -> None:
    with (
        serving(status, body) as url,
        connect(CvatConfig(url=url), Credentials(token=CANARY)) as server,
        pytest.raises(CvatError) as caught,
    ):
        server.about()
    assert said in caught.value.message
    assert "\n" not in caught.value.message
    assert str(caught.value.where).startswith(url)
    assert caught.value.hint or status == 418


def test_a_private_certificate_authority_is_refused_until_it_is_named(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl command to make a certificate with: apt-get install openssl")
    certificate, key = tmp_path / "ca.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving(200, json.dumps({"version": "2.54.0", "username": "me"}).encode(), context) as url:
        with connect(CvatConfig(url=url), Credentials(token=CANARY)) as server:
            with pytest.raises(CvatError, match="cannot be reached safely") as caught:
                server.about()
            assert "cvat.ca_file" in str(caught.value.hint)
        with connect(CvatConfig(url=url, ca_file=certificate), Credentials(token=CANARY)) as server:
            assert server.about().username == "me"
        with pytest.raises(ConfigError, match="no such file"):
            connect(CvatConfig(url=url, ca_file=tmp_path / "none.pem"), Credentials(token=CANARY))


def test_versions_that_are_apart_are_one_line() -> None:
    answer = json.dumps({"version": "2.31.0", "username": "me"}).encode()
    with serving(200, answer) as url, connect(CvatConfig(url=url), Credentials(token=CANARY)) as server:
        note = server.about().note
    assert note is not None
    assert "CVAT 2.31.0 with cvat-sdk" in note
    assert "\n" not in note


def user(server: Server, name: str) -> Credentials:
    """A second user's password, made once."""
    password = f"pa55-{name}-word!"
    body = {"username": name, "email": f"{name}@example.org", "password1": password, "password2": password}
    with connect(CvatConfig(url=server.url), Credentials(token=server.token)) as cvat:
        try:
            cvat.session.call("POST", "auth/register", body | {"first_name": "", "last_name": ""})
        except CvatError as error:
            if error.status != 400:
                raise
    return Credentials(username=name, password=password)


def test_somebody_elses_task_is_a_403_with_a_hint(sandbox: Server) -> None:
    with connect(CvatConfig(url=sandbox.url), Credentials(token=sandbox.token)) as owner:
        task = int(owner.session.call("POST", "tasks", {"name": "mine", "labels": [{"name": "x"}]})["id"])
        with (
            connect(CvatConfig(url=sandbox.url), user(sandbox, "stranger")) as stranger,
            pytest.raises(CvatError, match="HTTP 403") as caught,
        ):
            stranger.task(task)
        assert "whose is the task" in str(caught.value.hint)
        owner.delete_task(task)


def test_a_read_only_token_is_found_out_before_anything_is_planned(sandbox: Server, tmp_path: Path) -> None:
    made = make_project(tmp_path, sandbox.url, name="read-only")
    with opened(tmp_path, sandbox) as (project, cvat):
        add_model(project, made.truth)
        token = cvat.session.call("POST", "auth/access_tokens", {"name": "only looks", "read_only": True})["value"]
        with (
            connect(CvatConfig(url=sandbox.url), Credentials(token=token)) as reader,
            pytest.raises(CvatError, match="'only looks' is read-only") as caught,
        ):
            push(project, reader, PushRequest(worst=1))
        assert "annoloop login" in str(caught.value.hint)
        assert project.ledger.tasks() == []


def test_an_expired_token_is_a_401_that_says_how_to_get_in(sandbox: Server) -> None:
    with connect(CvatConfig(url=sandbox.url), Credentials(token=sandbox.token)) as owner:
        spec = {"name": "old", "expiry_date": "2020-01-01T00:00:00Z"}
        token = owner.session.call("POST", "auth/access_tokens", spec)["value"]
    with connect(CvatConfig(url=sandbox.url), Credentials(token=token)) as late, pytest.raises(CvatError) as caught:
        late.about()
    assert caught.value.status == 401
    assert "expired" in str(caught.value.hint)


def test_an_unknown_organization_is_named(sandbox: Server) -> None:
    settings = CvatConfig(url=sandbox.url, organization="nobodys")
    with connect(settings, Credentials(token=sandbox.token)) as server, pytest.raises(CvatError) as caught:
        server.about()
    assert "nobodys" in caught.value.message
    assert "cvat.organization" in str(caught.value.hint)


def test_a_task_of_an_organization_is_made_and_found_there(sandbox: Server, tmp_path: Path) -> None:
    with connect(CvatConfig(url=sandbox.url), Credentials(token=sandbox.token)) as owner:
        owner.session.call("POST", "organizations", {"slug": "lab-of-tests"})
    made = make_project(tmp_path, sandbox.url, name="of-a-lab")
    settings = CvatConfig(url=sandbox.url, organization="lab-of-tests")
    with opened(tmp_path, sandbox) as (project, mine), connect(settings, Credentials(token=sandbox.token)) as lab:
        add_model(project, made.truth)
        report = push(project, lab, PushRequest(worst=1))
        assert [p["name"] for p in lab.session.listed("projects", name="of-a-lab")] == ["of-a-lab"]
        assert lab.task(int(report.task or 0)).size == 1
        assert [p for p in mine.session.listed("projects", org="") if p["name"] == "of-a-lab"] == []


@pytest.mark.parametrize("debug", [(), ("--debug",)], ids=["plain", "debug"])
@pytest.mark.parametrize("fault", ["wrong token", "no server"])
def test_no_secret_in_any_output_file_or_argument(
    tmp_path: Path, sandbox: Server, debug: tuple[str, ...], fault: str
) -> None:
    url = sandbox.url if fault == "wrong token" else "http://127.0.0.1:9"
    make_project(tmp_path, url, name="secrets")
    environment = {"CVAT_ACCESS_TOKEN": CANARY, "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    for command in (["tasks"], ["pull"], ["doctor", "--no-measure"], ["status"]):
        child = subprocess.run(
            [sys.executable, "-m", "annoloop", *command, "-v", *debug, "--project", str(tmp_path)],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert CANARY not in child.stdout + child.stderr
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or CANARY.encode() not in path.read_bytes()


def test_an_error_never_carries_the_secret_in_its_context() -> None:
    with (
        serving(401, b'{"detail": "Invalid token."}') as url,
        connect(CvatConfig(url=url), Credentials(token=CANARY)) as server,
        pytest.raises(AnnoloopError) as caught,
    ):
        server.about()
    error: BaseException | None = caught.value
    while error is not None:
        assert CANARY not in repr(error) + str(error)
        error = error.__cause__
