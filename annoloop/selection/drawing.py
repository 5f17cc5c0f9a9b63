"""The criteria that draw by chance among images: foreground-random and clasp-pe.

Not here: ClaSP PE's formula (``metrics/clasp_pe.py``), and criteria that give each image a number (``criteria.py``).
The fact to know: the same model, round and images draw the same ones.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from annoloop.compute.workers import spread
from annoloop.data.config import DataConfig
from annoloop.data.images import image_size_hw, read_index_png
from annoloop.data.mmseg_folders import Sample, read_label_map
from annoloop.data.storage import Location
from annoloop.errors import DataError
from annoloop.metrics.clasp_pe import Floats, order
from annoloop.progress import Say, Track
from annoloop.project.project import Project
from annoloop.project.rows import ImageRow, RunRow
from annoloop.selection.criteria import CLASP_PE
from annoloop.selection.scoring import Watch, predict

Images = Mapping[str, tuple[Sample, ImageRow]]


@dataclass(frozen=True, slots=True)
class _Question:
    """Whether an image holds foreground: by its label or, where it has none, by the prediction."""

    sample_id: str
    mask: Location | None
    index_png: Path


def drawn(
    project: Project, run: RunRow, by: str, images: Images, count: int, *, say: Say, track: Track, watch: Watch
) -> list[str]:
    """Ids of images in the order in which they are taken, ``count`` of them being wanted.

    Raises:
        DataError: a label or a prediction cannot be read, or a prediction is of other classes.
        TrainingError: the predicting process failed.
    """
    if by == CLASP_PE:
        _predict_with_sums(project, run, images, say, track, watch)
        means = {name: _means(project, run.id, *pair) for name, pair in images.items()}
        return order(means, foreground_indices(project), count, round_number=round_of(project), seed=run.id)
    unlabelled = [pair for pair in images.values() if pair[0].mask is None]
    predict(project, run, unlabelled, track=track, watch=watch)
    questions = [
        _Question(name, sample.mask, project.prediction_paths(run.id, row.image_sha256)[0])
        for name, (sample, row) in sorted(images.items())
    ]
    ask = partial(_holds_foreground, data=project.config.data, foreground=tuple(foreground_indices(project)))
    answers = track(spread(ask, questions), "looking for foreground", len(questions))
    found = [one.sample_id for one, holds in zip(questions, answers, strict=True) if holds]
    if len(found) < len(questions):
        say(f"{len(questions) - len(found)} images without foreground are left out")
    return random.Random(run.id).sample(found, len(found))  # noqa: S311 - not for secrets


def foreground_indices(project: Project) -> list[int]:
    """The classes that are no background."""
    return [c.index for c in project.classes.classes if c.index != project.classes.background_index]


def round_of(project: Project) -> int:
    """How many rounds of corrections there were: pulls that still count."""
    return sum(change.kind == "pull" and change.undone_by is None for change in project.ledger.changes())


def _predict_with_sums(project: Project, run: RunRow, images: Images, say: Say, track: Track, watch: Watch) -> None:
    """Make what lacks the class sums anew: predictions of older versions of annoloop keep none."""
    predict(project, run, list(images.values()), track=track, watch=watch)
    old = [pair for pair in images.values() if project.class_entropy(run.id, pair[1].image_sha256) is None]
    if not old:
        return
    weights = project.best_checkpoint(run.id)
    if not weights.is_file():
        raise DataError(
            f"{len(old)} predictions keep no class sums, which clasp-pe needs, and the weights that would make them"
            " anew are gone",
            where=weights,
            hint="annoloop retrain, or another --by",
        )
    say(f"{len(old)} predictions are from before class sums were kept: they are made anew")
    predict(project, run, old, track=track, watch=watch, anew=True)


def _means(project: Project, run_id: int, sample: Sample, row: ImageRow) -> Floats:
    """For each class the mean of H x p_c over the image's pixels (K,)."""
    sums = project.class_entropy(run_id, row.image_sha256)
    if sums is None or len(sums) != len(project.classes):
        found = "no class sums" if sums is None else f"class sums of {len(sums)} classes, not {len(project.classes)}"
        where = project.prediction_paths(run_id, row.image_sha256)[1]
        raise DataError(f"the prediction of {sample.id} keeps {found}", where=where, hint="annoloop retrain")
    height, width = image_size_hw(project.prediction_paths(run_id, row.image_sha256)[1])
    return sums / (height * width)


def _holds_foreground(question: _Question, data: DataConfig, foreground: Sequence[int]) -> bool:
    if question.mask is None:
        return bool(np.isin(read_index_png(question.index_png).values, foreground).any())
    return bool(np.isin(read_label_map(question.mask, data), foreground).any())
