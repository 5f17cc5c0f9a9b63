"""The receiver of webhooks over real HTTP: signed requests wake, others do not, and none does harm."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from annoloop.errors import ConfigError
from annoloop.watching.webhook import MOST_BYTES, SECRET_VARIABLE, receiving, webhook_secret

SECRET = b"a secret of the webhook"
BODY = b'{"event": "update:job"}'


class Receiver:
    def __init__(self, address: str, wake: threading.Event) -> None:
        self.host, self.wake = address.removeprefix("http://"), wake

    def post(self, body: bytes, signature: str | None, method: str = "POST", path: str = "/") -> int:
        connection = http.client.HTTPConnection(self.host, timeout=10)
        headers = {"Content-Type": "application/json"}
        if signature is not None:
            headers["X-Signature-256"] = signature
        connection.request(method, path, body, headers)
        status = connection.getresponse().status
        connection.close()
        return status


def signed(body: bytes, secret: bytes = SECRET) -> str:
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    wake = threading.Event()
    with receiving("127.0.0.1:0", SECRET, wake, print) as address:
        yield Receiver(address, wake)


@pytest.fixture(autouse=True)
def asleep(receiver: Receiver) -> None:
    receiver.wake.clear()


@pytest.mark.parametrize("path", ["/", "/annoloop/hook?of=steel"])
@pytest.mark.parametrize("body", [BODY, b"", b"\xff no JSON", b"x" * MOST_BYTES])
def test_a_signed_request_wakes_whatever_is_in_it(receiver: Receiver, body: bytes, path: str) -> None:
    assert receiver.post(body, signed(body), path=path) == 204
    assert receiver.wake.is_set()


@pytest.mark.parametrize(
    "signature",
    [None, "", "sha256=", signed(BODY, b"another secret"), signed(BODY)[:-1], signed(BODY).removeprefix("sha256="),
     signed(BODY).replace("sha256", "sha1"), signed(b"another body"), "sha256=\xe9"],
)  # fmt: skip
def test_others_do_not(receiver: Receiver, signature: str | None) -> None:
    assert receiver.post(BODY, signature) == 403
    assert not receiver.wake.is_set()


def test_a_body_that_is_too_long_is_not_read_to_its_end(receiver: Receiver) -> None:
    host, _, port = receiver.host.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as line:
        head = f"POST / HTTP/1.1\r\nHost: {receiver.host}\r\nContent-Length: {1 << 40}\r\n\r\n"
        line.sendall(head.encode() + bytes(MOST_BYTES + 2))
        assert b" 413 " in line.recv(100)
    assert not receiver.wake.is_set()


def test_there_is_nothing_to_get(receiver: Receiver) -> None:
    assert receiver.post(b"", signed(b""), method="GET") == 405
    assert not receiver.wake.is_set()


def test_the_secret_is_in_the_environment_or_in_a_file_of_ones_own(tmp_path: Path) -> None:
    assert webhook_secret(None, {SECRET_VARIABLE: " a good secret\n"}) == b"a good secret"
    file = tmp_path / "secret"
    file.write_text("another good secret\n")
    file.chmod(0o600)
    assert webhook_secret(file) == b"another good secret"
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="others can read this secret"):
        webhook_secret(file)


@pytest.mark.parametrize("text", ["", "short", "       x       "])
def test_no_secret_is_no_secret(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="a secret of 8 characters and more is needed") as refused:
        webhook_secret(None, {SECRET_VARIABLE: text})
    assert text.strip() == "" or text.strip() not in str(refused.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        webhook_secret(tmp_path / "none")


def test_an_address_that_is_taken_or_none_is_refused(receiver: Receiver) -> None:
    for listen in (receiver.host, "nowhere", "127.0.0.1:99999"):
        with pytest.raises(ConfigError), receiving(listen, SECRET, threading.Event(), print):
            pass
