"""The largest connected areas on which a model and the label disagree, in words.

Not here: where they are shown (``push.py`` pins them as issues in CVAT).  The fact to know: an area is
one pair of classes, so "patches taken for background" and "patches taken for scratches" are two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cc3d
import numpy as np
import numpy.typing as npt

from annoloop.classes import ClassTable
from annoloop.masks import Bits, LabelMap, Region
from annoloop.metrics import ErrorKind


@dataclass(frozen=True, slots=True, eq=False)
class Mistake:
    """One area: its pixels, the label's class and the model's, and how sure the model is (0 ... 1)."""

    region: Region
    labelled: int
    predicted: int
    confidence: float

    def message(self, classes: ClassTable) -> str:
        """A sentence that begins with what matters, for CVAT shows its first characters on the frame."""
        labelled, predicted = classes.names[self.labelled], classes.names[self.predicted]
        if self.predicted == classes.background_index:
            head = f"{labelled} missed"
        elif self.labelled == classes.background_index:
            head = f"{predicted} invented"
        else:
            head = f"{labelled} or {predicted}"
        size = f"{self.region.area_px:,} px".replace(",", " ")
        return f"{head}: labelled {labelled}, predicted {predicted}, {size}, confidence {self.confidence:.2f}"


def wrong_pixels(truth: LabelMap, prediction: LabelMap, classes: ClassTable) -> dict[ErrorKind, Bits]:
    """Where (H, W) a class was missed, invented or confused with another; ignored pixels are none of these.

    Where no class is background every error is a confusion.
    """
    wrong = (truth != prediction) & (truth != classes.ignore_index)
    missed = wrong & _is_background(prediction, classes)
    invented = wrong & _is_background(truth, classes)
    return {"missed": missed, "invented": invented, "confused": wrong & ~missed & ~invented}


def largest_mistakes(
    truth: LabelMap,
    prediction: LabelMap,
    confidence: npt.NDArray[np.uint8],
    classes: ClassTable,
    *,
    count: int,
    least_px: int,
) -> list[Mistake]:
    """At most ``count`` areas of at least ``least_px`` pixels, largest first; ignored pixels count nowhere.

    Args:
        confidence: (H, W), 255 is certain.
    """
    if count == 0:
        return []
    areas = _areas(truth, prediction, classes)
    largest = np.argsort(-areas.sizes_px, kind="stable")[:count]
    return [_mistake(areas, int(i), confidence) for i in largest if areas.sizes_px[i] >= max(1, least_px)]


def largest_of_each_kind(
    truth: LabelMap, prediction: LabelMap, confidence: npt.NDArray[np.uint8], classes: ClassTable
) -> dict[ErrorKind, Mistake]:
    """The largest area of every kind of error that there is; ignored pixels count nowhere.

    Args:
        confidence: (H, W), 255 is certain.
    """
    areas = _areas(truth, prediction, classes)
    # Numbers of areas in the place of pixels: the same question, asked once for each area.
    kinds = wrong_pixels(areas.labelled, areas.predicted, classes)
    largest = {kind: int(np.argmax(np.where(of_kind, areas.sizes_px, 0))) for kind, of_kind in kinds.items()}
    return {kind: _mistake(areas, i, confidence) for kind, i in largest.items() if kinds[kind][i]}


@dataclass(frozen=True, slots=True, eq=False)
class _Areas:
    """All areas, numbered in the order of the image; 0 is where truth and prediction agree, and has no size.

    ``components`` (H, W) holds the numbers; sizes, boxes, ``labelled`` and ``predicted`` have one entry for each.
    """

    components: npt.NDArray[np.unsignedinteger]
    sizes_px: npt.NDArray[np.int64]
    boxes: Sequence[tuple[slice, ...]]
    labelled: LabelMap
    predicted: LabelMap


def _areas(truth: LabelMap, prediction: LabelMap, classes: ClassTable) -> _Areas:
    wrong = (truth != prediction) & (truth != classes.ignore_index)
    # One number per pair of classes; 0 stays for agreement.
    pairs = np.where(wrong, truth.astype(np.uint32) * 256 + prediction + 1, 0).astype(np.uint32)
    components = cc3d.connected_components(pairs, connectivity=8)
    statistics = cc3d.statistics(components)
    sizes_px = statistics["voxel_counts"].astype(np.int64)
    sizes_px[0] = 0
    labelled, predicted = np.zeros(len(sizes_px), np.uint8), np.zeros(len(sizes_px), np.uint8)
    labelled[components[wrong]], predicted[components[wrong]] = truth[wrong], prediction[wrong]
    return _Areas(components, sizes_px, statistics["bounding_boxes"], labelled, predicted)


def _mistake(areas: _Areas, index: int, confidence: npt.NDArray[np.uint8]) -> Mistake:
    rows, columns = areas.boxes[index][:2]
    bits = areas.components[rows, columns] == index
    labelled, predicted = int(areas.labelled[index]), int(areas.predicted[index])
    region = Region(labelled, int(rows.start), int(columns.start), bits)
    return Mistake(region, labelled, predicted, float(confidence[rows, columns][bits].mean() / 255))


def _is_background(label_map: LabelMap, classes: ClassTable) -> Bits:
    index = classes.background_index
    return np.zeros(label_map.shape, np.bool_) if index is None else label_map == index
