"""How far a model believes a label, and how far itself: one number per image, the lower the worse.

Knows arrays only; the score is that of Lad & Mueller, "Estimating label quality and errors in semantic
segmentation data via any model", 2023.  The fact to know: of a model's K probabilities per pixel only the
largest is kept, as a byte, so where it contradicts the label the label's probability is an upper bound.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from annoloop.masks import LabelMap

Confidence = npt.NDArray[np.uint8]
"""uint8 (H, W): round(255 x the probability of the predicted class)."""

Reading = Literal["label looks wrong", "model finds it hard", "already corrected"]
"""What a low score seems to come from; the third is known, not read from numbers."""

TEMPERATURE = 0.1
"""Of the softmin: the paper's. The smaller, the more the worst pixels decide."""

BELIEVED_SHARE = 0.5
"""Below this share of its belief in itself a model contradicts the label rather than being at a loss."""

UNSURE = 0.5
"""Where two classes meet one of them has half of the probability; lower is doubt of another kind."""


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


def reading(quality: float, sure: float) -> Reading | None:
    """What an image's ``label_quality`` and ``certainty`` say together; None: nothing odd, or nothing counted.

    >>> reading(0.1, 0.6), reading(0.35, 0.4), reading(0.55, 0.6)
    ('label looks wrong', 'model finds it hard', None)
    """
    if quality < BELIEVED_SHARE * sure:
        return "label looks wrong"
    return "model finds it hard" if sure < UNSURE else None


def _softmin(values: npt.NDArray[np.uint8]) -> float:
    """The mean of s = values / 255 with weights exp((1 - s) / T); equal values are counted, then weighed once."""
    counts = np.bincount(values.ravel(), minlength=256)
    if not counts.any():
        return float("nan")
    scores = np.arange(256) / 255
    weights = counts * np.exp((1 - scores) / TEMPERATURE)
    return float(scores @ weights / weights.sum())
