"""``annoloop effort``: what correcting costs and brings: minutes, pixels, shapes, and what the next images will take.

Not here: working time as CVAT keeps it (``cvat/events.py``).  The facts to know: nothing is written; what was changed
is read from CVAT as it is now and held against what was sent; and where the server tells no working time, minutes are
those of the clock from the push to the last change of a job: nobody worked longer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np

from annoloop.cvat.events import working_times
from annoloop.cvat.server import CvatServer
from annoloop.cvat.wire import Frame, JobInfo, Label, Shape
from annoloop.errors import ConfigError, CvatError
from annoloop.loop.exchange.cargo import Cargo
from annoloop.loop.exchange.frame_maps import frame_map
from annoloop.loop.exchange.loading import cargo_of
from annoloop.loop.exchange.replicas import annotator_of
from annoloop.progress import Track, silent
from annoloop.project.project import Project
from annoloop.project.rows import FrameRow, RunRow, TaskRow

FORECAST_IMAGES = 50

Source = Literal["events", "clock"]
"""Where minutes come from: CVAT's working time, or the clock from the push to the last change of the job."""

_A_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class JobEffort:
    """One job, or replica, in which somebody did something; ``minutes`` None where neither source tells any.

    ``changed_px`` differ from what was sent, ``shapes`` were drawn, deleted or changed; of ``frames``
    ``changed_frames`` are not as they were sent.
    """

    task: int
    job: int
    annotator: str
    state: str
    frames: int
    changed_frames: int
    changed_px: int
    shapes: int
    minutes: float | None
    source: Source


@dataclass(frozen=True, slots=True)
class EffortReport:
    """The cost of correcting; per frame, these are means over all frames of the jobs that somebody worked in.

    ``mended_px`` were changed in mask files by pulls of these tasks.  ``dice_before`` and ``dice_after`` are validation
    mDice of the model that chose the images and of the newest one trained since; None where runs recorded none.
    ``forecast_minutes``: about how long the next ``FORECAST_IMAGES`` will take, from the quickest and the slowest
    quarter of the jobs; None without minutes.  ``notes`` say where numbers are less than they seem.
    """

    jobs: tuple[JobEffort, ...]
    frames: int
    minutes: float | None
    source: Source
    minutes_per_frame: float | None
    changed_px_per_frame: float | None
    shapes_per_frame: float | None
    mended_px: int
    mended_px_per_hour: float | None
    dice_before: float | None
    dice_after: float | None
    dice_per_hour: float | None
    forecast_images: int
    forecast_minutes: tuple[float, float, float] | None
    notes: tuple[str, ...]


def effort(project: Project, server: CvatServer, *, task: int | None = None, track: Track = silent) -> EffortReport:
    """What the tasks of a project cost their annotators, and what it brought.

    Args:
        task: its number in CVAT; default: all of this project that are there.

    Raises:
        ConfigError: no such task.
        CvatError: the server failed; that it tells no working time is no error.
    """
    rows = _tasks(project, server, task)
    notes: list[str] = []
    jobs: list[JobEffort] = []
    for row in rows:
        jobs += _jobs_of(project, server, row, notes, track)
    if not jobs:
        notes.append("nobody has worked in a job yet" if rows else "no task was pushed from here yet")
    if any(one.changed_px for one in jobs) and not _mended_px(project, rows):
        notes.append("nothing of it was pulled yet")
    if any(one.source == "clock" for one in jobs):
        notes.append("minutes by the clock, from the push to a job's last change, pauses included: at most that long")
    return _report(project, rows, jobs, notes)


# reading


def _tasks(project: Project, server: CvatServer, task: int | None) -> list[TaskRow]:
    here = [one for one in project.ledger.tasks_on(server.url) if one.state in ("open", "done")]
    wanted = [one for one in here if task is None or one.cvat_id == task]
    if task is not None and not wanted:
        known = ", ".join(str(one.cvat_id) for one in here) or "none yet"
        raise ConfigError(f"task {task} was not pushed from here", where=server.url, hint=f"pushed from here: {known}")
    if task is not None and wanted[0].class_digest != project.classes.digest:
        raise ConfigError(f"the classes have changed since task {task} was pushed", where=project.path)
    return [one for one in wanted if one.class_digest == project.classes.digest]


