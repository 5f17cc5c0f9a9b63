"""A server that lies: whatever it answers to a push or a pull, we end in words, change nothing and give nothing away.

``ANNOLOOP_LONG_TESTS=1`` tells every lie in every answer; else a share of them, the same ones each time.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from running_loop import add_model, make_project, mask_bytes, opened

from annoloop.cli.demo import Server
from annoloop.cli.main import run
from annoloop.cvat import session
from annoloop.cvat.credentials import Credentials
from annoloop.cvat.server import connect
from annoloop.data.config import FILE_NAME, CvatConfig
from annoloop.project.project import Project

LONG = bool(os.environ.get("ANNOLOOP_LONG_TESTS"))
SHARE = 1.0 if LONG else 0.025

Answer = tuple[int, dict[str, str], bytes]
Lie = Callable[[str, str, Answer], Answer]
"""What becomes of an answer, by method and path."""


class LyingProxy:
    """Stands before a server, passes everything on, and lies when told to."""

    def __init__(self, behind: str) -> None:
        proxy = self
        self.lie: Lie | None = None
        self.told = 0
        self.heard: list[tuple[str, str]] = []
        target = urlsplit(behind).netloc

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                proxy.heard.append((self.command, self.path))
                connection = http.client.HTTPConnection(target, timeout=20)
                connection.request(self.command, self.path, sent, dict(self.headers))
                real = connection.getresponse()
                headers = {
                    k: v
                    for k, v in real.getheaders()
                    if k.lower() not in ("transfer-encoding", "connection", "content-length")
                }
                found: Answer = (real.status, headers, real.read())
                connection.close()
                if proxy.lie is not None:
                    lied = proxy.lie(self.command, self.path, found)
                    proxy.told += lied != found
                    found = lied
                status, headers, body = found
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = do_HEAD = answer

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @contextmanager
    def running(self) -> Iterator[LyingProxy]:
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield self
        finally:
            self.server.shutdown()
            self.server.server_close()


VALUES: list[Any] = [
    None, {}, [], "x", "\x1b[2J", -1, 2**70, 10**400, 1.5, float("nan"), float("inf"), True, [[]], {"a": 1}, "\ud800",
    10**9,
]  # fmt: skip


def _paths(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """All places in an answer; of a list its first item."""
    inside = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, one in inside:
        yield (*above, key)
        yield from _paths(one, (*above, key))


def changing(part: str, path: tuple[Any, ...], value: Any) -> Lie:
    """In answers to GET (or POST) of a route: another value in one place, or none (``DEL``)."""

    def lie(method: str, url: str, answer: Answer) -> Answer:
        if _route(method, url) != part or not 200 <= answer[0] < 300:
            return answer
        try:
            content = json.loads(answer[2])
            inside = content
            for key in path[:-1]:
                inside = inside[key]
            if value == "DEL":
                del inside[path[-1]]
            else:
                inside[path[-1]] = value
        except (ValueError, KeyError, IndexError, TypeError):
            return answer
        return answer[0], answer[1], json.dumps(content).encode()

    return lie


def _route(method: str, url: str) -> str:
    parts = ["N" if part.isdecimal() else part for part in urlsplit(url).path.strip("/").split("/")]
    return f"{method} {'/'.join(parts)}"


def whole(part: str, answer: Answer) -> Lie:
    """Another answer altogether."""
    return lambda method, url, real: answer if _route(method, url) == part else real


def masks(points: list[float]) -> Lie:
    """Other numbers in every shape."""

    def lie(method: str, url: str, answer: Answer) -> Answer:
        if _route(method, url) != "GET api/jobs/N/annotations":
            return answer
        content = json.loads(answer[2])
        for shape in content["shapes"]:
            shape["points"] = points
        return answer[0], answer[1], json.dumps(content).encode()

    return lie


class Case:
    """A project behind the proxy, with a pushed and finished task."""

    def __init__(self, folder: Path, sandbox: Server, proxy: LyingProxy) -> None:
        self.folder, self.sandbox, self.proxy = folder, sandbox, proxy
        self.answers: dict[str, Any] = {}
        made = make_project(folder, proxy.url, name="lies", counts={"train": 3, "val": 1}, size_hw=(32, 32))
        with Project(folder / FILE_NAME) as project:
            add_model(project, made.truth)
        proxy.lie = self.listen
        assert run(["push", "--worst", "1", "--project", str(folder), "-q"]) == 0
        with opened(folder, Server(proxy.url, sandbox.token)) as (project, cvat):
            task = project.ledger.tasks()[0].cvat_id
            assert task is not None
            self.task = task
            for job in cvat.jobs(task):
                shapes = cvat.job_shapes(job.id)
                cvat.change_job_shapes(job.id, delete=shapes[:1])
                cvat.set_job(job.id, state="completed")
        with Project(folder / FILE_NAME) as project:
            self.masks = mask_bytes(project)

    def listen(self, method: str, url: str, answer: Answer) -> Answer:
        if 200 <= answer[0] < 300 and answer[2][:1] in (b"{", b"["):
            self.answers.setdefault(_route(method, url), json.loads(answer[2]))
        return answer

    def tried(self, lie: Lie, command: list[str]) -> int:
        """The exit code of a command that is lied to; a mask is as it was unless it ended well."""
        self.proxy.lie = lie
        with connect(CvatConfig(url=self.sandbox.url), Credentials(token=self.sandbox.token)) as cvat:
            for task in cvat.session.listed("tasks"):
                if task["id"] != self.task:
                    cvat.delete_task(task["id"])
        copy = self.folder.with_name(f"{self.folder.name}-copy")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.folder, copy, symlinks=True)
        code = run([*command, "--project", str(copy), "-q"])
        self.proxy.lie = None
        if code != 0 or command[0] != "pull":
            with Project(copy / FILE_NAME) as project:
                assert mask_bytes(project) == self.masks
        return code


@pytest.fixture
def case(tmp_path: Path, sandbox: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    monkeypatch.setenv("CVAT_ACCESS_TOKEN", sandbox.token)
    monkeypatch.setattr(session, "TRIES", 1)
    monkeypatch.setattr("annoloop.data.config.CvatConfig.patience_s", 0.0)
    with LyingProxy(sandbox.url).running() as proxy:
        yield Case(tmp_path, sandbox, proxy)


def checked(case: Case, lies: list[tuple[str, Lie]], command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Tell lies one after another; the exit codes, and that no secret was said."""
    token = os.environ["CVAT_ACCESS_TOKEN"]
    found: dict[int, list[str]] = {}
    for name, lie in lies:
        found.setdefault(case.tried(lie, command), []).append(name)
        said = capsys.readouterr()
        assert token not in said.out + said.err, name
        assert "\x1b[2J" not in said.out + said.err, name
    print({code: len(names) for code, names in sorted(found.items())})
    assert set(found) <= {0, 4, 6}, {code: names[:9] for code, names in found.items() if code not in (0, 4, 6)}
    assert len(found.get(6, [])) >= len(lies) / 8


