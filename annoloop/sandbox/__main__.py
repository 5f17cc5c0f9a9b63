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
from dataclasses import asdict
from pathlib import Path

import hypercorn.asyncio
import hypercorn.config
from starlette.applications import Starlette

from annoloop.errors import AnnoloopError, ConfigError
from annoloop.sandbox.server import create_app

HOST = "127.0.0.1"


def main(arguments: list[str] | None = None) -> int:
    """Serve; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        listener = _listen(options.port)
        app = create_app(options.state, request_delay_s=options.request_delay)
    except AnnoloopError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    asyncio.run(_serve(app, listener, with_parent=options.with_parent))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m annoloop.sandbox",
        description="A local stand-in for a CVAT server, for trying and testing annoloop.",
    )
    parser.add_argument("--state", type=Path, required=True, metavar="DIR", help="where everything is kept")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one (default: %(default)s)")
    parser.add_argument(
        "--request-delay",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="how long a background request takes at least (default: %(default)s)",
    )
    parser.add_argument(
        "--with-parent", action="store_true", help="end when stdin closes, so when the process that started it ends"
    )
    return parser


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        raise ConfigError(f"cannot listen: {error.strerror}", where=f"{HOST}:{port}", hint="use --port 0") from None
    listener.listen(128)
    return listener


async def _serve(app: Starlette, listener: socket.socket, *, with_parent: bool) -> None:
    stop = asyncio.Event()
    if with_parent:
        asyncio.get_running_loop().add_reader(
            sys.stdin, stop.set
        )  # nobody writes to it: it becomes readable at its end
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    port = listener.getsockname()[1]
    config = hypercorn.config.Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.loglevel = "WARNING"
    config.graceful_timeout = 1.0
    serving = asyncio.create_task(hypercorn.asyncio.serve(app, config, shutdown_trigger=stop.wait))
    # the kernel queues connections from listen() on: whoever reads this line can connect at once
    greeting = {"url": f"http://{HOST}:{port}", **asdict(app.state.credentials), "pid": os.getpid()}
    print(json.dumps(greeting), flush=True)
    await serving


if __name__ == "__main__":
    sys.exit(main())
