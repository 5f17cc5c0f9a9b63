"""How the loop stands, as a watch sees it: from the ledger, and by one request for each open task.

CVAT sends no ETag, so a request cannot be made conditional; the jobs of a task are about 1 kB each.  The fact to know:
a job has something to pull where it is completed and was changed since the last pull, saving, reopening and our own
answers included: a pull too many changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection

from annoloop.cvat.server import CvatServer
from annoloop.loop.exchange.replicas import counted
from annoloop.loop.push import cut_off
from annoloop.loop.status import last_training
from annoloop.project.project import Project
from annoloop.project.rows import TaskRow
from annoloop.selection.request import PushRequest
from annoloop.watching.due import Seen
from annoloop.watching.memory import Memory, Stamps


def look(
    project: Project,
    server: CvatServer,
    memory: Memory,
    request: PushRequest | None,
    *,
    exhausted: str | None = None,
    leave: Collection[int] = (),
) -> tuple[Seen, dict[int, Stamps]]:
    """The state of the loop, and of each open task in CVAT its finished jobs.

    Args:
        request: the push that comes next, if any is wanted.
        exhausted: why the last one found nothing, if nothing has changed since.
        leave: tasks that were pulled a moment ago: what of them is left over does not come by asking at once.

    Raises:
        CvatError: the server failed.
    """
    rows = project.ledger.tasks_on(server.url)
    opened = [row for row in rows if row.state == "open"]
    memory.keep_only({_number(row) for row in opened})
    stamps = {_number(row): _finished(server, row) for row in opened}
    owing = project.ledger.tasks_with_untold_issues()
    to_pull = [task for task, jobs in stamps.items() if jobs is None or (jobs and not memory.has_pulled(task, jobs))]
    to_pull += [_number(row) for row in rows if row.state == "done" and row.id in owing]
    trained_at = last_training(project.ledger.runs(), project.classes)
    current = project.current_run()
    seen = Seen(
        open_tasks=tuple(_number(row) for row in opened),
        to_pull=tuple(task for task in to_pull if task not in leave),
        half_pushed=None if request is None else cut_off(project, request),
        current_run=None if current is None else current.id,
        trained=trained_at is not None,
        masks_changed=0 if trained_at is None else project.ledger.masks_changed_since(trained_at),
        exhausted=exhausted,
    )
    return seen, {task: jobs or {} for task, jobs in stamps.items()}


def _number(row: TaskRow) -> int:
    assert row.cvat_id is not None
    return row.cvat_id


def _finished(server: CvatServer, row: TaskRow) -> Stamps | None:
    """When its finished jobs were last changed; None of a task that seems to be gone, which a pull finds out."""
    own, replicas = server.jobs_and_replicas(_number(row))
    if not own:
        return None
    settled = counted(own, replicas, None, server.task_url(_number(row)))
    stamps = {}
    for job in own:
        if settled.combined(job).finished:
            several = [job, *(one for one in replicas if one.parent == job.id)]
            stamps[str(job.id)] = max(one.updated or "" for one in several)
    return stamps
