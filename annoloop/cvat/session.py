"""A session with a CVAT server: login, JSON requests, one upload; the only module that knows cvat_sdk.

The SDK brings the login, the connection and the chunked upload that resumes; annotations travel as plain
JSON, because building its model objects costs more than the network does.  Not here: what the requests
are about (``server.py``).  The fact to know: a request is repeated only where repeating does no harm, or
where the server said that it did nothing (429), and every wait is said aloud.
"""

from __future__ import annotations

import json
import logging
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from annoloop.cvat.credentials import ACCOUNT_HINT, Credentials
from annoloop.cvat.wire import Json, first_line, said
from annoloop.errors import AnnoloopError, ConfigError, CvatError
from annoloop.progress import Say, Track, silent, unsaid

CONNECT_TIMEOUT_S = 10.0
TRIES = 5
"""How often a request is sent at most, where repeating is safe."""

_LONGEST_WAIT_S = 600.0
_FIRST_POLL_S, _LONGEST_POLL_S = 0.05, 1.0
_MIB = 1 << 20
_SAFE_TO_REPEAT = ("GET", "PUT", "DELETE")
_HINTS = {
    400: "the server did not accept the request",
    401: f"the token or password is wrong or expired: {ACCOUNT_HINT}",
    403: "this account may not do that: is the token read-only, the organization right, and whose is the task?",
    404: "it may have been deleted, or belong to another organization (cvat.organization)",
    409: "the server is still busy with the same request; try again in a minute",
    413: "the upload is too large for the server's proxy: push fewer images, or raise its body size limit",
    429: "too many requests; try again later",
}


