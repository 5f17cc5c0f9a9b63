"""How long FiftyOne's services are waited for: its database and the App's server, which are to listen on a port.

Not here: FiftyOne, whose module of services is given (``fiftyone_app.py`` is its home).  The fact to know: FiftyOne
itself gives up after a minute, whatever the process does; here one that is at work has three, and one that ended or
stands still is started once more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial, wraps
from typing import Any

from annoloop.errors import ConfigError
from annoloop.progress import Say, unsaid

WITHOUT_APP = "try again, or write pages instead: annoloop browse --export DIR"

_NAMES = {"db": "FiftyOne's database", "server": "FiftyOne's App server"}

_PATIENCE_S = 180.0
_STILL_S = 60.0
"""A process that takes no CPU time for so long is at nothing."""

_TOLD_EVERY_S = 10.0
_LOOK_S = 1.0
_ENDS_WITHIN_S = 20.0

_SAY: ContextVar[Say] = ContextVar("say", default=unsaid)


class _NotComingError(Exception):
    """A service that will not come up as it is; why."""


@contextmanager
def saying(say: Say) -> Iterator[None]:
    """Inside, ``say`` is told which service is waited for."""
    token = _SAY.set(say)
    try:
        yield
    finally:
        _SAY.reset(token)


def make_patient(services: Any) -> None:
    """Have FiftyOne's module ``core.service`` wait as said above; once more changes nothing.

    It raises ``ConfigError`` then, for a service that is slow, and for one that is broken.
    """
    look = getattr(services.Service, "_wait_for_child_port", None)
    if look is None or hasattr(look, "__wrapped__"):
        return

    @wraps(look)
    def port_of(service: Any, port: int | None = None, timeout: float = 0.0) -> int:  # noqa: ARG001
        name = _NAMES.get(service.service_name, service.service_name)
        listening = partial(_listening, service, name, partial(look, service, port, timeout=_LOOK_S), services)
        try:
            return listening()
        except _NotComingError as why:
            _SAY.get()(f"{name} {why}; it is started once more")
        _start_again(service, services)
        try:
            return listening()
        except _NotComingError as why:
            _end(service, services)
            raise ConfigError(
                f"{name} did not start: it {why}, twice",
                where="fiftyone",
                hint=f"it may have said why above; {WITHOUT_APP}",
            ) from None

    services.Service._wait_for_child_port = port_of


def is_alive(process: Any) -> bool:
    """Whether a process (of psutil) has not ended; one that nobody has asked for its exit code yet has."""
    import psutil

    try:
        return bool(process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD))
    except psutil.Error:
        return False


def kill(process: Any) -> None:
    """Kill a process (of psutil) and all below it; one that has ended is none."""
    import psutil

    with suppress(psutil.Error):
        for one in (*process.children(recursive=True), process):
            one.kill()


def _listening(service: Any, name: str, look: Callable[[], int], services: Any) -> int:
    """The port on which a service listens, as soon as it does."""
    import psutil

    began = worked_at = told_at = time.monotonic()
    spent_s = 0.0
    while True:
        alive = is_alive(service.child)
        with suppress(services.ServiceListenTimeout, psutil.Error):
            return look()
        if not alive:
            raise _NotComingError("ended before it could be reached")
        now, spent_before_s, spent_s = time.monotonic(), spent_s, _cpu_s(service.child)
        if spent_s != spent_before_s:
            worked_at = now
        if now - worked_at > _STILL_S:
            raise _NotComingError(f"stood still for {_STILL_S:.0f} s")
        if now - began > _PATIENCE_S:
            _end(service, services)
            raise ConfigError(
                f"{name} is at work, but still not ready after {_PATIENCE_S:.0f} s: this machine is slow or busy",
                where="fiftyone",
                hint=WITHOUT_APP,
            )
        if now - told_at > _TOLD_EVERY_S:
            told_at = now
            _SAY.get()(f"waiting for {name} to start: {now - began:.0f} s")


def _cpu_s(process: Any) -> float:
    """CPU time of a process and all below it, in seconds."""
    import psutil

    spent_s = 0.0
    with suppress(psutil.Error):
        for one in (process, *process.children(recursive=True)):
            times = one.cpu_times()
            spent_s += times.user + times.system
    return spent_s


def _start_again(service: Any, services: Any) -> None:
    child = service.child
    _end(service, services)
    if _is_shared(service, services):
        with suppress(Exception):  # it may be another process's, which goes on
            child.wait(_ENDS_WITHIN_S)
        service.start()
    else:
        services.Service.start(service)  # its own would wait for the port, too


def _end(service: Any, services: Any) -> None:
    if not _is_shared(service, services):  # one that stands still would not hear that it is to end
        kill(service.child)
    service.stop()


def _is_shared(service: Any, services: Any) -> bool:
    """Whether other processes may be using it: a database serves all that there are."""
    return isinstance(service, services.MultiClientService)
