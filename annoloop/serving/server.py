"""``annoloop serve``: the application in an HTTP server, in a thread of its own, until somebody ends it.

Not here: what is answered.  The facts to know: it listens where it is told and nowhere else; no secret protects these
calls, so an address that other machines may reach is warned of.
"""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from annoloop.errors import ConfigError, MissingExtraError, TrainingError
from annoloop.progress import Say, unsaid
from annoloop.project.project import Project
from annoloop.serving.calls import Limits
from annoloop.serving.model import ServedModel
from annoloop.serving.sam import SamDecoder
from annoloop.serving.tools import Toolbox

LISTEN = "127.0.0.1:8070"

_PAUSE_S = 0.5
_START_S = 10.0
_END_S = 3.0


@dataclass(frozen=True, slots=True)
class ServeReport:
    """What is served and where; ``functions`` are the names under which CVAT knows them, ``sam_url`` the place of a
    SAM decoder for calls that name no function."""

    url: str
    run: int
    classes: tuple[str, ...]
    functions: tuple[str, ...]
    sam_url: str | None = None
    warning: str | None = None


class ServeSession:
    """The report and the running server."""

    def __init__(self, report: ServeReport, stack: ExitStack) -> None:
        self.report = report
        self._stack = stack

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def wait(self, begun: Callable[[], None] = lambda: None) -> None:
        """Serve until ^C, SIGTERM or a hang-up.

        Args:
            begun: is called once each of these ends it cleanly: whoever was told before might end it too early.
        """
        for ending in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(ending, signal.default_int_handler)
        try:
            begun()
            while True:
                time.sleep(_PAUSE_S)
        except KeyboardInterrupt:
            self.close()

    def close(self) -> None:
        """Stop serving and end the model's process; once more does nothing."""
        self._stack.close()


def serve(
    project: Project,
    *,
    listen: str = LISTEN,
    sam: Path | None = None,
    sam_encoder: Path | None = None,
    limits: Limits | None = None,
    say: Say = unsaid,
) -> ServeSession:
    """Serve the project's current model to CVAT, and every newer one as soon as it is promoted.

    Args:
        listen: host:port, of which the host is an address of this machine; port 0 takes a free one.
        sam: a SAM-type decoder in ONNX, with ``sam_encoder``; it is called at the next port, or by its name.
        limits: of requests.
        say: hears of every call, of newer models, and of what goes wrong.

    Raises:
        ConfigError: no model yet, no such address, or it is taken; a SAM file is none.
        MissingExtraError: starlette, hypercorn, torch or onnxruntime is not installed.
        TrainingError: the model cannot be loaded.
    """
    require_server()
    host, port = parse_listen(listen)
    decoder = _decoder(sam, sam_encoder)
    with ExitStack() as stack:
        listeners = [_listener(host, port)]
        stack.callback(_close, listeners)
        if decoder is not None:
            listeners.append(_listener(host, port + 1 if port else 0))
        model = stack.enter_context(ServedModel(project, say=say))
        tools = Toolbox(model, project.config.project, decoder)
        tools.port, tools.sam_port = listeners[0].getsockname()[1], listeners[-1].getsockname()[1]
        report = ServeReport(
            url=_url(host, tools.port),
            run=model.run,
            classes=tools.now()[0].function.labels,
            functions=tuple(tool.function.name for tool in tools.now()),
            sam_url=None if decoder is None else _url(host, tools.sam_port),
            warning=exposed(host),
        )
        model.follow()
        stack.enter_context(_Serving(tools, listeners, limits or Limits(), say))
        return ServeSession(report, stack.pop_all())
    raise AssertionError("either returned or raised")


def require_server() -> None:
    """Say what is missing before anything is begun.

    Raises:
        MissingExtraError: one of the server's packages is not installed.
    """
    from importlib.util import find_spec

    for package in ("starlette", "hypercorn"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "serve")


def parse_listen(text: str) -> tuple[str, int]:
    """Address and port of "127.0.0.1:8070", "localhost:8070" or "[::1]:8070".

    Raises:
        ConfigError: it is none of these.
    """
    host, colon, number = text.rpartition(":")
    host = "127.0.0.1" if host == "localhost" else host.removeprefix("[").removesuffix("]")
    try:
        address = ipaddress.ip_address(host)
        port = int(number) if number.isdecimal() and number.isascii() else -1
    except ValueError:
        address, port = None, -1
    if not colon or address is None or not 0 <= port < 1 << 16:
        hint = "like 127.0.0.1:8070; for a docker bridge its address, like 172.17.0.1:8070"
        raise ConfigError(f"{text!r} is no address and port", where="--listen", hint=hint)
    return str(address), port


def exposed(host: str) -> str | None:
    """What is to be said of an address that others may reach; None for this machine alone."""
    address = ipaddress.ip_address(host)
    if address.is_loopback:
        return None
    whom = "every network of this machine" if address.is_unspecified else "whoever reaches this address"
    return f"no secret protects these calls: {whom} can have images predicted; listen on a docker bridge only"


def _decoder(sam: Path | None, encoder: Path | None) -> SamDecoder | None:
    if (sam is None) != (encoder is None):
        given, lacking = ("--sam", "--sam-encoder") if encoder is None else ("--sam-encoder", "--sam")
        raise ConfigError(f"{given} needs {lacking}: a decoder and its encoder belong together", where=lacking)
    return None if sam is None or encoder is None else SamDecoder.of_files(sam, encoder)


def _listener(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        said = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"cannot listen: {said}", where=f"--listen {_place(host, port)}", hint="port 0 takes a free one"
        ) from None
    listener.listen(128)
    return listener


def _close(listeners: list[socket.socket]) -> None:
    for one in listeners:
        one.close()


def _url(host: str, port: int) -> str:
    return f"http://{_place(host, port)}"


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Serving:
    """Hypercorn with its event loop in a thread, while the block lasts."""

    def __init__(self, tools: Toolbox, listeners: list[socket.socket], limits: Limits, say: Say) -> None:
        self._tools, self._listeners, self._limits, self._say = tools, listeners, limits, say
        self._thread = threading.Thread(target=self._run, name="annoloop-serve", daemon=True)
        self._began, self._failed = threading.Event(), False
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._began.wait(_START_S) or self._failed:
            raise TrainingError("the HTTP server did not start")
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(2 * _END_S)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:
            self._failed = True
            self._say(f"the HTTP server ended: {error}")
        finally:
            self._began.set()

    async def _serve(self) -> None:
        import hypercorn.asyncio
        from hypercorn.config import Config

        from annoloop.serving.application import create_app

        config = Config()
        config.bind = [f"fd://{listener.detach()}" for listener in self._listeners]
        config.loglevel = "WARNING"
        config.graceful_timeout = config.shutdown_timeout = _END_S
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = create_app(self._tools.now, self._limits, self._say)
        self._began.set()  # the kernel queues connections from listen() on
        await hypercorn.asyncio.serve(app, config, shutdown_trigger=self._stop.wait)
