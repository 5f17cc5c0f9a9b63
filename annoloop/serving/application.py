"""The routes that CVAT calls, with limits around them, as a Starlette application.

Not here: predicting (``model.py``) and Nuclio's words (``nuclio.py``).  The facts to know: no more than a few bodies
are in memory, the other requests wait unread and, beyond a bound, are sent away; these calls carry no secret, so
requests of web pages, which come with an Origin, are refused.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from annoloop.errors import AnnoloopError, DataError
from annoloop.progress import Say
from annoloop.serving.calls import Limits, Tool, Tools
from annoloop.serving.nuclio import is_interaction, parsed
from annoloop.serving.refusal import Refused

FUNCTION_HEADER = "x-nuclio-function-name"

_log = logging.getLogger(__name__)


def create_app(tools: Tools, limits: Limits, say: Say) -> Starlette:
    """The application; ``say`` hears of every call, and of what goes wrong."""
    desk = _Desk(tools, limits, say)
    app = Starlette(
        routes=[
            Route("/api/functions", desk.functions, methods=["GET"]),
            Route("/api/functions/{name}", desk.function, methods=["GET"]),
            Route("/api/function_invocations", _Invocation(desk, by_name=True)),
            Route("/", _Invocation(desk, by_name=False)),
        ],
        exception_handlers={404: _unknown, 405: _wrong_method},
    )
    app.router.redirect_slashes = False
    return app


class _Desk:
    """Where requests are taken: who is told what, and who waits."""

    def __init__(self, tools: Tools, limits: Limits, say: Say) -> None:
        self.limits, self.say = limits, say
        self._tools = tools
        self._places = asyncio.Semaphore(limits.at_once)
        self._inside = 0

    async def functions(self, request: Request) -> Response:
        """All functions by name."""
        if (stranger := _of_a_page(request)) is not None:
            return stranger
        return JSONResponse({tool.function.name: tool.function.described() for tool in self._tools()})

    async def function(self, request: Request) -> Response:
        """One of them."""
        if (stranger := _of_a_page(request)) is not None:
            return stranger
        try:
            return JSONResponse(self.named(request.path_params["name"]).function.described())
        except Refused as refused:
            return _refusal(refused)

    def named(self, name: str) -> Tool:
        """The tool of a function's name; raises ``Refused``."""
        tools = {tool.function.name: tool for tool in self._tools()}
        if name not in tools:
            raise Refused(404, f"there is no function {name[:80]!r}; there are: {', '.join(tools)}")
        return tools[name]

    def meant(self, payload: dict[str, object], port: int | None) -> Tool:
        """The tool that a call without a name means: by the port that it came to, then by what it brings."""
        tools = list(self._tools())
        kind = "interactor" if is_interaction(payload) else "detector"
        at_port = [tool for tool in tools if tool.function.port == port and tool.function.kind == kind]
        return (at_port or [tool for tool in tools if tool.function.kind == kind])[0]

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place among those that are answered; raises ``Refused`` where too many wait already."""
        if self._inside >= self.limits.waiting + self.limits.at_once:
            raise Refused(503, f"{self.limits.waiting} requests wait already: try again soon", retry_after_s=5)
        self._inside += 1
        try:
            try:
                await asyncio.wait_for(self._places.acquire(), self.limits.wait_s)
            except TimeoutError:
                said = f"this request waited {self.limits.wait_s:g} s for its turn: try again soon"
                raise Refused(503, said, retry_after_s=10) from None
            try:
                yield
            finally:
                self._places.release()
        finally:
            self._inside -= 1


class _Invocation:
    """One call of a function, as an ASGI application: the body is read, and the answer sent, in a place."""

    def __init__(self, desk: _Desk, *, by_name: bool) -> None:
        self._desk, self._by_name = desk, by_name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        refusal: Response
        begun = False

        async def sent(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            self._admit(request)
            async with self._desk.place(), asyncio.timeout(self._desk.limits.answer_s):
                response = await self._answer(request)
                await response(scope, receive, sent)
                return
        except Refused as refused:
            refusal = _refusal(refused)
        except TimeoutError:
            refusal = _refusal(Refused(504, f"no answer within {self._desk.limits.answer_s:g} s"))
        except ClientDisconnect:
            return
        if begun:  # the client reads too slowly; what it has is cut off
            return
        await self._drained(request)
        await refusal(scope, receive, send)

    async def _drained(self, request: Request) -> None:
        """Read on and keep nothing: a client that still sends does not hear what it is told."""
        with suppress(ClientDisconnect, RuntimeError, TimeoutError):
            async with asyncio.timeout(self._desk.limits.drain_s):
                async for _ in request.stream():
                    pass

    def _admit(self, request: Request) -> None:
        """What can be refused before anything is read."""
        if request.method != "POST":
            raise Refused(405, "a function is called by POST")
        if (stranger := request.headers.get("origin")) is not None:
            raise Refused(403, f"requests of web pages are not answered, and this one comes from {stranger[:80]}")
        told = request.headers.get("content-length", "0")
        if told.isdecimal() and int(told[:18]) > self._desk.limits.body_bytes:
            raise self._too_large()
        if self._by_name:
            self._desk.named(self._name(request))

    @staticmethod
    def _name(request: Request) -> str:
        name = request.headers.get(FUNCTION_HEADER, "")
        if not name:
            raise Refused(400, f"the header {FUNCTION_HEADER} must say which function is called")
        return name

    async def _answer(self, request: Request) -> Response:
        payload = await run_in_threadpool(parsed, await self._body(request))
        if self._by_name:
            tool = self._desk.named(self._name(request))
        else:
            tool = self._desk.meant(payload, (request.scope.get("server") or (None, None))[1])
        began = time.perf_counter()
        pieces = await run_in_threadpool(self._result, tool, payload)
        del payload
        self._desk.say(f"{tool.function.kind} {tool.function.name}: {time.perf_counter() - began:.2f} s")
        size = sum(map(len, pieces))
        return StreamingResponse(_each(pieces), media_type="application/json", headers={"content-length": str(size)})

    def _result(self, tool: Tool, payload: dict[str, object]) -> list[bytes]:
        try:
            return tool.answer(payload)
        except Refused:
            raise
        except DataError as error:
            raise Refused(400, f"image: {error.message}") from None
        except AnnoloopError as error:
            self._desk.say(f"{tool.function.name} failed: {error}")
            raise Refused(500, error.message.splitlines()[0]) from None
        except Exception as error:
            _log.exception("%s", tool.function.name)
            self._desk.say(f"{tool.function.name} failed: {type(error).__name__}: {error}")
            raise Refused(500, "this call failed; the log of annoloop serve says why") from None

    async def _body(self, request: Request) -> bytes:
        body = bytearray()
        try:
            async with asyncio.timeout(self._desk.limits.read_s):
                async for piece in request.stream():
                    body += piece
                    if len(body) > self._desk.limits.body_bytes:
                        raise self._too_large()
        except TimeoutError:
            raise Refused(408, f"the body did not come within {self._desk.limits.read_s:g} s") from None
        return bytes(body)

    def _too_large(self) -> Refused:
        return Refused(413, f"the body is larger than {self._desk.limits.body_bytes >> 20} MiB")


async def _each(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def _of_a_page(request: Request) -> Response | None:
    origin = request.headers.get("origin")
    return None if origin is None else _refusal(Refused(403, "requests of web pages are not answered"))


def _refusal(refused: Refused) -> Response:
    headers = {} if refused.retry_after_s is None else {"retry-after": str(refused.retry_after_s)}
    # What was not read of the body would be taken for the next request.
    return JSONResponse({"message": refused.message}, refused.status, headers | {"connection": "close"})


async def _unknown(request: Request, _error: Exception) -> Response:
    said = "there is nothing here; CVAT calls /api/functions, /api/function_invocations and /"
    return _refusal(Refused(404, f"{request.url.path[:80]}: {said}"))


async def _wrong_method(request: Request, _error: Exception) -> Response:
    return _refusal(Refused(405, f"{request.method[:20]} is not answered here"))
