"""What annotators made of a task: its frames read from CVAT and compared with what was last in step.

Reads and checks everything and writes nothing but mask versions into the history; ``pull.py`` decides and
records.  The fact to know: a frame whose shapes have the digests of the last time gives back the very mask
of the last time, byte for byte, whatever rasterising its shapes again would give.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

import numpy as np
import numpy.typing as npt

from annoloop.compute.workers import spread
from annoloop.cvat.server import CvatServer
from annoloop.cvat.wire import Frame, JobInfo, Label, Shape, Tag
from annoloop.data.images import decode_index_png, encode_index_png, read_bytes
from annoloop.data.mmseg_folders import to_label_map, to_stored
from annoloop.errors import CvatError
from annoloop.loop.exchange.cargo import Cargo, Unloaded
from annoloop.loop.exchange.class_counts import Counts, counts_of, differences
from annoloop.loop.exchange.frame_checks import check_frames, check_size
from annoloop.loop.exchange.frame_maps import forget_maps, frame_map, painted
from annoloop.loop.exchange.loading import cargo_of
from annoloop.loop.exchange.replicas import Replicas, Vote, counted
from annoloop.loop.exchange.stitching import NOT_CUT, TileCounts, TileReading, put_together
from annoloop.masks.regions import LabelMap
from annoloop.masks.run_lengths import from_cvat_runs
from annoloop.progress import Track
from annoloop.project.files import ProjectFiles
from annoloop.project.project import Project
from annoloop.project.rows import FrameRow, IssueRow, TaskRow


@dataclass(frozen=True, slots=True, eq=False)
class Correction:
    """One frame as it is in CVAT now; its mask lies in the history as ``stored_sha256``.

    ``pixels`` counts its classes.  ``edited_px``: pixels that differ from the last time; ``gained`` and
    ``lost`` count them by class, and ``file_gained`` and ``file_lost`` what would change in the mask file.
    ``settled``: issues whose area was changed.  ``resolved``: issues that a person resolved in CVAT.  ``verdicts``: on
    proposals that were touched, by their numbers.  ``tiles``: of a cut image.
    """

    row: FrameRow
    digests: tuple[str, ...]
    on_disk: str | None
    stored_sha256: str
    overlap_px: int
    uncovered_px: int
    pixels: Counts
    gained: Counts
    lost: Counts
    file_gained: Counts
    file_lost: Counts
    settled: tuple[IssueRow, ...]
    resolved: tuple[IssueRow, ...]
    verdicts: Mapping[int, str]
    tiles: TileCounts = NOT_CUT

    @property
    def touched(self) -> bool:
        """Whether somebody edited it in CVAT since the last time."""
        return self.digests != self.row.shapes

    @property
    def is_unseen_prediction(self) -> bool:
        """Whether it is a prediction in the place of a label, and nothing says that anybody looked at it.

        A frame was looked at if a shape of it changed, or if a person resolved one of its issues.
        """
        over_a_label = self.row.base_sha256 is not None and self.row.sent_sha256 != self.row.base_sha256
        return (
            over_a_label
            and self.row.state in ("open", "untouched", "deleted")
            and not self.touched
            and not self.resolved
        )

    @property
    def is_undone(self) -> bool:
        """Whether it came back once, was undone here, and is as it was then."""
        return self.row.state == "undone" and not self.touched

    @property
    def edited_px(self) -> int:
        return int(self.gained.sum())

    @property
    def in_conflict(self) -> bool:
        """Whether its mask was changed here, too; one that was kept once stays in conflict."""
        return self.row.state == "kept" or self.on_disk != self.row.base_sha256


@dataclass(frozen=True, slots=True)
class Held:
    """A frame that cannot be taken as it is: why, a reason for each shape that is in the way, and where to mend it."""

    sample_id: str
    reasons: tuple[str, ...]
    url: str


@dataclass(frozen=True, slots=True, eq=False)
class TaskReading:
    """A task as it is in CVAT now. Corrections are of finished jobs, or of touched frames where that was asked.

    ``held``: frames of these jobs that cannot be taken as they are.  ``tags``: labels that annotators gave to whole
    frames, which masks do not hold, by sample id.  ``nowhere``: shapes on frames that were not pushed.
    """

    task: TaskRow
    jobs: Sequence[JobInfo]
    rows: Sequence[FrameRow]
    frames: Mapping[str, Frame]
    corrections: Sequence[Correction]
    held: Sequence[Held]
    tags: Mapping[str, tuple[str, ...]]
    nowhere: int

    def job_of(self, row: FrameRow) -> JobInfo:
        """The job that holds a frame; of a cut image the first one, in work if its jobs are not all alike."""
        indices = [self.frames[part.name].index for part in row.parts]
        found = [job for job in self.jobs if any(index in job.frames for index in indices)]
        alike = len({job.state for job in found}) == 1
        return found[0] if alike else replace(found[0], state="in progress")


@dataclass(frozen=True, slots=True)
class _Reader:
    """What reading one frame needs to know of its task; worker processes can be given it.

    ``resolved``: issues that are resolved in CVAT, by their numbers there.  ``pending``: masks that will be on disk by
    then.
    """

    files: ProjectFiles
    task: TaskRow
    cargo: Cargo
    labels: Mapping[int, Label]
    issues: Sequence[IssueRow]
    resolved: frozenset[int]
    pending: Mapping[str, str]
    replicas: Replicas
    accept_untouched: bool


def read_task(
    project: Project,
    server: CvatServer,
    task: TaskRow,
    *,
    include_unfinished: bool,
    again: bool,
    pending: Mapping[str, str],
    track: Track,
    annotator: str | None = None,
    accept_untouched: bool = False,
) -> TaskReading:
    """Read a task and check all of it.

    Args:
        annotator: of a task with replicas, whose are taken; None: at each pixel what most of them say.
        accept_untouched: as ``stitching.put_together``; of whole frames it is not asked here.
        again: also frames that were kept from disk and not touched since.
        pending: masks by sample id that an earlier task of the same pull will have written.

    Raises:
        CvatError: labels were changed, a shape cannot be read, frames are missing, the server failed.
    """
    assert task.cvat_id is not None
    cargo = cargo_of(project, task)
    labels = {label.id: label for label in server.task_labels(task.cvat_id, cargo.labels)}
    own_jobs, copies = server.jobs_and_replicas(task.cvat_id)
    replicas = counted(own_jobs, copies, annotator, server.task_url(task.cvat_id))
    jobs = [replicas.combined(job) for job in own_jobs]
    frames = {frame.name: frame for frame in server.frames(task.cvat_id)}
    rows = project.ledger.frames(task.id)
    parts = [part for row in rows for part in row.parts]
    check_frames(parts, frames, jobs, server.task_url(task.cvat_id))
    issues = project.ledger.issues(task.id)
    resolved = _resolved(server, task.cvat_id, issues)
    reader = _Reader(project.files, task, cargo, labels, issues, resolved, pending, replicas, accept_untouched)
    wanted = [job for job in jobs if job.finished or (include_unfinished and replicas.count(job))]
    read = [
        _read_job(reader, server, job, [row for row in parts if frames[row.name].index in job.frames], frames)
        for job in track(wanted, f"reading task {task.cvat_id}", len(wanted))
    ]
    found = [*(one for job in read for one in job.corrections), *_cut_images(reader, rows, frames, read)]
    found = [one for one in found if again or one.touched or one.row.state != "kept"]
    held = [one for job in read for one in job.held]
    tags: dict[str, tuple[str, ...]] = {}
    for name, given in (one for job in read for one in job.tags.items()):
        tags[name] = tuple(dict.fromkeys((*tags.get(name, ()), *given)))
    forget_maps()
    shown = frames | {row.name: _as_one(row, frames) for row in rows if row.tiles}
    return TaskReading(task, jobs, rows, shown, found, held, tags, sum(job.nowhere for job in read))


def _as_one(row: FrameRow, frames: Mapping[str, Frame]) -> Frame:
    """The frames of a cut image as one, which is deleted once all of them are."""
    own = [frames[part.name] for part in row.parts]
    return replace(own[0], name=row.name, deleted=all(one.deleted for one in own))


def _cut_images(
    reader: _Reader, rows: Sequence[FrameRow], frames: Mapping[str, Frame], read: Sequence[_JobReading]
) -> Iterator[Correction]:
    """What became of cut images whose tiles could all be read, one after another."""
    tiles: dict[str, list[TileReading]] = defaultdict(list)
    for one in (tile for job in read for tile in job.tiles):
        tiles[one.part.sample_id].append(one)
    for row in rows:
        if row.sample_id in tiles:
            last = reader.files.object_label_map(row.pushed_sha256)
            by_people = [issue for issue in _open_issues(reader, row) if issue.cvat_id in reader.resolved]
            whole = put_together(reader.files, row, frames, tiles.pop(row.sample_id), by_people, last,
                                 accept_untouched=reader.accept_untouched)  # fmt: skip
            if whole is not None and (whole.finished or whole.digests != row.shapes):
                correction = _correction(reader, row, whole.digests, whole.before, whole.found)
                yield replace(correction, tiles=whole.counts)


def _resolved(server: CvatServer, cvat_id: int, issues: Sequence[IssueRow]) -> frozenset[int]:
    """Issues that are resolved in CVAT; asked for only where one might be."""
    if not any(issue.state == "open" and issue.cvat_id is not None for issue in issues):
        return frozenset()
    return frozenset(issue.id for issue in server.issues.of_task(cvat_id) if issue.resolved and issue.id is not None)


@dataclass(frozen=True, slots=True, eq=False)
class _JobReading:
    corrections: Sequence[Correction]
    held: Sequence[Held]
    tags: Mapping[str, tuple[str, ...]]
    nowhere: int
    tiles: Sequence[TileReading]


def _read_job(
    reader: _Reader, server: CvatServer, job: JobInfo, rows: Sequence[FrameRow], frames: Mapping[str, Frame]
) -> _JobReading:
    """The frames of a job; one that holds something that is no mask is held back, alone."""
    present = {frames[row.name].index: row for row in rows if not frames[row.name].deleted}
    numbered = {one.index: one for one in frames.values()}
    there = reader.replicas.annotations(server, job, present, numbered, _vote(reader))
    shapes: dict[int, list[Shape]] = {}
    for shape in there.shapes:
        shapes.setdefault(shape.frame, []).append(shape)
    reasons: dict[int, list[str]] = {}
    for stray in there.strays:
        reasons.setdefault(stray.frame, []).append(f"{stray.kind}: {stray.reason}")
    drawn = [(row, frames[row.name], shapes.get(index, [])) for index, row in present.items() if index not in reasons]
    corrections, tiles = [], []
    read = partial(_read_frame, reader=reader, finished=job.finished)
    whole = [one for one in drawn if one[0].window is None]
    cut = [one for one in drawn if one[0].window is not None]
    for (_, frame, _), one in zip([*whole, *cut], chain(spread(read, whole), map(read, cut)), strict=True):
        if isinstance(one, Correction):
            # In a job that goes on, a frame as it was pushed has not been looked at yet.
            corrections += [one] if job.finished or one.touched else []
        elif isinstance(one, TileReading):
            tiles.append(one)
        else:
            reasons[frame.index] = [one]
    ours = {frame.index for frame in frames.values()}
    url = f"{server.task_url(reader.task.cvat_id or 0)}/jobs/{job.id}?frame="
    return _JobReading(
        corrections,
        [Held(present[i].sample_id, tuple(why), f"{url}{i}") for i, why in sorted(reasons.items()) if i in present],
        _tags(reader, present, there.tags),
        sum(frame not in ours for frame in [one.frame for one in there.shapes] + [one.frame for one in there.strays]),
        tiles,
    )


def _vote(reader: _Reader) -> Vote:
    """How the replicas of a frame are settled."""
    files, task, least_px = reader.files, reader.task, reader.task.min_region_px
    names = {number: label.name for number, label in reader.labels.items()}
    last = lambda row: frame_map(files, row, row.pushed_sha256)  # noqa: E731
    return Vote(files.classes, names, least_px, last, lambda *drawn: painted(files, task, names, *drawn)[0])


def _tags(reader: _Reader, present: Mapping[int, FrameRow], tags: Sequence[Tag]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for tag in tags:
        if tag.frame in present:
            name = present[tag.frame].sample_id
            label = reader.labels.get(tag.label_id)
            found[name] = (*found.get(name, ()), f"label {tag.label_id}" if label is None else label.name)
    return found


def _read_frame(
    drawn: tuple[FrameRow, Frame, Sequence[Shape]], reader: _Reader, *, finished: bool
) -> Correction | TileReading | str:
    """What became of a frame, or of a tile, or why its shapes are no mask of it."""
    row, frame, shapes = drawn
    unknown = {shape.label_id for shape in shapes} - set(reader.labels)
    if unknown:
        return f"a shape has the unknown label id {min(unknown)}"
    digests = tuple(sorted(reader.cargo.digest(s, reader.labels[s.label_id]) for s in shapes))
    last = reader.files.object_label_map(row.pushed_sha256) if row.window is None else None
    if last is not None:
        check_size(frame, last.shape)
    elif row.window is not None:
        check_size(frame, row.window.size_hw)
    found = None
    if digests != row.shapes:
        try:
            found = reader.cargo.unloaded(row, frame, shapes, reader.labels)
        except CvatError as error:
            return error.message
    if last is None:
        return TileReading(row, digests, found, finished)
    return _correction(reader, row, digests, last, found or Unloaded(last))


def _correction(
    reader: _Reader, row: FrameRow, digests: tuple[str, ...], last: LabelMap, found: Unloaded
) -> Correction:
    """What became of an image; ``last`` is its mask before anybody edited it, the very one where nobody did."""
    label_map = found.label_map
    on_disk, stored_sha256, before = _stored(reader, row, last, label_map)
    gained, lost = differences(last, label_map)
    file_gained, file_lost = differences(before, label_map)
    open_issues = _open_issues(reader, row)
    by_people = tuple(issue for issue in open_issues if issue.cvat_id in reader.resolved)
    return Correction(
        row, digests, on_disk, stored_sha256, found.overlap_px, found.uncovered_px, counts_of(label_map), gained, lost,
        file_gained, file_lost, _settled(reader, row, open_issues, label_map, before), by_people, found.verdicts,
    )  # fmt: skip


def _open_issues(reader: _Reader, row: FrameRow) -> list[IssueRow]:
    of_image = (one for one in reader.issues if one.sample_id == row.sample_id)
    return [one for one in of_image if one.state == "open" and one.cvat_id is not None]


def _stored(
    reader: _Reader, row: FrameRow, last: LabelMap, label_map: LabelMap
) -> tuple[str | None, str, LabelMap | None]:
    """The file's present version, the version that belongs there, both in the history; and the present label map.

    Where no pixel differs the present bytes are the ones that belong there.  A new file is of the kind
    that was pushed, grey or with that palette.
    """
    files, data = reader.files, reader.files.config.data
    path = files.mask_path(row.sample_id)
    pending = reader.pending.get(row.sample_id)
    if pending is None and not path.exists():
        if label_map is last:
            return None, row.pushed_sha256, None
        pushed = decode_index_png(files.object_bytes(row.pushed_sha256), row.name)
        return None, files.keep_object(encode_index_png(to_stored(label_map, data, pushed))), None
    present_bytes = read_bytes(path) if pending is None else files.object_bytes(pending)
    on_disk = files.keep_object(present_bytes)
    if label_map is last and on_disk == row.pushed_sha256:
        return on_disk, on_disk, last
    present = decode_index_png(present_bytes, path)
    before = to_label_map(present, data, path)
    if before.shape != label_map.shape:
        return on_disk, files.keep_object(encode_index_png(to_stored(label_map, data, None))), None
    stored = to_stored(label_map, data, present)
    if np.array_equal(stored.values, present.values):
        return on_disk, on_disk, before
    return on_disk, files.keep_object(encode_index_png(stored)), before


def _settled(
    reader: _Reader, row: FrameRow, mine: Sequence[IssueRow], label_map: LabelMap, before: LabelMap | None
) -> tuple[IssueRow, ...]:
    """Issues of a frame whose area is no longer as it was sent, or no longer as the mask file has it."""
    if not mine:
        return ()
    differs = reader.files.object_label_map(row.sent_sha256) != label_map
    if before is not None:
        differs |= before != label_map
    return tuple(issue for issue in mine if _overlaps(issue, differs))


def _overlaps(issue: IssueRow, differs: npt.NDArray[np.bool_]) -> bool:
    region = from_cvat_runs(issue.runs, 0, differs.shape)
    if region is None:
        return False
    return bool((differs[region.window] & region.bits).any())
