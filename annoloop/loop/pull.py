"""``annoloop pull``: corrected frames of finished jobs back into the mask files.

Everything of every task is read and checked first (``corrections.py``), then recorded, then written;
nothing is half-done (laws 2 to 6).  Issues whose area was changed are resolved in CVAT last of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, get_args

import numpy as np

from annoloop.cvat.server import CvatServer
from annoloop.errors import ConfigError, CvatError, DataError, check_argument
from annoloop.loop.exchange.class_counts import Counts
from annoloop.loop.exchange.corrections import Correction, TaskReading, read_task
from annoloop.loop.exchange.notices import tell_cvat
from annoloop.loop.exchange.pull_report import Parted, PullReport, report_of, wrong_too
from annoloop.progress import Say, Track, silent, unsaid
from annoloop.project.project import Project
from annoloop.project.rows import FrameRow, MaskChange, TaskRow

OnConflict = Literal["stop", "mine", "theirs"]


def pull(
    project: Project,
    server: CvatServer,
    *,
    task: int | None = None,
    include_unfinished: bool = False,
    accept_untouched: bool = False,
    redo: bool = False,
    on_conflict: OnConflict = "stop",
    annotator: str | None = None,
    say: Say = unsaid,
    track: Track = silent,
) -> list[PullReport]:
    """Pull one task by its CVAT number, or every open task of the project.

    Args:
        annotator: of a task with replicas, whose masks are taken; None: at each pixel what most of them say, and the
            label as it was where several values share the most votes.
        accept_untouched: also predictions that were pushed over labels and that nobody looked at; what this costs,
            class by class, is said before anything is written.
        redo: also what came back before and was undone here.

    Raises:
        ConfigError: the task was not pushed from here, or the classes have changed since.
        CvatError: labels were changed, the task is gone, the server failed.
        DataError: a mask was edited on disk since (``on_conflict="stop"``).
    """
    check_argument("on_conflict", on_conflict, on_conflict in get_args(OnConflict), ", ".join(get_args(OnConflict)))
    alone = annotator is None or task is not None
    check_argument("annotator", annotator, alone, "named with the task whose replicas are meant")
    asked = _Asked(accept_untouched, redo, on_conflict)
    read = partial(read_task, project, server, include_unfinished=include_unfinished, annotator=annotator, track=track,
                   accept_untouched=accept_untouched)  # fmt: skip
    readings: list[TaskReading] = []
    lost: list[TaskRow] = []
    pending: dict[str, str] = {}
    for row in _wanted(project, server, task):
        if _is_gone(server, row):
            lost.append(row)
            continue
        _check_classes(project, row)
        reading = read(row, again=on_conflict == "theirs", pending=pending)
        readings.append(reading)
        for one in asked.taken(reading):
            if on_conflict == "theirs" or not one.in_conflict:
                pending[one.row.sample_id] = one.stored_sha256
    if on_conflict == "stop":
        _stop_at_conflicts(project, readings, asked)
    if accept_untouched:
        _say_what_goes(project, readings, say)
    reports = [_lose(project, server, row) for row in lost]
    if task is not None and lost:
        raise CvatError(
            f"task {task} was deleted in CVAT; its images can be pushed again",
            where=server.task_url(task),
            status=404,
        )
    return reports + [_settle(project, server, one, asked, say, track) for one in readings]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What somebody wants taken of what is in CVAT."""

    accept_untouched: bool
    redo: bool
    on_conflict: OnConflict

    def taken(self, reading: TaskReading) -> list[Correction]:
        """What becomes the mask, or is in conflict with it."""
        return [one for one in reading.corrections if not self.leaves(one)]

    def leaves(self, one: Correction) -> bool:
        """Whether a frame of a finished job stays out: an unseen prediction over a label, or what was undone."""
        return (one.is_unseen_prediction and not self.accept_untouched) or (one.is_undone and not self.redo)


def _wanted(project: Project, server: CvatServer, task: int | None) -> list[TaskRow]:
    here = project.ledger.tasks_on(server.url)
    if task is None:
        owing = project.ledger.tasks_with_untold_issues()
        return [t for t in here if t.state == "open" or (t.state == "done" and t.id in owing)]
    pushed = [t for t in here if t.state in ("open", "done", "lost")]
    found = [t for t in pushed if t.cvat_id == task]
    if not found:
        known = ", ".join(str(t.cvat_id) for t in pushed) or "none yet"
        raise ConfigError(
            f"task {task} was not pushed from this project",
            where=server.url,
            hint=f"tasks pushed from here: {known}",
        )
    return found


# checks


def _check_classes(project: Project, task: TaskRow) -> None:
    if task.class_digest != project.classes.digest:
        raise ConfigError(
            f"the classes have changed since task {task.cvat_id} was pushed",
            where=project.path,
            hint="restore names, colours, order, ignore_index and background for this pull, then change them",
        )


