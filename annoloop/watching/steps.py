"""One step of the loop: a pull, a training or a push, and what is to be said of it.

Not here: when (``due.py``).  The fact to know: each is the operation of the command of its name, so that what is cut
off is finished by the same step, or by the command.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from annoloop.cvat.server import CvatServer
from annoloop.errors import CvatError
from annoloop.loop.exchange.pull_report import PullReport
from annoloop.loop.pull import pull
from annoloop.loop.push import PushReport, push
from annoloop.loop.retrain import RetrainReport, retrain
from annoloop.loop.training_request import RetrainRequest
from annoloop.progress import Say, Track
from annoloop.project.project import Project
from annoloop.selection.request import PushRequest
from annoloop.selection.scoring import Watch
from annoloop.watching.due import Step, WatchRequest

Views = Callable[[], AbstractContextManager[Watch]]
"""Opens a view of a training process."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step did, in words, and its report."""

    said: str
    report: PullReport | RetrainReport | PushReport | None


def take(
    step: Step, wanted: WatchRequest, project: Project, server: CvatServer, request: PushRequest | None, say: Say,
    track: Track, views: Views,
) -> Outcome:  # fmt: skip
    """Do a step, which holds the project meanwhile.

    Raises:
        NothingToPushError: of a push.
        AnnoloopError: what the step raises.
    """
    with project.locked(f"watch: {step.kind}"):
        if step.kind == "pull":
            return _pull(step, wanted, project, server, say, track)
        with views() as view:
            if step.kind == "retrain":
                missing = wanted.allow_missing_classes
                asked = RetrainRequest(budget_s=wanted.budget_s, allow_missing_classes=missing, unattended=True)
                trained = retrain(project, asked, track=track, watch=view)
                return Outcome(_trained(trained), trained)
            assert request is not None
            pushed = push(project, server, request, say=say, track=track, watch=view)
            return Outcome(_pushed(pushed), pushed)


def _pull(step: Step, wanted: WatchRequest, project: Project, server: CvatServer, say: Say, track: Track) -> Outcome:
    try:
        report = pull(project, server, task=step.task, on_conflict=wanted.on_conflict, say=say, track=track)[0]
    except CvatError as error:
        gone = any(row.cvat_id == step.task and row.state == "lost" for row in project.ledger.tasks())
        if error.status != 404 or not gone:
            raise
        return Outcome(f"task {step.task} was deleted in CVAT; its images can be pushed again", None)
    return Outcome(_pulled(report), report)


def _pulled(report: PullReport) -> str:
    counts = ((report.changed, "changed"), (report.accepted, "accepted as they were"), (report.untouched, "untouched"))
    frames = ", ".join(f"{len(some)} {how}" for some, how in counts if some) or "nothing new"
    held = f"; {len(report.held)} held back, to be mended in CVAT: {report.held[0].url}" if report.held else ""
    return f"task {report.task}: {frames}, {report.edited_px} px edited, {len(report.written)} masks written{held}"


def _trained(report: RetrainReport) -> str:
    verdict = "promoted" if report.promoted else "not promoted"
    return f"run {report.run}: mDice {report.mean_dice:.3f}, {verdict}: {report.verdict}"


def _pushed(report: PushReport) -> str:
    what = f"{len(report.frames)} images"
    if report.proposals is not None:
        what = f"{len(report.proposals)} proposals on {what}"
    return f"task {report.task}: {what}, {report.url}"
