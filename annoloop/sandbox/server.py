"""The server: routes, authentication and errors around the handlers, as a Starlette application.

No rule of CVAT's is here, only what holds for every request: a refusal or a crash rolls back what the
handler wrote. It answers to 127.0.0.1 and localhost only, and to no page of another origin.
"""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from annoloop.sandbox import accounts, creation, organizations, pages, routes
from annoloop.sandbox.calls import JSON, Answer, Call, Sandbox, Upload, Workspace
from annoloop.sandbox.refusals import Refusal, forbidden, server_error, unauthorized, unknown_page
from annoloop.sandbox.routes import Resource
from annoloop.sandbox.store import Store
from annoloop.sandbox.throttle import Throttle

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_HTML = "text/html; charset=utf-8"
_MAX_FORM_PARTS = 100_000
_SPOOL_BYTES = 1 << 20

_log = logging.getLogger(__name__)


def create_app(
    state_dir: Path,
    *,
    request_delay_s: float = 0.0,
    request_expiry_s: float = 500.0,
    anonymous_per_minute: int = 0,
) -> Starlette:
    """The application over the state in a folder; ``app.state.credentials`` lets its owner in.

    Args:
        state_dir: made if it is missing.
        request_delay_s: how long a background request stays ``started``, at least.
        request_expiry_s: how long a finished one can be asked for.
        anonymous_per_minute: how many calls without valid credentials are answered, 0 for any number.

    Raises:
        ConfigError: the folder is of another version.
    """
    sandbox = Sandbox(
        store=Store(state_dir),
        worker=ThreadPoolExecutor(1, thread_name_prefix="creation"),
        stopping=threading.Event(),
        throttle=Throttle(anonymous_per_minute),
        request_delay_s=request_delay_s,
        request_expiry_s=request_expiry_s,
    )
    creation.forget_cut_off(sandbox)
    app = Starlette(
        routes=[_route(sandbox, path, resource) for path, resource in routes.ALL],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])],
        exception_handlers={404: _not_found, ClientDisconnect: _gone},
        lifespan=partial(_lifespan, sandbox),
    )
    app.router.redirect_slashes = False
    app.state.credentials = accounts.open_owner(sandbox.store)
    return app


@asynccontextmanager
async def _lifespan(sandbox: Sandbox, _app: Starlette) -> AsyncIterator[None]:
    yield
    sandbox.stopping.set()
    sandbox.worker.shutdown(wait=True, cancel_futures=True)
    sandbox.store.close()


def _route(sandbox: Sandbox, path: str, resource: Resource) -> Route:
    return Route(path, partial(_respond, sandbox, resource), methods=_METHODS)


async def _not_found(_request: Request, _error: Exception) -> Response:
    return refused(unknown_page())


async def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)  # the client closed the connection while it sent: nobody reads this


@dataclass(frozen=True, slots=True)
class _Sent:
    """The body of a request, received before a thread takes it over; files and what is large on disk."""

    json: bytes = b""
    content: IO[bytes] = field(default_factory=io.BytesIO)
    fields: Mapping[str, Any] | None = None
    uploads: tuple[Upload, ...] = ()


async def _respond(sandbox: Sandbox, resource: Resource, request: Request) -> Response:
    async with _received(request) as sent:
        response = await run_in_threadpool(_responded, sandbox, resource, request, sent)
    if not resource.page and response.media_type != _HTML:
        response.headers["allow"] = resource.allowed
    return response


def _responded(sandbox: Sandbox, resource: Resource, request: Request, sent: _Sent) -> Response:
    try:
        return _response(_answer(sandbox, resource, request, sent))
    except Refusal as refusal:
        return _page_refused(refusal) if resource.page else refused(refusal)
    except Exception:
        _log.exception("%s %s", request.method, request.url.path)
        return refused(server_error())


@asynccontextmanager
async def _received(request: Request) -> AsyncIterator[_Sent]:
    media_type = request.headers.get("content-type", "")
    if media_type.startswith("multipart/form-data"):
        async with request.form(max_files=_MAX_FORM_PARTS, max_fields=_MAX_FORM_PARTS) as form:
            yield _form(form)
    elif "json" in media_type:
        yield _Sent(json=await request.body())
    else:
        with SpooledTemporaryFile(_SPOOL_BYTES) as content:
            async for piece in request.stream():
                content.write(piece)
            yield _Sent(content=content)


