"""``python -m annoloop.sandbox --state DIR``: serve until SIGTERM or ^C.

Prints one JSON line on stdout once it accepts connections: url, token, username, password, pid.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
import tempfile
import threading
from dataclasses import asdict
from pathlib import Path

import hypercorn.asyncio
import hypercorn.config
from starlette.applications import Starlette

from annoloop.errors import AnnoloopError, ConfigError
from annoloop.sandbox import faults
from annoloop.sandbox.server import create_app

HOST = "127.0.0.1"

_DEFAULT = "(default: %(default)s)"
_FAULT_HELP = """
make requests fail (may be repeated, the first that strikes wins): KIND:RATE or KIND:RATE:METHOD PATH-PREFIX.
KIND: 500, 503, 413, 429 answer so instead of working; cut closes the connection instead of working; lost
works and cuts the answer in the middle; hang says nothing; expired forgets background requests; origin
breaks uploads without an Origin header, as CVAT does behind a proxy that does not pass on the host.
RATE: from 0 to 1, or xN for the first N requests. Example: "lost:0.01:POST /api/tasks"
"""


def main(arguments: list[str] | None = None) -> int:
    """Serve; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        listener = _listen(options.port)
        app = create_app(
            options.state,
            request_delay_s=options.request_delay,
            request_expiry_s=options.request_expiry,
            anonymous_per_minute=options.anonymous_per_minute,
        )
    except AnnoloopError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    tempfile.tempdir = str(options.state)  # uploads are spooled; /tmp may be memory
    asyncio.run(_serve(app, listener, options))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m annoloop.sandbox",
        description="A local stand-in for a CVAT server, for trying and testing annoloop.",
    )
    parser.add_argument("--state", type=Path, required=True, metavar="DIR", help="where everything is kept")
    parser.add_argument("--port", type=int, default=8080, help=f"0 takes a free one {_DEFAULT}")
    parser.add_argument(
        "--with-parent", action="store_true", help="end when stdin closes, so when the process that started it ends"
    )
    _add_behaviour(parser.add_argument_group("how it behaves"))
    return parser


def _add_behaviour(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    slow, forgotten = "how long a background request takes at least", "how long a finished one is remembered"
    add("--request-delay", type=_seconds, default=0.0, metavar="SECONDS", help=f"{slow} {_DEFAULT}")
    add("--request-expiry", type=_seconds, default=500.0, metavar="SECONDS", help=f"{forgotten} {_DEFAULT}")
    limit = "calls without credentials that are answered, 0 for any number; a real server answers 100"
    add("--anonymous-per-minute", type=_count, default=0, metavar="N", help=f"{limit} {_DEFAULT}")
    add("--fault", type=_fault, action="append", default=[], metavar="SPEC", help=_FAULT_HELP)
    add("--fault-seed", type=int, default=0, metavar="N", help=f"which requests a RATE below 1 hits {_DEFAULT}")
    add("--hang-seconds", type=_seconds, default=3600.0, metavar="SECONDS", help=f"how long a hang is {_DEFAULT}")


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < threading.TIMEOUT_MAX:
        raise argparse.ArgumentTypeError(f"{text} is no time to wait")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is less than 0")
    return value


def _fault(spec: str) -> faults.Fault:
    try:
        return faults.parse(spec)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        raise ConfigError(f"cannot listen: {error.strerror}", where=f"{HOST}:{port}", hint="use --port 0") from None
    listener.listen(128)
    return listener


async def _serve(app: Starlette, listener: socket.socket, options: argparse.Namespace) -> None:
    stop = _stop_event(with_parent=options.with_parent)
    port = listener.getsockname()[1]
    config = hypercorn.config.Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.loglevel = "WARNING"
    config.graceful_timeout = 1.0
    faulty = faults.FaultyServer(app, faults.Dice(options.fault, options.fault_seed), options.hang_seconds, stop)
    serving = asyncio.create_task(
        hypercorn.asyncio.serve(faulty if options.fault else app, config, shutdown_trigger=stop.wait)
    )
    # the kernel queues connections from listen() on: whoever reads this line can connect at once
    greeting = {"url": f"http://{HOST}:{port}", **asdict(app.state.credentials), "pid": os.getpid()}
    print(json.dumps(greeting), flush=True)
    await serving


def _stop_event(*, with_parent: bool) -> asyncio.Event:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    if with_parent:
        loop.add_reader(sys.stdin, stop.set)  # nobody writes to it: it becomes readable at its end
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


if __name__ == "__main__":
    sys.exit(main())
