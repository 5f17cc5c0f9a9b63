"""What correcting costs: minutes from CVAT or from the clock, what changed, and what the next images will take."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from running_loop import Loop

from annoloop.errors import ConfigError, CvatError
from annoloop.loop import effort as effort_module
from annoloop.loop.effort import EffortReport, JobEffort, effort
from annoloop.loop.undo import undo
from annoloop.masks.regions import Region
from annoloop.simulation.annotator import annotate

SAMPLES = ("train/0000", "train/0001", "train/0002", "train/0003")


def _works(loop: Loop, job: int, minutes: Sequence[float]) -> None:
    """What CVAT's page says of somebody who does something in a job at these minutes."""
    begin = datetime.now(UTC)
    events = [{"scope": "click:element", "timestamp": (begin + timedelta(minutes=m)).isoformat(), "job_id": job}
              for m in minutes]  # fmt: skip
    loop.cvat.session.call("POST", "events", {"events": events, "timestamp": begin.isoformat()})


def _only(report: EffortReport) -> JobEffort:
    (job,) = report.jobs
    return job


def test_minutes_are_cvats_working_time(loop: Loop) -> None:
    task = loop.push(only=SAMPLES, source="label", segment_size=0).task
    assert task is not None
    annotate(loop.project, loop.cvat, task, loop.truth)
    _works(loop, loop.jobs(task)[0].id, [0, 1, 2, 3, 60, 61])  # the break counts for nothing
    before = {s: loop.label_map(s) for s in SAMPLES}
    loop.pull(task)
    report = effort(loop.project, loop.cvat, task=task)
    wrong = sum(np.count_nonzero(before[s] != loop.true_map(s)) for s in SAMPLES)
    job = _only(report)
    assert (job.minutes, job.source, job.frames) == (4.0, "events", 4)
    assert job.changed_px == report.mended_px == wrong
    assert report.minutes_per_frame == 1.0
    assert report.changed_px_per_frame == wrong / 4
    assert report.mended_px_per_hour == wrong * 15
    assert report.forecast_minutes == (50.0, 50.0, 50.0)
    assert report.notes == ()


def test_without_working_time_the_clock_is_taken_and_said(loop: Loop) -> None:
    task = loop.push(only=SAMPLES[:2], source="label", segment_size=0).task
    assert task is not None
    annotate(loop.project, loop.cvat, task, loop.truth)
    report = effort(loop.project, loop.cvat, task=task)
    assert _only(report).source == report.source == "clock"
    assert 0 <= (report.minutes or -1) < 10
    assert any("by the clock" in note for note in report.notes)


def test_a_server_without_events_is_no_failure(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    task = loop.push(only=SAMPLES[:2], source="label", segment_size=0).task
    assert task is not None
    annotate(loop.project, loop.cvat, task, loop.truth)

    def none(*_: object) -> None:
        raise CvatError("not available", status=404)

    monkeypatch.setattr(effort_module, "working_times", none)
    report = effort(loop.project, loop.cvat, task=task)
    assert report.source == "clock"
    assert any("tells no working time" in note and "not available" in note for note in report.notes)


def test_shapes_and_pixels_are_held_against_what_was_sent(loop: Loop) -> None:
    name = SAMPLES[1]
    task = loop.push(only=(name,), source="label").task
    before, label = loop.label_map(name), loop.project.classes.names[1]
    loop.draw(task, loop.frame_of(task, name), label, Region(1, 4, 5, np.ones((6, 7), np.bool_)))
    report = effort(loop.project, loop.cvat, task=task)
    job = _only(report)
    assert (job.shapes, job.changed_frames) == (1, 1)
    assert job.changed_px == np.count_nonzero(before[4:10, 5:12] != 1)
    assert report.mended_px == 0  # nothing was pulled


def test_nobody_worked_and_what_was_undone_mends_nothing(loop: Loop) -> None:
    task = loop.push(only=SAMPLES[:2], source="label", segment_size=0).task
    assert task is not None
    report = effort(loop.project, loop.cvat, task=task)
    assert (report.jobs, report.minutes, report.forecast_minutes) == ((), None, None)
    assert "nobody has worked in a job yet" in report.notes
    annotate(loop.project, loop.cvat, task, loop.truth)
    loop.pull(task)
    assert effort(loop.project, loop.cvat, task=task).mended_px > 0
    undo(loop.project)
    assert effort(loop.project, loop.cvat, task=task).mended_px == 0


def test_every_replica_is_a_job_of_its_own(loop: Loop) -> None:
    task = loop.push(only=SAMPLES[:2], source="label", replicas=2, segment_size=0).task
    one, two = loop.cvat.jobs_and_replicas(task or 0)[1]
    _works(loop, one.id, [0, 1])
    _works(loop, two.id, [0, 1.5])
    report = effort(loop.project, loop.cvat, task=task)
    assert [(job.job, job.minutes) for job in report.jobs] == [(one.id, 1.0), (two.id, 1.5)]
    assert report.minutes_per_frame == 2.5 / 4


def test_what_runs_recorded_is_set_against_the_hours(loop: Loop) -> None:
    task = loop.push(only=SAMPLES[:2], source="label", segment_size=0).task
    assert task is not None
    annotate(loop.project, loop.cvat, task, loop.truth)
    _works(loop, loop.jobs(task)[0].id, [0, 1, 2, 3])
    loop.pull(task)
    assert effort(loop.project, loop.cvat, task=task).dice_per_hour is None
    ledger = loop.project.ledger
    run = ledger.add_run(kind_digest="x", recipe="unet", parent_id=None, class_digest=loop.project.classes.digest)
    ledger.judge_run(run, val_dice=0.6, promoted=False, verdict="made")
    report = effort(loop.project, loop.cvat, task=task)
    assert (report.dice_before, report.dice_after) == (0.5, 0.6)
    assert report.dice_per_hour == pytest.approx(0.1 * 20)


def test_a_task_of_others_is_named(loop: Loop) -> None:
    with pytest.raises(ConfigError, match="was not pushed from here"):
        effort(loop.project, loop.cvat, task=99_999)


def test_a_deleted_task_is_told(loop: Loop) -> None:
    task = loop.push(only=SAMPLES[:1], source="label").task
    loop.cvat.delete_task(task or 0)
    report = effort(loop.project, loop.cvat, task=task)
    assert any("was deleted in CVAT" in note for note in report.notes)
