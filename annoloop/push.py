"""``annoloop push``: the worst images with their masks into one CVAT task.

The plan is written into the ledger before anything is sent, and the task is named after it; after a
crash the same command finds plan and task again and goes on (law 4).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal
from uuid import uuid4

import numpy as np

from annoloop.cvat import CvatServer
from annoloop.cvat_wire import JobInfo, Shape, digest_label, shape_digest
from annoloop.dataset import check_label_map, decode_label_map, to_stored
from annoloop.errors import ConfigError, CvatError, DataError
from annoloop.images import decode_index_png, encode_index_png, image_size_hw, read_bytes
from annoloop.masks import LabelMap, paint, regions, to_cvat_runs
from annoloop.metrics import dice, missed_share, wrong_px
from annoloop.progress import Track, silent
from annoloop.project import Project
from annoloop.schema import FrameRow, RunRow, TaskRow
from annoloop.scoring import Scored, Watch, score, unwatched
from annoloop.selection import Candidate, choose

Source = Literal["prediction", "ground-truth"]


@dataclass(frozen=True, slots=True)
class PushRequest:
    """What to push: ``by`` is dice, missed or class:NAME."""

    worst: int
    splits: tuple[str, ...] = ("train",)
    by: str = "dice"
    source: Source = "prediction"
    random_share: float = 0.0
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class PushedFrame:
    """One image of the task: its score before, and how many shapes each label has."""

    sample_id: str
    score: float | None
    shapes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class PushReport:
    """What went to CVAT; ``task`` and ``url`` are None for a dry run."""

    name: str
    task: int | None
    url: str | None
    source: Source
    run: int | None
    resumed: bool
    frames: tuple[PushedFrame, ...]


def push(
    project: Project,
    server: CvatServer | None,
    request: PushRequest,
    *,
    track: Track = silent,
    watch: Watch = unwatched,
) -> PushReport:
    """Choose images, write the plan down, send it, and read it back.

    Raises:
        ConfigError: no model yet, an unknown class or split.
        DataError: nothing left to push, or a mask that cannot be used.
        CvatError: the server refused or could not be reached; the same command goes on.
    """
    run = project.current_run()
    if run is None:
        raise ConfigError("there is no model yet to find the worst images with", hint="annoloop retrain")
    plan_digest = _plan_digest(project, request, run)
    task = project.ledger.half_pushed_task(plan_digest)
    resumed = task is not None
    if task is None:
        chosen = _choose(project, run, request, track, watch)
        frames = [_plan_frame(project, run, one, candidate, request) for one, candidate in track(chosen, "planning")]
        if request.dry_run or server is None:
            return _report(request, run, _task_name(project, request), None, None, frames)
        task = _write_plan(project, server, request, run, plan_digest, frames)
    elif request.dry_run or server is None:
        return _report(request, run, task.name, None, None, project.ledger.frames(task.id), resumed=True)
    cvat_id = _send(project, server, task, track)
    frames = project.ledger.frames(task.id)
    return _report(request, run, task.name, cvat_id, server.task_url(cvat_id), frames, resumed=resumed)


# the plan


def _plan_digest(project: Project, request: PushRequest, run: RunRow) -> str:
    """Equal for the same command on the same model, classes and server."""
    plan = [request.worst, request.splits, request.by, request.source, request.random_share]
    plan += [run.id, project.classes.digest, project.config.cvat.url, project.config.push.min_region_px]
    return hashlib.sha256(json.dumps(plan).encode()).hexdigest()


def _task_name(project: Project, request: PushRequest) -> str:
    """A name that sorts and that nobody else's task has: by it a broken push is found, and its rest deleted."""
    number = len(project.ledger.tasks()) + 1
    return f"{project.config.project} {number:03d} worst {request.worst} by {request.by} {uuid4().hex[:8]}"