def _form(form: FormData) -> _Sent:
    parts = form.multi_items()
    uploads = tuple(Upload(value.filename or "", value.file) for _, value in parts if isinstance(value, UploadFile))
    return _Sent(fields={key: value for key, value in parts if isinstance(value, str)}, uploads=uploads)


def _answer(sandbox: Sandbox, resource: Resource, request: Request, sent: _Sent) -> Answer:
    """Everything between the bytes that came and the answer; runs in a thread."""
    body = sent.fields if sent.fields is not None else _parsed(sent.json)
    with sandbox.store.transaction():
        caller = _caller(sandbox, resource, request)
        handler = resource.handler(request.method)
        if handler is None:
            raise Refusal(405, {"detail": f'Method "{request.method}" not allowed.'})
        call = Call(
            sandbox=sandbox,
            caller=caller,
            base_url=str(request.base_url).rstrip("/"),
            path=request.url.path,
            path_params=request.path_params,
            query=request.query_params,
            headers=request.headers,
            workspace=_workspace(sandbox.store, caller, request),
            content=sent.content,
            sent=body,
            uploads=sent.uploads,
        )
        return handler(call)


def _parsed(raw: bytes) -> Any:
    if not raw:
        return None
    try:
        return json.loads(raw)
    except ValueError as error:
        raise Refusal(400, {"detail": f"JSON parse error - {error}"}) from None


def _caller(sandbox: Sandbox, resource: Resource, request: Request) -> accounts.Caller | None:
    _check_origin(request)
    if resource.public:
        if sandbox.throttle.per_minute and _is_anonymous(sandbox.store, request):
            sandbox.throttle.admit()
        return None
    writes = request.method not in _READS
    caller = accounts.authenticate(sandbox.store, request.headers, request.cookies, writes=writes)
    if caller is None:
        raise unauthorized()
    if writes and caller.read_only:
        raise forbidden()
    _check_version(request)
    return caller


def _is_anonymous(store: Store, request: Request) -> bool:
    try:
        return accounts.authenticate(store, request.headers, request.cookies, writes=False) is None
    except Refusal:
        return True


def _workspace(store: Store, caller: accounts.Caller | None, request: Request) -> Workspace:
    if caller is None:
        return Workspace()
    return organizations.workspace(store, caller, request.headers, request.query_params)


def _check_origin(request: Request) -> None:
    # a browser that knows the password would send it along with a request of any web page
    origin = request.headers.get("origin")
    if origin is not None and origin != str(request.base_url).rstrip("/"):
        raise forbidden("Requests of other origins are not answered.")


def _check_version(request: Request) -> None:
    """Refuse versions of the API other than 2."""
    accept = request.headers.get("accept", "")
    if "version=" in accept and "version=2" not in accept:
        raise Refusal(406, {"detail": 'Invalid version in "Accept" header.'})


def _response(answer: Answer) -> Response:
    body = answer.body
    if answer.media_type == JSON and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    response = Response(body, answer.status, dict(answer.headers), answer.media_type)
    for name, value in answer.cookies.items():
        hidden = name == "sessionid"
        lifetime = None if value else 0
        response.set_cookie(name, value, max_age=lifetime, httponly=hidden, samesite="lax")
    return response


def refused(refusal: Refusal) -> Response:
    """A refusal as it is sent."""
    if refusal.html:
        return Response(str(refusal.body), refusal.status, refusal.headers, media_type=_HTML)
    return Response(json.dumps(refusal.body), refusal.status, refusal.headers, media_type=JSON)


def _page_refused(refusal: Refusal) -> Response:
    page = pages.refused(refusal.status)
    # the password dialog of the browser: one sign-in for the pages and the pictures on them
    headers = {"WWW-Authenticate": 'Basic realm="annoloop sandbox"'} if refusal.status == 401 else {}
    return Response(page.body, refusal.status, headers, page.media_type)
