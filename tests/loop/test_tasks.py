"""``annoloop tasks``: whose job is how far, what was reopened, deleted, or never finished being pushed."""

from __future__ import annotations

import pytest
from running_loop import Loop

from annoloop.cvat.server import CvatServer
from annoloop.loop.tasks import tasks
from annoloop.simulation.annotator import annotate


def test_tasks_shows_whose_job_is_how_far_and_a_deleted_task(loop: Loop) -> None:
    first, second = loop.push(worst=4), loop.push(worst=1)
    loop.cvat.set_job(loop.jobs(first.task)[0].id, state="completed")
    loop.cvat.delete_task(int(second.task or 0))
    report = tasks(loop.project, loop.cvat)
    assert [(t.task, t.state, t.frames, t.finished) for t in report.tasks] == [
        (first.task, "open", 4, 3),
        (second.task, "deleted in CVAT", 1, 0),
    ]
    assert [(job.frames, job.state, job.assignee) for job in report.tasks[0].jobs] == [
        (3, "completed", None),
        (1, "new", None),
    ]


def test_finished_tasks_are_shown_on_request_with_what_was_reopened(loop: Loop) -> None:
    pushed = loop.push(worst=2)
    annotate(loop.project, loop.cvat, int(pushed.task or 0), loop.truth)
    loop.pull(pushed.task)
    assert tasks(loop.project, loop.cvat).tasks == ()
    (task,) = tasks(loop.project, loop.cvat, every=True).tasks
    assert (task.state, task.finished, task.pulled) == ("done", 2, 2)
    loop.complete(pushed.task, "in progress")
    (task,) = tasks(loop.project, loop.cvat, every=True).tasks
    assert (task.finished, task.pulled, task.jobs[0].state) == (0, 2, "in progress")


def test_a_push_that_was_cut_off_is_named(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(CvatServer, "create_task", cut_off)
    with pytest.raises(KeyboardInterrupt):
        loop.push(worst=2)
    report = tasks(loop.project, loop.cvat)
    assert report.tasks == ()
    assert report.half_made == (loop.project.ledger.tasks()[0].name,)