def _choose(
    project: Project, run: RunRow, request: PushRequest, track: Track, watch: Watch
) -> list[tuple[Scored, Candidate]]:
    scored = {s.sample.id: s for s in score(project, run, project.samples(request.splits), track=track, watch=watch)}
    busy = project.ledger.samples_in_open_tasks()
    candidates = [_candidate(project, s, request.by) for name, s in scored.items() if name not in busy]
    eligible = [c for c in candidates if not np.isnan(c.score)]
    chosen = choose(eligible, request.worst, random_share=request.random_share, seed=run.id)
    if not chosen:
        reason = f"{len(busy & set(scored))} of {len(scored)} images are in open tasks" if busy else "no image fits"
        raise DataError(f"nothing to push: {reason}", hint="annoloop status shows the open tasks")
    return [(scored[c.sample_id], c) for c in chosen]


def _candidate(project: Project, one: Scored, by: str) -> Candidate:
    """The lower the score the worse; NaN where the criterion says nothing about this image."""
    counts, background = one.score.confusion, project.classes.background_index
    if by == "dice":
        value = one.score.dice
    elif by == "missed":
        value = 1 - missed_share(counts, background)
    else:
        value = float(dice(counts)[_class_index(project, by)])
    return Candidate(one.sample.id, value, wrong_px(counts))


def _class_index(project: Project, by: str) -> int:
    name = by.removeprefix("class:")
    if not by.startswith("class:") or name not in project.classes.names:
        raise ConfigError(
            f"{by!r} is no criterion",
            where="--by",
            hint=f"dice, missed, or class:NAME with one of {', '.join(project.classes.names)}",
        )
    return project.classes.names.index(name)


def _plan_frame(project: Project, run: RunRow, one: Scored, candidate: Candidate, request: PushRequest) -> FrameRow:
    """Both masks into the history, and the digests of the shapes that will be sent."""
    data, mask = project.config.data, one.sample.mask
    assert mask is not None
    base_bytes = read_bytes(mask)
    truth = decode_label_map(base_bytes, data, mask)
    check_label_map(truth, image_size_hw(one.sample.image), project.classes, mask)
    pushed = base = project.keep_object(base_bytes)
    label_map = truth
    if request.source == "prediction":
        # What is ignored stays ignored: the model knows nothing of it and would fill it in.
        prediction = project.prediction(run.id, one.row.image_sha256)
        label_map = np.where(truth == project.classes.ignore_index, truth, prediction)
        stored = to_stored(label_map, data, decode_index_png(base_bytes, mask))
        pushed = project.keep_object(encode_index_png(stored))
    name = f"{one.sample.id}{data.image_suffix}"
    shapes = _shapes(project, label_map, name)
    digests = tuple(sorted(shape_digest(shape, label) for label, shape in shapes))
    return FrameRow(one.sample.id, name, candidate.score, base, pushed, digests)


def _write_plan(
    project: Project,
    server: CvatServer,
    request: PushRequest,
    run: RunRow,
    plan_digest: str,
    frames: Sequence[FrameRow],
) -> TaskRow:
    plan = {
        "name": _task_name(project, request),
        "plan_digest": plan_digest,
        "source": request.source,
        "run_id": run.id,
        "class_digest": project.classes.digest,
        "server": server.url,
    }
    project.ledger.plan_task(plan, frames)
    task = project.ledger.half_pushed_task(plan_digest)
    assert task is not None
    return task


# sending


def _send(project: Project, server: CvatServer, task: TaskRow, track: Track) -> int:
    """Create, upload, annotate, verify; each step looks first at what an earlier try has done."""
    ledger, settings = project.ledger, project.config.cvat
    frames = ledger.frames(task.id)
    project_id = server.ensure_project(settings.project or project.config.project, project.classes)
    cvat_id = _usable_task(server, project_id, task, len(frames))
    if cvat_id is None:
        cvat_id = server.create_task(project_id, task.name, segment_size=settings.segment_size)
        ledger.set_task(task.id, "created", cvat_id)
        server.upload_images(cvat_id, [(f.name, project.image_path(f.sample_id)) for f in frames], track)
        for job, user in zip(server.jobs(cvat_id), _round_robin(settings.assignees), strict=False):
            server.assign_job(job.id, user)
    ledger.set_task(task.id, "uploaded", cvat_id)
    index_of = _frame_indices(project, server, cvat_id, frames)
    label_ids = {label.name: label.id for label in server.task_labels(cvat_id, project.classes)}
    for job in track(server.jobs(cvat_id), "sending masks"):
        in_job = [(index_of[f.name], f) for f in frames if index_of[f.name] in job.frames]
        _fill_job(project, server, job, in_job, label_ids)
    ledger.set_task(task.id, "open", cvat_id)
    return cvat_id