class Session:
    """Requests to one server. Every failure is a ``CvatError`` with status, URL and a hint, without secrets."""

    def __init__(
        self,
        url: str,
        credentials: Credentials,
        *,
        organization: str | None = None,
        ca_file: Path | None = None,
        timeout_s: float = 120.0,
        say: Say = unsaid,
    ) -> None:
        """Open a session; a password is tried at once, a token with the first call.

        Raises:
            CvatError: the server cannot be reached or refuses the password.
        """
        self.url = url.rstrip("/")
        self._say = say
        self._timeout_s = timeout_s
        self._client = _sdk_client(self.url, ca_file, timeout_s)
        self._client.organization_slug = organization
        self._answered = False
        self._login(credentials)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The session is left as it is: logging out would cost a request and tokens know none.
        self._client.api_client.close()

    def get(self, path: str, **query: Any) -> Json:
        """The JSON of ``/api/path``."""
        return self.call("GET", path, None, **query)

    def listed(self, path: str, **query: Any) -> list[Json]:
        """All pages of a list."""
        found: list[Json] = []
        page = 1
        while True:
            answer = self.get(path, **query, page=page, page_size=500)
            found += answer["results"]
            if not answer.get("next"):
                return found
            page += 1

    def call(self, method: str, path: str, body: Json = None, *, repeatable: bool | None = None, **query: Any) -> Json:
        """One JSON request, repeated with back-off while that is safe.

        Args:
            repeatable: whether sending it twice does no harm; default: unless it is POST or PATCH.

        Raises:
            CvatError: refused, or failed every time.
        """
        safe = method in _SAFE_TO_REPEAT if repeatable is None else repeatable
        for attempt in range(1, TRIES + 1):
            try:
                return self._call_once(method, path, body, query)
            except CvatError as error:
                if method == "DELETE" and attempt > 1 and error.status == 404:
                    return None  # an earlier try did it, only its answer was lost
                if attempt == TRIES or not (error.status == 429 or (safe and error.transient)):
                    raise
                self._wait(error, attempt)
        raise AssertionError("unreachable")

    def send_file(self, path: str, file: Path, params: Mapping[str, object], track: Track = silent) -> Json:
        """Upload a file in pieces, resuming after a lost one; returns what the server says at the end."""
        from cvat_sdk.core.uploading import DataUploader

        with self._border(path):
            # Whatever its size in pieces: a whole file in one request would have to fit into memory.
            uploader = DataUploader(self._client, max_request_size=0)
            meter: Any = _Meter(track, f"uploading {file.name}")
            response = uploader.upload_files(f"{self.url}/api/{path}/", [file], pbar=meter, **params)
            return json.loads(response.data)

    def send_picture(self, path: str, name: str, png: bytes, fields: Mapping[str, str]) -> Json:
        """Send a small PNG as a form; what was sent twice is there twice."""
        from cvat_sdk.core.helpers import make_request_headers

        with self._border(path):
            headers = make_request_headers(self._client.api_client)
            headers |= {"Accept": "application/vnd.cvat+json", "Content-Type": "multipart/form-data"}
            response = self._client.api_client.rest_client.request(
                "POST",
                f"{self.url}/api/{path}",
                headers=headers,
                post_params=[*fields.items(), ("file", (name, png, "image/png"))],
                _request_timeout=(CONNECT_TIMEOUT_S, self._timeout_s),
            )
            return json.loads(response.data)

    def wait_for(self, request_id: str, track: Track = silent) -> bool:
        """Wait until a background request has ended; False if the server does not know it, or no longer.

        Raises:
            CvatError: it failed; with the last line of what the server says.
        """
        path = f"requests/{urllib.parse.quote(request_id, safe='')}"
        for _ in track(pauses(), "the server is at work"):
            try:
                answer = self.get(path)
            except CvatError as error:
                if error.status == 404:
                    return False
                raise
            if answer["status"] == "failed":
                message = first_line(str(answer.get("message") or "")) or "it does not say why"
                raise CvatError(f"the server could not finish: {message}", where=f"{self.url}/api/{path}")
            if answer["status"] == "finished":
                break
        return True

    # the border

    def _login(self, credentials: Credentials) -> None:
        from cvat_sdk.core.client import AccessTokenCredentials, PasswordCredentials

        known = (
            AccessTokenCredentials(credentials.token)
            if credentials.token is not None
            else PasswordCredentials(credentials.username or "", credentials.password or "")
        )
        for attempt in range(1, TRIES + 1):
            try:
                with self._border("auth/login"):
                    self._client.login(known)
                return
            except CvatError as error:
                if attempt == TRIES or not (error.status == 429 or error.transient):
                    raise
                self._wait(error, attempt)

    def _wait(self, error: CvatError, attempt: int) -> None:
        seconds = error.retry_after_s if error.retry_after_s is not None else 0.25 * 2**attempt
        if seconds > _LONGEST_WAIT_S:
            raise error
        again = f"trying again in {seconds:.0f} s ({attempt + 1} of {TRIES})"
        self._say(f"CVAT: {error.message.rstrip('.')}; {again} {error.where}")
        time.sleep(seconds)

    def _call_once(self, method: str, path: str, body: Json, query: Mapping[str, object]) -> Json:
        from cvat_sdk.core.helpers import make_request_headers

        url = f"{self.url}/api/{path}"
        if query:
            url += "?" + urllib.parse.urlencode(query)
        with self._border(path):
            headers = {**make_request_headers(self._client.api_client), "Accept": "application/vnd.cvat+json"}
            response = self._client.api_client.rest_client.request(
                method, url, headers=headers, body=body, _request_timeout=(CONNECT_TIMEOUT_S, self._timeout_s)
            )
            self._answered = True
            return json.loads(response.data) if response.data else None

    @contextmanager
    def _border(self, path: str) -> Iterator[None]:
        """Everything that the SDK and the network can raise becomes a ``CvatError`` without secrets."""
        import urllib3
        from cvat_sdk.core.exceptions import CvatSdkException
        from cvat_sdk.exceptions import ApiException

        where = f"{self.url}/api/{path}"
        try:
            yield
        except AnnoloopError:
            raise
        except ApiException as error:
            raise _refusal(error, where) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._unreached(error, where) from None
        except CvatSdkException as error:  # an upload that it could not resume
            raise CvatError(first_line(str(error)), where=where, transient=True) from None
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            raise CvatError(
                f"unexpected answer ({first_line(str(error)) or type(error).__name__})",
                where=where,
                hint="is cvat.url in annoloop.yaml the address of a CVAT server?",
            ) from None

    def _unreached(self, error: Exception, where: str) -> CvatError:
        from urllib3.exceptions import ReadTimeoutError, SSLError

        cause = getattr(error, "reason", error)
        if isinstance(cause, SSLError):
            return _unsafe(cause, where)
        if isinstance(cause, ReadTimeoutError):
            return CvatError(
                f"no answer within {self._timeout_s:g} s",
                where=where,
                hint="is the server overloaded? cvat.timeout_s in annoloop.yaml waits longer",
                transient=True,
            )
        return CvatError(
            f"cannot be reached ({_reason(error)})",
            where=where,
            hint="is the server up, and cvat.url in annoloop.yaml right?",
            # Nobody waits for a server that never answered: its address is wrong, or it is down.
            transient=self._answered,
        )


