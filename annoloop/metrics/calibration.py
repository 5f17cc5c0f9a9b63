"""Whether a model is right as often as it says: its confidence beside the share of right pixels, bin by bin.

Knows counts only.  The fact to know: confidences are bytes, 255 is certain, so 256 counters hold everything
that any number of images says, and the 15 bins of the literature are 17 levels each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from annoloop.metrics.scores import Floats

BINS = 15
_LEVELS = 256
_TOP = _LEVELS - 1

Counts = npt.NDArray[np.int64]
"""int64 (256, 2): how many pixels have a confidence, and how many of them are right."""


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """The bins that hold a pixel: mean confidence, share of right pixels, share of all pixels; (B,) each.

    ``error`` is the expected calibration error: the mean distance of the first two, weighed by the third.
    ``confidence`` and ``accuracy`` are over all pixels.
    """

    bin_confidence: Floats
    bin_accuracy: Floats
    bin_share: Floats
    confidence: float
    accuracy: float
    error: float


def confidence_counts(confidence: npt.NDArray[np.uint8], right: npt.NDArray[np.bool_]) -> Counts:
    """Count pixels by confidence; both of the same shape."""
    every = np.bincount(confidence.ravel(), minlength=_LEVELS)
    return np.stack([every, np.bincount(confidence[right], minlength=_LEVELS)], axis=1).astype(np.int64)


def calibration(counts: Counts) -> Calibration | None:
    """The reliability diagram and its error from counts (256, 2); None without a pixel.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017; 15 bins of equal width, which
    hold their upper end.
    """
    total = int(counts[:, 0].sum())
    if total == 0:
        return None
    levels = np.arange(_LEVELS)
    bins = levels * BINS // _LEVELS  # 17 levels each; one on a border counts as below it
    pixels, right, claimed = (
        np.bincount(bins, weights=weights, minlength=BINS)
        for weights in (counts[:, 0], counts[:, 1], counts[:, 0] * levels / _TOP)
    )
    held = pixels > 0
    confidence, accuracy, share = claimed[held] / pixels[held], right[held] / pixels[held], pixels[held] / total
    error = float(share @ np.abs(accuracy - confidence))
    return Calibration(confidence, accuracy, share, float(claimed.sum() / total), float(right.sum() / total), error)
