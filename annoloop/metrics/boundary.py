"""How well outlines agree: pixels near the contours of a label and of a prediction, counted per class.

Dice over whole objects hardly sees a ragged outline of a large one; Dice over the pixels near contours does.
The fact to know: where the truth is ignored, and beyond the image, nobody knows the class, so an object that
is cut off there has no contour there.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from annoloop.masks.morphology import highest_around
from annoloop.masks.regions import Bits, LabelMap
from annoloop.metrics.scores import Floats

WIDTH_SHARE = 0.02
"""Of the image's diagonal: how far from a contour a pixel still counts as near it."""


def band_width_px(shape_hw: tuple[int, int]) -> int:
    """2 % of the diagonal, at least 1 px.

    >>> band_width_px((200, 200)), band_width_px((20, 30))
    (6, 1)
    """
    return max(1, round(WIDTH_SHARE * math.hypot(*shape_hw)))


def boundary_counts(
    truth: LabelMap, prediction: LabelMap, class_count: int, ignore_index: int
) -> npt.NDArray[np.int64]:
    """Pixels of each class near a contour: in both, in the truth, in the prediction, (K, 3).

    A pixel is near a contour of its class if another class lies within the band's width of it, diagonal
    steps counting as one.  Summed over images these counts give ``boundary_dice``.
    Source: Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation", CVPR 2021;
    there the image's border is a contour too.
    """
    counted = truth != ignore_index
    width_px = band_width_px(truth.shape)
    true_band, predicted_band = (_near_contour(labels, counted, width_px) for labels in (truth, prediction))
    both = true_band & predicted_band & (truth == prediction)
    parts = ((truth, both), (truth, true_band), (prediction, predicted_band))
    return np.stack([np.bincount(labels[where], minlength=class_count) for labels, where in parts], axis=1)


def boundary_dice(counts: npt.NDArray[np.int64]) -> Floats:
    """2 both / (truth + prediction) per class from (K, 3); NaN for a class without a contour."""
    both, near = 2 * counts[:, 0], counts[:, 1] + counts[:, 2]
    found: Floats = np.full(len(counts), np.nan)
    np.divide(both, near, out=found, where=near > 0)
    return found


def _near_contour(label_map: LabelMap, counted: Bits, width_px: int) -> Bits:
    """Counted pixels whose square of ``2 width + 1`` holds two classes: its highest index is not its lowest."""
    highest = highest_around(np.where(counted, label_map, label_map.dtype.type(0)), width_px)
    most = label_map.dtype.type(np.iinfo(label_map.dtype).max)
    lowest = most - highest_around(np.where(counted, most - label_map, label_map.dtype.type(0)), width_px)
    near: Bits = counted & (highest != lowest)
    return near