class _Meter:
    """Shows where the SDK is in a file as steps of one MiB of a ``Track``; has what its reporters have."""

    def __init__(self, track: Track, title: str) -> None:
        self._track, self._title = track, title
        self._steps: Iterator[int] = iter(())
        self._at = self._shown = 0

    @contextmanager
    def task(self, total: int, **_: object) -> Iterator[None]:
        """From the first byte to the last."""
        size_mib = -(-total // _MIB)
        self._steps = iter(self._track(range(size_mib), f"{self._title} (MiB)", size_mib))
        yield
        for _step in self._steps:
            pass  # the bar goes when its steps are over

    def advance(self, delta: int) -> None:
        """So many bytes further in the file; it is read before it is sent, so the lower end has arrived."""
        before, self._at = self._at, self._at + delta
        while self._shown < min(before, self._at) // _MIB:
            next(self._steps, None)
            self._shown += 1


def pauses(longest_s: float = float("inf")) -> Iterator[None]:
    """Longer and longer ones, for polling, until ``longest_s`` have passed."""
    pause_s, deadline = _FIRST_POLL_S, time.monotonic() + longest_s
    while time.monotonic() < deadline:
        yield
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.2, _LONGEST_POLL_S)


def _sdk_client(url: str, ca_file: Path | None, timeout_s: float) -> Any:
    import urllib3
    from cvat_sdk.api_client import rest
    from cvat_sdk.core.client import Client, Config

    logger = logging.getLogger("annoloop.cvat")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    client = Client(url, logger=logger, config=Config(verify_ssl=True), check_server_version=False)
    if ca_file is not None:
        if not ca_file.is_file():
            raise ConfigError("no such file", where=f"cvat.ca_file: {ca_file}")
        client.api_client.configuration.ssl_ca_cert = str(ca_file)
        client.api_client.rest_client = rest.RESTClientObject(client.api_client.configuration)
    connection = client.api_client.rest_client.pool_manager.connection_pool_kw
    # The SDK sets no time-out of its own and would wait for ever on a server that hangs.
    connection["timeout"] = urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=timeout_s)
    # Left to urllib3, a server that asks for patience (429) would look like one that hangs.
    connection["retries"] = urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=3)
    return client


def _refusal(error: Any, where: str) -> CvatError:
    status = int(error.status or 0)
    words = said(error.body)
    if status == 0:
        return _unsafe(error.reason, where)
    hint = _HINTS.get(status, "the server failed; its log knows why" if status >= 500 else None)
    return CvatError(
        f"HTTP {status}{': ' + words if words else ''}",
        where=where,
        hint=hint,
        status=status,
        transient=status >= 500,
        retry_after_s=_retry_after_s(error.headers),
    )


def _unsafe(reason: object, where: str) -> CvatError:
    return CvatError(
        f"cannot be reached safely ({first_line(str(reason))})",
        where=where,
        hint="for a private certificate authority set cvat.ca_file; annoloop has no way to skip the check",
    )


def _retry_after_s(headers: Mapping[str, str] | None) -> float | None:
    """The header in seconds; a date, which it may be too, counts as not given."""
    text = (headers or {}).get("Retry-After", "")
    return float(text) if text.isdecimal() else None


def _reason(error: BaseException) -> str:
    """What the network said, without urllib3's description of its own objects."""
    inner = getattr(error, "reason", None)
    text = first_line(str(inner if inner is not None else error))
    return text.rpartition("): ")[2] or type(error).__name__
