"""``annoloop serve``: the application in an HTTP server, in a thread of its own, until somebody ends it.

Not here: what is answered.  The facts to know: it listens where it is told and nowhere else; no secret protects these
calls, so an address that other machines may reach is warned of.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from annoloop.compute.endings import ended_like_by_interrupt
from annoloop.errors import ConfigError
from annoloop.progress import Say, unsaid
from annoloop.project.project import Project
from annoloop.serving.calls import Limits
from annoloop.serving.http_thread import HttpThread, close_all, listen_at, parse_listen, require_server, url_of
from annoloop.serving.model import ServedModel
from annoloop.serving.sam import SamDecoder
from annoloop.serving.tools import Toolbox

LISTEN = "127.0.0.1:8070"

_PAUSE_S = 0.5


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
        ended_like_by_interrupt()
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
    from annoloop.serving.application import create_app

    host, port = parse_listen(listen)
    decoder = _decoder(sam, sam_encoder)
    with ExitStack() as stack:
        listeners = [listen_at(host, port)]
        stack.callback(close_all, listeners)
        if decoder is not None:
            listeners.append(listen_at(host, port + 1 if port else 0))
        model = stack.enter_context(ServedModel(project, say=say))
        tools = Toolbox(model, project.config.project, decoder)
        tools.port, tools.sam_port = listeners[0].getsockname()[1], listeners[-1].getsockname()[1]
        report = ServeReport(
            url=url_of(host, tools.port),
            run=model.run,
            classes=tools.now()[0].function.labels,
            functions=tuple(tool.function.name for tool in tools.now()),
            sam_url=None if decoder is None else url_of(host, tools.sam_port),
            warning=exposed(host),
        )
        model.follow()
        bounds = limits or Limits()
        stack.enter_context(HttpThread(lambda: create_app(tools.now, bounds, say), listeners, say))
        return ServeSession(report, stack.pop_all())
    raise AssertionError("either returned or raised")


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
