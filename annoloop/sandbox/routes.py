"""Every address that the sandbox answers to, and the handler of each method.

What is not here (dataset import and export, backups, webhooks, quality, cloud storages) is a 404.
Where cvat-sdk puts a slash at the end of an address, both spellings are served.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from annoloop.sandbox import (
    assets,
    data,
    events,
    issues,
    jobs,
    labeled_data,
    labels,
    organizations,
    pages,
    projects,
    sessions,
    tasks,
)
from annoloop.sandbox.calls import Answer, Call, Handler
from annoloop.sandbox.labeled_data import Scope
from annoloop.sandbox.store import Row


@dataclass(frozen=True, slots=True)
class Resource:
    """One address: its handlers by method; ``public`` needs no user, a ``page`` is for browsers."""

    handlers: Mapping[str, Handler]
    public: bool = False
    page: bool = False

    def handler(self, method: str) -> Handler | None:
        """Who answers a method; HEAD is a GET whose body is not sent."""
        return self.handlers.get(method) or (self.handlers.get("GET") if method == "HEAD" else None)

    @property
    def allowed(self) -> str:
        """The Allow header, in CVAT's order."""
        served = {*self.handlers, "OPTIONS"} | ({"HEAD"} if "GET" in self.handlers else set())
        order = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
        return ", ".join(method for method in order if method in served)


def _scoped(scope_of: Callable[[Call], Scope], handler: Callable[[Scope, Call], Answer]) -> Handler:
    return lambda call: handler(scope_of(call), call)


def _framed(
    frames_of: Callable[[Call], tuple[Row, list[Row]]],
    handler: Callable[[Row, Sequence[Row], Call], Answer],
) -> Handler:
    return lambda call: handler(*frames_of(call), call)


def _annotations(scope_of: Callable[[Call], Scope], read: Handler) -> Resource:
    return Resource(
        {
            "GET": read,
            "PUT": _scoped(scope_of, labeled_data.replace),
            "PATCH": _scoped(scope_of, labeled_data.patch),
            "DELETE": _scoped(scope_of, labeled_data.clear),
        }
    )


def _meta(frames_of: Callable[[Call], tuple[Row, list[Row]]]) -> Resource:
    return Resource({"GET": _framed(frames_of, data.meta), "PATCH": _framed(frames_of, data.set_meta)})


_ACCOUNTS = (
    ("/api/server/about", Resource({"GET": sessions.about}, public=True)),
    ("/api/server/annotation/formats", Resource({"GET": sessions.formats})),
    ("/api/auth/login", Resource({"POST": sessions.login}, public=True)),
    ("/api/auth/logout", Resource({"POST": sessions.logout})),
    ("/api/auth/register", Resource({"POST": sessions.register}, public=True)),
    ("/api/auth/access_tokens", Resource({"POST": sessions.create_token})),
    ("/api/auth/access_tokens/self", Resource({"GET": sessions.own_token})),
    ("/api/auth/access_tokens/{id}", Resource({"DELETE": sessions.delete_token})),
    ("/api/users", Resource({"GET": sessions.users})),
    ("/api/users/self", Resource({"GET": sessions.own_user})),
    ("/api/users/{id}", Resource({"GET": sessions.user})),
    ("/api/organizations", Resource({"GET": organizations.of_list, "POST": organizations.create})),
    ("/api/organizations/{id}", Resource({"GET": organizations.read})),
)

_PROJECTS = (
    ("/api/projects", Resource({"GET": projects.of_list, "POST": projects.create})),
    (
        "/api/projects/{id}",
        Resource({"GET": projects.read, "PATCH": projects.update, "DELETE": projects.delete}),
    ),
    ("/api/labels", Resource({"GET": labels.of_list})),
    ("/api/labels/{id}", Resource({"GET": labels.read, "PATCH": labels.update, "DELETE": labels.delete})),
    ("/api/assets", Resource({"POST": assets.create})),
    ("/api/assets/{uuid}", Resource({"GET": assets.read, "DELETE": assets.delete})),
    ("/api/guides", Resource({"POST": projects.create_guide})),
    (
        "/api/guides/{id}",
        Resource(
            {
                "GET": projects.read_guide,
                "PATCH": projects.update_guide,
                "DELETE": projects.delete_guide,
            }
        ),
    ),
)

