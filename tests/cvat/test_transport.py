"""Where requests go, how long an answer may take, and that no secret leaves for anywhere else."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from annoloop.cvat import answers, session, transport
from annoloop.cvat.credentials import Credentials, credentials_for, without
from annoloop.cvat.server import CvatServer, connect
from annoloop.data.config import CvatConfig
from annoloop.errors import AnnoloopError, ConfigError, CvatError

TOKEN = "c4nary-t0ken-0123456789"
PASSWORD = 'c4nary "pa55" w0rd'
IMAGE = b"the bytes of an image, which are nobody else's"

Reply = tuple[int, dict[str, str], bytes]
Say = Callable[[str, str], Reply]
"""What a server says to a method and a path."""


class Heard:
    """A server on this machine, and everything that was ever sent to it."""

    def __init__(self, say: Say) -> None:
        heard = self
        self.requests: list[tuple[str, str, str]] = []
        self.bodies: list[bytes] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                heard.requests.append((self.command, self.path, str(self.headers)))
                heard.bodies.append(body)
                status, headers, content = say(self.command, self.path)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = do_HEAD = answer

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def serving(say: Say) -> Iterator[Heard]:
    heard = Heard(say)
    threading.Thread(target=heard.server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield heard
    finally:
        heard.server.shutdown()
        heard.server.server_close()


def told(value: object, status: int = 200, **headers: str) -> Reply:
    return status, headers, json.dumps(value).encode()


@contextmanager
def client(url: str, **settings: object) -> Iterator[CvatServer]:
    with connect(CvatConfig(url=url, **{"timeout_s": 5.0, "patience": 0.0} | settings), Credentials(token=TOKEN)) as it:  # type: ignore[arg-type]
        yield it


# one server


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_redirect_to_another_address_is_followed(status: int, method: str) -> None:
    with serving(lambda *_: told({})) as other:
        with (
            serving(lambda *_: told({}, status, Location=f"{other.url}/api/x?secret=1")) as first,
            client(first.url) as cvat,
            pytest.raises(CvatError, match="nothing was sent there") as caught,
        ):
            cvat.session.call(method, "server/about", {} if method == "POST" else None)
        assert "cvat.url" in str(caught.value.hint)
        assert other.url in caught.value.message
        assert "secret" not in str(caught.value)
        assert other.requests == []


def test_a_password_is_not_sent_on(tmp_path: Path) -> None:
    with serving(lambda *_: told({"key": "x"})) as other:
        with (
            serving(lambda *_: told({}, 307, Location=f"{other.url}/api/auth/login")) as first,
            pytest.raises(CvatError, match="nothing was sent there") as caught,
        ):
            connect(CvatConfig(url=first.url), Credentials(username="me", password=PASSWORD))
        assert other.requests == []
        assert "pa55" not in str(caught.value)


def test_a_redirect_on_the_same_server_is_followed_for_reading_only() -> None:
    def say(method: str, path: str) -> Reply:
        return told({"version": "2.54.1"}) if path == "/new" else told({}, 307, Location="/new")

    with serving(say) as server, client(server.url) as cvat:
        assert cvat.session.get("server/about") == {"version": "2.54.1"}
        with pytest.raises(CvatError, match="redirects this request"):
            cvat.session.call("POST", "tasks", {})


def test_redirects_in_a_circle_end() -> None:
    with (
        serving(lambda _, path: told({}, 302, Location=path)) as server,
        client(server.url) as cvat,
        pytest.raises(CvatError, match="redirects more than 3 times"),
    ):
        cvat.session.get("server/about")


@pytest.mark.parametrize("where", ["{other}/upload/1", "https://127.0.0.1:{port}/upload/1", "//{netloc}/upload/1",
                                   "http://user@127.0.0.1:{port}/upload/1", "ftp://127.0.0.1/x"])  # fmt: skip
def test_images_go_to_no_other_address(tmp_path: Path, where: str) -> None:
    port = 0

    with serving(lambda *_: told({}, 200, **{"Upload-Offset": "9999"})) as other:
        netloc = other.url.removeprefix("http://")

        def say(method: str, path: str) -> Reply:
            place = where.format(other=other.url, port=port, netloc=netloc)
            return told({}, 202, **{"Location": place, "Upload-Filename": "images.zip"})

        with serving(say) as first, client(first.url) as cvat:
            port = first.server.server_port
            with pytest.raises(CvatError, match="nothing was sent there"):
                cvat.upload_images(1, [("a.png", IMAGE)], scratch=tmp_path)
        assert other.requests == []
        assert not any(IMAGE in body for body in first.bodies)


def test_every_request_says_where_it_comes_from() -> None:
    with serving(lambda *_: told({"version": "2.54.1", "username": "me"})) as server, client(server.url) as cvat:
        cvat.about()
    assert all(f"Origin: {server.url}" in headers for _, _, headers in server.requests)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://cvat.example.org:443/cvat", "https://cvat.example.org"),
        ("http://CVAT:8080", "http://cvat:8080"),
        ("http://[::1]:80", "http://[::1]"),
    ],
)
def test_an_origin_is_as_browsers_write_it(url: str, origin: str) -> None:
    assert transport._origin(url) == origin


# within bounds


class Drip(BaseHTTPRequestHandler):
    """Sends a byte at a time, of the head or of the body."""

    part = "body"

    def do_GET(self) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
        if self.part == "body":
            self.wfile.write(head)
        try:
            for letter in head * 1000:
                self.wfile.write(bytes([letter]))
                time.sleep(0.05)
        except OSError:
            pass

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("part", ["head", "body"])
def test_a_server_that_sends_a_byte_at_a_time_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    monkeypatch.setattr(session, "TRIES", 1)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Slow", (Drip,), {"part": part}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    began = time.monotonic()
    try:
        with (
            client(f"http://127.0.0.1:{server.server_port}", timeout_s=0.5) as cvat,
            pytest.raises(CvatError, match=r"too slow|no answer within") as caught,
        ):
            cvat.about()
    finally:
        server.shutdown()
    assert time.monotonic() - began < 5
    assert "cvat.timeout_s" in str(caught.value.hint)


def test_an_answer_of_any_length_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MOST_BYTES", 1 << 20)
    with (
        serving(lambda *_: (200, {}, b" " * (3 << 20))) as server,
        client(server.url) as cvat,
        pytest.raises(CvatError, match="longer than 1 MiB"),
    ):
        cvat.about()


@pytest.mark.parametrize("results", [[{"id": 1}], []])
def test_pages_without_end_are_an_error_that_names_them(results: list[object]) -> None:
    page = {"count": 1, "next": "http://127.0.0.1/api/tasks?page=2", "previous": None, "results": results}
    with serving(lambda *_: told(page)) as server, client(server.url) as cvat:
        with pytest.raises(CvatError, match="goes on after page") as caught:
            cvat.session.listed("tasks")
        assert caught.value.where == f"{server.url}/api/tasks"
        assert len(server.requests) <= 2


def test_ever_new_pages_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MOST_PAGES", 5)
    with (
        serving(lambda _, path: told({"next": "x", "results": [{"id": path}]})) as server,
        client(server.url) as cvat,
        pytest.raises(CvatError, match="more than 5 pages"),
    ):
        cvat.session.listed("tasks")


# patience


def test_a_server_that_comes_back_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "TRIES", 1)
    down_until = 0.0

    def say(method: str, path: str) -> Reply:
        late = time.monotonic() < down_until
        return told("down", 502) if late else told({"version": "2.54.1", "username": "me", "id": 1})

    said: list[str] = []
    with serving(say) as server:
        settings = CvatConfig(url=server.url, patience="20s")
        with connect(settings, Credentials(token=TOKEN), said.append) as cvat:
            cvat.about()
            down_until = time.monotonic() + 1.2
            assert cvat.session.get("server/about")["version"]
            assert 1 <= len(said) <= 3
            assert all("HTTP 502" in line and "trying again in" in line for line in said)
            down_until = time.monotonic() + 1.2
            with pytest.raises(CvatError, match="HTTP 502") as caught:
                cvat.session.call("POST", "issues", {})  # not safe to repeat
            assert "the same command goes on" in str(caught.value.hint)


def test_patience_ends_and_says_that_the_same_command_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "TRIES", 1)
    with (
        serving(lambda *_: told({"version": "2.54.1", "username": "me"})) as server,
        client(server.url, patience=0.8) as cvat,
    ):
        cvat.about()
        server.server.shutdown()
        server.server.server_close()
        cvat.session._client.api_client.rest_client.pool_manager.clear()
        began = time.monotonic()
        with pytest.raises(CvatError) as caught:
            cvat.session.get("server/about")
    assert 0.4 < time.monotonic() - began < 10
    assert "the same command goes on" in str(caught.value.hint)


def test_a_server_that_never_answered_is_not_waited_for() -> None:
    began = time.monotonic()
    with client("http://127.0.0.1:9", patience="5m") as cvat, pytest.raises(CvatError, match="cannot be reached"):
        cvat.about()
    assert time.monotonic() - began < 3


# secrets


def test_white_space_around_a_token_is_no_part_of_it() -> None:
    assert credentials_for("http://x", {"CVAT_ACCESS_TOKEN": f" {TOKEN}\r\n"}).token == TOKEN
    windows = {"CVAT_USERNAME": "me\r", "CVAT_PASSWORD": f"{PASSWORD}\r\n"}
    assert credentials_for("http://x", windows) == Credentials(username="me", password=PASSWORD)


@pytest.mark.parametrize("odd", ["\r", "\n", "\0", "\x1b", " ", "é", "\udcff", "\u2028"])
def test_a_token_that_cannot_be_one_is_an_error_that_does_not_show_it(odd: str) -> None:
    with pytest.raises(ConfigError, match="holds characters") as caught:
        Credentials(token=f"c4nary{odd}t0ken")
    assert "c4nary" not in str(caught.value) + repr(caught.value.__context__)
    if odd not in " é\u2028":
        with pytest.raises(ConfigError, match="holds characters") as caught:
            Credentials(username="me", password=f"c4nary{odd}w0rd")
        assert "c4nary" not in str(caught.value)


def test_a_secret_is_taken_out_however_it_is_quoted() -> None:
    text = json.dumps({"a": PASSWORD}) + f"{PASSWORD!r} c4nary+%22pa55%22+w0rd c4nary%20%22pa55%22%20w0rd"
    assert "pa55" not in without([PASSWORD], text)


ODD_ANSWERS = {
    **{str(status): told({"detail": f"no: {TOKEN} {PASSWORD}"}, status) for status in (400, 401, 403, 404, 409, 413,
                                                                                      418, 500, 502, 503)},
    "text": told(f"bad {PASSWORD} and {TOKEN}", 400),
    "html": (200, {}, f"<html>{TOKEN}{PASSWORD}</html>".encode()),
    "html 500": (500, {}, f"<html>{TOKEN}</html>".encode()),
    "json": (200, {}, f'{{"version": "{TOKEN}'.encode()),
    "name": told({"version": TOKEN, "username": TOKEN}),
    "header": (200, {"Set-Cookie": f"sessionid={TOKEN}; \x01", "Content-Length": f"{TOKEN}"}, b""),
    "redirect": told({}, 302, Location=f"http://127.0.0.1:9/{TOKEN}"),
    "bad redirect": told({}, 302, Location=f"http://[{TOKEN}"),
    "type": told({"version": [TOKEN], "username": PASSWORD}),
    "short": (200, {"Content-Length": "5000"}, TOKEN.encode()),
}  # fmt: skip


@pytest.mark.parametrize("answer", ODD_ANSWERS)
@pytest.mark.parametrize(
    "known", [Credentials(token=TOKEN), Credentials(username="me", password=PASSWORD)], ids=["token", "password"]
)
def test_no_error_says_a_secret_whatever_the_server_says(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, answer: str, known: Credentials
) -> None:
    monkeypatch.setattr(session, "TRIES", 1)
    caplog.set_level("DEBUG")
    shown: list[str] = []
    with serving(lambda *_: ODD_ANSWERS[answer]) as server:
        settings = CvatConfig(url=server.url, patience=0.0, timeout_s=1)
        try:
            with connect(settings, known, shown.append) as cvat:
                shown.append(repr(cvat.about()))
        except AnnoloopError as error:
            at: BaseException | None = error
            while at is not None:
                shown += [str(at), repr(at), str(vars(at))]
                at = at.__cause__
    text = "\n".join(shown)
    assert text
    for secret in (known.token, known.password and "pa55"):
        assert not secret or (secret not in text and secret not in caplog.text)
