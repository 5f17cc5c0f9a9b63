"""``annoloop pull``: corrected frames of finished jobs back into the mask files.

Everything is read and checked first, then recorded, then written; nothing is half-done (laws 2 to 6).
The fact to know: a frame's shapes are compared by content with what was last in step, so a frame that
nobody touched gives back the very mask that was pushed, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from annoloop.cvat import CvatServer
from annoloop.cvat_wire import Frame, JobInfo, Shape, shape_digest
from annoloop.dataset import to_stored
from annoloop.errors import AnnoloopError, ConfigError, CvatError, DataError
from annoloop.images import decode_index_png, encode_index_png, file_sha256, read_bytes
from annoloop.masks import LabelMap, Region, coverage, from_cvat_outline, from_cvat_runs, paint
from annoloop.progress import Track, silent
from annoloop.project import Project
from annoloop.schema import FrameRow, MaskChange, TaskRow

OnConflict = Literal["stop", "mine", "theirs"]


@dataclass(frozen=True, slots=True)
class ClassChange:
    """Pixels that a class gained and lost in the mask files."""

    label: str
    gained_px: int
    lost_px: int


@dataclass(frozen=True, slots=True)
class PullReport:
    """What came back from one task; frames are sample ids.

    ``changed``: somebody edited them; ``accepted``: their job is finished and they are as pushed;
    ``waiting``: their job is not finished; ``kept``: edited on disk too, and yours was kept.
    ``edited_px`` counts pixels that annotators changed against what was pushed; ``classes`` counts
    what changed in the mask files, which for accepted predictions is more.
    """

    task: int
    name: str
    url: str
    jobs_finished: int
    jobs: int
    changed: tuple[str, ...]
    accepted: tuple[str, ...]
    deleted: tuple[str, ...]
    waiting: tuple[str, ...]
    kept: tuple[str, ...]
    edited_px: int
    overlap_px: int
    classes: tuple[ClassChange, ...]
    written: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Pulled:
    """One frame of a finished job, compared with what was last in step."""

    row: FrameRow
    digests: tuple[str, ...]
    on_disk: str | None
    label_map: LabelMap
    edited_px: int
    overlap_px: int

    @property
    def touched(self) -> bool:
        return self.digests != self.row.shapes

    @property
    def in_conflict(self) -> bool:
        return self.on_disk != self.row.base_sha256


def pull(
    project: Project,
    server: CvatServer,
    *,
    task: int | None = None,
    include_unfinished: bool = False,
    on_conflict: OnConflict = "stop",
    track: Track = silent,
) -> list[PullReport]:
    """Pull one task by its CVAT number, or every open task of the project.

    Raises:
        ConfigError: the task was not pushed from here, or the classes have changed since.
        CvatError: labels were changed, a shape cannot be read, the server failed.
        DataError: a mask was edited on disk since (``on_conflict="stop"``).
    """
    return [
        _pull_one(project, server, row, include_unfinished, on_conflict, track)
        for row in _wanted(project, server, task)
    ]


def _wanted(project: Project, server: CvatServer, task: int | None) -> list[TaskRow]:
    pushed = [t for t in project.ledger.tasks() if t.cvat_id is not None and t.state in ("open", "done")]
    here = [t for t in pushed if t.server == server.url]
    if task is None:
        return [t for t in here if t.state == "open"]
    found = [t for t in here if t.cvat_id == task]
    if not found:
        known = ", ".join(str(t.cvat_id) for t in here) or "none yet"
        raise ConfigError(
            f"task {task} was not pushed from this project",
            where=server.url,
            hint=f"tasks pushed from here: {known}",
        )
    return found


def _pull_one(
    project: Project,
    server: CvatServer,
    task: TaskRow,
    include_unfinished: bool,
    on_conflict: OnConflict,
    track: Track,
) -> PullReport:
    assert task.cvat_id is not None
    _check_classes(project, task)
    server.task(task.cvat_id)  # a deleted task fails here, by its number
    labels = {label.id: label.name for label in server.task_labels(task.cvat_id, project.classes)}
    jobs = server.jobs(task.cvat_id)
    frames = {frame.name: frame for frame in server.frames(task.cvat_id)}
    rows = project.ledger.frames(task.id)
    _check_frames(rows, frames, server.task_url(task.cvat_id))
    ready = [job for job in jobs if job.finished or include_unfinished]
    pulled = [
        one
        for job in track(ready, "reading jobs", len(ready))
        for one in _read_job(project, server, job, rows, frames, labels)
    ]
    kept = _settle_conflicts(pulled, on_conflict)
    wanted = [p for p in pulled if p.row.sample_id not in kept]
    settled = [replace(r, state="kept") for r in rows if r.sample_id in kept]
    settled += [replace(r, state="deleted") for r in rows if frames[r.name].deleted]
    written = project.write_masks().written if _record(project, task, wanted, settled, jobs) else ()
    return _report(project, server, task, jobs, rows, frames, wanted, kept, written)


# checks


def _check_classes(project: Project, task: TaskRow) -> None:
    if task.class_digest != project.classes.digest:
        raise ConfigError(
            f"the classes have changed since task {task.cvat_id} was pushed",
            where=project.path,
            hint="restore names, colours, order, ignore_index and background for this pull, then change them",
        )


def _check_frames(rows: Sequence[FrameRow], frames: Mapping[str, Frame], where: str) -> None:
    lost = [row.name for row in rows if row.name not in frames]
    if lost:
        raise CvatError(f"{len(lost)} pushed frames are not in the task, first {lost[0]}", where=where)


def _settle_conflicts(pulled: Iterable[_Pulled], on_conflict: OnConflict) -> set[str]:
    """Sample ids whose mask on disk stays; stops where the user has to say which one wins."""
    conflicts = [p.row.sample_id for p in pulled if p.in_conflict]
    if conflicts and on_conflict == "stop":
        raise DataError(
            f"{len(conflicts)} masks were edited on disk since the push: {', '.join(conflicts[:5])};"
            " nothing was written",
            hint="--on-conflict mine keeps your files; theirs takes CVAT's, and yours stay in the history",
        )
    return set(conflicts) if on_conflict == "mine" else set()


# reading


def _read_job(
    project: Project,
    server: CvatServer,
    job: JobInfo,
    rows: Sequence[FrameRow],
    frames: Mapping[str, Frame],
    labels: Mapping[int, str],
) -> list[_Pulled]:
    shapes: dict[int, list[Shape]] = {}
    for shape in server.job_shapes(job.id):
        shapes.setdefault(shape.frame, []).append(shape)
    found = []
    for row in rows:
        frame = frames[row.name]
        if frame.index not in job.frames or frame.deleted:
            continue
        one = _read_frame(project, row, frame, shapes.get(frame.index, []), labels)
        # In a job that goes on, a frame as it was pushed has not been looked at yet.
        if job.finished or one.touched:
            found.append(one)
    return found


def _read_frame(
    project: Project, row: FrameRow, frame: Frame, shapes: Sequence[Shape], labels: Mapping[int, str]
) -> _Pulled:
    known = {shape.label_id for shape in shapes} - set(labels)
    if known:
        raise CvatError(f"a shape has the unknown label id {min(known)}", where=f"frame {frame.name}")
    digests = tuple(sorted(shape_digest(s, labels[s.label_id]) for s in shapes))
    pushed = project.object_label_map(row.pushed_sha256)
    mask = project.mask_path(row.sample_id)
    on_disk = file_sha256(mask) if mask.exists() else None
    if digests == row.shapes:
        return _Pulled(row, digests, on_disk, pushed, 0, 0)
    parts = _regions(project, row, frame, shapes, labels)
    label_map = paint(parts, frame.size_hw, fill=project.classes.fill_index)
    overlap_px = int(np.count_nonzero(coverage(parts, frame.size_hw) > 1))
    return _Pulled(row, digests, on_disk, label_map, int(np.count_nonzero(label_map != pushed)), overlap_px)


def _regions(
    project: Project, row: FrameRow, frame: Frame, shapes: Sequence[Shape], labels: Mapping[int, str]
) -> list[Region]:
    """Regions in painting order: by z-order, at equal z what an annotator touched above what was pushed."""
    old = set(row.shapes)
    parts = []
    for shape in sorted(shapes, key=lambda s: (s.z_order, shape_digest(s, labels[s.label_id]) not in old, s.id or 0)):
        class_index = project.classes.index_of(labels[shape.label_id])
        try:
            if shape.kind == "mask":
                region = from_cvat_runs(shape.points, class_index, frame.size_hw)
            else:
                region = from_cvat_outline(shape.kind, shape.points, shape.rotation, class_index, frame.size_hw)
        except AnnoloopError as error:
            where = f"frame {frame.name}, shape {shape.id} ({labels[shape.label_id]})"
            raise CvatError(error.message, where=where, hint="correct it in CVAT; nothing was written") from error
        if region is not None:
            parts.append(region)
    return parts


# recording and reporting


def _record(
    project: Project,
    task: TaskRow,
    wanted: Sequence[_Pulled],
    settled: Sequence[FrameRow],
    jobs: Sequence[JobInfo],
) -> bool:
    """Objects first, then all rows in one transaction; True if mask files have to be written."""
    stored = {p.row.sample_id: _store(project, p) for p in wanted}
    changes = [
        MaskChange(p.row.sample_id, p.on_disk, stored[p.row.sample_id])
        for p in wanted
        if stored[p.row.sample_id] != p.on_disk
    ]
    in_step = [
        replace(
            p.row,
            base_sha256=stored[p.row.sample_id],
            pushed_sha256=stored[p.row.sample_id],
            shapes=p.digests,
            state="changed" if p.touched or p.row.state == "changed" else "accepted",
        )
        for p in wanted
    ]
    with project.ledger.transaction():
        project.ledger.put_frames(task.id, [*in_step, *settled])
        if all(job.finished for job in jobs):
            project.ledger.set_task(task.id, "done", task.cvat_id)
        if changes:
            project.change_masks("pull", task.id, changes)
    return bool(changes)


def _store(project: Project, pulled: _Pulled) -> str:
    """The mask that belongs on disk, put into the history; the present file's bytes if no pixel differs."""
    data = project.config.data
    if pulled.on_disk is None:
        return project.keep_object(encode_index_png(to_stored(pulled.label_map, data, None)))
    path = project.mask_path(pulled.row.sample_id)
    present_bytes = read_bytes(path)
    present_sha256 = project.keep_object(present_bytes)
    present = decode_index_png(present_bytes, path)
    if present.values.shape == pulled.label_map.shape:
        stored = to_stored(pulled.label_map, data, present)
        if np.array_equal(stored.values, present.values):
            return present_sha256
    else:
        stored = to_stored(pulled.label_map, data, None)
    return project.keep_object(encode_index_png(stored))


