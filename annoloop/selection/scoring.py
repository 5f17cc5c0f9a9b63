"""Scores of a run on samples: predicts what is missing, counts what is new, remembers both.

Used by every operation that asks how good a model is.  The fact to know: predictions are found by the
image's content and scores by the mask's too, so after a pull only the corrected images are counted
again, and nothing is predicted twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from annoloop.compute.workers import spread
from annoloop.data import geotiff
from annoloop.data.config import DataConfig
from annoloop.data.images import file_sha256, read_index_png
from annoloop.data.mmseg_folders import Sample, read_label_map
from annoloop.data.storage import Location
from annoloop.errors import ConfigError, DataError
from annoloop.masks.classes import ClassTable
from annoloop.metrics.scores import Confusion, check_confusions, confusion, image_dice
from annoloop.progress import Track, silent
from annoloop.project.files import is_made
from annoloop.project.project import Project
from annoloop.project.rows import ImageRow, RunRow, ScoreRow
from annoloop.training.records import Event
from annoloop.training.shards import predict_job

Watch = Callable[[Event], None]

_AT_ONCE = 500
"""So many are written to the ledger at a time: what was counted before ^C is not lost."""


def unwatched(_: Event) -> None:
    """Nobody watches the child process."""


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """A sample, its content hashes and a run's score on it."""

    sample: Sample
    row: ImageRow
    score: ScoreRow


@dataclass(frozen=True, slots=True)
class _Comparison:
    """A mask and a prediction to be compared, and the content that the score will be of."""

    sample_id: str
    image_sha256: str
    mask_sha256: str
    mask: Location
    prediction: Path


def score(
    project: Project,
    run: RunRow,
    samples: Sequence[Sample],
    *,
    track: Track = silent,
    watch: Watch = unwatched,
) -> list[Scored]:
    """The scores of a run on all samples that have a mask, in their order.

    Raises:
        DataError: none of them has a mask, or a file cannot be used.
        ConfigError: the run's config was changed since its training.
        TrainingError: the predicting process failed.
    """
    labelled = [sample for sample in samples if sample.mask is not None]
    if not labelled:
        raise DataError("no image with a mask to score on", where=_splits_of(samples), hint="see data.splits")
    check_confusions(len(labelled), len(project.classes))
    rows = project.scan(labelled, track)
    keep_scores(project, run, [(s, rows[s.id]) for s in labelled], track=track, watch=watch)
    known = project.ledger.scores(run.id, rows)
    return [Scored(s, rows[s.id], known[s.id]) for s in labelled]


def keep_scores(
    project: Project, run: RunRow, samples: Sequence[tuple[Sample, ImageRow]], *, track: Track, watch: Watch
) -> None:
    """Bring the ledger's scores of a run up to date, of samples that have a mask, as ``Project.scan`` found them.

    Raises:
        DataError: a file cannot be used.
        TrainingError: the predicting process failed.
    """
    predict(project, run, samples, track=track, watch=watch)
    stale = project.ledger.unscored(run.id, [sample.id for sample, _ in samples])
    new = [_comparison(project, run, sample, row) for sample, row in samples if sample.id in stale]
    count = partial(_count, data=project.config.data, classes=project.classes)
    counted = track(spread(count, new), "comparing with labels", len(new))
    while some := list(islice(counted, _AT_ONCE)):
        project.ledger.put_scores(run.id, some)


def predict(
    project: Project,
    run: RunRow,
    samples: Iterable[tuple[Sample, ImageRow]],
    *,
    track: Track = silent,
    watch: Watch,
    anew: bool = False,
) -> None:
    """Make the predictions of a run that are not there yet: a child process here, or several on the cluster.

    Args:
        anew: those that are there, too.
    """
    if anew:
        samples = list(samples)
        for _, row in samples:
            project.prediction_paths(run.id, row.image_sha256)[1].unlink(missing_ok=True)
    missing = missing_predictions(project, run.id, samples)
    if not missing:
        return
    images = project.copies.fetched([image for image, *_ in missing], track)
    geotiff.require_for(images)
    run_dir = project.run_dir(run.id)
    job = project.job(
        "predict",
        run_dir / "predict",
        recipe=checked_config(project, run.id),
        init_checkpoint=project.best_checkpoint(run.id),
        predictions=tuple((image, *pngs) for image, (_, *pngs) in zip(images, missing, strict=True)),
    )
    predict_job(job, watch)


def checked_config(project: Project, run_id: int) -> Path:
    """The resolved config of a run, which whoever predicts with it runs as code; a run of old has no digest of it.

    Raises:
        ConfigError: it is not the one that the training left.
    """
    path, expected = project.run_config(run_id), project.ledger.run(run_id).config_sha256
    found = None if expected is None else file_sha256(path)
    if found != expected:
        raise ConfigError(
            f"the config of run {run_id} is not the one that its training left, and to predict would run it as code:"
            f" its SHA-256 is {found}, the ledger has {expected}",
            where=path,
            hint="restore the file from a backup, or train a new run; what is in it now was not run",
        )
    return path


def missing_predictions(
    project: Project, run_id: int, samples: Iterable[tuple[Sample, ImageRow]]
) -> tuple[tuple[Location, Path, Path], ...]:
    """(image, index PNG, confidence PNG) of what a run has not predicted; equal images once."""
    wanted = {}
    for sample, row in samples:
        index_png, confidence_png = project.prediction_paths(run_id, row.image_sha256)
        if not (is_made(index_png) and is_made(confidence_png)):
            wanted[row.image_sha256] = (sample.image, index_png, confidence_png)
    return tuple(wanted.values())


def total(scored: Iterable[Scored]) -> Confusion:
    """The summed confusion (K, K)."""
    summed: Confusion = np.sum([s.score.confusion for s in scored], axis=0, dtype=np.int64)
    return summed


def stacked(scored: Sequence[Scored]) -> Confusion:
    """All confusions (N, K, K)."""
    return np.stack([s.score.confusion for s in scored])


def by_split(scored: Sequence[Scored]) -> Mapping[str, list[Scored]]:
    """The same, split by split."""
    found: dict[str, list[Scored]] = {}
    for one in scored:
        found.setdefault(one.sample.split, []).append(one)
    return found


def _comparison(project: Project, run: RunRow, sample: Sample, row: ImageRow) -> _Comparison:
    assert sample.mask is not None
    assert row.mask_sha256 is not None
    prediction, _ = project.prediction_paths(run.id, row.image_sha256)
    return _Comparison(sample.id, row.image_sha256, row.mask_sha256, sample.mask, prediction)


def _count(one: _Comparison, data: DataConfig, classes: ClassTable) -> ScoreRow:
    try:
        truth, prediction = read_label_map(one.mask, data), read_index_png(one.prediction).values
        counts = confusion(truth, prediction, len(classes), classes.ignore_index)
    except DataError as error:
        raise DataError(error.message, where=error.where or one.mask, hint=error.hint) from error
    dice = image_dice(counts, classes.background_index)
    return ScoreRow(one.sample_id, one.image_sha256, one.mask_sha256, dice, counts)


def _splits_of(samples: Iterable[Sample]) -> str:
    return "splits: " + (", ".join(sorted({s.split for s in samples})) or "none")
