"""One request as the handlers see it, one answer as they give it: no Starlette in between.

A handler is a plain function ``(Call) -> Answer`` that runs inside a transaction of the store.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import IO, Any

from annoloop.sandbox.accounts import Caller
from annoloop.sandbox.answers import Answers
from annoloop.sandbox.refusals import Refusal, invalid, invalid_field
from annoloop.sandbox.store import Row, Store
from annoloop.sandbox.throttle import Throttle

JSON = "application/vnd.cvat+json"
"""The media type of CVAT's answers."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What all requests share: the state, the one background worker, how slow and forgetful it is."""

    store: Store
    worker: Executor
    stopping: threading.Event
    throttle: Throttle
    request_delay_s: float
    request_expiry_s: float


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where a call takes place: in an organization, or in one's own (None), or ``anywhere``."""

    organization_id: int | None = None
    anywhere: bool = True

    @property
    def where(self) -> dict[str, int | None]:
        """The columns that rows of a list must have."""
        return {} if self.anywhere else {"organization_id": self.organization_id}


@dataclass(frozen=True, slots=True)
class Upload:
    """One file of a multipart form; what is large lies on disk."""

    name: str
    file: IO[bytes]


@dataclass(frozen=True, slots=True)
class Call:
    """A request: who calls and where, what the path, the query, the headers and the body say.

    ``sent`` is the body of a JSON request or a form, ``uploads`` are its files; any other body is
    ``content``.
    """

    sandbox: Sandbox
    caller: Caller | None
    base_url: str
    path: str
    path_params: Mapping[str, Any]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    workspace: Workspace = field(default_factory=Workspace)
    content: IO[bytes] = field(default_factory=io.BytesIO)
    sent: Any = None
    uploads: tuple[Upload, ...] = ()

    @property
    def store(self) -> Store:
        """The state of the sandbox, inside this request's transaction."""
        return self.sandbox.store

    @property
    def url(self) -> str:
        """What was asked for, without the query."""
        return self.base_url + self.path

    @property
    def answers(self) -> Answers:
        """The rendering of rows as JSON objects, with this server's addresses."""
        return Answers.of(self.store, self.base_url)

    @property
    def user(self) -> Caller:
        """The caller of a route that needs one."""
        assert self.caller is not None
        return self.caller

    @property
    def id(self) -> int:
        """The number in the path.

        Raises:
            Refusal: 404, what stands there is no number.
        """
        text = str(self.path_params["id"])
        if not text.isdecimal():
            raise Refusal(404, {"detail": "Not found."})
        return int(text)

    def asked_id(self, key: str) -> int | None:
        """A number in the query, None where it was not given.

        Raises:
            Refusal: 400, it is no number.
        """
        text = self.query.get(key)
        if not text:
            return None
        if not text.isdecimal():
            raise invalid_field(key, "Enter a number.")
        return int(text)

    @property
    def body(self) -> Row:
        """The JSON object that was sent; nothing counts as an empty one.

        Raises:
            Refusal: 400, it is not an object.
        """
        if self.sent is None:
            return {}
        if not isinstance(self.sent, dict):
            raise invalid(f"Invalid data. Expected a dictionary, but got {type(self.sent).__name__}.")
        return self.sent


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and a body: JSON when ``media_type`` is CVAT's, else text or bytes as they are."""

    status: int
    body: Any = None
    media_type: str | None = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    cookies: Mapping[str, str] = field(default_factory=dict)


EMPTY = Answer(204, b"", None)
"""Done; there is nothing to say."""

Handler = Callable[[Call], Answer]


def encoded(text: str, status: int = 200) -> Answer:
    """JSON that is text already: annotations are megabytes and are not parsed to be sent."""
    return Answer(status, text.encode())
