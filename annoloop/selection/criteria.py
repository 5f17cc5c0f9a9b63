"""What ``push --by`` means: one number for each image, the lower the worse.

Not here: choosing by these numbers (``ranking.py``).  The fact to know: what a model says of a label it was
trained on is flattery; out-of-fold predictions (``retrain --folds``) are heard instead wherever there are any.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from annoloop.data.mmseg_folders import Sample, read_label_map
from annoloop.errors import ConfigError, meant
from annoloop.masks.classes import ClassTable
from annoloop.metrics.label_quality import Belief
from annoloop.metrics.ranking import Candidate
from annoloop.metrics.scores import Confusion, confusion, dice, image_dice, missed_share, wrong_px
from annoloop.project.project import Project
from annoloop.project.rows import ImageRow

DICE, UNCERTAINTY, LABEL_QUALITY, CONTRADICTION = "dice", "uncertainty", "label-quality", "contradiction"
FOREGROUND_RANDOM, CLASP_PE = "foreground-random", "clasp-pe"

_NAMED = (DICE, "missed", CONTRADICTION, LABEL_QUALITY, FOREGROUND_RANDOM, CLASP_PE, UNCERTAINTY)
_WITHOUT_LABELS = (UNCERTAINTY, FOREGROUND_RANDOM, CLASP_PE)
_BELIEVED = (CONTRADICTION, LABEL_QUALITY, UNCERTAINTY)
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
            f"{by!r} is no criterion{meant(by, (*_NAMED, *(_CLASS + name for name in classes.names)))}",
            where="--by",
            hint=f"{', '.join(_NAMED)}, or class:NAME with one of {', '.join(classes.names)}",
        )


def needs_labels(by: str) -> bool:
    """Whether a criterion compares with labels, so that an image without one cannot be rated."""
    return by not in _WITHOUT_LABELS


def draws(by: str) -> bool:
    """Whether a criterion draws by chance among all images (``drawing.py``) and gives none a number."""
    return by in (FOREGROUND_RANDOM, CLASP_PE)


def needs_beliefs(by: str) -> bool:
    """Whether a criterion asks how sure the model is, of itself or of the label."""
    return by in _BELIEVED


def rate(project: Project, run_id: int, by: str, subject: Subject, belief: Belief | None = None) -> Candidate:
    """The image with its number; NaN where the criterion says nothing about it.

    Args:
        belief: needed where ``needs_beliefs``.

    Raises:
        DataError: a prediction or a mask cannot be read.
    """
    if needs_beliefs(by):
        assert belief is not None
        return _candidate(subject, _believed(by, belief), subject.counts)
    counts = _unflattered(project, run_id, subject)
    return _candidate(subject, _agreement(by, counts, project.classes), counts)


def _unflattered(project: Project, run_id: int, subject: Subject) -> Confusion:
    """The comparison with the label; what a model says that has not seen it goes before the run's own word."""
    assert subject.counts is not None
    assert subject.sample.mask is not None
    if not project.has_out_of_fold(run_id, subject.row.image_sha256):
        return subject.counts
    label_map = read_label_map(subject.sample.mask, project.config.data)
    opinion = project.opinion(run_id, subject.row.image_sha256)
    return confusion(label_map, opinion.prediction, len(project.classes), project.classes.ignore_index)


def _candidate(subject: Subject, value: float, counts: Confusion | None) -> Candidate:
    return Candidate(subject.sample.id, value, 0 if counts is None else wrong_px(counts))


def flattered(project: Project, run_id: int, pairs: Iterable[tuple[Sample, ImageRow]]) -> bool:
    """Whether a model is heard on labels that it may have been trained on."""
    return any(
        sample.split in _TRAINED_ON and not project.has_out_of_fold(run_id, row.image_sha256) for sample, row in pairs
    )


def _believed(by: str, belief: Belief) -> float:
    if by == UNCERTAINTY:
        return belief.certainty
    return belief.quality if by == LABEL_QUALITY else 1 - belief.contradiction


def _agreement(by: str, counts: Confusion, classes: ClassTable) -> float:
    if by == DICE:
        return image_dice(counts, classes.background_index)
    if by == "missed":
        return 1 - missed_share(counts, classes.background_index)
    return float(dice(counts)[classes.names.index(by.removeprefix(_CLASS))])
