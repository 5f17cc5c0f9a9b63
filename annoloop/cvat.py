"""CvatServer: projects, tasks, jobs and mask shapes on a CVAT server; the only module that knows cvat_sdk.

The SDK brings the session, the login, the chunked upload and the waiting; annotations travel as plain
JSON, because building its model objects costs more than the network does.  Not here: which images,
which pixels.  The fact to know: nothing in a mask is validated by the server, so callers send only
what ``masks.to_cvat_runs`` made, and frames are matched by name, never by position.
"""

from __future__ import annotations

import json
import logging
import time
import urllib.parse
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

from annoloop.classes import ClassTable
from annoloop.config import CvatConfig
from annoloop.credentials import ACCOUNT_HINT, Credentials, credentials_from_environment
from annoloop.cvat_wire import (
    About,
    Frame,
    JobInfo,
    Json,
    Label,
    Shape,
    TaskInfo,
    first_line,
    job_info,
    label_specs,
    read_shapes,
    said,
    shape_request,
    task_info,
)
from annoloop.errors import AnnoloopError, ConfigError, CvatError
from annoloop.progress import Track, silent

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 10.0, 300.0
_TRIES = 4
_POLL_S = 0.5
_HINTS = {
    400: "the server did not accept the request",
    401: f"the token or password is wrong or expired: {ACCOUNT_HINT}",
    403: "this account may not do that: check the token's scope, the organization and who owns the task",
    404: "it may have been deleted, or belong to another organization",
    409: "the server is still busy with the same request; try again in a minute",
    413: "the upload is too large for the server's proxy: push fewer images, or raise its body size limit",
    429: "too many requests; wait a minute",
}


