"""FiftyOne's services on a slow machine: one that is late is waited for, one that is broken is told from it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from annoloop.app import service_start
from annoloop.app.service_start import is_alive, make_patient, saying
from annoloop.errors import ConfigError


class NotYetError(Exception):
    """As FiftyOne's ``ServiceListenTimeout``."""


class FakeProcess:
    """A process that lives for so many looks and takes CPU time in the first ``works`` of them."""

    def __init__(self, lives: int = 10**9, works: int = 10**9) -> None:
        self.lives, self.works = lives, works
        self.spent_s = 1.0
        self.killed = False

    def status(self) -> str:
        self.lives -= 1
        return psutil.STATUS_ZOMBIE if self.lives < 0 else psutil.STATUS_RUNNING

    def children(self, *, recursive: bool) -> list[FakeProcess]:
        return []

    def cpu_times(self) -> SimpleNamespace:
        self.works -= 1
        self.spent_s += self.works > 0
        return SimpleNamespace(user=self.spent_s, system=0.0)

    def kill(self) -> None:
        self.killed = True

    def wait(self, timeout: float | None = None) -> None:
        raise NotYetError


class Start(SimpleNamespace):
    """How one start of a service goes: its process, and after how many looks it listens."""

    process: FakeProcess
    listens_after: int


def fake_services(starts: list[Start], *, shared: bool = False) -> Any:
    """FiftyOne's module of services with one whose starts go as said, and a class ``Awaited`` for it."""
    begun: list[Start] = []

    class Service:
        service_name = "db" if shared else "server"
        stopped = 0

        def __init__(self) -> None:
            self.start()

        def start(self) -> None:
            begun.append(starts[len(begun)])
            self.child: FakeProcess | None = begun[-1].process

        def stop(self) -> None:
            self.stopped += 1
            self.child = None

        def _wait_for_child_port(self, port: int | None = None, timeout: float = 60) -> int:
            begun[-1].listens_after -= 1
            if begun[-1].listens_after > 0:
                raise NotYetError
            return port or 27017

    class MultiClientService(Service):
        pass

    return SimpleNamespace(
        Service=Service,
        MultiClientService=MultiClientService,
        ServiceListenTimeout=NotYetError,
        Awaited=MultiClientService if shared else Service,
        begun=begun,
    )


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock on which a second passes with every look at it."""
    ticks = iter(range(10**9))
    monkeypatch.setattr(service_start, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))


def port_of(services: Any, say: Callable[[str], None]) -> tuple[int, Any]:
    make_patient(services)
    make_patient(services)
    service = services.Awaited()
    with saying(say):
        return service._wait_for_child_port(port=5151), service


def test_a_service_that_is_late_is_waited_for_and_it_is_said_what_is_waited_for() -> None:
    services = fake_services([Start(process=FakeProcess(), listens_after=100)])
    said: list[str] = []
    port, service = port_of(services, said.append)
    assert port == 5151
    assert (len(services.begun), service.stopped) == (1, 0)
    assert 5 < len(said) < 12
    assert said[0].startswith("waiting for FiftyOne's App server to start: 1")


def test_what_is_up_at_once_is_not_spoken_of() -> None:
    said: list[str] = []
    port_of(fake_services([Start(process=FakeProcess(), listens_after=1)]), said.append)
    assert said == []


@pytest.mark.parametrize(
    ("broken", "why"),
    [(FakeProcess(lives=3), "ended before it could be reached"), (FakeProcess(works=3), "stood still for 60 s")],
)
@pytest.mark.parametrize("shared", [False, True])
def test_a_service_that_ends_or_stands_still_is_started_once_more(broken: FakeProcess, why: str, shared: bool) -> None:
    starts = [Start(process=FakeProcess(broken.lives, broken.works), listens_after=10**9)]
    starts.append(Start(process=FakeProcess(), listens_after=5))
    services = fake_services(starts, shared=shared)
    said: list[str] = []
    port, service = port_of(services, said.append)
    assert port == 5151
    assert (len(services.begun), service.stopped) == (2, 1)
    name = "FiftyOne's database" if shared else "FiftyOne's App server"
    assert f"{name} {why}; it is started once more" in said
    assert starts[0].process.killed == (not shared), "others may be at work with a database"


def test_a_service_that_ends_twice_is_broken() -> None:
    services = fake_services([Start(process=FakeProcess(lives=2), listens_after=10**9) for _ in range(2)])
    with pytest.raises(ConfigError, match="App server did not start: it ended before it could be reached, twice") as c:
        port_of(services, lambda _: None)
    assert "--export" in str(c.value.hint)
    assert len(services.begun) == 2


def test_a_service_that_is_at_work_all_the_time_is_slow_and_not_started_again() -> None:
    services = fake_services([Start(process=FakeProcess(), listens_after=10**9)])
    with pytest.raises(ConfigError, match="is at work, but still not ready after 180 s: this machine is slow"):
        port_of(services, lambda _: None)
    assert len(services.begun) == 1
    assert services.begun[0].process.killed, "nobody is left who would end it"


def test_another_fiftyone_waits_in_its_own_way() -> None:
    services = SimpleNamespace(Service=type("Service", (), {}))
    make_patient(services)
    assert not hasattr(services.Service, "_wait_for_child_port")


def test_an_ended_process_is_not_alive_before_anybody_asked_for_its_exit_code() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = psutil.Process(child.pid)
    assert is_alive(process)
    assert child.stdin
    child.stdin.close()
    for _ in range(100):
        if not is_alive(process):
            break
        time.sleep(0.05)
    assert not is_alive(process)
    child.wait()
    assert not is_alive(process)


FIRST_FAILS = """
import pathlib, socket, sys, time
been = pathlib.Path(sys.argv[1])
if not been.exists():
    been.touch()
    sys.exit("no, not today")
time.sleep(2.5)
listening = socket.create_server(("127.0.0.1", int(sys.argv[2])))
time.sleep(60)
"""


def test_with_fiftyones_own_services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    services = pytest.importorskip("fiftyone.core.service")
    monkeypatch.setattr(services.Service, "_wait_for_child_port", services.Service._wait_for_child_port)
    monkeypatch.setattr(service_start, "time", time)
    make_patient(services)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    class Late(services.Service):  # type: ignore[misc, name-defined]
        service_name = "late"

        @property
        def command(self) -> list[str]:
            return [sys.executable, "-c", FIRST_FAILS, str(tmp_path / "been"), str(port)]

        def start(self) -> None:
            super().start()
            self._wait_for_child_port(port=port)

    said: list[str] = []
    with saying(said.append):
        service = Late()
    told = [line for line in said if not line.startswith("waiting for late")]  # on a busy machine it waits, too
    assert told == ["late ended before it could be reached; it is started once more"]
    socket.create_connection(("127.0.0.1", port)).close()
    service.stop()
