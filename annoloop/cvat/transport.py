"""Requests to one server and to no other: what urllib3 would do too willingly, bounded.

Stands where the SDK expects urllib3's pool manager, so that nothing the SDK sends gets around it.  The facts to know:
a token, a password or an image goes to the scheme, host and port of ``cvat.url`` alone, wherever a redirect or the
address of an upload points; and an answer has to arrive within a time and a size, however slowly a server speaks.
"""

from __future__ import annotations

import contextlib
import io
import socket
import threading
import time
import urllib.parse
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from annoloop.cvat import answers
from annoloop.errors import CvatError

CONNECT_TIMEOUT_S = 10.0
SLOWEST_BYTES_S = 16 << 10
"""An answer has a second more for every so many bytes of it that have arrived."""

_MOST_REDIRECTS = 3
_MOST_ERROR_BYTES = 1 << 20
_PIECE_BYTES = 1 << 16
_DEFAULT_PORTS = {"http": 80, "https": 443}


class OneServer:
    """urllib3's pool manager for one origin; ``origin`` as browsers write it."""

    def __init__(self, pools: Any, url: str, timeout_s: float) -> None:
        self._pools, self._url, self._timeout_s = pools, url, timeout_s
        self.origin = _origin(url)
        self.connection_pool_kw = pools.connection_pool_kw
        pools.pool_classes_by_scheme = {"http": _Pool, "https": _SafePool}
        self._timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=timeout_s)
        # Left to urllib3, a server that asks for patience (429) would look like one that hangs.
        self.connection_pool_kw["retries"] = urllib3.Retry(
            total=None, connect=0, read=0, status=0, other=0, redirect=False
        )

    def clear(self) -> None:
        """Close all connections."""
        self._pools.clear()

    def request(self, method: str, url: str, *, headers: Any = None, **details: Any) -> urllib3.BaseHTTPResponse:
        """The whole answer to a request, which has the server's ``Origin``: CVAT makes upload addresses of it.

        Raises:
            CvatError: it would go to another server, or the answer is too slow or too long.
        """
        place = url
        for _ in range(_MOST_REDIRECTS + 1):
            place = self._checked(url, place)
            sent = {**(headers or {}), "Origin": self.origin}
            # The SDK says "no time-out" with every request, which would go before that of the pools.
            bounds = {"preload_content": False, "redirect": False, "timeout": self._timeout}
            response = self._pools.request(method, place, headers=sent, **{**details, **bounds})
            answer = self._whole(response, method, place)
            target = response.get_redirect_location()
            if not target:
                return answer
            target = urllib.parse.urljoin(place, str(target))
            if method not in ("GET", "HEAD"):
                raise self._elsewhere(url, target, "the server redirects this request")
            place = target
        raise CvatError(f"the server redirects more than {_MOST_REDIRECTS} times", where=url)

    def _checked(self, url: str, place: str) -> str:
        """An absolute address on our server."""
        try:
            target = urllib.parse.urljoin(f"{self._url}/", place)
            if _origin(target) == self.origin and "@" not in urllib.parse.urlsplit(target).netloc:
                return target
        except ValueError:
            target = place
        reason = "the server redirects to another address" if place != url else "the server names another address"
        raise self._elsewhere(self._url, target, reason)

    def _elsewhere(self, where: str, target: str, reason: str) -> CvatError:
        parts = target.partition("?")[0]
        return CvatError(
            f"{reason}, {parts[:200]}; nothing was sent there",
            where=where,
            hint=f"cvat.url in annoloop.yaml must be the address itself (it is {self._url}); a proxy before CVAT must"
            " pass on Host and X-Forwarded-Proto",
        )

    def _whole(self, response: Any, method: str, url: str) -> urllib3.BaseHTTPResponse:
        most = answers.MOST_BYTES
        body = io.BytesIO()
        began = time.monotonic()
        try:
            while piece := response.read1(_PIECE_BYTES, decode_content=True):
                body.write(piece)
                if body.tell() > _MOST_ERROR_BYTES and not 200 <= response.status <= 299:
                    break  # nobody reads so much of an error
                self._check_progress(body.tell(), most, time.monotonic() - began, url)
        except BaseException:
            response.close()
            raise
        response.close() if response.length_remaining else response.release_conn()
        body.seek(0)
        return urllib3.HTTPResponse(
            body, response.headers, response.status, reason=response.reason, preload_content=True,
            decode_content=False, request_method=method, enforce_content_length=False,
        )  # fmt: skip

    def _check_progress(self, length: int, most: int, seconds: float, url: str) -> None:
        if length > most:
            raise CvatError(f"the answer is longer than {most >> 20} MiB, and was not read to its end", where=url)
        if seconds > self._timeout_s + length / SLOWEST_BYTES_S:
            raise CvatError(
                f"the answer is too slow: {length} bytes in {seconds:.0f} s",
                where=url,
                hint="is the server or the network overloaded? cvat.timeout_s in annoloop.yaml waits longer",
                transient=True,
            )


class _InTime:
    """A connection on which the head of an answer arrives in time, or not at all: also if it comes byte by byte."""

    sock: Any
    timeout: Any

    def getresponse(self) -> Any:
        """The answer, as far as its head."""
        late = threading.Event()
        patience_s = self.timeout if isinstance(self.timeout, int | float) else None
        if patience_s is None:
            return super().getresponse()  # type: ignore[misc]
        watch = threading.Timer(1.25 * patience_s + 0.25, _shut, (self.sock, late))
        watch.daemon = True
        watch.start()
        try:
            found = super().getresponse()  # type: ignore[misc]
        except Exception:
            if not late.is_set():
                raise
        finally:
            watch.cancel()
        if late.is_set():  # a head that was cut off passes for a short one
            raise TimeoutError("the head of the answer is too slow")
        return found


def _shut(sock: socket.socket, late: threading.Event) -> None:
    late.set()
    with contextlib.suppress(OSError):  # it may have ended meanwhile
        # As a plain socket also under TLS: that one's own shutdown drops what the reading thread still uses.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _Connection(_InTime, HTTPConnection):
    pass


class _SafeConnection(_InTime, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SafePool(HTTPSConnectionPool):
    ConnectionCls = _SafeConnection


def _origin(url: str) -> str:
    """Scheme, host and port of an address as browsers write them.

    Raises:
        ValueError: it is no address.
    """
    parts = urllib.parse.urlsplit(url)
    scheme, host, port = parts.scheme.lower(), (parts.hostname or "").lower(), parts.port
    if scheme not in _DEFAULT_PORTS or not host:
        raise ValueError(f"{url} is no address of a server")
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}" if port in (None, _DEFAULT_PORTS[scheme]) else f"{scheme}://{host}:{port}"
