"""``annoloop push``: the worst images with their masks into one CVAT task.

Chooses, and writes the whole plan into the ledger before anything is sent; ``delivery.py`` sends it.  After
a crash the same command finds the plan again and goes on (law 4).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Literal
from uuid import uuid4

import numpy as np

from annoloop.cvat import CvatServer
from annoloop.cvat_wire import digest_label
from annoloop.dataset import check_label_map, decode_label_map, to_stored
from annoloop.delivery import CONTEXT_FOLDER, Handling, deliver, give_up
from annoloop.errors import ConfigError, DataError
from annoloop.images import decode_index_png, encode_index_png, image_size_hw, read_bytes
from annoloop.masks import LabelMap, to_cvat_runs
from annoloop.metrics import dice, missed_share, wrong_px
from annoloop.mistakes import largest_mistakes
from annoloop.progress import Say, Track, silent, unsaid
from annoloop.project import Project
from annoloop.schema import FrameRow, IssueRow, RunRow, TaskRow
from annoloop.scoring import Scored, Watch, score, unwatched
from annoloop.selection import Candidate, choose
from annoloop.shapes import Drawing, Kind, draw, polygon_loss_px

Source = Literal["prediction", "ground-truth"]


@dataclass(frozen=True, slots=True)
class PushRequest:
    """What to push, ``by`` being dice, missed or class:NAME, and how it is to look in CVAT.

    ``segment_size``: images per job, 0 for one job.  ``tolerance_px`` counts for polygons only.
    """

    worst: int
    splits: tuple[str, ...] = ("train",)
    by: str = "dice"
    source: Source = "prediction"
    random_share: float = 0.0
    shape: Kind = "mask"
    tolerance_px: float = 1.0
    segment_size: int = 0
    assignees: tuple[str, ...] = ()
    context: bool = True
    issues_per_frame: int = 2
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class PushedFrame:
    """One image of the task: its score before, how many shapes each label has, and its issues."""

    sample_id: str
    score: float | None
    shapes: Mapping[str, int]
    issues: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PushReport:
    """What went to CVAT; ``task`` and ``url`` are None for a dry run.

    ``polygon_loss_px``: pixels that would change if somebody edited every polygon; None for masks, and
    for a push that was cut off and finished later.  ``alike_left_out``: sample ids that would have gone, but are
    nearly the same as one that goes; not known any more of a push that was finished later.
    """

    name: str
    task: int | None
    url: str | None
    source: Source
    run: int | None
    resumed: bool
    polygon_loss_px: int | None
    frames: tuple[PushedFrame, ...]
    alike_left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Planned:
    """One image of a plan."""

    frame: FrameRow
    issues: tuple[IssueRow, ...]
    loss_px: int


def push(
    project: Project,
    server: CvatServer | None,
    request: PushRequest,
    *,
    say: Say = unsaid,
    track: Track = silent,
    watch: Watch = unwatched,
) -> PushReport:
    """Choose images, write the plan down, send it, and read it back; without a server only say what would go.

    Raises:
        ConfigError: no model yet, an unknown class or split.
        DataError: nothing left to push, or a mask that cannot be used.
        CvatError: the server refused or could not be reached; the same command goes on.
    """
    run = project.current_run()
    if run is None:
        raise ConfigError("there is no model yet to find the worst images with", hint="annoloop retrain")
    plan_digest = _plan_digest(project, request, run)
    task = _cut_off(project, plan_digest)
    handling = Handling(request.segment_size, (), request.context)
    if server is not None:
        server.require_writing()
        users = server.user_ids(request.assignees)  # an unknown one is better known before anything is planned
        handling = replace(handling, assignees=tuple(users[name] for name in request.assignees))
    if task is not None:
        return _send(project, server, request, handling, task, say, track, resumed=True)
    if server is not None:
        _give_up_stale(project, server, run, say)
    chosen, alike = _choose(project, run, request, track, watch)
    planned = [_plan(project, run, one, candidate, request) for one, candidate in track(chosen, "planning")]
    loss_px = None if request.shape == "mask" else sum(one.loss_px for one in planned)
    if loss_px is not None:
        say(_loss(planned, loss_px, request))
    task = _write_plan(project, run, request, plan_digest, planned) if server is not None else None
    if task is None:
        report = _report(request, run.id, _task_name(project, request), planned, loss_px)
    else:
        report = _send(project, server, request, handling, task, say, track, loss_px=loss_px)
    return replace(report, alike_left_out=alike)


# the plan


def _plan_digest(project: Project, request: PushRequest, run: RunRow) -> str:
    """Equal for the same command on the same model, classes and server."""
    plan = [request.worst, request.splits, request.by, request.source, request.random_share]
    plan += [
        request.shape,
        request.tolerance_px,
        run.id,
        project.classes.digest,
        project.config.cvat.url,
        project.config.push.min_region_px,
    ]
    return hashlib.sha256(json.dumps(plan).encode()).hexdigest()


def _task_name(project: Project, request: PushRequest) -> str:
    """A name that sorts and that nobody else's task has: by it a broken push is found, and its rest deleted."""
    number = len(project.ledger.tasks()) + 1
    return f"{project.config.project} {number:03d} worst {request.worst} by {request.by} {uuid4().hex[:8]}"