class CvatServer:
    """A session with a CVAT server. Every failure is a ``CvatError`` with status, URL and a hint."""

    def __init__(
        self,
        url: str,
        credentials: Credentials,
        *,
        organization: str | None = None,
        ca_file: Path | None = None,
    ) -> None:
        """Open a session; a password is tried at once, a token with the first call.

        Raises:
            CvatError: the server cannot be reached or refuses the password.
        """
        self.url = url.rstrip("/")
        self._client = _sdk_client(self.url, ca_file)
        self._client.organization_slug = organization
        self._login(credentials)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The session is left as it is: logging out would cost a request and tokens know none.
        self._client.api_client.close()

    def about(self) -> About:
        """Versions and account; the first call of a command, so that a wrong token fails early."""
        from cvat_sdk.version import VERSION

        version = self._get("server/about")["version"]
        return About(str(version), str(VERSION), str(self._get("users/self")["username"]))

    # projects and labels

    def ensure_project(self, name: str, classes: ClassTable) -> int:
        """The project of this name, made with a label per class if there is none; returns its number.

        Raises:
            CvatError: it exists with other labels (law 6).
        """
        found = [p for p in self._list("projects", name=name) if p["name"] == name]
        if not found:
            return int(self._call("POST", "projects", {"name": name, "labels": label_specs(classes)})["id"])
        project_id = int(found[0]["id"])
        self._check_labels(self.labels(project_id=project_id), classes, f"{self.url}/projects/{project_id}")
        return project_id

    def labels(self, **of: int) -> list[Label]:
        """The labels of ``project_id=`` or ``task_id=``."""
        return [Label(int(e["id"]), str(e["name"]), str(e["color"])) for e in self._list("labels", **of)]

    def task_labels(self, task_id: int, classes: ClassTable) -> list[Label]:
        """The labels of a task.

        Raises:
            CvatError: a label was added, renamed or deleted in CVAT (law 6).
        """
        found = self.labels(task_id=task_id)
        self._check_labels(found, classes, self.task_url(task_id))
        return found

    # tasks

    def task_url(self, task_id: int) -> str:
        """Where a person opens the task."""
        return f"{self.url}/tasks/{task_id}"

    def find_tasks(self, project_id: int, name: str) -> list[TaskInfo]:
        """The project's tasks of this name, oldest first; CVAT does not keep names unique."""
        tasks = [task_info(t) for t in self._list("tasks", project_id=project_id, name=name)]
        return sorted((t for t in tasks if t.name == name), key=lambda t: t.id)

    def task(self, task_id: int) -> TaskInfo:
        """A task by its number."""
        return task_info(self._get(f"tasks/{task_id}"))

    def create_task(self, project_id: int, name: str, *, segment_size: int = 0) -> int:
        """Make an empty task; returns its number."""
        spec: dict[str, Json] = {"name": name, "project_id": project_id, "overlap": 0}
        if segment_size:
            spec["segment_size"] = segment_size
        return int(self._call("POST", "tasks", spec)["id"])

    def delete_task(self, task_id: int) -> None:
        """Delete a task with all that is in it."""
        self._call("DELETE", f"tasks/{task_id}")

    def upload_images(self, task_id: int, images: Sequence[tuple[str, Path]], track: Track = silent) -> None:
        """Send (frame name, file) pairs as one stored zip, which keeps folders, and wait for the frames.

        Raises:
            CvatError: the upload broke or the server could not read an image.
        """
        from cvat_sdk.core.proxies.tasks import ResourceType

        with TemporaryDirectory(prefix="annoloop-") as folder:
            archive = Path(folder) / "images.zip"
            _write_zip(archive, images, track)
            with self._border(f"tasks/{task_id}/data"):
                task = self._client.tasks.retrieve(task_id)
                task.upload_data(
                    [archive],
                    resource_type=ResourceType.LOCAL,
                    params={"image_quality": 100, "sorting_method": "lexicographical"},
                    wait_for_completion=True,
                    status_check_period=_POLL_S,
                )

    def frames(self, task_id: int) -> list[Frame]:
        """All frames of a task."""
        meta = self._get(f"tasks/{task_id}/data/meta")
        deleted = set(meta.get("deleted_frames") or ())
        return [
            Frame(i, str(f["name"]), (int(f["height"]), int(f["width"])), i in deleted)
            for i, f in enumerate(meta["frames"])
        ]

    # jobs and annotations

    def jobs(self, task_id: int) -> list[JobInfo]:
        """The annotation jobs of a task, in order of their frames."""
        found = [job_info(j) for j in self._list("jobs", task_id=task_id) if j.get("type") == "annotation"]
        return sorted(found, key=lambda job: job.start)

    def set_job(self, job_id: int, *, state: str, stage: str | None = None) -> None:
        """Set a job's state (new, in progress, completed, rejected) and, if given, its stage.

        Both are sent together, because a stage alone resets the state.
        """
        self._call("PATCH", f"jobs/{job_id}", {"state": state} | ({"stage": stage} if stage else {}))

    def assign_job(self, job_id: int, username: str) -> None:
        """Give a job to a user.

        Raises:
            CvatError: there is no such user.
        """
        users = [u for u in self._list("users", search=username) if u["username"] == username]
        if not users:
            raise CvatError(f"no user {username!r}", where=self.url, hint="see cvat.assignees in annoloop.yaml")
        self._call("PATCH", f"jobs/{job_id}", {"assignee": int(users[0]["id"])})

    def job_shapes(self, job_id: int) -> list[Shape]:
        """All shapes of a job; frames are numbered as in its task."""
        return read_shapes(self._get(f"jobs/{job_id}/annotations"), f"{self.url}/jobs/{job_id}")

    def replace_job_shapes(self, job_id: int, shapes: Iterable[Shape]) -> None:
        """Put these shapes in place of all that the job has; safe to repeat."""
        self._call("PUT", f"jobs/{job_id}/annotations", shape_request(shapes))

    def change_job_shapes(
        self,
        job_id: int,
        *,
        create: Iterable[Shape] = (),
        update: Iterable[Shape] = (),
        delete: Iterable[Shape] = (),
    ) -> None:
        """Save changes as CVAT's own page does: one request per kind of change."""
        for action, shapes in (("delete", delete), ("update", update), ("create", create)):
            body = shape_request(shapes)
            if body["shapes"]:
                self._call("PATCH", f"jobs/{job_id}/annotations", body, action=action)

    # the border

    def _login(self, credentials: Credentials) -> None:
        from cvat_sdk.core.client import AccessTokenCredentials, PasswordCredentials

        with self._border("auth/login"):
            if credentials.token is not None:
                self._client.login(AccessTokenCredentials(credentials.token))
            else:
                self._client.login(PasswordCredentials(credentials.username or "", credentials.password or ""))

    def _check_labels(self, found: Sequence[Label], classes: ClassTable, where: str) -> None:
        wanted = {classes.label_of(index) for index in classes.drawn_indices}
        names = {label.name for label in found}
        if names == wanted:
            return
        extra, missing = sorted(names - wanted), sorted(wanted - names)
        differences = [f"unknown label {', '.join(map(repr, extra))}"] if extra else []
        differences += [f"no label {', '.join(map(repr, missing))}"] if missing else []
        raise CvatError(
            f"labels do not match the classes of annoloop.yaml: {'; '.join(differences)}",
            where=where,
            hint="a label may have been renamed in CVAT: name it back, or set cvat.project to a new name",
        )

    def _get(self, path: str, **query: object) -> Json:
        return self._call("GET", path, None, **query)

    def _list(self, path: str, **query: object) -> list[Json]:
        """All pages of a list."""
        found: list[Json] = []
        page = 1
        while True:
            answer = self._get(path, **query, page=page, page_size=100)
            found += answer["results"]
            if not answer.get("next"):
                return found
            page += 1

    def _call(self, method: str, path: str, body: Json = None, **query: object) -> Json:
        """One JSON request; repeated with back-off where that is safe (everything but POST and PATCH)."""
        tries = 1 if method in ("POST", "PATCH") else _TRIES
        for attempt in range(1, tries + 1):
            try:
                return self._call_once(method, path, body, query)
            except CvatError as error:
                if attempt == tries or not (error.status is None or error.status >= 500):
                    raise
                time.sleep(0.25 * 2**attempt)
        raise AssertionError("unreachable")

    def _call_once(self, method: str, path: str, body: Json, query: Mapping[str, object]) -> Json:
        from cvat_sdk.core.helpers import make_request_headers

        url = f"{self.url}/api/{path}"
        if query:
            url += "?" + urllib.parse.urlencode(query)
        with self._border(path):
            headers = {**make_request_headers(self._client.api_client), "Accept": "application/vnd.cvat+json"}
            response = self._client.api_client.rest_client.request(
                method, url, headers=headers, body=body, _request_timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S)
            )
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
            raise CvatError(
                f"cannot be reached ({_reason(error)})",
                where=where,
                hint="is the server up, and cvat.url in annoloop.yaml right?",
            ) from None
        except (CvatSdkException, AssertionError, KeyError, TypeError, ValueError) as error:
            raise CvatError(
                f"unexpected answer ({first_line(str(error)) or type(error).__name__})", where=where
            ) from None


