"""How far a model believes a label, how far itself, and on how much of an image it contradicts the label.

Knows arrays only; ``label_quality`` is that of Lad & Mueller, "Estimating label quality and errors in semantic
segmentation data via any model", 2023.  The fact to know: of a model's K probabilities per pixel only the
largest is kept, as a byte, so where it contradicts the label the label's probability is an upper bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from annoloop.masks.classes import ClassTable
from annoloop.masks.morphology import without_thin_parts
from annoloop.masks.regions import LabelMap
from annoloop.masks.value_counts import value_counts

Confidence = npt.NDArray[np.uint8]
"""uint8 (H, W): round(255 x the probability of the predicted class)."""

Reading = Literal["label looks wrong", "model finds it hard", "already corrected"]
"""What a low score seems to come from; the third is known, not read from numbers."""

TEMPERATURE = 0.1
"""Of the softmin: the paper's. The smaller, the more the worst pixels decide."""

WRONG_FROM = 0.2
"""A label looks wrong if the model surely contradicts it on more than this share of the objects.

Measured on 535 steel surfaces, 160 of them with damaged labels, and models of 0.66 and 0.75 mDice: 57 and 88 % of
those above it are damaged, 43 and 54 % of the damaged are above it.
"""

UNSURE = 0.5
"""Where two classes meet one of them has half of the probability; lower is doubt of another kind."""

_THIN_SHARE, _THIN_MOST_PX = 0.005, 4
"""How far an outline may be disputed to either side: this share of the diagonal, and no more than so many px."""


@dataclass(frozen=True, slots=True)
class Belief:
    """``label_quality``, ``certainty`` and ``contradiction`` of one image; NaN where nothing counts."""

    quality: float
    certainty: float
    contradiction: float

    @property
    def reading(self) -> Reading | None:
        """What the label looks like."""
        return reading(self.contradiction, self.certainty)


def belief(label_map: LabelMap, prediction: LabelMap, confidence: Confidence, classes: ClassTable) -> Belief:
    """All three numbers of one image; all (H, W)."""
    ignored = classes.ignore_index
    return Belief(
        label_quality(label_map, prediction, confidence, ignored),
        certainty(confidence[label_map != ignored]),
        contradiction(label_map, prediction, confidence, classes),
    )


def label_quality(label_map: LabelMap, prediction: LabelMap, confidence: Confidence, ignore_index: int) -> float:
    """Softmin pooling over the model's probabilities of the given labels; all (H, W), 1 is full belief.

    Where prediction and label agree the probability is the confidence c; where they differ it is at
    most min(c, 1 - c): exact for a sure model, generous for an unsure one.  So a confident
    contradiction weighs far more than a hesitating one.  Ignored pixels do not count; NaN without others.
    """
    counted = label_map != ignore_index
    bound = np.minimum(confidence, 255 - confidence)
    return _softmin(np.where(label_map == prediction, confidence, bound)[counted])


def certainty(confidence: Confidence) -> float:
    """Softmin pooling over confidences of any shape: how sure the model is where it is least sure."""
    return _softmin(confidence)


def contradiction(label_map: LabelMap, prediction: LabelMap, confidence: Confidence, classes: ClassTable) -> float:
    """The share of the objects on which the model surely contradicts the label, 0 ... 1; all (H, W).

    Objects are what label or prediction call no background.  A pixel on which the two differ weighs 2 c - 1 for
    a confidence c above one half.  Contradictions a few pixels thin are left out, because outlines are always
    disputed; that and the weights are what sets it apart from 1 - Dice.  Ignored pixels do not count; NaN
    without others, 0 without an object.
    """
    counted = label_map != classes.ignore_index
    if not counted.any():
        return float("nan")
    disputed = without_thin_parts(counted & (label_map != prediction), outline_reach_px(label_map))
    weight = np.maximum(2 * confidence[disputed].astype(np.int64) - 255, 0).sum() / 255
    background = classes.background_index
    if background is not None:
        counted &= (label_map != background) | (prediction != background)
    return float(weight / max(1, np.count_nonzero(counted)))


def outline_reach_px(label_map: LabelMap) -> int:
    """How far to either side an outline of a map of this size may be disputed."""
    return min(_THIN_MOST_PX, max(1, round(_THIN_SHARE * math.hypot(*label_map.shape))))


def reading(contradicted: float, sure: float) -> Reading | None:
    """What an image's ``contradiction`` and ``certainty`` say together; None: nothing odd, or nothing counted.

    >>> reading(0.4, 0.6), reading(0.1, 0.4), reading(0.1, 0.6)
    ('label looks wrong', 'model finds it hard', None)
    """
    if contradicted > WRONG_FROM:
        return "label looks wrong"
    return "model finds it hard" if sure < UNSURE else None


def _softmin(values: npt.NDArray[np.uint8]) -> float:
    """The mean of s = values / 255 with weights exp((1 - s) / T); equal values are counted, then weighed once."""
    counts = value_counts(values, 256)
    if not counts.any():
        return float("nan")
    scores = np.arange(256) / 255
    weights = counts * np.exp((1 - scores) / TEMPERATURE)
    return float(scores @ weights / weights.sum())
