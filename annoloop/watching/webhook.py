"""Where CVAT's webhooks arrive: a signed request wakes the watch, and that is all it does.

Not here: what has happened, which the watch sees for itself, so that a lost, a late or a repeated request does no
harm.  The signature is that of CVAT: ``X-Signature-256: sha256=`` and the HMAC-SHA256 of the body, in hex.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from annoloop.errors import ConfigError
from annoloop.progress import Say
from annoloop.serving.http_thread import HttpThread, close_all, listen_at, parse_listen, require_server, url_of

MOST_BYTES = 1 << 20
"""No webhook of CVAT is nearly as long."""

SECRET_VARIABLE = "ANNOLOOP_WEBHOOK_SECRET"  # noqa: S105
_SHORTEST_SECRET = 8
_READ_S = 10.0


def webhook_secret(file: Path | None, environment: Mapping[str, str] = os.environ) -> bytes:
    """The secret that CVAT signs with, from a file that only its owner can read, or from the environment.

    Raises:
        ConfigError: there is none, it is too short to be one, or others can read the file.
    """
    if file is None:
        text, where = environment.get(SECRET_VARIABLE, ""), SECRET_VARIABLE
    else:
        try:
            mode, text, where = file.stat().st_mode, file.read_text(encoding="utf-8"), str(file)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot be read ({error})", where=f"--secret-file {file}") from None
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError("others can read this secret", where=file, hint=f"chmod 600 {file}")
    secret = text.strip().encode()
    if len(secret) < _SHORTEST_SECRET:
        raise ConfigError(
            f"a secret of {_SHORTEST_SECRET} characters and more is needed to tell CVAT's webhooks from others",
            where=where,
            hint=f"set {SECRET_VARIABLE} or --secret-file to the secret of the webhook in CVAT",
        )
    return secret


@contextmanager
def receiving(listen: str, secret: bytes, wake: threading.Event, say: Say) -> Iterator[str]:
    """Receive webhooks while the block lasts; its address.

    Raises:
        ConfigError: no such address here, or it is taken.
        MissingExtraError: starlette or hypercorn is not installed.
    """
    require_server()
    host, port = parse_listen(listen)
    listener = listen_at(host, port)
    try:
        address = url_of(host, listener.getsockname()[1])
        with HttpThread(lambda: create_app(secret, wake), [listener], say):
            yield address
    finally:
        close_all([listener])


def is_signed(body: bytes, signature: str, secret: bytes) -> bool:
    """Whether a body is signed with our secret."""
    wanted = "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(signature.encode("utf-8", "replace"), wanted.encode())


def create_app(secret: bytes, wake: threading.Event) -> object:
    """The application: 204 for a signed POST, whatever is in it; 403, 405, 408 and 413 for others."""
    from starlette.applications import Starlette
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import Response
    from starlette.routing import Route

    def answer(status: int) -> Response:
        # What was not read of a body would be taken for the next request.
        return Response(status_code=status, headers={} if status == 204 else {"connection": "close"})

    async def received(request: Request) -> Response:
        body = bytearray()
        try:
            async with asyncio.timeout(_READ_S):
                async for piece in request.stream():
                    body += piece
                    if len(body) > MOST_BYTES:
                        return answer(413)
        except TimeoutError:
            return answer(408)
        except ClientDisconnect:
            return answer(400)
        if not is_signed(bytes(body), request.headers.get("x-signature-256", ""), secret):
            return answer(403)
        wake.set()
        return answer(204)

    return Starlette(routes=[Route("/{path:path}", received, methods=["POST"])])