def open_server(settings: CvatConfig) -> CvatServer:
    """A session with the server of annoloop.yaml, with the credentials of the environment.

    Raises:
        ConfigError: there are no credentials.
        CvatError: the server cannot be reached or refuses the password.
    """
    return CvatServer(
        settings.url,
        credentials_from_environment(),
        organization=settings.organization,
        ca_file=settings.ca_file,
    )


def _sdk_client(url: str, ca_file: Path | None) -> Any:
    import urllib3
    from cvat_sdk.api_client import rest
    from cvat_sdk.core.client import Client, Config

    logger = logging.getLogger("annoloop.cvat")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    config = Config(status_check_period=_POLL_S, verify_ssl=True)
    client = Client(url, logger=logger, config=config, check_server_version=False)
    if ca_file is not None:
        if not ca_file.is_file():
            raise ConfigError("no such file", where=f"cvat.ca_file: {ca_file}")
        client.api_client.configuration.ssl_ca_cert = str(ca_file)
        client.api_client.rest_client = rest.RESTClientObject(client.api_client.configuration)
    # The SDK sets no time-out of its own and would wait for ever on a server that hangs.
    time_out = urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S)
    client.api_client.rest_client.pool_manager.connection_pool_kw["timeout"] = time_out
    return client


def _write_zip(archive: Path, images: Sequence[tuple[str, Path]], track: Track) -> None:
    """A zip without compression: images are compressed already."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as target:
        for name, path in track(images, "packing images", len(images)):
            target.write(path, name)


def _refusal(error: Any, where: str) -> CvatError:
    status = int(error.status or 0)
    words = said(error.body)
    if status == 0:
        return CvatError(f"cannot be reached safely ({first_line(str(error.reason))})", where=where,
                         hint="for a private certificate authority set cvat.ca_file")  # fmt: skip
    hint = _HINTS.get(status, "the server failed; its log knows why" if status >= 500 else None)
    return CvatError(f"HTTP {status}{': ' + words if words else ''}", where=where, hint=hint, status=status)


def _reason(error: BaseException) -> str:
    """What the network said, without urllib3's description of its own objects."""
    inner = getattr(error, "reason", None)
    text = first_line(str(inner if inner is not None else error))
    return text.rpartition("): ")[2] or type(error).__name__
