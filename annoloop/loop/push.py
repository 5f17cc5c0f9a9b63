"""``annoloop push``: the worst images with their masks, or the heaviest proposals, into one CVAT task.

``choosing.py`` chooses, ``delivery.py`` sends; the whole plan goes into the ledger between the two, so that after a
crash the same command finds it again and goes on (law 4).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import uuid4

from annoloop.compute.workers import spread
from annoloop.cvat.server import CvatServer
from annoloop.cvat.shapes import Drawing
from annoloop.cvat.wire import digest_label
from annoloop.data.mmseg_folders import palette_of
from annoloop.errors import ConfigError, NothingToPushError
from annoloop.loop.exchange.delivery import Handling, deliver, give_up
from annoloop.loop.exchange.disputed import SeveralMasks, disputed
from annoloop.loop.exchange.planning import Planned, Planner, check_names
from annoloop.loop.exchange.review_cargo import region_of
from annoloop.loop.exchange.reviewing import answered, askable, model_proposals, plan_review
from annoloop.loop.exchange.tile_planning import TilePlanner
from annoloop.loop.missing_model import why_no_model
from annoloop.loop.quality import looks_at
from annoloop.masks.classes import ClassTable
from annoloop.progress import Say, Track, silent, unsaid
from annoloop.project.project import Project
from annoloop.project.rows import PROPOSALS, ProposalRow, RunRow, TaskRow
from annoloop.selection.choosing import Chosen, choose_images, choose_labelled
from annoloop.selection.criteria import check_criterion
from annoloop.selection.proposals import Proposal
from annoloop.selection.request import PushRequest, Source
from annoloop.selection.scoring import Watch, unwatched

_A_MOMENT_S = 60.0
"""So long the same push counts as one of which somebody has not seen the end."""


@dataclass(frozen=True, slots=True)
class PushedFrame:
    """One image of the task: its score before and what that looks like, shapes per label, and its issues.

    ``reading`` is a guess, see ``label_quality.reading``; None for an image without labels, too.  ``tiles``: into how
    many frames it was cut, 0 for one that goes as a whole.
    """

    sample_id: str
    score: float | None
    reading: str | None
    shapes: Mapping[str, int]
    issues: tuple[str, ...]
    tiles: int = 0


@dataclass(frozen=True, slots=True)
class ProposedRegion:
    """One region that asks for a verdict: its number in the task, the class that the label gives it and the one that
    is proposed, by name, its pixels, and the model's mean confidence, 0 ... 1."""

    number: int
    sample_id: str
    labelled: str
    becomes: str
    px: int
    confidence: float


@dataclass(frozen=True, slots=True)
class PushReport:
    """What went to CVAT; ``task`` and ``url`` are None for a dry run.

    ``source``: what the frames hold, "proposals" for a review, which has ``proposals``, heaviest first.
    ``polygon_loss_px``: pixels that would change if somebody edited every polygon; None for masks.
    ``corrected_left_out``: images whose mask is as annotators left it.  ``alike_left_out``: sample ids that
    would have gone, but are nearly the same as one that goes.  ``tiles_left_out``: tiles that hold nothing to
    correct.  None of a push that was cut off and finished later.
    """

    name: str
    task: int | None
    url: str | None
    source: Source | Literal["proposals"]
    run: int | None
    resumed: bool
    polygon_loss_px: int | None
    frames: tuple[PushedFrame, ...]
    corrected_left_out: int | None = None
    alike_left_out: tuple[str, ...] | None = None
    proposals: tuple[ProposedRegion, ...] | None = None
    tiles_left_out: int | None = None