def _choose(
    project: Project, run: RunRow, request: PushRequest, track: Track, watch: Watch
) -> tuple[list[tuple[Scored, Candidate]], tuple[str, ...]]:
    """The images that go, and those left out for their sake."""
    scored = {s.sample.id: s for s in score(project, run, project.samples(request.splits), track=track, watch=watch)}
    busy = project.ledger.samples_in_open_tasks()
    candidates = [_candidate(project, s, request.by) for name, s in scored.items() if name not in busy]
    eligible = [c for c in candidates if not np.isnan(c.score)]
    looks = project.looks({c.sample_id: scored[c.sample_id].row for c in eligible}, track)
    choice = choose(eligible, request.worst, random_share=request.random_share, seed=run.id, alike=looks.any_alike)
    if not choice.chosen:
        reason = f"{len(busy & set(scored))} of {len(scored)} images are in open tasks" if busy else "no image fits"
        raise DataError(f"nothing to push: {reason}", hint="annoloop status shows the open tasks")
    return [(scored[c.sample_id], c) for c in choice.chosen], tuple(c.sample_id for c in choice.left_out)


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


def _plan(project: Project, run: RunRow, one: Scored, candidate: Candidate, request: PushRequest) -> _Planned:
    """Both masks into the history, the digests of the shapes that will be sent, and the largest mistakes."""
    mask = one.sample.mask
    assert mask is not None
    base_bytes = read_bytes(mask)
    truth = decode_label_map(base_bytes, project.config.data, mask)
    check_label_map(truth, image_size_hw(one.sample.image), project.classes, mask)
    base = project.keep_object(base_bytes)
    prediction = project.prediction(run.id, one.row.image_sha256)
    label_map, sent = truth, base
    if request.source == "prediction":
        # What is ignored stays ignored: the model knows nothing of it and would fill it in.
        label_map = np.where(truth == project.classes.ignore_index, truth, prediction)
        stored = to_stored(label_map, project.config.data, decode_index_png(base_bytes, mask))
        sent = project.keep_object(encode_index_png(stored))
    how, name = _drawing(project, request), _frame_name(project, one.sample.id)
    drawn = draw(label_map, project.classes, how, name)
    digests = tuple(sorted(one.digest for one in drawn))
    frame = FrameRow(one.sample.id, name, candidate.score, base, sent, sent, digests)
    issues = _issues(project, run, one, truth, prediction, request)
    return _Planned(frame, issues, polygon_loss_px(drawn, label_map, project.classes))


def _drawing(project: Project, request: PushRequest) -> Drawing:
    return Drawing(request.shape, request.tolerance_px, project.config.push.min_region_px)