def values(case: Case, routes: tuple[str, ...]) -> list[tuple[str, Lie]]:
    """Lies in the places of all answers that begin so, a share of them."""
    every = [
        (f"{part} {'.'.join(map(str, path))} = {value!r:.20}", changing(part, path, value))
        for part, answer in case.answers.items()
        if part.startswith(routes)
        for path in _paths(answer)
        for value in ["DEL", *VALUES]
    ]
    return [one for one in every if random.Random(f"7{one[0]}").random() < SHARE]


READ = ("GET api/jobs", "GET api/tasks/N/data/meta", "GET api/issues", "GET api/labels")


def test_no_lie_on_pull_is_a_bug_or_changes_a_mask(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    case.tried(case.listen, ["pull"])
    lies = values(case, READ)
    assert len(lies) > 10
    checked(case, lies, ["pull"], capsys)


HTML = (200, {"Content-Type": "text/html"}, b"<html>a login page</html>")
SHAPES = "GET api/jobs/N/annotations"


def page(results: list[Any]) -> bytes:
    return json.dumps({"count": 1, "next": "http://127.0.0.1/x?page=2", "results": results}).encode()


def drastic() -> list[tuple[str, Lie]]:
    """Whole answers that are something else."""
    elsewhere = {"Location": "http://127.0.0.1:9/api/x"}
    lies: list[tuple[str, Lie]] = []
    for part in (SHAPES, "GET api/jobs", "GET api/tasks/N/data/meta", "GET api/labels", "GET api/tasks/N"):
        lies += [
            (f"{part} html", whole(part, HTML)),
            (f"{part} empty", whole(part, (200, {}, b""))),
            (f"{part} list", whole(part, (200, {}, b"[]"))),
            (f"{part} deep", whole(part, (200, {}, b"[" * 50_000))),
            (f"{part} digits", whole(part, (200, {}, b"1" * 50_000))),
            (f"{part} 302", whole(part, (302, elsewhere, b""))),
            (f"{part} 308", whole(part, (308, elsewhere, b""))),
            (f"{part} 500", whole(part, (500, {}, b"<html>"))),
            (f"{part} pages", whole(part, (200, {}, page([{"id": 1}])))),
            (f"{part} no pages", whole(part, (200, {}, page([])))),
        ]
    numbers: list[list[float]] = [
        [2**62, 2**62, 2**62, 2**62 + 1024, 0, 0, 31, 31],
        [0, 2**70, 0, 0, 1, 1],
        [-1, 5, 0, 0, 1, 1],
        [0.5, 3.5, 0, 0, 1, 1],
        [0, 4, 31, 31, 32, 32],
        [0, 2**60, 0, 0, 2**30 - 1, 2**30 - 1],
        [0, 1e308, 0, 0, 0, 0],
        [],
        [1, 2],
    ]
    return lies + [(f"points {points}", masks(points)) for points in numbers]


def test_no_other_answer_on_pull_is_a_bug_or_changes_a_mask(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    lies = drastic()
    checked(case, lies if LONG else lies[:-9:4] + lies[-9:], ["pull"], capsys)


def test_no_lie_on_push_is_a_bug_or_sends_anything_elsewhere(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    def location(place: str) -> Lie:
        def lie(method: str, url: str, answer: Answer) -> Answer:
            headers = {name: place if name.lower() == "location" else value for name, value in answer[1].items()}
            return answer[0], headers, answer[2]

        return lie

    case.tried(case.listen, ["push", "--worst", "2"])
    with LyingProxy(case.proxy.url).running() as other:
        lies = [(place, location(place)) for place in (f"{other.url}/x", "https://127.0.0.1:9/x", "x://y", "http://[")]
        lies += values(case, ("GET api/server", "GET api/users", "POST api/projects", "POST api/tasks", "GET api/req",
                              "GET api/projects", "GET api/tasks"))  # fmt: skip
        checked(case, lies if LONG else lies[:4] + lies[4::5], ["push", "--worst", "2"], capsys)
        assert other.heard == []