def push(
    project: Project,
    server: CvatServer | None,
    request: PushRequest,
    *,
    again: bool = True,
    say: Say = unsaid,
    track: Track = silent,
    watch: Watch = unwatched,
) -> PushReport:
    """Choose images, write the plan down, send it, and read it back; without a server only say what would go.

    Args:
        again: False: the same push that was done a moment ago is told, not done once more with the next images.

    Raises:
        ConfigError: no model yet, and it is needed, which it is not for the labels of images that are named; an
            unknown criterion or split, labels asked of a split without any.
        NothingToPushError: nothing is left that fits.
        DataError: a mask that cannot be used.
        CvatError: the server refused or could not be reached; the same command goes on.
    """
    check_criterion(request.by, project.classes)
    run = project.current_run()
    if run is None and not _needs_no_model(request):
        what = "draw" if request.only else "find the worst images with"
        raise ConfigError(f"{why_no_model(project)}, and one is needed to {what}", hint="annoloop retrain")
    plan_digest = _plan_digest(project, request, run)
    task = _cut_off(project, plan_digest) or (None if again else _done_just_now(project, plan_digest, say))
    handling = Handling(request.segment_size, (), request.context, request.replicas)
    if server is not None:
        server.require_writing()
        users = server.user_ids(request.assignees)  # an unknown one is better known before anything is planned
        handling = replace(handling, assignees=tuple(users[name] for name in request.assignees))
    if task is not None:
        return _send(project, server, request, handling, task, say, track, resumed=True)
    if server is not None:
        _give_up_stale(project, server, run, say)
    if request.is_review:
        chosen, planned = None, plan_review(project, _proposals(project, server, run, request, say, track, watch))
    else:
        chosen = _chosen(project, run, request, say, track, watch)
        planned = _plan(project, run, request, chosen, track)
    left_out = sum(one.tiles_left_out for one in planned)
    planned = [one for one in planned if not one.holds_nothing]
    loss_px = None if request.shape == "mask" or chosen is None else sum(one.loss_px for one in planned)
    if loss_px is not None:
        say(_loss(planned, loss_px, request))
    if server is None:
        report = _report(project, request, _id(run), _task_name(project, request), planned, loss_px)
    else:
        task = _write_plan(project, run, request, plan_digest, planned)
        report = _send(project, server, request, handling, task, say, track, loss_px=loss_px)
    if chosen is None:
        return report
    report = replace(report, tiles_left_out=left_out if request.tiles else None)
    return replace(report, corrected_left_out=chosen.corrected_left_out, alike_left_out=chosen.alike_left_out)


def _chosen(project: Project, run: RunRow | None, request: PushRequest, say: Say, track: Track, watch: Watch) -> Chosen:
    if run is None:
        return choose_labelled(project, request, track)
    return choose_images(project, run, request, say, track, watch)


def _needs_no_model(request: PushRequest) -> bool:
    """Whether people alone say what goes: named images with their labels, or regions about which people differ."""
    if request.is_review:
        return request.carries == "disputed"
    return bool(request.only) and request.source == "label"


def _proposals(
    project: Project,
    server: CvatServer | None,
    run: RunRow | None,
    request: PushRequest,
    say: Say,
    track: Track,
    watch: Watch,
) -> list[Proposal]:
    pairs = askable(project, request, track)
    if request.carries == PROPOSALS:
        assert run is not None
        return model_proposals(project, run, request, pairs, say, track, watch)
    if server is None:
        raise ConfigError("what annotators drew is in CVAT, and a dry run asks nobody", where="--dry-run")
    seen = looks_at(project, server, None, False, track)
    drawn = (SeveralMasks(one.row.sample_id, list(one.maps.values())) for one in seen)
    found = disputed(project, pairs, drawn, request.worst, answered(project, pairs))
    if not found:
        raise NothingToPushError(
            "nothing to ask: annotators differ nowhere from the label and each other",
            where=server.url,
            hint="annoloop quality shows how far they agree; pull their task first, its images wait in it until then",
        )
    return found


# the plan


def _id(run: RunRow | None) -> int | None:
    return None if run is None else run.id


def _plan_digest(project: Project, request: PushRequest, run: RunRow | None) -> str:
    """Equal for the same command on the same model, classes and server."""
    plan = [request.worst, request.only, request.splits, request.by, request.source]
    plan += [request.random_share, request.corrected]
    # Only where they say something: else the digests of before would no longer be theirs.
    plan += [request.carries] if request.is_review else []
    plan += [request.replicas] if request.replicas else []
    plan += [[request.tiles, request.overlap, request.all_tiles]] if request.tiles else []
    plan += [
        request.shape,
        request.tolerance_px,
        _id(run),
        project.classes.digest,
        project.config.cvat.url,
        project.config.push.min_region_px,
    ]
    return hashlib.sha256(json.dumps(plan).encode()).hexdigest()


def _task_name(project: Project, request: PushRequest) -> str:
    """A name that sorts and that nobody else's task has: by it a broken push is found, and its rest deleted."""
    number = len(project.ledger.tasks()) + 1
    what = f"selected {len(request.only)}" if request.only else f"worst {request.worst} by {request.by}"
    if request.is_review:
        what = f"proposals for {len(request.only)} images" if request.only else f"{request.worst} proposals"
    return f"{project.config.project} {number:03d} {what} {uuid4().hex[:8]}"


def _plan(project: Project, run: RunRow | None, request: PushRequest, chosen: Chosen, track: Track) -> list[Planned]:
    check_names(project.files, (one.sample.id for one in chosen.images))
    bare = any(one.sample.mask is None for one in chosen.images)
    palette = palette_of(project.samples()) if bare else None
    how = _drawing(project, request)
    given = (project.files, _id(run), request.source, how, request.issues_per_frame, palette)
    if not request.tiles:
        return list(track(spread(Planner(*given).plan, chosen.images), "planning", len(chosen.images)))
    cutter = TilePlanner(*given, request.tiles, request.overlap, request.all_tiles)
    # One by one: an image that is worth cutting takes much memory.
    planned = list(map(cutter.plan, track(chosen.images, "planning", len(chosen.images))))
    if all(one.holds_nothing for one in planned):
        raise NothingToPushError(
            f"nothing to correct in any tile of {len(planned)} images", hint="--all-tiles sends all of them"
        )
    return planned