def _jobs_of(
    project: Project, server: CvatServer, task: TaskRow, notes: list[str], track: Track
) -> Iterator[JobEffort]:
    assert task.cvat_id is not None
    try:
        own, replicas = server.jobs_and_replicas(task.cvat_id)
        if not own:
            server.task(task.cvat_id)
    except CvatError as error:
        if error.status != 404:
            raise
        notes.append(f"task {task.cvat_id} was deleted in CVAT")
        return
    known = _minutes_by_job(server, task, notes, track)
    cargo = cargo_of(project, task)
    labels = {label.id: label for label in server.task_labels(task.cvat_id, cargo.labels)}
    frames = {frame.name: frame for frame in server.frames(task.cvat_id) if not frame.deleted}
    rows = [part for row in project.ledger.frames(task.id) for part in row.parts if part.name in frames]
    every = replicas or own
    for job in track(every, f"reading task {task.cvat_id}", len(every)):
        inside = [(row, frames[row.name]) for row in rows if frames[row.name].index in job.frames]
        shapes = server.job_annotations(job.id).shapes
        changes = [_changes(project, cargo, labels, row, frame, shapes) for row, frame in inside]
        touched = [one for one in changes if one.shapes]
        if job.id not in known and not touched and job.state == "new":
            continue
        source: Source = "events" if known else "clock"
        minutes = known.get(job.id) if known else _by_the_clock(task, job)
        if minutes is None:
            notes.append(f"job {job.id} was changed, but nothing tells how long that took")
        px, count = sum(one.px for one in changes), sum(one.shapes for one in changes)
        yield JobEffort(
            task.cvat_id, job.id, annotator_of(job), job.state, len(inside), len(touched), px, count, minutes, source
        )


def _minutes_by_job(server: CvatServer, task: TaskRow, notes: list[str], track: Track) -> dict[int, float]:
    """Working time of all users by job; empty where the server keeps none, or shows this account none."""
    assert task.cvat_id is not None
    since = datetime.fromisoformat(task.created_at) - _A_DAY  # clocks may differ
    try:
        found = working_times(server.session, task.cvat_id, since, track)
    except CvatError as error:
        said = f"CVAT tells no working time of task {task.cvat_id}: {error.message}"
        notes.append(f"{said} (an administrator, or a maintainer of the organization, sees everybody's)")
        return {}
    minutes: dict[int, float] = {}
    for one in found:
        minutes[one.job] = minutes.get(one.job, 0.0) + one.minutes
    return minutes


def _by_the_clock(task: TaskRow, job: JobInfo) -> float | None:
    """From the moment that a task was open to the last change of a job."""
    if task.opened_at is None or job.updated is None:
        return None
    try:
        begun, last = datetime.fromisoformat(task.opened_at), datetime.fromisoformat(job.updated)
    except ValueError:
        return None
    begun, last = (one if one.tzinfo else one.replace(tzinfo=UTC) for one in (begun, last))
    return max(0.0, (last - begun).total_seconds() / 60)


@dataclass(frozen=True, slots=True)
class _Changes:
    """Of one frame: pixels that differ from what was sent, and shapes drawn, deleted or changed."""

    px: int
    shapes: int


def _changes(
    project: Project,
    cargo: Cargo,
    labels: Mapping[int, Label],
    row: FrameRow,
    frame: Frame,
    shapes: Sequence[Shape],
) -> _Changes:
    own = [shape for shape in shapes if shape.frame == frame.index and shape.label_id in labels]
    as_sent = cargo.loaded(row, frame, {label.name: label for label in labels.values()})
    before, now = ({cargo.digest(one, labels[one.label_id]) for one in some} for some in (as_sent, own))
    if now == before:
        return _Changes(0, 0)
    sent = frame_map(project.files, row, row.sent_sha256)
    try:
        label_map = cargo.unloaded(row, frame, own, labels).label_map
    except CvatError:  # which pull names, and holds the frame back
        label_map = sent
    differs = label_map != sent if label_map.shape == sent.shape else np.ones(label_map.shape, np.bool_)
    # A shape that was changed is one that went and one that came.
    return _Changes(int(np.count_nonzero(differs)), max(len(now - before), len(before - now)))


