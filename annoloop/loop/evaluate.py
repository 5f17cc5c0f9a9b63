"""``annoloop evaluate``: scores of a model per split and class, its best and worst images, and its error report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from annoloop.data.images import read_image
from annoloop.data.mmseg_folders import read_label_map
from annoloop.errors import ConfigError
from annoloop.loop.missing_model import finished_run
from annoloop.metrics.scores import Scores, scores
from annoloop.progress import Track, silent
from annoloop.project.project import Project
from annoloop.project.rows import RunRow
from annoloop.reports.diagnosis import Before, Case, Files
from annoloop.reports.error_report import write_error_report
from annoloop.reports.gallery import Panel, save_panels
from annoloop.selection.scoring import Scored, Watch, by_split, missing_predictions, score, total, unwatched


@dataclass(frozen=True, slots=True)
class ImageScore:
    """One image and its Dice."""

    sample_id: str
    dice: float


@dataclass(frozen=True, slots=True)
class SplitReport:
    """Scores of one split; ``best`` and ``worst`` best and worst first, ``panels`` their pictures."""

    split: str
    images: int
    scores: Scores
    best: tuple[ImageScore, ...]
    worst: tuple[ImageScore, ...]
    panels: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class EvaluateReport:
    """What a run scores on the current masks; ``page`` is the error report where one was asked for."""

    run: int
    recipe: str
    classes: tuple[str, ...]
    splits: Mapping[str, SplitReport]
    page: Path | None


def evaluate(
    project: Project,
    *,
    run_id: int | None = None,
    splits: Sequence[str] = ("val",),
    show: int = 4,
    report: bool = False,
    against: int | None = None,
    track: Track = silent,
    watch: Watch = unwatched,
) -> EvaluateReport:
    """Score a run (default: the current model) and save ``show`` best and worst images per split.

    Args:
        report: write the error report, too.
        against: the run that it compares with, predicting what that run has not; default: the finished run
            before this one, on the images that it has predicted.

    Raises:
        ConfigError: there is no model yet, or ``against`` is no finished run of these classes.
        DataError: a split without masks.
        LedgerError: there is no such run.
        TrainingError: the predicting process failed.
    """
    run = finished_run(project, run_id, "nothing to evaluate")
    older = _older(project, run, against) if report else None
    scored = score(project, run, project.samples(splits), track=track, watch=watch)
    reports = {split: _split_report(project, run, split, ones, show, track) for split, ones in by_split(scored).items()}
    page = None
    if report:
        before = {} if older is None else _before(project, older, against, scored, track, watch)
        cases = {split: _cases(project, run, ones, before) for split, ones in by_split(scored).items()}
        page = write_error_report(project, run, older, cases, show=show, track=track)
    return EvaluateReport(run.id, run.recipe, project.classes.names, reports, page)


def _split_report(
    project: Project, run: RunRow, split: str, scored: Sequence[Scored], show: int, track: Track
) -> SplitReport:
    ranked = sorted(scored, key=lambda s: (s.score.dice, s.sample.id))
    worst, best = ranked[:show], ranked[::-1][:show]
    folder = project.report_dir(f"run-{run.id:04d}-{split}")
    shown = [panel_of(project, run.id, "worst", i, s) for i, s in enumerate(worst, 1)]
    shown += [panel_of(project, run.id, "best", i, s) for i, s in enumerate(best, 1)]
    return SplitReport(
        split,
        len(scored),
        scores(total(scored), project.classes.background_index),
        tuple(ImageScore(s.sample.id, s.score.dice) for s in best),
        tuple(ImageScore(s.sample.id, s.score.dice) for s in worst),
        save_panels(folder, shown, project.classes, track),
    )


def panel_of(project: Project, run_id: int, kind: str, number: int, one: Scored) -> Panel:
    """The pictures of a scored image; ``kind`` and ``number`` make the name of their file."""
    assert one.sample.mask is not None
    return Panel(
        file_name=f"{kind}-{number:02d}.png",
        title=f"{one.sample.id}   Dice {one.score.dice:.3f}",
        image=read_image(one.sample.image),
        truth=read_label_map(one.sample.mask, project.config.data),
        prediction=project.prediction(run_id, one.row.image_sha256),
    )


def _older(project: Project, run: RunRow, against: int | None) -> RunRow | None:
    if against is None:
        earlier = [one for one in project.ledger.runs() if one.id < run.id and _fault(project, run, one) is None]
        return earlier[-1] if earlier else None
    older = project.ledger.run(against)
    fault = _fault(project, run, older)
    if fault is not None:
        raise ConfigError(f"run {against} {fault}", where="--against", hint="annoloop log lists the runs")
    return older


def _fault(project: Project, run: RunRow, older: RunRow) -> str | None:
    """Why two runs cannot be compared, in words; None where they can."""
    if older.id == run.id:
        return "is the run that is evaluated"
    if older.state != "finished":
        return f"is not finished, but {older.state}"
    return None if older.class_digest == project.classes.digest else "was trained on other classes"


def _before(
    project: Project, older: RunRow, against: int | None, scored: Sequence[Scored], track: Track, watch: Watch
) -> dict[str, Before]:
    """The older run's word on the same masks, by sample id; it predicts only if it was asked for by number."""
    samples = [
        one.sample
        for one in scored
        if against is not None or not missing_predictions(project, older.id, [(one.sample, one.row)])
    ]
    found = score(project, older, samples, track=track, watch=watch) if samples else []
    return {
        one.sample.id: Before(
            one.score.dice, one.score.confusion, project.prediction_paths(older.id, one.row.image_sha256)[0]
        )
        for one in found
    }


def _cases(project: Project, run: RunRow, scored: Sequence[Scored], before: Mapping[str, Before]) -> list[Case]:
    corrected = project.ledger.corrected()
    return [
        Case(
            one.sample.id,
            _files(project, run, one),
            one.score.dice,
            one.score.confusion,
            corrected=(one.sample.id, one.row.mask_sha256) in corrected,
            before=before.get(one.sample.id),
        )
        for one in scored
    ]


def _files(project: Project, run: RunRow, one: Scored) -> Files:
    assert one.sample.mask is not None
    digest = one.row.image_sha256
    judge = project.out_of_fold_paths(run.id, digest) if project.has_out_of_fold(run.id, digest) else None
    return Files(one.sample.image, one.sample.mask, *project.prediction_paths(run.id, digest), judge)
