"""What the sandbox spoils on demand, seen over real HTTP by urllib3 and by the real cvat-sdk."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from cvat_sdk.core.client import Client
from cvat_sdk.exceptions import ApiException
from test_server import Server, start, write_zip
from urllib3.exceptions import ProtocolError

from annoloop.errors import ConfigError
from annoloop.sandbox.__main__ import main
from annoloop.sandbox.faults import Dice, Fault, parse
from annoloop.sandbox.refusals import Refusal
from annoloop.sandbox.throttle import Throttle

# every test has an address of its own, so that none takes the other's faults
FAULTS = (
    "500:x2:PATCH /api/projects",
    "503:1:GET /api/guides",
    "413:1:POST /api/comments",
    "429:x1:GET /api/users/self",
    "429:x1:GET /api/labels",
    "cut:1:POST /api/projects",
    "500:x1:POST /api/auth/login",
    "lost:x1:POST /api/auth/register",
    "lost:x1:POST /api/organizations",
    "lost:x1:DELETE /api/tasks",
    "hang:1:GET /api/issues",
    "expired:x1",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    options = [text for spec in FAULTS for text in ("--fault", spec)]
    started = start(tmp_path_factory.mktemp("sandbox"), *options, "--hang-seconds", "1")
    yield started
    started.stop()


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with server.client() as made:
        yield made


def count(server: Server, what: str) -> int:
    return int(server.raw("GET", f"/api/{what}").json()["count"])


# What each kind looks like


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/api/guides/1", 503, "Service Unavailable"),
        ("POST", "/api/comments", 413, "Request Entity Too Large"),
        ("POST", "/api/auth/login", 500, "Server Error (500)"),
    ],
)
def test_a_failing_server_or_proxy_answers_with_a_page(
    server: Server, method: str, path: str, status: int, text: str
) -> None:
    answer = server.raw(method, path)
    assert (answer.status, text in answer.data.decode()) == (status, True)
    assert answer.headers["content-type"].startswith("text/html")


def test_a_fault_that_answers_keeps_the_connection(server: Server) -> None:
    with contextlib.closing(HTTPConnection(server.url.removeprefix("http://"), timeout=10)) as connection:
        connection.connect()
        connection.auto_open = 0
        for _ in range(3):
            connection.request("POST", "/api/comments", b" " * 5_000_000)
            answer = connection.getresponse()
            assert (answer.status, bool(answer.read())) == (413, True)


def test_the_first_requests_fail_and_the_next_one_works(server: Server) -> None:
    assert [server.raw("PATCH", "/api/projects/1", json={}).status for _ in range(4)] == [500, 500, 404, 404]


def test_throttled_answers_say_when_to_come_back(server: Server) -> None:
    answer = server.raw("GET", "/api/users/self")
    assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
    assert answer.json() == {"detail": "Request was throttled. Expected available in 1 second."}
    assert server.raw("GET", "/api/users/self").status == 200


def test_the_sdk_waits_a_throttled_answer_out(client: Client) -> None:
    began = time.monotonic()
    labels, _ = client.api_client.labels_api.list()
    assert labels.count == 0
    assert time.monotonic() - began >= 1


def test_cut_closes_the_connection_and_does_nothing(server: Server) -> None:
    before = count(server, "projects")
    for body in (b'{"name": "p"}', b" " * 5_000_000):  # one fits into the first packet, one does not
        with pytest.raises(ProtocolError, match="without response"):
            server.raw("POST", "/api/projects", body=body)
    assert count(server, "projects") == before


def test_cut_sends_no_final_answer(server: Server) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"POST /api/projects HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n")
        received = b"".join(iter(lambda: connection.recv(4096), b""))
    assert received.startswith(b"HTTP/1.1 100 ")
    assert received.count(b"HTTP/1.1") == 1


def test_lost_does_it_and_cuts_the_answer_in_the_middle(server: Server) -> None:
    account = {"username": "lost", "password1": "correct horse", "password2": "correct horse"}
    with pytest.raises(ProtocolError, match=r"IncompleteRead\([1-9]\d* bytes read, [1-9]\d* more expected\)"):
        server.raw("POST", "/api/auth/register", json=account)
    assert count(server, "users?search=lost") == 1


def test_the_sdk_cannot_tell_that_a_lost_creation_worked(client: Client) -> None:
    with pytest.raises(ProtocolError, match="IncompleteRead"):
        client.organizations.create({"slug": "lost-and-found"})
    assert "lost-and-found" in [row.slug for row in client.organizations.list()]


def test_lost_without_a_body_is_no_answer_at_all(server: Server) -> None:
    path = f"/api/tasks/{server.raw('POST', '/api/tasks', json={'name': 't'}).json()['id']}"
    with pytest.raises(ProtocolError, match="without response"):
        server.raw("DELETE", path)
    assert server.raw("GET", path).status == 404


def test_hang_says_nothing_and_holds_nobody_up(server: Server) -> None:
    with ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        hanging = pool.submit(server.raw, "GET", "/api/issues")
        for _ in range(20):
            assert server.raw("GET", "/api/tasks").status == 200
        assert not hanging.done()
        with pytest.raises(ProtocolError, match="without response"):
            hanging.result(10)
    assert 1 <= time.monotonic() - began < 5


def test_the_server_ends_while_a_request_hangs(tmp_path: Path) -> None:
    one = start(tmp_path / "state", "--fault", "hang:1:GET /api/tasks")
    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(one.raw, "GET", "/api/tasks")
        assert one.raw("GET", "/api/users/self").status == 200
        time.sleep(0.2)
        began = time.monotonic()
        one.stop(signal.SIGTERM)
        assert time.monotonic() - began < 5
        assert isinstance(hanging.exception(10), ProtocolError)
    assert one.process.returncode == 0


def test_expired_forgets_a_background_request_once(client: Client, tmp_path: Path) -> None:
    task = client.tasks.create({"name": "t"})
    archive = write_zip(tmp_path / "x.zip", {"a.txt": b""})
    task.upload_data([archive], params={"image_quality": 70}, wait_for_completion=False)
    rq_id = f"action=create&target=task&target_id={task.id}"
    with pytest.raises(ApiException) as caught:
        client.api_client.requests_api.retrieve(rq_id)
    assert (caught.value.status, caught.value.body) == (404, "There is no request with specified id")
    seen, _ = client.api_client.requests_api.retrieve(rq_id)
    assert seen.id == rq_id


def test_pages_are_never_hit(tmp_path: Path) -> None:
    one = start(tmp_path / "state", "--fault", "500:1")
    try:
        statuses = [one.raw("GET", path).status for path in ("/", "/tasks/1", "/api/tasks", "/api/nowhere")]
        assert statuses == [200, 404, 500, 500]
    finally:
        one.stop()


# Which requests are hit


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("500:0.05", Fault("500", 0.05)),
        ("cut:1", Fault("cut", 1.0)),
        ("503:x2", Fault("503", 1.0, times=2)),
        ("lost:0.01:POST /api/tasks", Fault("lost", 0.01, None, "POST", "/api/tasks")),
        ("500:x3:PUT /api/jobs/7/a:b", Fault("500", 1.0, 3, "PUT", "/api/jobs/7/a:b")),
    ],
)
def test_a_specification_is_read(spec: str, expected: Fault) -> None:
    assert parse(spec) == expected


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("", "this is not KIND:RATE"),
        ("500", "this is not KIND:RATE"),
        ("500:1:", "this is not KIND:RATE"),
        ("500:1:/api/tasks", "this is not KIND:RATE"),
        ("500:1:POST api/tasks", "this is not KIND:RATE"),
        ("404:1", "'404' is none of 500, 503, 413, 429, expired, origin, cut, lost, hang"),
        ("500:1.5", "the rate '1.5'"),
        ("500:-1", "the rate '-1'"),
        ("500:nan", "the rate 'nan'"),
        ("500:x", "the rate 'x'"),
        ("500:often", "the rate 'often'"),
        ("500:1:GET /tasks/1", "only what is below /api/ can be hit"),
    ],
)
def test_a_wrong_specification_is_a_usage_error(
    spec: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(spec)
    assert reason in caught.value.message
    with pytest.raises(SystemExit) as ended:
        main(["--state", str(tmp_path / "state"), "--fault", spec])
    assert ended.value.code == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("option", ["--hang-seconds", "--request-expiry", "--request-delay", "--anonymous-per-minute"])
def test_there_is_no_time_before_now(option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--state", str(tmp_path), option, "-1"])
    assert (ended.value.code, option in capsys.readouterr().err) == (2, True)


def hits(seed: int, *specs: str, times: int = 1000) -> list[str]:
    dice = Dice([parse(spec) for spec in specs], seed)
    struck = (dice.hit("POST", "/api/tasks") for _ in range(times))
    return ["" if fault is None else fault.kind for fault in struck]


def test_a_seed_decides_and_the_rate_holds() -> None:
    assert hits(1, "500:0.1") == hits(1, "500:0.1") != hits(2, "500:0.1")
    assert 70 <= hits(1, "500:0.1").count("500") <= 130
    assert hits(1, "500:0").count("") == hits(1, "500:1").count("500") == 1000


def test_the_first_fault_that_strikes_wins() -> None:
    assert hits(0, "cut:x2", "lost:x1", "500:x1", times=6) == ["cut", "cut", "lost", "500", "", ""]


@pytest.mark.parametrize(
    ("spec", "method", "path", "struck"),
    [
        ("500:1:POST /api/tasks", "POST", "/api/tasks/3/data/", True),
        ("500:1:POST /api/tasks", "GET", "/api/tasks/3/data/", False),
        ("500:1:POST /api/tasks", "POST", "/api/jobs", False),
        ("expired:1", "GET", "/api/requests/action=create", True),
        ("expired:1", "GET", "/api/requests", False),
        ("expired:1", "POST", "/api/requests/action=create", False),
        ("500:1", "GET", "/", False),
    ],
)
def test_a_fault_keeps_to_its_method_and_address(spec: str, method: str, path: str, struck: bool) -> None:
    assert (Dice([parse(spec)]).hit(method, path) is not None) == struck


# The limit on anonymous calls


def test_the_next_call_is_admitted_a_minute_after_the_oldest() -> None:
    moments = iter([0.0, 20.0, 30.0, 59.5, 60.0, 61.0, 80.0])
    throttle = Throttle(2, clock=lambda: next(moments))

    def admitted() -> Any:
        try:
            throttle.admit()
        except Refusal as refusal:
            return refusal.headers["Retry-After"]
        return True

    assert [admitted() for _ in range(7)] == [True, True, "30", "1", True, "19", True]


def test_no_limit_is_no_limit() -> None:
    throttle = Throttle(0)
    for _ in range(1000):
        throttle.admit()


def test_anonymous_calls_are_throttled_and_others_are_not(tmp_path: Path) -> None:
    one = start(tmp_path / "state", "--anonymous-per-minute", "3")
    try:
        about = "/api/server/about"
        wrong = {"Authorization": "Bearer nope"}
        calls = [one.raw("GET", about, headers=headers) for headers in ({}, wrong, {}, {}, wrong)]
        assert [answer.status for answer in calls] == [200, 200, 200, 429, 429]
        wait = int(calls[3].headers["Retry-After"])
        assert 50 <= wait <= 60
        assert calls[3].json() == {"detail": f"Request was throttled. Expected available in {wait} seconds."}
        login = {"username": one.username, "password": one.password}
        assert one.raw("POST", "/api/auth/login", json=login, headers={}).status == 429
        assert [one.raw("GET", path).status for path in (about, "/api/users/self") * 3] == [200] * 6
        assert one.raw("GET", "/api/users/self", headers={}).status == 401
    finally:
        one.stop()