# what follows


def _report(project: Project, rows: Sequence[TaskRow], jobs: Sequence[JobEffort], notes: Sequence[str]) -> EffortReport:
    timed = [one for one in jobs if one.minutes is not None and one.frames]
    minutes = sum(one.minutes for one in timed if one.minutes is not None) if timed else None
    frames = sum(one.frames for one in jobs)
    per_frame = None if minutes is None else minutes / sum(one.frames for one in timed)
    mended = _mended_px(project, rows)
    before, after = _dice(project, rows)
    gain = None if before is None or after is None else after - before
    return EffortReport(
        jobs=tuple(jobs),
        frames=frames,
        minutes=minutes,
        source="clock" if any(one.source == "clock" for one in timed) else "events",
        minutes_per_frame=per_frame,
        changed_px_per_frame=sum(one.changed_px for one in jobs) / frames if frames else None,
        shapes_per_frame=sum(one.shapes for one in jobs) / frames if frames else None,
        mended_px=mended,
        mended_px_per_hour=_per_hour(mended, minutes),
        dice_before=before,
        dice_after=after,
        dice_per_hour=_per_hour(gain, minutes),
        forecast_images=FORECAST_IMAGES,
        forecast_minutes=_forecast(timed),
        notes=tuple(dict.fromkeys(notes)),
    )


def _per_hour(amount: float | None, minutes: float | None) -> float | None:
    return None if amount is None or not minutes else amount / (minutes / 60)


def _forecast(timed: Sequence[JobEffort]) -> tuple[float, float, float] | None:
    """Minutes of the next images as the quickest quarter of the jobs took them, the mean, and the slowest quarter."""
    each = np.array([(one.minutes or 0.0) / one.frames for one in timed])
    if not each.size:
        return None
    frames = np.array([one.frames for one in timed], np.float64)
    low, high = np.quantile(each, [0.25, 0.75])
    mean = float((each * frames).sum() / frames.sum())
    return FORECAST_IMAGES * min(float(low), mean), FORECAST_IMAGES * mean, FORECAST_IMAGES * max(float(high), mean)


def _mended_px(project: Project, rows: Sequence[TaskRow]) -> int:
    """Pixels that pulls of these tasks changed in mask files, those that were undone left out."""
    ids, ledger, total = {row.id for row in rows}, project.ledger, 0
    pulls = [one for one in ledger.changes() if one.kind == "pull" and one.undone_by is None and one.task_id in ids]
    for change in pulls:
        for mask in ledger.mask_changes(change.id):
            if mask.new_sha256 is None:
                continue
            new = project.object_label_map(mask.new_sha256)
            old = None if mask.old_sha256 is None else project.object_label_map(mask.old_sha256)
            total += new.size if old is None or old.shape != new.shape else int(np.count_nonzero(new != old))
    return total


def _dice(project: Project, rows: Sequence[TaskRow]) -> tuple[float | None, float | None]:
    """Validation mDice of the model that chose the first images, and of the newest trained after the last pull."""
    ids = {row.id for row in rows}
    pulled = [one.made_at for one in project.ledger.changes() if one.kind == "pull" and one.task_id in ids]
    runs = {run.id: run for run in project.ledger.runs()}
    first = next((runs[row.run_id] for row in rows if row.run_id in runs), None)
    since: list[RunRow] = [run for run in runs.values() if pulled and run.started_at >= max(pulled)]
    scored = [run.val_dice for run in since if run.val_dice is not None]
    return None if first is None else first.val_dice, scored[-1] if scored else None
