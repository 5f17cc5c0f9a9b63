"""A task that several people annotate: each for themselves, settled by a vote or by one of them, and never mixed."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from running_loop import Loop, add_model, mask_bytes

from annoloop.cvat.wire import JobInfo, Shape
from annoloop.errors import ConfigError, CvatError
from annoloop.loop.tasks import tasks
from annoloop.masks.regions import LabelMap, Region
from annoloop.masks.run_lengths import to_cvat_runs
from annoloop.metrics.agreement import vote
from annoloop.selection.request import PushRequest

SAMPLE = "train/0001"


@pytest.fixture
def ready(loop: Loop) -> Loop:
    if loop.project.current_run() is None:
        add_model(loop.project, loop.truth)
    return loop


def _user(loop: Loop) -> str:
    name = f"ann-{uuid4().hex[:8]}"
    body = {"username": name, "email": f"{name}@example.org", "password1": "pw-12345678", "password2": "pw-12345678"}
    loop.cvat.session.call("POST", "auth/register", body)
    return name


def _replicas(loop: Loop, task: int | None, sample: str = SAMPLE) -> list[JobInfo]:
    frame = loop.frame_of(task, sample)
    return [one for one in loop.cvat.jobs_and_replicas(task or 0)[1] if frame in one.frames]


def _draw(loop: Loop, task: int | None, job: JobInfo, label: str, region: Region, sample: str = SAMPLE) -> None:
    labels = {x.name: x.id for x in loop.cvat.labels(task_id=int(task or 0))}
    runs = tuple(map(float, to_cvat_runs(region)))
    shape = Shape(loop.frame_of(task, sample), labels[label], "mask", runs, z_order=5)
    loop.cvat.change_job_shapes(job.id, create=[shape])


def _square(top: int, left: int, side: int = 8) -> Region:
    return Region(1, top, left, np.ones((side, side), np.bool_))


def _finish(loop: Loop, *jobs: JobInfo) -> None:
    for job in jobs:
        loop.cvat.set_job(job.id, state="completed")


def _with(label_map: LabelMap, index: int, *squares: Region) -> LabelMap:
    drawn = label_map.copy()
    for one in squares:
        left, top, right, bottom = one.box_ltrb
        drawn[top:bottom, left:right] = index
    return drawn


# push


def test_everybody_gets_the_masks_of_every_job(ready: Loop) -> None:
    people = [_user(ready) for _ in range(3)]
    pushed = ready.push(worst=4, source="label", replicas=2, assignees=tuple(people))
    jobs, replicas = ready.cvat.jobs_and_replicas(pushed.task or 0)
    assert (len(jobs), len(replicas)) == (2, 4)
    for job in jobs:
        own = [one for one in replicas if one.parent == job.id]
        assert len({one.assignee for one in own}) == 2
        for one in own:
            shapes, theirs = ready.cvat.job_shapes(job.id), ready.cvat.job_shapes(one.id)
            assert [replace(s, id=None) for s in theirs] == [replace(s, id=None) for s in shapes]
    assert job.assignee is None
    again = ready.push(worst=4, source="label", replicas=2, assignees=tuple(people))
    assert again.task != pushed.task


def test_a_push_that_broke_is_finished_with_all_replicas(ready: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    server, real, calls = type(ready.cvat), type(ready.cvat).replace_job_shapes, iter(range(99))

    def breaks(self: object, job_id: int, shapes: object) -> None:
        if next(calls) == 3:
            raise CvatError("gone")
        real(self, job_id, shapes)  # type: ignore[arg-type]

    monkeypatch.setattr(server, "replace_job_shapes", breaks)
    with pytest.raises(CvatError, match="gone"):
        ready.push(worst=4, source="label", replicas=2)
    before = ready.tasks()
    monkeypatch.setattr(server, "replace_job_shapes", real)
    pushed = ready.push(worst=4, source="label", replicas=2)
    assert pushed.resumed
    assert ready.tasks() == before
    jobs, replicas = ready.cvat.jobs_and_replicas(pushed.task or 0)
    for one in replicas:
        assert len(ready.cvat.job_shapes(one.id)) == len(ready.cvat.job_shapes(one.parent or 0)) > 0
    assert len(replicas) == 2 * len(jobs)


@pytest.mark.parametrize(
    ("details", "message"),
    [({"replicas": 1}, "0, or 2 to 10"), ({"replicas": 3, "assignees": ("a", "b", "a")}, "3 people and more")],
)
def test_replicas_that_cannot_be_are_refused(details: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PushRequest(1, **details)  # type: ignore[arg-type]


# pull


def test_nobody_edits_and_nothing_changes(ready: Loop) -> None:
    before = mask_bytes(ready.project)
    task = ready.push(worst=3, source="label", replicas=3).task
    _finish(ready, *_replicas(ready, task, ready.project.ledger.frames(1)[0].sample_id))
    report = ready.pull(task)
    assert (report.edited_px, len(report.accepted)) == (0, 3)
    assert mask_bytes(ready.project) == before


def test_what_most_of_them_drew_comes_back(ready: Loop) -> None:
    before = ready.label_map(SAMPLE)
    task = ready.push(only=(SAMPLE,), source="label", replicas=3).task
    one, two, three = _replicas(ready, task)
    label = ready.project.classes.names[1]
    _draw(ready, task, one, label, _square(2, 2))
    _draw(ready, task, two, label, _square(2, 6))
    _finish(ready, one, two)
    waiting = ready.pull(task)
    assert (waiting.waiting, waiting.changed) == ((SAMPLE,), ())  # all of them have to be done
    _finish(ready, three)
    report = ready.pull(task)
    assert report.changed == (SAMPLE,)
    assert np.array_equal(ready.label_map(SAMPLE), _both(before))
    again = ready.pull(task)
    assert again.edited_px == 0
    assert again.settled == (SAMPLE,)


def _both(before: LabelMap) -> LabelMap:
    """Where two of three squares lie one over the other."""
    drawn = before.copy()
    drawn[2:10, 6:10] = 1
    return drawn


def test_where_two_differ_the_label_stays(ready: Loop) -> None:
    before = ready.label_map(SAMPLE)
    task = ready.push(only=(SAMPLE,), source="label", replicas=2).task
    one, two = _replicas(ready, task)
    _draw(ready, task, one, ready.project.classes.names[1], _square(2, 2))
    _finish(ready, one, two)
    report = ready.pull(task)
    assert report.edited_px == 0
    assert np.array_equal(ready.label_map(SAMPLE), before)


def test_a_named_annotator_settles(ready: Loop) -> None:
    ann, bob = _user(ready), _user(ready)
    before = ready.label_map(SAMPLE)
    task = ready.push(only=(SAMPLE,), source="label", replicas=2, assignees=(ann, bob)).task
    by_name = {one.assignee: one for one in _replicas(ready, task)}
    label = ready.project.classes.names[1]
    _draw(ready, task, by_name[ann], label, _square(2, 2))
    _draw(ready, task, by_name[bob], label, _square(30, 40))
    _finish(ready, by_name[bob])
    report = ready.pull(task, annotator=bob)
    assert report.changed == (SAMPLE,)
    assert np.array_equal(ready.label_map(SAMPLE), _with(before, 1, _square(30, 40)))


def test_an_annotator_who_is_none_is_told_with_those_who_are(ready: Loop) -> None:
    task = ready.push(only=(SAMPLE,), source="label", replicas=2).task
    with pytest.raises(ConfigError, match="no replica belongs to 'eve'"):
        ready.pull(task, annotator="eve")
    with pytest.raises(ConfigError, match="named with the task whose replicas"):
        ready.pull(None, annotator="eve")
    first = _replicas(ready, task)[0]
    _finish(ready, first)
    assert ready.pull(task, annotator=f"job {first.id}").accepted == (SAMPLE,)
    plain = ready.push(only=("train/0002",), source="label").task
    with pytest.raises(ConfigError, match="has no replicas"):
        ready.pull(plain, annotator="eve")


def test_the_job_itself_is_never_mixed_in(ready: Loop) -> None:
    before = mask_bytes(ready.project)
    task = ready.push(only=(SAMPLE,), source="label", replicas=2).task
    ready.draw(task, ready.frame_of(task, SAMPLE), ready.project.classes.names[1], _square(2, 2))
    ready.complete(task)
    assert ready.pull(task).unopened == (SAMPLE,)
    _finish(ready, *_replicas(ready, task))
    assert ready.pull(task).edited_px == 0
    assert mask_bytes(ready.project) == before


def test_one_who_goes_on_has_a_vote_where_they_changed_something(ready: Loop) -> None:
    before = ready.label_map(SAMPLE)
    task = ready.push(only=(SAMPLE,), source="label", replicas=3).task
    one, two, _ = _replicas(ready, task)
    for job in (one, two):
        _draw(ready, task, job, ready.project.classes.names[1], _square(2, 2))
    _finish(ready, one)
    report = ready.pull(task, include_unfinished=True)
    assert report.changed == (SAMPLE,)
    assert np.array_equal(ready.label_map(SAMPLE), _with(before, 1, _square(2, 2)))


def test_a_shape_outside_of_the_image_holds_its_frame_back(ready: Loop) -> None:
    task = ready.push(only=(SAMPLE,), source="label", replicas=2).task
    one, two = _replicas(ready, task)
    _draw(ready, task, one, ready.project.classes.names[1], _square(4000, 4000))
    _finish(ready, one, two)
    report = ready.pull(task)
    assert [held.sample_id for held in report.held] == [SAMPLE]


def test_tasks_tells_whose_replica_is_how_far(ready: Loop) -> None:
    task = ready.push(only=(SAMPLE,), source="label", replicas=2).task
    one, two = _replicas(ready, task)
    _finish(ready, one)
    (told,) = (row for row in tasks(ready.project, ready.cvat).tasks if row.task == task)
    assert [(job.job, job.state) for job in told.jobs] == [(one.id, "completed"), (two.id, "new")]
    assert (told.frames, told.finished) == (1, 0)
    _finish(ready, two)
    (told,) = (row for row in tasks(ready.project, ready.cvat).tasks if row.task == task)
    assert told.finished == 1


def test_a_server_without_replicas_is_named(ready: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    real = type(ready.cvat).create_task
    monkeypatch.setattr(
        type(ready.cvat),
        "create_task",
        lambda *given, replicas=0, **more: real(*given, **more),
    )
    with pytest.raises(CvatError, match="made 0 replicas of 1 jobs, 2 of each"):
        ready.push(only=(SAMPLE,), source="label", replicas=2)


# the vote


@given(st.integers(2, 5), st.data())
def test_the_vote_is_that_of_counting_pixel_by_pixel(count: int, draw: st.DataObject) -> None:
    shape = draw.draw(st.tuples(st.integers(1, 4), st.integers(1, 5)))
    maps = [draw.draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 3))) for _ in range(count)]
    previous = draw.draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 9)))
    found = vote(maps, previous)
    for place in np.ndindex(shape):
        said = [int(one[place]) for one in maps]
        most = max(said.count(value) for value in said)
        winners = {value for value in said if said.count(value) == most}
        assert found[place] == (winners.pop() if len(winners) == 1 else previous[place])