def _is_gone(server: CvatServer, task: TaskRow) -> bool:
    assert task.cvat_id is not None
    try:
        server.task(task.cvat_id)
    except CvatError as error:
        if error.status == 404:
            return True
        raise
    return False


def _stop_at_conflicts(project: Project, readings: Sequence[TaskReading], asked: _Asked) -> None:
    conflicts = [_in_words(project, readings, c) for one in readings for c in asked.taken(one) if c.in_conflict]
    if conflicts:
        raise DataError(
            f"{len(conflicts)} masks were changed here since the push: {', '.join(conflicts[:5])}; nothing was written",
            hint="--on-conflict mine keeps your files; theirs takes CVAT's, and yours stay in the history",
        )


def _in_words(project: Project, readings: Sequence[TaskReading], one: Correction) -> str:
    sample_id = one.row.sample_id
    for other in readings:
        if any(c is not one and c.row.sample_id == sample_id and c.touched for c in other.corrections):
            return f"{sample_id} (task {other.task.cvat_id} brings another version)"
    if one.row.state == "kept":
        return f"{sample_id} (yours was kept by an earlier pull)"
    if one.on_disk is None:
        return f"{sample_id} (deleted on disk)"
    by = project.ledger.task_that_wrote(sample_id, one.on_disk)
    if by is not None:
        return f"{sample_id} (task {by} brought another version)"
    return f"{sample_id} ({'got a mask on disk' if one.row.base_sha256 is None else 'edited on disk'})"


def _say_what_goes(project: Project, readings: Sequence[TaskReading], say: Say) -> None:
    """What accepting unseen predictions costs, class by class, before it is done."""
    unseen = [one for reading in readings for one in reading.corrections if one.is_unseen_prediction]
    nothing: Counts = np.zeros(project.classes.levels, np.int64)
    lost = sum((one.file_lost for one in unseen), nothing)
    gained = sum((one.file_gained for one in unseen), nothing)
    if unseen:
        say(f"{len(unseen)} labels that nobody looked at give way to predictions:")
    for index in np.flatnonzero(lost + gained):
        say(f"  {project.classes.label_of(int(index))}: {lost[index]} px go, {gained[index]} px come")


# recording


def _lose(project: Project, server: CvatServer, task: TaskRow) -> PullReport:
    """A task that is gone; its images are free to be pushed again. Seen again, it can be pulled by its number."""
    assert task.cvat_id is not None
    project.ledger.set_task(task.id, "lost", task.cvat_id)
    return PullReport(task.cvat_id, task.name, server.task_url(task.cvat_id), lost=True)


def _settle(
    project: Project, server: CvatServer, reading: TaskReading, asked: _Asked, say: Say, track: Track
) -> PullReport:
    wanted = asked.taken(reading)
    kept = [c for c in wanted if c.in_conflict and asked.on_conflict == "mine"]
    parted = Parted(
        taken=[c for c in wanted if c not in kept],
        kept=kept,
        untouched=[c for c in reading.corrections if c.is_unseen_prediction and asked.leaves(c)],
        undone=[c for c in reading.corrections if c.is_undone and asked.leaves(c)],
    )
    written = project.write_masks().written if _record(project, reading, parted) else ()
    notices = tell_cvat(project, server, reading.task.id, say, track)
    return report_of(project, server, reading, parted, written, notices)


def _record(project: Project, reading: TaskReading, parted: Parted) -> bool:
    """All rows in one transaction; True if mask files have to be written."""
    taken = parted.taken
    changes = [MaskChange(c.row.sample_id, c.on_disk, c.stored_sha256) for c in taken if c.stored_sha256 != c.on_disk]
    rows = [
        _in_step(c, c.stored_sha256, "changed" if c.touched or c.row.state == "changed" else "accepted") for c in taken
    ]
    rows += [_in_step(c, c.on_disk, "kept") for c in parted.kept]
    rows += [replace(c.row, state="untouched") for c in parted.untouched]
    rows += [replace(r, state="deleted") for r in reading.rows if reading.frames[r.name].deleted]
    by_people = [replace(issue, state="resolved") for c in reading.corrections for issue in c.resolved]
    settled = [replace(issue, state="settled") for c in taken for issue in c.settled if issue not in c.resolved]
    finished = all(job.finished for job in reading.jobs) and not reading.held
    with project.ledger.transaction():
        for one in taken:
            project.ledger.put_verdicts(reading.task.id, one.verdicts)
        project.ledger.put_marks(add=wrong_too(taken))
        project.ledger.put_frames(reading.task.id, rows)
        project.ledger.set_task(reading.task.id, "done" if finished else "open", reading.task.cvat_id)
        change = project.change_masks("pull", reading.task.id, changes) if changes else None
        project.ledger.put_issues(reading.task.id, [*by_people, *(replace(i, settled_by=change) for i in settled)])
    return bool(changes)


def _in_step(one: Correction, base_sha256: str | None, state: str) -> FrameRow:
    return replace(one.row, base_sha256=base_sha256, pushed_sha256=one.stored_sha256, shapes=one.digests, state=state)
