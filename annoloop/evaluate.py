"""``annoloop evaluate``: scores of a model per split and class, and pictures of its best and worst images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from annoloop.dataset import read_label_map
from annoloop.errors import ConfigError
from annoloop.gallery import Panel, save_panels
from annoloop.images import read_image
from annoloop.metrics import Scores, scores
from annoloop.progress import Track, silent
from annoloop.project import Project
from annoloop.schema import RunRow
from annoloop.scoring import Scored, Watch, by_split, score, total, unwatched


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
    """What a run scores on the current masks."""

    run: int
    recipe: str
    classes: tuple[str, ...]
    splits: Mapping[str, SplitReport]


def evaluate(
    project: Project,
    *,
    run_id: int | None = None,
    splits: Sequence[str] = ("val",),
    show: int = 4,
    track: Track = silent,
    watch: Watch = unwatched,
) -> EvaluateReport:
    """Score a run (default: the current model) and save ``show`` best and worst images per split.

    Raises:
        ConfigError: there is no model yet.
        DataError: a split without masks.
        TrainingError: the predicting process failed.
    """
    run = _run(project, run_id)
    scored = score(project, run, project.samples(splits), track=track, watch=watch)
    reports = {split: _split_report(project, run, split, ones, show, track) for split, ones in by_split(scored).items()}
    return EvaluateReport(run.id, run.recipe, project.classes.names, reports)


def _run(project: Project, run_id: int | None) -> RunRow:
    run = project.current_run() if run_id is None else project.ledger.run(run_id)
    if run is None or run.state != "finished":
        raise ConfigError("there is no finished model to evaluate", where=project.path.parent, hint="annoloop retrain")
    return run


def _split_report(
    project: Project, run: RunRow, split: str, scored: Sequence[Scored], show: int, track: Track
) -> SplitReport:
    ranked = sorted(scored, key=lambda s: (s.score.dice, s.sample.id))
    worst, best = ranked[:show], ranked[::-1][:show]
    folder = project.report_dir(f"run-{run.id:04d}-{split}")
    shown = [_panel(project, run, "worst", i, s) for i, s in enumerate(worst, 1)]
    shown += [_panel(project, run, "best", i, s) for i, s in enumerate(best, 1)]
    return SplitReport(
        split,
        len(scored),
        scores(total(scored), project.classes.background_index),
        tuple(ImageScore(s.sample.id, s.score.dice) for s in best),
        tuple(ImageScore(s.sample.id, s.score.dice) for s in worst),
        save_panels(folder, shown, project.classes, track),
    )


def _panel(project: Project, run: RunRow, kind: str, number: int, one: Scored) -> Panel:
    assert one.sample.mask is not None
    return Panel(
        file_name=f"{kind}-{number:02d}.png",
        title=f"{one.sample.id}   Dice {one.score.dice:.3f}",
        image=read_image(one.sample.image),
        truth=read_label_map(one.sample.mask, project.config.data),
        prediction=project.prediction(run.id, one.row.image_sha256),
    )
