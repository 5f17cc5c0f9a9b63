"""A session with a CVAT server: login, JSON requests, one upload; the only module that knows cvat_sdk.

The SDK brings the login, the connection and the chunked upload that resumes; annotations travel as plain
JSON, because building its model objects costs more than the network does.  Not here: what the requests
are about (``server.py``), and where they may go (``transport.py``).  The facts to know: a request is repeated
only where repeating does no harm, or where the server said that it did nothing (429); every wait is said aloud;
and no secret is in any error, whatever the SDK or the server says.
"""

from __future__ import annotations

import logging
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from annoloop.cvat.answers import NOT_CVAT_HINT, Answer, Json, decoded
from annoloop.cvat.credentials import ACCOUNT_HINT, Credentials, without
from annoloop.cvat.upload_meter import UploadMeter
from annoloop.cvat.wire import first_line, said
from annoloop.data.durations import in_words
from annoloop.errors import AnnoloopError, ConfigError, CvatError
from annoloop.progress import Say, Track, silent, unsaid

TRIES = 5
"""How often a request is sent at least, where repeating is safe and it may work the next time."""

MOST_PAGES = 10_000
GOES_ON = "once the server answers again, the same command goes on where this one stopped"

_LONGEST_WAIT_S = 600.0
_LONGEST_PAUSE_S = 30.0
_FIRST_POLL_S, _LONGEST_POLL_S = 0.05, 1.0
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
        patience_s: float = 0.0,
        say: Say = unsaid,
    ) -> None:
        """Open a session; a password is tried at once, a token with the first call.

        Args:
            timeout_s: how long a server may say nothing.
            patience_s: how long a server that has answered before, and now fails, is asked again.

        Raises:
            CvatError: the server cannot be reached or refuses the password.
        """
        self.url = url.rstrip("/")
        self._say = say
        self._timeout_s, self._patience_s = timeout_s, patience_s
        self._secrets = credentials.secrets
        self._token = credentials.token.encode() if credentials.token else None
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

    def read(self, path: str, **query: Any) -> Answer:
        """The same as an ``Answer``, of which nothing is believed."""
        return Answer(self.get(path, **query), f"{self.url}/api/{path}")

    def listed(self, path: str, **query: Any) -> list[Json]:
        """All pages of a list."""
        return [one.value for one in self.pages(path, **query)]

    def pages(self, path: str, **query: Any) -> list[Answer]:
        """All pages of a list, as answers.

        Raises:
            CvatError: they have no end.
        """
        found: list[Answer] = []
        before: Json = None
        for page in range(1, MOST_PAGES + 1):
            answer = self.read(path, **query, page=page, page_size=500)
            results = answer["results"].items()
            found += results
            if answer.get("next") is None:
                return found
            if not results or answer["results"].value == before:
                raise answer.refused(f"goes on after page {page}, which is {'the one before' if results else 'empty'}")
            before = answer["results"].value
        raise CvatError(f"a list of more than {MOST_PAGES} pages", where=f"{self.url}/api/{path}")

    def call(self, method: str, path: str, body: Json = None, *, repeatable: bool | None = None, **query: Any) -> Json:
        """One JSON request, repeated with back-off while that is safe.

        Args:
            repeatable: whether sending it twice does no harm; default: unless it is POST or PATCH.

        Raises:
            CvatError: refused, or failed every time.
        """
        safe = method in _SAFE_TO_REPEAT if repeatable is None else repeatable
        began = time.monotonic()
        for attempt in count(1):
            try:
                return self._call_once(method, path, body, query)
            except CvatError as error:
                if method == "DELETE" and attempt > 1 and error.status == 404:
                    return None  # an earlier try did it, only its answer was lost
                repeats = error.status == 429 or (safe and error.transient)
                if not repeats or not self._wait(error, attempt, began):
                    raise self._final(error) from None
        raise AssertionError("unreachable")

    def send_file(self, path: str, file: Path, params: Mapping[str, object], track: Track = silent) -> Json:
        """Upload a file in pieces, resuming after a lost one; returns what the server says at the end."""
        from cvat_sdk.core.exceptions import CvatSdkException
        from cvat_sdk.core.uploading import DataUploader

        with self._border(path):
            # Whatever its size in pieces: a whole file in one request would have to fit into memory.
            uploader = DataUploader(self._client, max_request_size=0)
            meter: Any = UploadMeter(track, f"uploading {file.name}")
            try:
                response = uploader.upload_files(f"{self.url}/api/{path}/", [file], pbar=meter, **params)
            except CvatSdkException as error:  # an upload that it could not resume
                raise CvatError(first_line(str(error)), where=f"{self.url}/api/{path}", transient=True) from None
            return decoded(response.data, f"{self.url}/api/{path}")

    def send_picture(self, path: str, name: str, png: bytes, fields: Mapping[str, str]) -> Answer:
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
            )
            where = f"{self.url}/api/{path}"
            return Answer(decoded(response.data, where), where)

    def file(self, path: str) -> bytes:
        """A file below ``/api/``, as it is."""
        from cvat_sdk.core.helpers import make_request_headers

        with self._border(path):
            headers = {**make_request_headers(self._client.api_client), "Accept": "*/*"}
            response = self._client.api_client.rest_client.request("GET", f"{self.url}/api/{path}", headers=headers)
            self._check_echo(response.data, path)
            return bytes(response.data)

    def wait_for(self, request_id: str, track: Track = silent) -> bool:
        """Wait until a background request has ended; False if the server does not know it, or no longer.

        Raises:
            CvatError: it failed; with the last line of what the server says.
        """
        path = f"requests/{urllib.parse.quote(request_id, safe='')}"
        for _ in track(pauses(), "the server is at work"):
            try:
                answer = self.read(path)
            except CvatError as error:
                if error.status == 404:
                    return False
                raise
            status, words = answer["status"].text(), answer.get("message")
            if status == "failed":
                message = (first_line(words.text()) if words else "") or "it does not say why"
                raise CvatError(self._clean(f"the server could not finish: {message}"), where=answer.where)
            if status == "finished":
                break
            if status not in ("queued", "started"):
                raise answer["status"].refused("is none of queued, started, finished, failed")
        return True

    # the border

    def _login(self, credentials: Credentials) -> None:
        from cvat_sdk.core.client import AccessTokenCredentials, PasswordCredentials

        known = (
            AccessTokenCredentials(credentials.token)
            if credentials.token is not None
            else PasswordCredentials(credentials.username or "", credentials.password or "")
        )
        began = time.monotonic()
        for attempt in count(1):
            try:
                with self._border("auth/login"):
                    self._client.login(known)
                if credentials.token is None:
                    cookies = self._client.api_client.cookies.values()
                    self._secrets = (*self._secrets, *(cookie.value for cookie in cookies))
                return
            except CvatError as error:
                if credentials.token is None and error.status in (400, 401, 403):
                    raise _wrong_password(error) from None
                if not (error.status == 429 or error.transient) or not self._wait(error, attempt, began):
                    raise

    def _wait(self, error: CvatError, attempt: int, began: float) -> bool:
        """Pause before the next try; False if there is none."""
        left = (self._patience_s if self._answered else 0.0) - (time.monotonic() - began)
        if attempt >= TRIES and left <= 0:
            return False
        seconds = error.retry_after_s
        if seconds is None:
            seconds = min(0.25 * 2 ** min(attempt, 16), _LONGEST_PAUSE_S)
        if seconds > _LONGEST_WAIT_S:
            return False
        until = f"for up to {in_words(left)} more" if left > 0 else f"{attempt + 1} of {TRIES}"
        again = f"trying again in {seconds:.0f} s ({until})"
        self._say(f"CVAT: {error.message.rstrip('.')}; {again} {error.where}")
        time.sleep(seconds)
        return True

    def _final(self, error: CvatError) -> CvatError:
        """An error that nothing was left to do about; what it ended can be begun again."""
        if error.transient and self._answered:
            error.hint = f"{error.hint}; {GOES_ON}" if error.hint else GOES_ON
        return error

    def _call_once(self, method: str, path: str, body: Json, query: Mapping[str, object]) -> Json:
        from cvat_sdk.core.helpers import make_request_headers

        url = f"{self.url}/api/{path}"
        if query:
            url += "?" + urllib.parse.urlencode(query)
        with self._border(path):
            headers = {**make_request_headers(self._client.api_client), "Accept": "application/vnd.cvat+json"}
            response = self._client.api_client.rest_client.request(method, url, headers=headers, body=body)
            self._check_echo(response.data, f"{self.url}/api/{path}")
            found = decoded(response.data, f"{self.url}/api/{path}")
            self._answered = True
            return found

    @contextmanager
    def _border(self, path: str) -> Iterator[None]:
        """Everything that the SDK and the network can raise becomes a ``CvatError`` without secrets."""
        import urllib3
        from cvat_sdk.exceptions import ApiException

        where = f"{self.url}/api/{path}"
        try:
            yield
        except CvatError as error:
            error.message = self._clean(error.message)
            error.args = (error.message,)
            raise
        except AnnoloopError:
            raise
        except ApiException as error:
            raise _refusal(error, where, self._clean) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._unreached(error, where) from None
        except Exception as error:
            # Not its words: a refused header quotes the token.
            raise CvatError(f"unexpected answer ({type(error).__name__})", where=where, hint=NOT_CVAT_HINT) from None

    def _check_echo(self, body: bytes | None, where: str) -> None:
        """Refuse an answer that repeats the token: as the name of a label it would be shown."""
        if self._token is not None and body and self._token in body:
            raise CvatError("the answer repeats the access token, which no CVAT does", where=where)

    def _clean(self, text: str) -> str:
        """A text of the server or the SDK without what must never be shown, however it is quoted there."""
        return without(self._secrets, text)

    def _unreached(self, error: Exception, where: str) -> CvatError:
        from urllib3.exceptions import ReadTimeoutError, SSLError

        cause = getattr(error, "reason", error)
        if isinstance(cause, SSLError):
            return _unsafe(self._clean(str(cause)), where)
        if isinstance(cause, ReadTimeoutError):
            return CvatError(
                f"no answer within {self._timeout_s:g} s",
                where=where,
                hint="is the server overloaded? cvat.timeout_s in annoloop.yaml waits longer",
                transient=True,
            )
        return CvatError(
            f"cannot be reached ({self._clean(_reason(error))})",
            where=where,
            hint="is the server up, and cvat.url in annoloop.yaml right?",
            # Nobody waits for a server that never answered: its address is wrong, or it is down.
            transient=self._answered,
            unreached=True,
        )


