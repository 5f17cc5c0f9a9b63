"""An ASGI application in an HTTP server, in a thread of its own, at the addresses that it was given and no others.

Not here: what is answered.  The fact to know: whoever connects once it listens waits, and is not refused, until the
application has started.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, Self

from annoloop.errors import ConfigError, MissingExtraError
from annoloop.progress import Say

_START_S = 10.0
_END_S = 3.0


def require_server(extra: str = "serve") -> None:
    """Say what is missing, and which extra brings it, before anything is begun.

    Raises:
        MissingExtraError: one of the server's packages is not installed.
    """
    for package in ("starlette", "hypercorn"):
        if find_spec(package) is None:
            raise MissingExtraError(package, extra)


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


def listen_at(host: str, port: int) -> socket.socket:
    """A socket that listens there and nowhere else; port 0 takes a free one.

    Raises:
        ConfigError: no such address here, or it is taken.
    """
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


def close_all(listeners: Sequence[socket.socket]) -> None:
    """Close those that no server has taken over."""
    for one in listeners:
        one.close()


def url_of(host: str, port: int) -> str:
    """The address as a link."""
    return f"http://{_place(host, port)}"


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class HttpThread:
    """Hypercorn with its event loop in a thread, while the block lasts."""

    def __init__(self, create_app: Callable[[], Any], listeners: Sequence[socket.socket], say: Say) -> None:
        """Take over the listeners; ``create_app`` is called in the thread, whose event loop the application is of."""
        self._create_app, self._listeners, self._say = create_app, listeners, say
        self._thread = threading.Thread(target=self._run, name="annoloop-http", daemon=True)
        self._began, self._failed = threading.Event(), False
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._began.wait(_START_S) or self._failed:
            raise ConfigError("the HTTP server did not start", where="--listen")
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

        config = Config()
        config.bind = [f"fd://{listener.detach()}" for listener in self._listeners]
        config.loglevel = "WARNING"
        config.graceful_timeout = config.shutdown_timeout = _END_S
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = self._create_app()
        self._began.set()  # the kernel queues connections from listen() on
        await hypercorn.asyncio.serve(app, config, shutdown_trigger=self._stop.wait)
