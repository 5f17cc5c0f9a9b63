"""The server: routes, authentication and errors around the handlers, as a Starlette application.

No rule of CVAT's is here, only what holds for every request: a refusal or a crash rolls back what the
handler wrote. It answers to 127.0.0.1 and localhost only, and to no page of another origin.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from annoloop.sandbox import accounts, creation, pages, routes
from annoloop.sandbox.calls import JSON, Answer, Call, Sandbox, Upload
from annoloop.sandbox.refusals import Refusal, forbidden, server_error, unauthorized, unknown_page
from annoloop.sandbox.routes import Resource
from annoloop.sandbox.store import Store

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_HTML = "text/html; charset=utf-8"
_MAX_FORM_PARTS = 100_000

_log = logging.getLogger(__name__)


def create_app(state_dir: Path, *, request_delay_s: float = 0.0) -> Starlette:
    """The application over the state in a folder; ``app.state.credentials`` lets its owner in.

    Args:
        state_dir: made if it is missing.
        request_delay_s: how long a background request stays ``started``, at least.

    Raises:
        ConfigError: the folder is of another version.
    """
    store = Store(state_dir)
    creation.forget_cut_off(store)
    worker = ThreadPoolExecutor(1, thread_name_prefix="creation")
    sandbox = Sandbox(store, worker, request_delay_s)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        worker.shutdown(wait=True, cancel_futures=True)
        store.close()

    app = Starlette(
        routes=[_route(sandbox, path, resource) for path, resource in routes.ALL],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])],
        exception_handlers={404: _not_found},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.credentials = accounts.open_owner(store)
    return app


def _route(sandbox: Sandbox, path: str, resource: Resource) -> Route:
    return Route(path, partial(_respond, sandbox, resource), methods=_METHODS)


async def _not_found(_request: Request, _error: Exception) -> Response:
    return _refused(unknown_page())


@dataclass(frozen=True, slots=True)
class _Sent:
    """The body of a request, read before a thread takes it over."""

    raw: bytes = b""
    fields: Mapping[str, Any] | None = None
    uploads: tuple[Upload, ...] = ()


async def _respond(sandbox: Sandbox, resource: Resource, request: Request) -> Response:
    sent = await _read(request)
    try:
        answer = await run_in_threadpool(_answer, sandbox, resource, request, sent)
        response = _response(answer)
    except Refusal as refusal:
        response = _page_refused(refusal) if resource.page else _refused(refusal)
    except Exception:
        _log.exception("%s %s", request.method, request.url.path)
        return _refused(server_error())
    if not resource.page and response.media_type != _HTML:
        response.headers["allow"] = resource.allowed
    return response


async def _read(request: Request) -> _Sent:
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        return _Sent(await request.body())
    async with request.form(max_files=_MAX_FORM_PARTS, max_fields=_MAX_FORM_PARTS) as form:
        parts = form.multi_items()
        uploads = [Upload(v.filename or "", await v.read()) for _, v in parts if isinstance(v, UploadFile)]
        fields = {key: value for key, value in parts if isinstance(value, str)}
    return _Sent(fields=fields, uploads=tuple(uploads))


def _answer(sandbox: Sandbox, resource: Resource, request: Request, sent: _Sent) -> Answer:
    """Everything between the bytes that came and the answer; runs in a thread."""
    body = sent.fields if sent.fields is not None else _parsed(request, sent.raw)
    with sandbox.store.transaction():
        caller = _caller(sandbox.store, resource, request)
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
            raw=sent.raw,
            sent=body,
            uploads=sent.uploads,
        )
        return handler(call)


def _parsed(request: Request, raw: bytes) -> Any:
    if not raw or "json" not in request.headers.get("content-type", ""):
        return None
    try:
        return json.loads(raw)
    except ValueError as error:
        raise Refusal(400, {"detail": f"JSON parse error - {error}"}) from None


def _caller(store: Store, resource: Resource, request: Request) -> accounts.Caller | None:
    _check_origin(request)
    writes = request.method not in _READS
    if resource.public:
        return None
    caller = accounts.authenticate(store, request.headers, request.cookies, writes=writes)
    if caller is None:
        raise unauthorized()
    if writes and caller.read_only:
        raise forbidden()
    _check_context(request)
    return caller


def _check_origin(request: Request) -> None:
    # a browser that knows the password would send it along with a request of any web page
    origin = request.headers.get("origin")
    if origin is not None and origin != str(request.base_url).rstrip("/"):
        raise forbidden("Requests of other origins are not answered.")


def _check_context(request: Request) -> None:
    """Refuse organizations, of which there are none, and versions of the API other than 2."""
    for slug in (request.headers.get("x-organization"), request.query_params.get("org")):
        if slug:
            raise Refusal(404, {"detail": f"{slug} organization does not exist."})
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


def _refused(refusal: Refusal) -> Response:
    if refusal.html:
        return Response(str(refusal.body), refusal.status, media_type=_HTML)
    return Response(json.dumps(refusal.body), refusal.status, media_type=JSON)


def _page_refused(refusal: Refusal) -> Response:
    page = pages.refused(refusal.status)
    # the password dialog of the browser: one sign-in for the pages and the pictures on them
    headers = {"WWW-Authenticate": 'Basic realm="annoloop sandbox"'} if refusal.status == 401 else {}
    return Response(page.body, refusal.status, headers, page.media_type)
