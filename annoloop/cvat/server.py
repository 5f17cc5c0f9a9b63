"""CvatServer: projects, tasks, jobs and mask shapes on a CVAT server, as annoloop thinks of them.

Not here: issues (``issues.py``), HTTP and the SDK (``session.py``), which images, which pixels.  The facts to know:
nothing in a mask is validated by the server, so callers send only what ``run_lengths.py`` made; frames are matched by
name, never by position; and what a server would make twice is looked for before it is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from annoloop.cvat.annotations import has_tracks, read_annotations, read_shapes
from annoloop.cvat.answers import Answer, Json
from annoloop.cvat.archive import Picture, packed
from annoloop.cvat.credentials import Credentials, credentials_for
from annoloop.cvat.guide import MOST_PICTURES, colors_of, swatch_png, with_pictures, without_addresses
from annoloop.cvat.issues import IssueBoard
from annoloop.cvat.session import TRIES, Session, pauses
from annoloop.cvat.wire import (
    About,
    Frame,
    JobAnnotations,
    JobInfo,
    Label,
    LabelSpec,
    Shape,
    TaskInfo,
    frame_infos,
    job_info,
    label_bodies,
    label_info,
    shape_request,
    task_info,
)
from annoloop.data.config import CvatConfig
from annoloop.errors import CvatError
from annoloop.progress import Say, Track, silent, unsaid

T = TypeVar("T")

_REPLICA = ("consensus_replica", "replica")
"""The types of a job that repeats another for one more annotator: in CVAT 2.54, and as later servers call it."""

_FORGOTTEN_S = 20.0
"""How long the frames of an upload are waited for whose request the server does not know."""


class CvatServer:
    """What annoloop does on a CVAT server. Every failure is a ``CvatError`` with status, URL and a hint."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.url = session.url
        self.issues = IssueBoard(session)

    def __enter__(self) -> Self:
        self.session.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.session.__exit__(kind, error, trace)

    # who is who

    def about(self) -> About:
        """Versions and account; the first call of a command, so that a wrong token fails early."""
        from importlib import metadata

        version = self.session.read("server/about")["version"].text()
        return About(version, metadata.version("cvat-sdk"), self.session.read("users/self")["username"].text())

    def require_writing(self) -> None:
        """Find out before anything is made whether this account may make it.

        Raises:
            CvatError: the access token is read-only.
        """
        try:
            token = self.session.read("auth/access_tokens/self")
        except CvatError as error:
            if error.status is not None and error.status < 500:
                return  # a password, or a server without access tokens
            raise
        read_only, name = token.get("read_only"), token.get("name")
        if read_only is not None and read_only.flag():
            raise CvatError(
                f"the access token {name.text() if name else ''!r} is read-only",
                where=self.url,
                hint="make one that may write (in CVAT under Profile, Security), then annoloop login",
            )

    def user_ids(self, names: Iterable[str]) -> dict[str, int]:
        """The numbers of users.

        Raises:
            CvatError: there is no such user, or this account may not see them.
        """
        return {name: self._user_id(name) for name in dict.fromkeys(names)}

    def _user_id(self, name: str) -> int:
        try:
            for user in self.session.pages("users", search=name):
                if user["username"].text() == name:
                    return user["id"].whole()
        except CvatError as error:
            if error.status != 403:
                raise
            raise CvatError(
                f"this account may not look up users, so no job can be given to {name!r}",
                where=self.url,
                hint="leave out --assignee and cvat.assignees and assign the jobs in CVAT, or ask for an account that"
                " may: in an organization its maintainers do",
                status=403,
            ) from None
        raise CvatError(
            f"no user {name!r} that this account can see",
            where=self.url,
            hint="see --assignee and cvat.assignees; on a shared server both must be in the same organization",
        )

    # projects and labels

    def ensure_project(self, name: str, labels: Sequence[LabelSpec]) -> int:
        """The project of this name, made with these labels if there is none; returns its number.

        Raises:
            CvatError: it exists with other labels (law 6).
        """

        def make() -> int:
            spec = {"name": name, "labels": label_bodies(labels)}
            return self._made("projects", spec)

        project_id = self._once(lambda: min(self._project_ids(name), default=None), make)
        self._check_labels(self.labels(project_id=project_id), labels, f"{self.url}/projects/{project_id}")
        return project_id

    def _project_ids(self, name: str) -> list[int]:
        found = self.session.pages("projects", name=name)
        return [project["id"].whole() for project in found if project["name"].text() == name]

    def write_guide(self, project_id: int, markdown: str, *, mark: str) -> bool:
        """Give a project its annotation guide; one without our ``mark`` was written by people and stays.

        Returns whether the project has this text now.
        """
        found = self.session.read(f"projects/{project_id}").get("guide_id")
        guide_id = None if found is None else found.whole()
        written = None if guide_id is None else self.session.read(f"guides/{guide_id}").get("markdown")
        present = "" if written is None else written.text()
        if present.strip() and mark not in present:
            return False
        if without_addresses(present) == markdown:
            return True
        if guide_id is None:
            bare = with_pictures(markdown, lambda _: None)
            made = self.session.call("POST", "guides", {"project_id": project_id, "markdown": bare})
            guide_id = Answer(made, f"{self.url}/api/guides")["id"].whole()
        addresses = {color: self._picture(guide_id, color) for color in colors_of(markdown)[:MOST_PICTURES]}
        text = with_pictures(markdown, addresses.get)
        self.session.call("PATCH", f"guides/{guide_id}", {"markdown": text}, repeatable=True)
        return True

    def _picture(self, guide_id: int, color: str) -> str | None:
        """Where CVAT shows a colour for a guide; None where it takes no pictures: the guide has the colour in words."""
        try:
            kept = self.session.send_picture(
                "assets", f"{color[1:]}.png", swatch_png(color), {"guide_id": str(guide_id)}
            )
        except CvatError as error:
            if error.transient:
                raise
            return None
        return f"/api/assets/{kept['uuid'].text()}"

    def labels(self, **of: int) -> list[Label]:
        """The labels of ``project_id=`` or ``task_id=``."""
        return [label_info(label) for label in self.session.pages("labels", **of)]

    def task_labels(self, task_id: int, labels: Sequence[LabelSpec]) -> list[Label]:
        """The labels of a task, which must be these.

        Raises:
            CvatError: a label was added, renamed or deleted in CVAT (law 6).
        """
        found = self.labels(task_id=task_id)
        self._check_labels(found, labels, self.task_url(task_id))
        return found

    # tasks

    def task_url(self, task_id: int) -> str:
        """Where a person opens the task."""
        return f"{self.url}/tasks/{task_id}"

    def find_tasks(self, project_id: int, name: str) -> list[TaskInfo]:
        """The project's tasks of this name, oldest first; CVAT does not keep names unique."""
        tasks = [task_info(t) for t in self.session.pages("tasks", project_id=project_id, name=name)]
        return sorted((t for t in tasks if t.name == name), key=lambda t: t.id)

    def find_named_tasks(self, project: str, name: str) -> list[TaskInfo]:
        """The same in the project of a name, which need not exist."""
        return [task for number in self._project_ids(project) for task in self.find_tasks(number, name)]

    def task(self, task_id: int) -> TaskInfo:
        """A task by its number."""
        found = task_info(self.session.read(f"tasks/{task_id}"))
        if found.id != task_id:
            raise CvatError(f"unexpected answer: this is task {found.id}", where=f"{self.url}/api/tasks/{task_id}")
        return found

    def create_task(self, project_id: int, name: str, *, segment_size: int = 0, replicas: int = 0) -> int:
        """An empty task of this name, which must be nobody else's; returns its number.

        ``replicas``: so many more times each job is made, for as many annotators; 0, or 2 and more.
        """
        spec: dict[str, Json] = {"name": name, "project_id": project_id, "overlap": 0}
        if segment_size:
            spec["segment_size"] = segment_size
        if replicas:
            spec["consensus_replicas"] = replicas

        def find() -> int | None:
            return min((t.id for t in self.find_tasks(project_id, name)), default=None)

        return self._once(find, lambda: self._made("tasks", spec))

    def delete_task(self, task_id: int) -> None:
        """Delete a task with all that is in it."""
        self.session.call("DELETE", f"tasks/{task_id}")

    def upload_images(
        self,
        task_id: int,
        pictures: Iterable[Picture],
        *,
        size_bytes: int = 0,
        scratch: Path | None = None,
        track: Track = silent,
    ) -> None:
        """Send pictures as one stored zip, which keeps folders, and wait for the frames.

        Args:
            size_bytes: about how large the zip will be.
            scratch: a folder on disk for it; default: where temporary files go.

        Raises:
            DataError: no room for the zip, or a file cannot be read.
            CvatError: the upload broke or the server could not read an image.
        """
        with packed(pictures, scratch, size_bytes) as archive:
            params = {"image_quality": 100, "sorting_method": "lexicographical"}
            answer = self.session.send_file(f"tasks/{task_id}/data", archive, params, track)
        request_id = Answer(answer, f"{self.url}/api/tasks/{task_id}/data")["rq_id"].text()
        if not self.session.wait_for(request_id, track):
            # Its id has expired, or is not known yet: what comes of it shows in the task.
            for _ in pauses(_FORGOTTEN_S):
                if self.task(task_id).size:
                    return

    def frames(self, task_id: int) -> list[Frame]:
        """All frames of a task."""
        return frame_infos(self.session.read(f"tasks/{task_id}/data/meta"))

    # jobs and annotations

    def jobs(self, task_id: int) -> list[JobInfo]:
        """The annotation jobs of a task, in order of their frames; replicas are not among them."""
        return self._jobs_of(task_id, ("annotation",))

    def jobs_and_replicas(self, task_id: int) -> tuple[list[JobInfo], list[JobInfo]]:
        """The same, and the replicas of these jobs, in order of their frames."""
        every = self._jobs_of(task_id, ("annotation", *_REPLICA))
        return [job for job in every if job.parent is None], [job for job in every if job.parent is not None]

    def _jobs_of(self, task_id: int, kinds: Sequence[str]) -> list[JobInfo]:
        found = [
            job_info(job)
            for job in self.session.pages("jobs", task_id=task_id)
            if job["type"].text() in kinds and job["task_id"].whole() == task_id
        ]
        return sorted(found, key=lambda job: (job.start, job.id))

    def set_job(self, job_id: int, *, state: str, stage: str | None = None) -> None:
        """Set a job's state (new, in progress, completed, rejected) and, if given, its stage.

        Both are sent together, because a stage alone resets the state.
        """
        body = {"state": state} | ({"stage": stage} if stage else {})
        self.session.call("PATCH", f"jobs/{job_id}", body, repeatable=True)

    def assign_job(self, job_id: int, user_id: int) -> None:
        """Give a job to a user, by ``user_ids``."""
        self.session.call("PATCH", f"jobs/{job_id}", {"assignee": user_id}, repeatable=True)

    def job_shapes(self, job_id: int) -> list[Shape]:
        """All shapes of a job, whatever their kind; frames are numbered as in its task.

        Raises:
            CvatError: there are tracks.
        """
        return read_shapes(self._annotations(job_id))

    def job_annotations(self, job_id: int) -> JobAnnotations:
        """All that is on the frames of a job: shapes with an area, strays that have none, and tags."""
        answer = self._annotations(job_id)
        stop = job_info(self.session.read(f"jobs/{job_id}")).stop if has_tracks(answer) else 0
        return read_annotations(answer, stop)

    def _annotations(self, job_id: int) -> Answer:
        return self.session.read(f"jobs/{job_id}/annotations")

    def replace_job_shapes(self, job_id: int, shapes: Iterable[Shape]) -> None:
        """Put these shapes in place of all that the job has; safe to repeat."""
        self.session.call("PUT", f"jobs/{job_id}/annotations", shape_request(shapes))

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
                self.session.call("PATCH", f"jobs/{job_id}/annotations", body, action=action)

    # the border

    def _made(self, kind: str, spec: Json) -> int:
        """Make something; returns its number."""
        return Answer(self.session.call("POST", kind, spec), f"{self.url}/api/{kind}")["id"].whole()

    def _once(self, find: Callable[[], T | None], make: Callable[[], T]) -> T:
        """Make what a server would make twice: look first, and look again where an answer was lost."""
        for attempt in range(1, TRIES + 1):
            found = find()
            if found is not None:
                return found
            try:
                return make()
            except CvatError as error:
                if attempt == TRIES or not error.transient:
                    raise
        raise AssertionError("unreachable")

    def _check_labels(self, found: Sequence[Label], labels: Sequence[LabelSpec], where: str) -> None:
        wanted = {label.name: {one.name for one in label.attributes} for label in labels}
        names = {label.name for label in found}
        extra, missing = sorted(names - wanted.keys()), sorted(wanted.keys() - names)
        missing += [f"{one.name}.{name}" for one in found for name in wanted.get(one.name, set()) - set(one.attributes)]
        if not extra and not missing:
            return
        differences = [f"unknown label {', '.join(map(repr, extra))}"] if extra else []
        differences += [f"no label {', '.join(map(repr, missing))}"] if missing else []
        raise CvatError(
            f"labels do not match the classes of annoloop.yaml: {'; '.join(differences)}",
            where=where,
            hint="a label may have been added, renamed or deleted in CVAT: undo that there (a deleted label takes"
            " its shapes with it: then delete the task and push again), or set cvat.project to a new name",
        )


def open_server(settings: CvatConfig, say: Say = unsaid) -> CvatServer:
    """A session with the server of annoloop.yaml, with the credentials of the environment or of ``login``.

    Raises:
        ConfigError: there are no credentials.
        CvatError: the server cannot be reached or refuses the password.
    """
    return connect(settings, credentials_for(settings.url), say)


def connect(settings: CvatConfig, credentials: Credentials, say: Say = unsaid) -> CvatServer:
    """A session with the server of annoloop.yaml, with these credentials."""
    return CvatServer(
        Session(
            settings.url,
            credentials,
            organization=settings.organization,
            ca_file=settings.ca_file,
            timeout_s=settings.timeout_s,
            patience_s=settings.patience_s,
            say=say,
        )
    )
