"""One image looked into: what its label, its prediction and the model's confidence say about the errors.

Knows arrays only; ``diagnosis.py`` reads the files of many images and adds up.  The fact to know: what can be
summed over images is in the ``ErrorTally``, and what is remembered of each image is a few numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from annoloop.masks.classes import ClassTable
from annoloop.masks.regions import LabelMap, regions
from annoloop.metrics.boundary import boundary_counts
from annoloop.metrics.calibration import confidence_counts
from annoloop.metrics.error_regions import Mistake, largest_of_each_kind
from annoloop.metrics.label_quality import Belief, Confidence, belief
from annoloop.metrics.scores import ErrorKind

Ints = npt.NDArray[np.int64]

SIZE_EDGES_PX = (16, 64, 256, 1024, 4096, 16384)
"""Where one size of objects ends and the next begins; each is twice as wide.  1 024 px is where COCO's small ends."""

SIZE_COUNT = len(SIZE_EDGES_PX) + 1

FOUND_SHARE = 0.5
"""An object is found if at least so many of its pixels are predicted as its class."""


@dataclass(frozen=True, slots=True, eq=False)
class ErrorTally:
    """Counts that add up over images.

    ``objects`` (K, sizes, 2): found and all objects; ``boundary`` (K, 3): see ``boundary_counts``;
    ``confidence`` and ``class_confidence`` (256, 2): see ``confidence_counts``, of all counted pixels and of
    those that are predicted to be no background.
    """

    objects: Ints
    boundary: Ints
    confidence: Ints
    class_confidence: Ints

    def __add__(self, other: ErrorTally) -> ErrorTally:
        return ErrorTally(
            self.objects + other.objects,
            self.boundary + other.boundary,
            self.confidence + other.confidence,
            self.class_confidence + other.class_confidence,
        )


@dataclass(frozen=True, slots=True)
class Area:
    """The largest connected area of one kind of error; ``confidence`` is the model's mean there, 0 ... 1."""

    area_px: int
    box_ltrb: tuple[int, int, int, int]
    labelled: int
    predicted: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Observation:
    """What is remembered of one image: its largest errors, and how far the model believes its label."""

    largest: Mapping[ErrorKind, Area]
    belief: Belief


@dataclass(frozen=True, slots=True, eq=False)
class Examination:
    """All that is learned from one image."""

    tally: ErrorTally
    observation: Observation


def no_tally(class_count: int) -> ErrorTally:
    """The tally of no image."""
    return ErrorTally(
        np.zeros((class_count, SIZE_COUNT, 2), np.int64),
        np.zeros((class_count, 3), np.int64),
        np.zeros((256, 2), np.int64),
        np.zeros((256, 2), np.int64),
    )


def examine(
    truth: LabelMap,
    prediction: LabelMap,
    confidence: Confidence,
    classes: ClassTable,
    judge: tuple[LabelMap, Confidence] | None = None,
) -> Examination:
    """Look into one image, all arrays (H, W); ignored pixels count nowhere.

    Args:
        judge: prediction and confidence that the label is held against; None: the same as are scored.
    """
    tally = ErrorTally(
        object_counts(truth, prediction, classes),
        boundary_counts(truth, prediction, len(classes), classes.ignore_index),
        *_confidence_counts(truth, prediction, confidence, classes),
    )
    said, sure = (prediction, confidence) if judge is None else judge
    observation = Observation(
        {kind: _area(one) for kind, one in largest_of_each_kind(truth, prediction, confidence, classes).items()},
        belief(truth, said, sure, classes),
    )
    return Examination(tally, observation)


def object_counts(truth: LabelMap, prediction: LabelMap, classes: ClassTable) -> Ints:
    """Found and all objects per class and size, (K, sizes, 2).

    An object is one connected component of the truth (diagonal neighbours count); the background makes none.
    """
    counts = np.zeros((len(classes), SIZE_COUNT, 2), np.int64)
    background = classes.background_index
    no_objects = (classes.ignore_index,) if background is None else (classes.ignore_index, background)
    for one in regions(truth, skip=no_objects):
        hits = np.count_nonzero(prediction[one.window][one.bits] == one.class_index)
        area = one.area_px
        size = np.searchsorted(SIZE_EDGES_PX, area, side="right")
        counts[one.class_index, size] += (hits >= FOUND_SHARE * area, 1)
    return counts


def _confidence_counts(
    truth: LabelMap, prediction: LabelMap, confidence: Confidence, classes: ClassTable
) -> tuple[Ints, Ints]:
    counted = truth != classes.ignore_index
    of_class = counted if classes.background_index is None else counted & (prediction != classes.background_index)
    right = truth == prediction
    everywhere, in_classes = (confidence_counts(confidence[where], right[where]) for where in (counted, of_class))
    return everywhere, in_classes


def _area(mistake: Mistake) -> Area:
    region = mistake.region
    return Area(region.area_px, region.box_ltrb, mistake.labelled, mistake.predicted, mistake.confidence)
