"""What a tracker is told of a run beside its training: what it is made of, its scores, its worst images, the verdict.

Not here: curves, queues and trackers (``tracking/``).  The fact to know: a tracker that does not answer refuses a
training before it begins; from then on nothing of it can fail or stall one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from annoloop.data.mmseg_folders import Sample
from annoloop.errors import AnnoloopError
from annoloop.loop.evaluate import panel_of
from annoloop.loop.handover.manifest import content_sha256, entries_of
from annoloop.loop.training_request import RetrainRequest
from annoloop.metrics.scores import scores
from annoloop.project.project import Project
from annoloop.project.rows import ImageRow, RunRow
from annoloop.reports.gallery import save_panels
from annoloop.selection.scoring import Scored, Watch, total, unwatched
from annoloop.tracking.curves import final_points
from annoloop.tracking.session import Tracking
from annoloop.tracking.settings import open_tracker, place_of
from annoloop.tracking.tracker import Picture, Texts, Tracker
from annoloop.training.records import Event, Job

if TYPE_CHECKING:
    from annoloop.loop.retrain import RetrainReport

SHOWN = 4
"""So many of the worst images are told."""


def tracker_of(project: Project, request: RetrainRequest, watch: Watch = unwatched) -> Tracker | None:
    """The tracker of a training, which answers; None where none is set.

    Raises:
        MissingPackageError: what it needs is not installed.
        ConfigError: nobody said where it is, it cannot be reached, or it refuses.
    """
    place = place_of(project.config.train, request.tracker, project.config.project, project.path)
    if place is None:
        return None
    try:
        return open_tracker(place, project.state_dir)
    except AnnoloopError as error:
        if not request.unattended:
            raise
        watch(Event("warning", {"message": f"not tracked: {error.where or place.tracker}: {error.message}"}))
        return None


def tracking(
    project: Project,
    tracker: Tracker | None,
    run: RunRow,
    job: Job,
    splits: Mapping[str, Sequence[Sample]],
    rows: Mapping[str, ImageRow],
    watch: Watch,
) -> Tracking:
    """A training of a run that is told its tracker, where there is one."""
    params = _params(project, run, job, splits, rows) if tracker is not None else {}
    name = f"{project.config.project} run {run.id}"
    return Tracking(tracker, watch, project.run_dir(run.id), name, params, project.classes.names)


def tell_verdict(told: Tracking, project: Project, report: RetrainReport, candidate: Sequence[Scored]) -> None:
    """Scores on the whole validation split, the worst images, and whether the model was promoted."""
    if not told.on:
        return
    reached = scores(total(candidate), project.classes.background_index)
    means = {"mDice": reached.mean_dice, "mIoU": reached.mean_iou}
    told.tell(final_points(report.iterations, means, reached.dice, reached.iou, told.names))
    promoted = "yes" if report.promoted else "no"
    told.tell([Texts({"promoted": promoted, "verdict": report.verdict, "seconds": f"{report.seconds:.0f}"})])
    try:
        told.tell(_pictures(project, report.run, candidate))
    except AnnoloopError as error:  # an image that is gone meanwhile: the model is judged all the same
        told.warn(error)


def _pictures(project: Project, run_id: int, candidate: Sequence[Scored]) -> list[Picture]:
    worst = sorted(candidate, key=lambda one: (one.score.dice, one.sample.id))[:SHOWN]
    panels = [panel_of(project, run_id, "worst", number, one) for number, one in enumerate(worst, 1)]
    files = save_panels(project.report_dir(f"run-{run_id:04d}-tracked"), panels, project.classes)
    return [Picture(f"worst/{file.stem}", file) for file in files]


def _params(
    project: Project, run: RunRow, job: Job, splits: Mapping[str, Sequence[Sample]], rows: Mapping[str, ImageRow]
) -> dict[str, str]:
    known = {
        "project": project.config.project,
        "run": run.id,
        "recipe": run.recipe,
        "parent": run.parent_id,
        "iterations": job.iterations,
        "budget_s": job.budget_s,
        "seed": job.seed,
        "pretrained": job.pretrained,
        "classes": ", ".join(project.classes.names),
        "classes_digest": project.classes.digest,
    }
    for split, samples in splits.items():
        digest = content_sha256(project.classes.digest, entries_of(samples, rows))
        known |= {f"{split}_images": len(samples), f"{split}_digest": digest}
    return {name: str(value) for name, value in known.items() if value is not None}
