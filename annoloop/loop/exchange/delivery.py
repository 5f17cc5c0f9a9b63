"""A planned task to CVAT, step by step, each noted in the ledger: created, uploaded, annotated, verified, open.

Not here: which images and which masks (``push.py``).  The fact to know: every step looks first at what an
earlier try has done, by the task's name, which is nobody else's; so it does not matter where that try was
killed, and nothing is ever made twice (law 4).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, cycle, islice
from pathlib import Path

from annoloop.compute.workers import spread
from annoloop.cvat.archive import Picture
from annoloop.cvat.guide import MARK
from annoloop.cvat.server import CvatServer
from annoloop.cvat.wire import Frame, Issue, JobInfo, Label, Shape
from annoloop.data.image_windows import encode_picture, open_windows
from annoloop.data.images import needs_view, read_image
from annoloop.errors import CvatError, DataError
from annoloop.loop.exchange.cargo import Cargo, ReadImage
from annoloop.loop.exchange.frame_maps import forget_maps
from annoloop.loop.exchange.loading import cargo_of
from annoloop.loop.exchange.markers import marker
from annoloop.loop.exchange.replicas import assign_replicas, check_made
from annoloop.masks.tiling import Tile
from annoloop.progress import Say, Track
from annoloop.project.project import Project
from annoloop.project.rows import FrameRow, IssueRow, TaskRow

_UPLOADS = 3
_PAUSE_S = 1.0
_MAY_PASS = (404, 409, 429)
"""Refusals of an upload that another try may not meet: a piece got lost, the server is busy or throttled."""


@dataclass(frozen=True, slots=True)
class Handling:
    """How a task is cut and dressed; may differ between the try that was cut off and the one that finishes it.

    ``assignees`` are numbers of users, by ``CvatServer.user_ids``.
    """

    segment_size: int
    assignees: tuple[int, ...]
    context: bool
    replicas: int = 0


@dataclass(frozen=True, slots=True)
class _Delivery:
    """One task on its way."""

    project: Project
    server: CvatServer
    task: TaskRow
    cargo: Cargo
    rows: Sequence[FrameRow]
    handling: Handling
    say: Say
    track: Track

    @property
    def frames(self) -> list[FrameRow]:
        """All frames in CVAT: a cut image has one for each tile."""
        return [part for row in self.rows for part in row.parts]

    def note(self, state: str, cvat_id: int) -> None:
        """Write down how far it has come."""
        self.project.ledger.set_task(self.task.id, state, cvat_id)


def deliver(project: Project, server: CvatServer, task: TaskRow, handling: Handling, *, say: Say, track: Track) -> int:
    """Bring a task to CVAT, or finish bringing it; returns its number there.

    Raises:
        DataError: an image cannot be read, or no room for the upload.
        CvatError: the server refused, failed, or holds something else than was sent.
    """
    cargo = cargo_of(project, task)
    way = _Delivery(project, server, task, cargo, project.ledger.frames(task.id), handling, say, track)
    project.scratch_dir()  # a try that was killed may have left its upload there
    project_id = _project(way)
    cvat_id = _uploaded(way, project_id)
    way.note("uploaded", cvat_id)
    jobs, replicas = server.jobs_and_replicas(cvat_id)
    check_made(jobs, replicas, handling.replicas, server.task_url(cvat_id))
    if replicas:
        assign_replicas(server, jobs, replicas, handling.assignees)
    else:
        _assign(server, jobs, handling.assignees)
    labels = server.task_labels(cvat_id, cargo.labels)
    on_server = _frames_by_name(way, cvat_id)
    _note_places(way, jobs, on_server)
    # A task that had to be made anew, because somebody deleted it meanwhile, has nothing of the earlier try.
    state = task.state if cvat_id == task.cvat_id else "created"
    every = [*jobs, *replicas]
    filled = _annotate(way, every, labels, on_server, state)
    way.note("annotated", cvat_id)
    _verify(way, cvat_id, every, labels, on_server, filled)
    way.note("verified", cvat_id)
    _pin_issues(way, cvat_id, on_server)
    way.note("open", cvat_id)
    forget_maps()
    return cvat_id


def give_up(project: Project, server: CvatServer, task: TaskRow, say: Say) -> None:
    """Forget a half-made task that no command can finish; what somebody may have worked on is not deleted."""
    kept = []
    for found in server.find_named_tasks(cargo_of(project, task).project_name, task.name):
        if found.size and any(server.job_shapes(job.id) for job in server.jobs(found.id)):
            kept.append(server.task_url(found.id))
        else:
            server.delete_task(found.id)
    project.ledger.set_task(task.id, "lost", task.cvat_id)
    rest = f"; delete it in CVAT if nobody needs it: {', '.join(kept)}" if kept else ""
    say(f"gave up the half-made task {task.name!r}: model or classes have changed since{rest}")


def _project(way: _Delivery) -> int:
    name = way.cargo.project_name
    project_id = way.server.ensure_project(name, way.cargo.labels)
    try:
        if not way.server.write_guide(project_id, way.cargo.guide, mark=MARK):
            way.say(f"project {name!r} has a guide of its own, which stays")
    except CvatError as error:
        # A guide is a help, not the work: its failure is told and stops nothing.
        way.say(f"the annotation guide was not written: {error.message}")
    return project_id


# images


def _uploaded(way: _Delivery, project_id: int) -> int:
    """The task with all its frames: of an earlier try if its upload is whole, else made anew."""
    failure: CvatError | None = None
    for _ in range(_UPLOADS + 1):
        usable = _usable_task(way, project_id)
        if usable is not None:
            return usable
        if failure is not None:
            pause_s = failure.retry_after_s or _PAUSE_S
            way.say(f"CVAT: {failure.message}; the upload broke and is sent again in {pause_s:.0f} s")
            time.sleep(pause_s)
        try:
            cvat_id = way.server.create_task(
                project_id, way.task.name, segment_size=way.handling.segment_size, replicas=way.handling.replicas
            )
            way.note("created", cvat_id)
            _upload(way, cvat_id)
        except CvatError as error:
            if not (error.transient or error.status in _MAY_PASS):
                with suppress(CvatError):
                    _usable_task(way, project_id)  # nothing half-made is left behind
                raise
            failure = error
    raise failure or CvatError("the uploaded frames are not all there", where=way.task.name)


def _usable_task(way: _Delivery, project_id: int) -> int | None:
    """The one task of this name whose upload is whole; half-made ones are deleted."""
    usable, size = None, len(way.frames)
    for found in way.server.find_tasks(project_id, way.task.name):
        if found.size == size and usable is None:
            usable = found.id
        else:
            way.server.delete_task(found.id)
    return usable


def _upload(way: _Delivery, cvat_id: int) -> None:
    places = [way.project.image_path(row.sample_id) for row in way.rows]
    files = way.project.copies.fetched(places, way.track)
    images = list(zip(way.rows, files, strict=True))
    try:
        size_bytes = sum(path.stat().st_size for _, path in images)
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=error.filename) from error
    size_bytes += sum(_tiles_bytes(row) for row in way.rows)
    whole = [(row, file) for row, file in images if not row.tiles]
    pictures: Iterator[Picture] = (_picture(row, file) for row, file in whole)
    if way.handling.context:
        pictures = _with_context(way, whole)
    tiles = (one for row, file in images if row.tiles for one in _tile_pictures(way, row, file))
    way.server.upload_images(
        cvat_id, chain(pictures, tiles), size_bytes=size_bytes, scratch=way.project.scratch_dir(), track=way.track
    )


def _with_context(way: _Delivery, images: Sequence[tuple[FrameRow, Path]]) -> Iterator[Picture]:
    """Every image, and beside it its context pictures; those of a few frames at a time in memory."""
    hashes = way.project.ledger.images([row.sample_id for row, _ in images])
    known = [(row, partial(read_image, file), hashes[row.sample_id].image_sha256) for row, file in images]
    drawn = spread(partial(_context, cargo=way.cargo), known)
    for (row, file), pictures in zip(images, way.track(drawn, "drawing context", len(known)), strict=True):
        yield _picture(row, file)
        yield from pictures


def _picture(row: FrameRow, file: Path) -> Picture:
    """An image as it is, or the view of its bands."""
    return row.name, encode_picture(read_image(file), row.name) if needs_view(file) else file


def _context(known: tuple[FrameRow, ReadImage, str], cargo: Cargo) -> list[Picture]:
    return cargo.pictures(*known)


def _tile_pictures(way: _Delivery, row: FrameRow, file: Path) -> Iterator[Picture]:
    """The tiles of a cut image, each with its context pictures; one at a time in memory, and its label maps."""
    image_sha256 = way.project.ledger.images([row.sample_id])[row.sample_id].image_sha256
    with open_windows(file) as read:
        for part in way.track(row.parts, f"cutting {row.name}", len(row.parts)):
            assert part.window is not None
            rgb = read(part.window.box_ltrb)
            yield part.name, encode_picture(rgb, part.name)
            if way.handling.context:
                yield from way.cargo.pictures(part, lambda rgb=rgb: rgb, image_sha256)  # type: ignore[misc]
    forget_maps()


def _tiles_bytes(row: FrameRow) -> int:
    """About how much the tiles of an image take, in a PNG without compression."""
    return sum(3 * height * width for height, width in (tile.size_hw for tile in row.tiles))


def _frames_by_name(way: _Delivery, cvat_id: int) -> dict[str, Frame]:
    """The server's frames, whose names must be ours."""
    found = {frame.name: frame for frame in way.server.frames(cvat_id)}
    odd = sorted(set(found) ^ {f.name for f in way.frames})
    if odd:
        where = way.server.task_url(cvat_id)
        raise CvatError(f"the server's frames are not those that were sent: {odd[0]!r}", where=where)
    return found


