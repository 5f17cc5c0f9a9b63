"""Out-of-fold predictions: every training image is predicted by a model that has never seen its label.

K more trainings of a run's recipe and length, each from scratch on the images of the other folds; of their
models only the predictions stay.  The fact to know: an image's fold follows from its bytes, so equal images
share one, and no image changes its fold when others are added.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from annoloop.data.mmseg_folders import Sample
from annoloop.errors import DataError
from annoloop.project.project import Project
from annoloop.project.rows import ImageRow
from annoloop.training.child import run_job
from annoloop.training.records import Event, Job


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """One of ``count`` folds: a model of the others predicts ``held_out``; ``number`` is 1 ... count."""

    number: int
    count: int
    held_out: tuple[tuple[Sample, ImageRow], ...]


def fold_of(image_sha256: str, count: int) -> int:
    """The fold of an image, 1 ... count, from its content hash.

    >>> [fold_of(digest * 64, 3) for digest in "0123"]
    [1, 2, 3, 1]
    """
    return int(image_sha256[-8:], 16) % count + 1


def split_folds(samples: Sequence[Sample], rows: Mapping[str, ImageRow], count: int) -> list[Fold]:
    """Samples with their content hashes, cut into ``count`` folds; those without an image are left out.

    Raises:
        DataError: all images fall into one fold.
    """
    number_of = {sample.id: fold_of(rows[sample.id].image_sha256, count) for sample in samples}
    occupied = sorted(set(number_of.values()))
    if len(occupied) == 1:
        raise DataError(
            f"{len(samples)} training images are too few for {count} folds: all of them fall into one",
            hint="more images, or another number of folds",
        )
    return [
        Fold(number, count, tuple((one, rows[one.id]) for one in samples if number_of[one.id] == number))
        for number in occupied
    ]


def predict_out_of_fold(
    project: Project, run_id: int, job: Job, folds: Sequence[Fold], watch: Callable[[Event], None]
) -> int:
    """Train a model for every fold whose predictions are not there yet; returns how many images have one.

    Args:
        job: the training of the run, which the folds' trainings repeat on their own images.

    Raises:
        TrainingError: a training failed.
        Interrupted: ^C; finished folds are kept.
    """
    for fold in folds:
        run_dir, missing = _run_dir(project, run_id, fold), _missing(project, run_id, fold)
        if missing:
            watch(Event("fold", {"number": fold.number, "count": fold.count, "images": len(fold.held_out)}))
            run_job(_job(job, run_dir, fold, missing), watch)
        for checkpoint in run_dir.glob("*.pth"):  # nobody needs this model again, and it may be large
            checkpoint.unlink()
    return len({row.image_sha256 for fold in folds for _, row in fold.held_out})


def _run_dir(project: Project, run_id: int, fold: Fold) -> Path:
    return project.run_dir(run_id) / f"fold-{fold.number}-of-{fold.count}"


def _missing(project: Project, run_id: int, fold: Fold) -> tuple[tuple[Path, Path, Path], ...]:
    """(image, index PNG, confidence PNG) of what is to be predicted; equal images once."""
    images = project.copies.fetched([sample.image for sample, _ in fold.held_out])
    wanted = {
        row.image_sha256: (image, *project.out_of_fold_paths(run_id, row.image_sha256))
        for image, (_, row) in zip(images, fold.held_out, strict=True)
        if not project.has_out_of_fold(run_id, row.image_sha256)
    }
    return tuple(wanted.values())


def _job(job: Job, run_dir: Path, fold: Fold, missing: tuple[tuple[Path, Path, Path], ...]) -> Job:
    held_out = {sample.image for sample, _ in fold.held_out}
    others = [number for number, (image, _) in enumerate(job.train) if image not in held_out]
    return replace(
        job,
        run_dir=run_dir,
        train=tuple(job.train[number] for number in others),
        train_pixels=None if job.train_pixels is None else tuple(job.train_pixels[number] for number in others),
        predictions=missing,
        init_checkpoint=None,  # the current model has seen all of them
        resume=(run_dir / "last.pth").is_file(),
        began_at=None if job.budget_s is None else time.time(),
    )