def pauses(longest_s: float = float("inf")) -> Iterator[None]:
    """Longer and longer ones, for polling, until ``longest_s`` have passed."""
    pause_s, deadline = _FIRST_POLL_S, time.monotonic() + longest_s
    while time.monotonic() < deadline:
        yield
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.2, _LONGEST_POLL_S)


def _sdk_client(url: str, ca_file: Path | None, timeout_s: float) -> Any:
    from cvat_sdk.api_client import rest
    from cvat_sdk.core.client import Client, Config

    from annoloop.cvat.transport import OneServer

    logger = logging.getLogger("annoloop.cvat")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    client = Client(url, logger=logger, config=Config(verify_ssl=True), check_server_version=False)
    if ca_file is not None:
        if not ca_file.is_file():
            raise ConfigError("no such file", where=f"cvat.ca_file: {ca_file}")
        client.api_client.configuration.ssl_ca_cert = str(ca_file)
        client.api_client.rest_client = rest.RESTClientObject(client.api_client.configuration)
    http = client.api_client.rest_client
    http.pool_manager = OneServer(http.pool_manager, url, timeout_s)
    return client


def _refusal(error: Any, where: str, clean: Callable[[str], str]) -> CvatError:
    status = int(error.status or 0)
    words = clean(said(error.body))
    if status == 0:
        return _unsafe(clean(str(error.reason)), where)
    hint = _HINTS.get(status, "the server failed; its log knows why" if status >= 500 else None)
    return CvatError(
        f"HTTP {status}{': ' + words if words else ''}",
        where=where,
        hint=hint,
        status=status,
        transient=status >= 500,
        retry_after_s=_retry_after_s(error.headers),
    )


def _wrong_password(error: CvatError) -> CvatError:
    return CvatError(
        f"the user name or the password is wrong, or the account is not active ({error.message})",
        where=error.where,
        hint=ACCOUNT_HINT,
        status=error.status,
    )


def _unsafe(reason: str, where: str) -> CvatError:
    return CvatError(
        f"cannot be reached safely ({first_line(reason)})",
        where=where,
        hint="for a private certificate authority set cvat.ca_file; annoloop has no way to skip the check",
    )


def _retry_after_s(headers: Mapping[str, str] | None) -> float | None:
    """The header in seconds; a date, which it may be too, counts as not given."""
    text = (headers or {}).get("Retry-After", "")
    return float(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def _reason(error: BaseException) -> str:
    """What the network said, without urllib3's description of its own objects."""
    inner = getattr(error, "reason", None)
    text = first_line(str(inner if inner is not None else error))
    return text.rpartition("): ")[2] or type(error).__name__