def _usable_task(server: CvatServer, project_id: int, task: TaskRow, frame_count: int) -> int | None:
    """The task of an earlier try if its upload is whole; half-made ones are deleted."""
    usable = None
    for found in server.find_tasks(project_id, task.name):
        if found.size == frame_count and usable is None:
            usable = found.id
        else:
            server.delete_task(found.id)
    return usable


def _round_robin(assignees: Sequence[str]) -> Iterable[str]:
    while assignees:
        yield from assignees


def _frame_indices(project: Project, server: CvatServer, cvat_id: int, frames: Sequence[FrameRow]) -> dict[str, int]:
    """Frame index by name, after the server's names and sizes were compared with ours."""
    found = {frame.name: frame for frame in server.frames(cvat_id)}
    if set(found) != {f.name for f in frames}:
        raise CvatError("the server's frames are not those that were sent", where=server.task_url(cvat_id))
    for frame in frames:
        size_hw = image_size_hw(project.image_path(frame.sample_id))
        if found[frame.name].size_hw != size_hw:
            raise CvatError(
                f"frame {frame.name} is {found[frame.name].size_hw} (h, w) on the server, {size_hw} here",
                where=server.task_url(cvat_id),
            )
    return {name: frame.index for name, frame in found.items()}


def _fill_job(
    project: Project,
    server: CvatServer,
    job: JobInfo,
    frames: Sequence[tuple[int, FrameRow]],
    label_ids: Mapping[str, int],
) -> None:
    """Send a job's shapes and read them back.

    A job that has shapes was filled by an earlier try; somebody may have begun to correct it since, so
    it is left as it is.

    Raises:
        CvatError: the server holds something else than was sent.
    """
    if server.job_shapes(job.id):
        return
    sent = [
        replace(shape, frame=index, label_id=label_ids[label], source="auto")
        for index, frame in frames
        for label, shape in _shapes(project, project.object_label_map(frame.pushed_sha256), frame.name)
    ]
    server.replace_job_shapes(job.id, sent)
    names = {number: name for name, number in label_ids.items()}
    found: dict[int, list[str]] = {}
    for shape in server.job_shapes(job.id):
        found.setdefault(shape.frame, []).append(shape_digest(shape, names[shape.label_id]))
    for index, frame in frames:
        if tuple(sorted(found.get(index, []))) != frame.shapes:
            raise CvatError(f"frame {frame.name} came back with other shapes than were sent", where=f"job {job.id}")


def _shapes(project: Project, label_map: LabelMap, where: str) -> list[tuple[str, Shape]]:
    """One mask shape per region with its label; frame and label id are filled in when sending.

    Raises:
        DataError: the shapes would not give the mask back, which must never happen.
    """
    classes = project.classes
    found = regions(label_map, skip=(classes.fill_index,), min_region_px=project.config.push.min_region_px)
    if not np.array_equal(paint(found, label_map.shape, fill=classes.fill_index), label_map):
        raise DataError("the shapes do not give the mask back; please report this", where=where)
    return [(classes.label_of(r.class_index), Shape(0, 0, "mask", tuple(map(float, to_cvat_runs(r))))) for r in found]


def _report(
    request: PushRequest,
    run: RunRow,
    name: str,
    cvat_id: int | None,
    url: str | None,
    frames: Sequence[FrameRow],
    *,
    resumed: bool = False,
) -> PushReport:
    worst_first = sorted(frames, key=lambda f: (f.score is None, f.score, f.sample_id))
    pushed = tuple(PushedFrame(f.sample_id, f.score, Counter(map(digest_label, f.shapes))) for f in worst_first)
    return PushReport(name, cvat_id, url, request.source, run.id, resumed, pushed)
