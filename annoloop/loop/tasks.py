"""``annoloop tasks``: the tasks in CVAT, who works on which job, and how far they are."""

from __future__ import annotations

from dataclasses import dataclass

from annoloop.cvat.server import CvatServer
from annoloop.cvat.wire import JobInfo
from annoloop.errors import CvatError
from annoloop.loop.exchange.replicas import counted
from annoloop.progress import Track, silent
from annoloop.project.project import Project
from annoloop.project.rows import TaskRow


@dataclass(frozen=True, slots=True)
class JobProgress:
    """One job: its number, how many frames, its stage and state in CVAT, and whose it is."""

    job: int
    frames: int
    stage: str
    state: str
    assignee: str | None


@dataclass(frozen=True, slots=True)
class TaskProgress:
    """One task: ``state`` as the ledger has it, or "deleted in CVAT"; ``pulled`` frames have come back."""

    task: int
    name: str
    url: str
    state: str
    frames: int
    finished: int
    pulled: int
    jobs: tuple[JobProgress, ...]


@dataclass(frozen=True, slots=True)
class TasksReport:
    """Tasks by their number in CVAT; ``half_made``: names of those whose push was cut off."""

    tasks: tuple[TaskProgress, ...]
    half_made: tuple[str, ...]


def tasks(project: Project, server: CvatServer, *, every: bool = False, track: Track = silent) -> TasksReport:
    """Look at all open tasks, with ``every`` at the finished ones too: somebody may have reopened a job.

    Raises:
        CvatError: the server failed.
    """
    rows = project.ledger.tasks_on(server.url)
    wanted = [t for t in rows if t.state == "open" or (every and t.state in ("done", "lost"))]
    found = tuple(_progress(project, server, task) for task in track(wanted, "asking CVAT", len(wanted)))
    return TasksReport(found, tuple(t.name for t in project.ledger.half_pushed_tasks()))


def _progress(project: Project, server: CvatServer, task: TaskRow) -> TaskProgress:
    assert task.cvat_id is not None
    frames = project.ledger.frames(task.id)
    pulled = sum(len(frame.parts) for frame in frames if frame.state != "open")
    state, found = task.state, _jobs(server, task.cvat_id)
    if found is None:
        state, found = "deleted in CVAT", ([], [])
    own, replicas = found
    settled = counted(own, replicas, None, server.task_url(task.cvat_id))
    jobs = replicas or own
    return TaskProgress(
        task.cvat_id,
        task.name,
        server.task_url(task.cvat_id),
        state,
        sum(len(frame.parts) for frame in frames),
        sum(len(job.frames) for job in map(settled.combined, own) if job.finished),
        pulled,
        tuple(JobProgress(job.id, len(job.frames), job.stage, job.state, job.assignee) for job in jobs),
    )


def _jobs(server: CvatServer, task_id: int) -> tuple[list[JobInfo], list[JobInfo]] | None:
    """Its jobs and their replicas, None if the task is gone; CVAT lists the jobs of a missing task as none."""
    found = server.jobs_and_replicas(task_id)
    if found[0]:
        return found
    try:
        server.task(task_id)
    except CvatError as error:
        if error.status == 404:
            return None
        raise
    return found