def _frame_name(project: Project, sample_id: str) -> str:
    name = f"{sample_id}{project.config.data.image_suffix}"
    if CONTEXT_FOLDER in PurePosixPath(name).parts or "\\" in name:
        raise DataError("CVAT cannot take an image of this name", where=name, hint="rename the file or its folder")
    return name


def _issues(
    project: Project, run: RunRow, one: Scored, truth: LabelMap, prediction: LabelMap, request: PushRequest
) -> tuple[IssueRow, ...]:
    if request.issues_per_frame == 0:
        return ()
    found = largest_mistakes(
        truth,
        prediction,
        project.confidence(run.id, one.row.image_sha256),
        project.classes,
        count=request.issues_per_frame,
        least_px=project.config.push.min_region_px,
    )
    return tuple(
        IssueRow(one.sample.id, number, mistake.message(project.classes), tuple(to_cvat_runs(mistake.region)))
        for number, mistake in enumerate(found)
    )


def _loss(planned: Sequence[_Planned], loss_px: int, request: PushRequest) -> str:
    return (
        f"polygons at {request.tolerance_px:g} px: if somebody edits all of them, {loss_px} px in {len(planned)} images"
        " would change; those that nobody touches come back exactly"
    )


def _write_plan(
    project: Project, run: RunRow, request: PushRequest, plan_digest: str, planned: Sequence[_Planned]
) -> TaskRow:
    how = _drawing(project, request)
    plan = {
        "name": _task_name(project, request),
        "plan_digest": plan_digest,
        "source": request.source,
        "run_id": run.id,
        "class_digest": project.classes.digest,
        "server": project.config.cvat.url,
        "shape": how.kind,
        "tolerance_px": how.tolerance_px,
        "min_region_px": how.min_region_px,
    }
    project.ledger.plan_task(plan, [one.frame for one in planned], [issue for one in planned for issue in one.issues])
    task = _cut_off(project, plan_digest)
    assert task is not None
    return task


# what an earlier push left


def _cut_off(project: Project, plan_digest: str) -> TaskRow | None:
    """The task of the same plan whose push was cut off."""
    return next((t for t in reversed(project.ledger.half_pushed_tasks()) if t.plan_digest == plan_digest), None)


def _give_up_stale(project: Project, server: CvatServer, run: RunRow, say: Say) -> None:
    """Half-made tasks that no command can finish any more: another model, or other classes."""
    for task in project.ledger.half_pushed_tasks():
        if task.server == server.url and (task.run_id, task.class_digest) != (run.id, project.classes.digest):
            give_up(project, server, task, say)


# sending and reporting


def _send(
    project: Project,
    server: CvatServer | None,
    request: PushRequest,
    handling: Handling,
    task: TaskRow,
    say: Say,
    track: Track,
    *,
    loss_px: int | None = None,
    resumed: bool = False,
) -> PushReport:
    cvat_id = None if server is None else deliver(project, server, task, handling, say=say, track=track)
    issues = project.ledger.issues(task.id)
    planned = [
        _Planned(frame, tuple(i for i in issues if i.sample_id == frame.sample_id), 0)
        for frame in project.ledger.frames(task.id)
    ]
    url = None if server is None or cvat_id is None else server.task_url(cvat_id)
    return _report(request, task.run_id, task.name, planned, loss_px, cvat_id, url, resumed=resumed)


def _report(
    request: PushRequest,
    run_id: int | None,
    name: str,
    planned: Sequence[_Planned],
    loss_px: int | None,
    cvat_id: int | None = None,
    url: str | None = None,
    *,
    resumed: bool = False,
) -> PushReport:
    worst_first = sorted(planned, key=lambda p: (p.frame.score is None, p.frame.score, p.frame.sample_id))
    pushed = tuple(
        PushedFrame(
            one.frame.sample_id,
            one.frame.score,
            Counter(map(digest_label, one.frame.shapes)),
            tuple(issue.message for issue in one.issues),
        )
        for one in worst_first
    )
    return PushReport(name, cvat_id, url, request.source, run_id, resumed, loss_px, pushed)
