"""Faults on demand: an ASGI application around the server that spoils some of its answers.

For trying what a client does when the network or the server fails; no fault happens unless it is
asked for, and the HTML pages are never hit. The one fact to know: only ``lost`` lets the server do
what it was asked to do; all other kinds answer, or cut the connection, in its place.
"""

from __future__ import annotations

import asyncio
import random
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from annoloop.errors import ConfigError
from annoloop.sandbox.refusals import Refusal, page, server_error, throttled, unknown_request
from annoloop.sandbox.server import refused

_REFUSALS: dict[str, Callable[[], Refusal]] = {
    "500": server_error,
    "503": lambda: page(503, "Service Unavailable"),
    "413": lambda: page(413, "Request Entity Too Large"),
    "429": lambda: throttled(1),
    "expired": unknown_request,
    "origin": server_error,
}
KINDS = (*_REFUSALS, "cut", "lost", "hang")
"""What can go wrong: see the help of ``--fault``."""

_API = "/api/"
_SPEC = re.compile(r"(?P<kind>[^:]+):(?P<rate>[^:]+)(:(?P<method>[A-Z]+) (?P<prefix>/.*))?")


@dataclass(frozen=True, slots=True)
class Fault:
    """One ``KIND:RATE[:METHOD PATH-PREFIX]``; ``times`` is set where RATE says ``xN``."""

    kind: str
    rate: float
    times: int | None = None
    method: str | None = None
    prefix: str = _API

    def concerns(self, method: str, path: str) -> bool:
        """Whether a request can be hit."""
        return path.startswith(self.prefix) and self.method in (None, method) and self._is_possible(method, path)

    def _is_possible(self, method: str, path: str) -> bool:
        if self.kind == "expired":
            return method == "GET" and path.startswith("/api/requests/")
        return self.kind != "origin" or (method == "POST" and path.rstrip("/").endswith("/data"))


def parse(spec: str) -> Fault:
    """Read one specification, for example ``lost:0.01:POST /api/tasks`` or ``500:x2``.

    Raises:
        ConfigError: it is none.
    """
    found = _SPEC.fullmatch(spec)
    if found is None:
        raise _wrong(spec, "this is not KIND:RATE or KIND:RATE:METHOD PATH-PREFIX")
    if found["kind"] not in KINDS:
        raise _wrong(spec, f"{found['kind']!r} is none of {', '.join(KINDS)}")
    prefix = found["prefix"] or _API
    if not prefix.startswith(_API):
        raise _wrong(spec, f"only what is below {_API} can be hit, not {prefix}")
    rate, times = _rate(spec, found["rate"])
    return Fault(found["kind"], rate, times, found["method"], prefix)


def _rate(spec: str, text: str) -> tuple[float, int | None]:
    if text[0] == "x" and text[1:].isdecimal():
        return 1.0, int(text[1:])
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 <= rate <= 1:
        raise _wrong(spec, f"the rate {text!r} is neither a number from 0 to 1 nor x and a number of times")
    return rate, None


def _wrong(spec: str, reason: str) -> ConfigError:
    return ConfigError(reason, where=spec, hint="for example 500:0.05, cut:x2, lost:0.01:POST /api/tasks")


class Dice:
    """Decides which requests are hit: the same requests in the same order, the same decisions."""

    def __init__(self, faults: Sequence[Fault], seed: int = 0) -> None:
        self._faults = tuple(faults)
        self._hits = [0] * len(self._faults)
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self._lock = threading.Lock()

    def hit(self, method: str, path: str, *, has_origin: bool = False) -> Fault | None:
        """The first fault that strikes this request, in the order in which they were given."""
        with self._lock:
            for place, fault in enumerate(self._faults):
                if fault.kind == "origin" and has_origin:
                    continue
                if fault.concerns(method, path) and self._strikes(place, fault):
                    self._hits[place] += 1
                    return fault
        return None

    def _strikes(self, place: int, fault: Fault) -> bool:
        if fault.times is not None:
            return self._hits[place] < fault.times
        return self._random.random() < fault.rate


class FaultyServer:
    """The application in between.

    Args:
        app: the sandbox.
        dice: which request is hit by what.
        hang_s: how long ``hang`` says nothing.
        stop: set when the server ends, which ends every ``hang``.
    """

    def __init__(self, app: ASGIApp, dice: Dice, hang_s: float, stop: asyncio.Event) -> None:
        self._app = app
        self._dice = dice
        self._hang_s = hang_s
        self._stop = stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault = self._struck(scope) if scope["type"] == "http" else None
        if fault is None:
            await self._app(scope, receive, send)
        elif fault.kind == "lost":
            await self._lose(scope, receive, send)
        else:
            await _receive_all(receive)
            await self._spoil(fault, scope, receive, send)

    def _struck(self, scope: Scope) -> Fault | None:
        has_origin = any(name == b"origin" for name, _ in scope["headers"])
        return self._dice.hit(scope["method"], scope["path"], has_origin=has_origin)

    async def _spoil(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        if fault.kind in _REFUSALS:
            await refused(_REFUSALS[fault.kind]())(scope, receive, send)
            return
        if fault.kind == "hang":
            await self._hang(receive)
        await _cut(send)

    async def _hang(self, receive: Receive) -> None:
        # after the body, the next message tells that the client has gone
        waits = [asyncio.ensure_future(receive()), asyncio.ensure_future(self._stop.wait())]
        await asyncio.wait(waits, timeout=self._hang_s, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    async def _lose(self, scope: Scope, receive: Receive, send: Send) -> None:
        kept: list[Message] = []

        async def keep(message: Message) -> None:
            kept.append(message)

        await self._app(scope, receive, keep)
        body = b"".join(message.get("body", b"") for message in kept)
        if scope["method"] == "HEAD" or len(body) < 2:
            await _cut(send)
            return
        # the head promises the whole body; the server closes when the application ends without it
        await send(kept[0])
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})


async def _receive_all(receive: Receive) -> None:
    # otherwise the server closes the connection after the answer, and a client that still sends may see
    # its end instead of the answer
    while (await receive()).get("more_body", False):
        pass


async def _cut(send: Send) -> None:
    # An application that ends without an answer would be answered for, with a 500. An interim answer
    # is none, clients skip it, and after it the server can do nothing but close the connection.
    await send({"type": "http.response.start", "status": 100, "headers": []})