def _report(
    project: Project,
    server: CvatServer,
    task: TaskRow,
    jobs: Sequence[JobInfo],
    rows: Sequence[FrameRow],
    frames: Mapping[str, Frame],
    wanted: Sequence[_Pulled],
    kept: set[str],
    written: Iterable[str],
) -> PullReport:
    assert task.cvat_id is not None
    deleted = [r.sample_id for r in rows if frames[r.name].deleted]
    seen = {p.row.sample_id for p in wanted} | kept | set(deleted)
    return PullReport(
        task=task.cvat_id,
        name=task.name,
        url=server.task_url(task.cvat_id),
        jobs_finished=sum(job.finished for job in jobs),
        jobs=len(jobs),
        changed=tuple(p.row.sample_id for p in wanted if p.touched),
        accepted=tuple(p.row.sample_id for p in wanted if not p.touched),
        deleted=tuple(deleted),
        waiting=tuple(r.sample_id for r in rows if r.sample_id not in seen),
        kept=tuple(sorted(kept)),
        edited_px=sum(p.edited_px for p in wanted),
        overlap_px=sum(p.overlap_px for p in wanted),
        classes=_class_changes(project, wanted),
        written=tuple(written),
    )


def _class_changes(project: Project, wanted: Sequence[_Pulled]) -> tuple[ClassChange, ...]:
    """Pixels gained and lost per class on disk; read from the history, so also true after writing."""
    gained, lost = np.zeros(256, np.int64), np.zeros(256, np.int64)
    for one in wanted:
        if one.on_disk is None:
            continue
        before = project.object_label_map(one.on_disk)
        if before.shape != one.label_map.shape:
            continue
        differs = before != one.label_map
        gained += np.bincount(one.label_map[differs], minlength=256)
        lost += np.bincount(before[differs], minlength=256)
    indices = np.flatnonzero(gained + lost)
    return tuple(ClassChange(project.classes.label_of(int(i)), int(gained[i]), int(lost[i])) for i in indices)