# jobs and masks


def _note_places(way: _Delivery, jobs: Sequence[JobInfo], on_server: Mapping[str, Frame]) -> None:
    """Where each frame can be opened in CVAT."""
    job_of = {index: job.id for job in jobs for index in job.frames}
    # Of a cut image the first tile: that is where its annotator begins.
    places = [(row.sample_id, on_server[row.parts[0].name].index) for row in way.rows]
    way.project.ledger.place_frames(way.task.id, [(name, job_of[index], index) for name, index in places])


def _assign(server: CvatServer, jobs: Sequence[JobInfo], user_ids: Sequence[int]) -> None:
    """Round robin; a job that somebody has already keeps its annotator."""
    for job, user_id in zip(jobs, islice(cycle(user_ids), len(jobs)), strict=False):
        if job.assignee is None:
            server.assign_job(job.id, user_id)


def _annotate(
    way: _Delivery, jobs: Sequence[JobInfo], labels: Sequence[Label], on_server: Mapping[str, Frame], state: str
) -> set[int]:
    """Fill every job that is still empty and new; returns the numbers of those that were filled.

    A job with shapes was filled by an earlier try, and somebody may have begun to correct it since.
    """
    if state in ("annotated", "verified"):
        return set()
    draw_one = partial(_shapes, cargo=way.cargo, labels={label.name: label for label in labels})
    resumed = state not in ("planned", "created")
    filled = set()
    for job in way.track(jobs, "sending masks", len(jobs)):
        if resumed and (job.state != "new" or way.server.job_shapes(job.id)):
            continue
        inside = [(row, on_server[row.name]) for row in way.frames if on_server[row.name].index in job.frames]
        # Tiles share their image's label maps, which are decoded once here, and not in every process.
        drawn = map(draw_one, inside) if any(row.window for row, _ in inside) else spread(draw_one, inside)
        shapes = [shape for found in drawn for shape in found]
        way.server.replace_job_shapes(job.id, shapes)
        filled.add(job.id)
    return filled


