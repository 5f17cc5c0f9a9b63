"""What ``push --by`` means: one number for each image, the lower the worse.

Not here: choosing by these numbers (``selection.py``).  The fact to know: what a model says of a label it was
trained on is flattery; out-of-fold predictions (``retrain --folds``) are heard instead wherever there are any.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from annoloop.classes import ClassTable
from annoloop.dataset import Sample, read_label_map
from annoloop.errors import ConfigError
from annoloop.label_quality import certainty, label_quality
from annoloop.masks import LabelMap
from annoloop.metrics import Confusion, confusion, dice, image_dice, missed_share, wrong_px
from annoloop.project import Opinion, Project
from annoloop.schema import ImageRow
from annoloop.selection import Candidate

UNCERTAINTY, LABEL_QUALITY = "uncertainty", "label-quality"

_NAMED = ("dice", "missed", LABEL_QUALITY, UNCERTAINTY)
_CLASS = "class:"
_TRAINED_ON = ("train", "pool")


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """An image to be rated; ``counts`` (K, K) compares it with its label, None where nobody has done so."""

    sample: Sample
    row: ImageRow
    counts: Confusion | None


def check_criterion(by: str, classes: ClassTable) -> None:
    """Raise if ``--by`` names no criterion.

    Raises:
        ConfigError: names the possible ones.
    """
    known = by.removeprefix(_CLASS) in classes.names if by.startswith(_CLASS) else by in _NAMED
    if not known:
        raise ConfigError(
            f"{by!r} is no criterion",
            where="--by",
            hint=f"{', '.join(_NAMED)}, or class:NAME with one of {', '.join(classes.names)}",
        )


def needs_labels(by: str) -> bool:
    """Whether a criterion compares with labels; uncertainty alone does not."""
    return by != UNCERTAINTY


def rate(project: Project, run_id: int, by: str, subject: Subject) -> Candidate:
    """The image with its number; NaN where the criterion says nothing about it.

    Raises:
        DataError: a prediction or a mask cannot be read.
    """
    believed = by in (UNCERTAINTY, LABEL_QUALITY)
    unseen = subject.counts is not None and project.has_out_of_fold(run_id, subject.row.image_sha256)
    if not (believed or unseen):
        assert subject.counts is not None
        return _candidate(subject, _agreement(by, subject.counts, project.classes), subject.counts)
    ignored, mask = project.classes.ignore_index, subject.sample.mask
    label_map = None if mask is None else read_label_map(mask, project.config.data)
    opinion, counts = project.opinion(run_id, subject.row.image_sha256), subject.counts
    if unseen and label_map is not None:
        # What a model says that has not seen the label goes before the run's own word.
        counts = confusion(label_map, opinion.prediction, len(project.classes), ignored)
    if believed:
        return _candidate(subject, _belief(by, label_map, opinion, ignored), counts)
    assert counts is not None
    return _candidate(subject, _agreement(by, counts, project.classes), counts)


def _candidate(subject: Subject, value: float, counts: Confusion | None) -> Candidate:
    return Candidate(subject.sample.id, value, 0 if counts is None else wrong_px(counts))


def flattered(project: Project, run_id: int, subjects: Iterable[Subject]) -> bool:
    """Whether a model is heard on labels that it may have been trained on."""
    return any(
        one.sample.split in _TRAINED_ON and not project.has_out_of_fold(run_id, one.row.image_sha256)
        for one in subjects
    )


def _agreement(by: str, counts: Confusion, classes: ClassTable) -> float:
    if by == "dice":
        return image_dice(counts, classes.background_index)
    if by == "missed":
        return 1 - missed_share(counts, classes.background_index)
    return float(dice(counts)[classes.names.index(by.removeprefix(_CLASS))])


def _belief(by: str, label_map: LabelMap | None, opinion: Opinion, ignored: int) -> float:
    if label_map is None:
        return certainty(opinion.confidence)
    if by == UNCERTAINTY:
        return certainty(opinion.confidence[label_map != ignored])
    return label_quality(label_map, opinion.prediction, opinion.confidence, ignored)