def _drawing(project: Project, request: PushRequest) -> Drawing:
    return Drawing(request.shape, request.tolerance_px, project.config.push.min_region_px)


def _loss(planned: Sequence[Planned], loss_px: int, request: PushRequest) -> str:
    return (
        f"polygons at {request.tolerance_px:g} px: if somebody edits all of them, {loss_px} px in {len(planned)} images"
        " would change; those that nobody touches come back exactly"
    )


def _write_plan(
    project: Project, run: RunRow | None, request: PushRequest, plan_digest: str, planned: Sequence[Planned]
) -> TaskRow:
    how = _drawing(project, request)
    plan = {
        "name": _task_name(project, request),
        "plan_digest": plan_digest,
        "source": PROPOSALS if request.is_review else request.source,
        "run_id": _id(run),
        "class_digest": project.classes.digest,
        "server": project.config.cvat.url,
        "shape": how.kind,
        "tolerance_px": how.tolerance_px,
        "min_region_px": how.min_region_px,
    }
    frames, issues = [one.frame for one in planned], [issue for one in planned for issue in one.issues]
    proposals = [row for one in planned for row in one.proposals]
    with project.ledger.transaction():
        project.ledger.plan_task(plan, frames, issues, proposals)
        if not proposals:  # a verdict on a region is not what a mark asks for
            project.ledger.put_marks(remove=[frame.sample_id for frame in frames])
    task = _cut_off(project, plan_digest)
    assert task is not None
    return task


# what an earlier push left


def cut_off(project: Project, request: PushRequest) -> str | None:
    """The name of a half-made task that the same push would finish; None where there is none."""
    task = _cut_off(project, _plan_digest(project, request, project.current_run()))
    return None if task is None else task.name


def _cut_off(project: Project, plan_digest: str) -> TaskRow | None:
    """The task of the same plan whose push was cut off."""
    return next((t for t in reversed(project.ledger.half_pushed_tasks()) if t.plan_digest == plan_digest), None)


def _done_just_now(project: Project, plan_digest: str, say: Say) -> TaskRow | None:
    """The task of the same plan that was finished a moment ago: somebody may not have seen that it was."""
    since = (datetime.now(UTC) - timedelta(seconds=_A_MOMENT_S)).isoformat(timespec="milliseconds")
    for task in reversed(project.ledger.tasks()):
        if task.plan_digest == plan_digest and task.state == "open" and (task.opened_at or "") > since:
            say("this push was done a moment ago; --again goes on to the next images")
            return task
    return None


def _give_up_stale(project: Project, server: CvatServer, run: RunRow | None, say: Say) -> None:
    """Half-made tasks that no command can finish any more: another model, or other classes."""
    for task in project.ledger.half_pushed_tasks():
        if task.server == server.url and (task.run_id, task.class_digest) != (_id(run), project.classes.digest):
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
    issues, proposals = project.ledger.issues(task.id), project.ledger.proposals(task.id)
    planned = [
        Planned(
            frame,
            tuple(one for one in issues if one.sample_id == frame.sample_id),
            0,
            tuple(one for one in proposals if one.sample_id == frame.sample_id),
        )
        for frame in project.ledger.frames(task.id)
    ]
    url = None if server is None or cvat_id is None else server.task_url(cvat_id)
    return _report(project, request, task.run_id, task.name, planned, loss_px, cvat_id, url, resumed=resumed)


def _report(
    project: Project,
    request: PushRequest,
    run_id: int | None,
    name: str,
    planned: Sequence[Planned],
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
            one.frame.reading,
            Counter(map(digest_label, one.frame.plain_shapes)),
            tuple(issue.message for issue in one.issues),
            len(one.frame.tiles),
        )
        for one in worst_first
    )
    if request.is_review:
        rows = sorted((row for one in planned for row in one.proposals), key=lambda row: row.number)
        regions = tuple(_proposed(row, project.classes) for row in rows)
        return PushReport(name, cvat_id, url, PROPOSALS, run_id, resumed, loss_px, pushed, proposals=regions)
    return PushReport(name, cvat_id, url, request.source, run_id, resumed, loss_px, pushed)


def _proposed(row: ProposalRow, classes: ClassTable) -> ProposedRegion:
    labelled, becomes = classes.label_of(row.labelled), classes.label_of(row.becomes)
    return ProposedRegion(row.number, row.sample_id, labelled, becomes, region_of(row).area_px, row.confidence)