_TASK_DATA = Resource({"GET": _framed(data.task_frames, data.read), "POST": data.send})
_TASK_ANNOTATIONS = _annotations(labeled_data.task_scope, labeled_data.task_read)

_TASKS = (
    ("/api/tasks", Resource({"GET": tasks.of_list, "POST": tasks.create})),
    ("/api/tasks/{id}", Resource({"GET": tasks.read, "PATCH": tasks.update, "DELETE": tasks.delete})),
    ("/api/tasks/{id}/data", _TASK_DATA),
    ("/api/tasks/{id}/data/", _TASK_DATA),
    ("/api/tasks/{id}/data/meta", _meta(data.task_frames)),
    ("/api/tasks/{id}/data/{file_id}", Resource({"PATCH": data.append, "HEAD": data.offset})),
    ("/api/tasks/{id}/preview", Resource({"GET": _framed(data.task_frames, data.preview)})),
    ("/api/tasks/{id}/annotations", _TASK_ANNOTATIONS),
    ("/api/tasks/{id}/annotations/", _TASK_ANNOTATIONS),
    ("/api/requests", Resource({"GET": tasks.requests})),
    ("/api/requests/{id:path}", Resource({"GET": tasks.request})),
)

_JOB_DATA = Resource({"GET": _framed(data.job_frames, data.read)})
_JOB_ANNOTATIONS = _annotations(labeled_data.job_scope, _scoped(labeled_data.job_scope, labeled_data.read))

_JOBS = (
    ("/api/jobs", Resource({"GET": jobs.of_list})),
    ("/api/jobs/{id}", Resource({"GET": jobs.read, "PATCH": jobs.update})),
    ("/api/jobs/{id}/data", _JOB_DATA),
    ("/api/jobs/{id}/data/", _JOB_DATA),
    ("/api/jobs/{id}/data/meta", _meta(data.job_frames)),
    ("/api/jobs/{id}/preview", Resource({"GET": _framed(data.job_frames, data.preview)})),
    ("/api/jobs/{id}/annotations", _JOB_ANNOTATIONS),
    ("/api/jobs/{id}/annotations/", _JOB_ANNOTATIONS),
    ("/api/issues", Resource({"GET": issues.of_list, "POST": issues.create})),
    ("/api/issues/{id}", Resource({"GET": issues.read, "PATCH": issues.update, "DELETE": issues.delete})),
    ("/api/comments", Resource({"GET": issues.comments, "POST": issues.create_comment})),
    (
        "/api/comments/{id}",
        Resource(
            {
                "GET": issues.read_comment,
                "PATCH": issues.update_comment,
                "DELETE": issues.delete_comment,
            }
        ),
    ),
)

_EVENTS = (
    ("/api/events", Resource({"POST": events.create})),
    ("/api/events/export", Resource({"POST": events.export})),
    ("/api/events/file", Resource({"GET": events.read})),
)

_PAGES = (
    ("/", Resource({"GET": pages.index}, page=True)),
    ("/tasks/{id}", Resource({"GET": pages.task}, page=True)),
    ("/tasks/{id}/jobs/{job_id}", Resource({"GET": pages.task}, page=True)),
    ("/tasks/{id}/frames/{number}.jpg", Resource({"GET": pages.frame}, page=True)),
)

ALL: tuple[tuple[str, Resource], ...] = (*_ACCOUNTS, *_PROJECTS, *_TASKS, *_JOBS, *_EVENTS, *_PAGES)
"""Paths in Starlette's notation, first match first."""