def _shapes(pair: tuple[FrameRow, Frame], cargo: Cargo, labels: Mapping[str, Label]) -> list[Shape]:
    return cargo.loaded(*pair, labels)


def _verify(
    way: _Delivery,
    cvat_id: int,
    jobs: Sequence[JobInfo],
    labels: Sequence[Label],
    on_server: Mapping[str, Frame],
    filled: set[int],
) -> None:
    """Read everything back and compare it with the plan, shape by shape.

    Raises:
        CvatError: the server holds something else than was sent a moment ago; the task is deleted then.
    """
    known = {label.id: label for label in labels}
    for job in way.track(jobs, "reading masks back", len(jobs)):
        found: dict[int, list[str]] = {}
        for shape in way.server.job_shapes(job.id):
            found.setdefault(shape.frame, []).append(way.cargo.digest(shape, known[shape.label_id]))
        pairs = [(frame, on_server[frame.name].index) for frame in way.frames]
        inside = [(frame, index) for frame, index in pairs if index in job.frames]
        wrong = [frame.name for frame, index in inside if tuple(sorted(found.get(index, []))) != frame.shapes]
        if wrong and job.id in filled:
            way.server.delete_task(cvat_id)
            way.note("planned", cvat_id)
            raise CvatError(
                f"frame {wrong[0]} came back with other shapes than were sent; the task was deleted",
                where=f"{way.server.url}/jobs/{job.id}",
                hint="the same command makes it anew",
            )
        if wrong:
            way.say(f"job {job.id}: {len(wrong)} frames are being corrected already")


# issues


def _pin_issues(way: _Delivery, cvat_id: int, on_server: Mapping[str, Frame]) -> None:
    rows = way.project.ledger.issues(way.task.id)
    if not rows:
        return
    row_of = {row.sample_id: row for row in way.rows}
    taken: set[tuple[int, tuple[float, ...]]] = set()
    issue_of = {}
    for row in rows:
        part = frame_of_issue(row_of[row.sample_id], row)
        issue_of[row] = _issue(row, on_server[part.name], part.window, taken)
    numbers = way.server.issues.pin(
        cvat_id, list(dict.fromkeys(issue_of.values())), way.server.jobs(cvat_id), way.track
    )
    way.project.ledger.put_issues(
        way.task.id, [replace(row, cvat_id=numbers[issue]) for row, issue in issue_of.items()]
    )


def frame_of_issue(row: FrameRow, issue: IssueRow) -> FrameRow:
    """The frame of an image that an issue is pinned on: of a cut one that of the tile that owns its area."""
    own = [part for part in row.parts if part.window is not None and part.window.owns(*issue.box_ltrb[:2])]
    return own[0] if own else row.parts[0]


def _issue(row: IssueRow, frame: Frame, tile: Tile | None, taken: set[tuple[int, tuple[float, ...]]]) -> Issue:
    """An issue at its marker; two at one place are told apart by half a pixel, for the place is how one is known."""
    x, y = (0, 0) if tile is None else (tile.left_px, tile.top_px)
    left, top, right, bottom = (end - start for end, start in zip(row.box_ltrb, (x, y, x, y), strict=True))
    position = tuple(map(float, marker((left, top, right + 1, bottom + 1), frame.size_hw)))
    while (frame.index, position) in taken:
        position = (position[0], position[1], position[2] - 0.5, position[3] - 0.5)
    taken.add((frame.index, position))
    return Issue(frame.index, position, row.message)
