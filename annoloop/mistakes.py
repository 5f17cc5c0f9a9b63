"""The largest connected areas on which a model and the label disagree, in words.

Not here: where they are shown (``push.py`` pins them as issues in CVAT).  The fact to know: an area is
one pair of classes, so "patches taken for background" and "patches taken for scratches" are two.
"""

from __future__ import annotations

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
    wrong = (truth != prediction) & (truth != classes.ignore_index)
    if count == 0 or not wrong.any():
        return []
    # One number per pair of classes; 0 stays for agreement.
    pairs = np.where(wrong, truth.astype(np.uint32) * 256 + prediction + 1, 0).astype(np.uint32)
    components = cc3d.connected_components(pairs, connectivity=8)
    statistics = cc3d.statistics(components)
    sizes = statistics["voxel_counts"].astype(np.int64)
    sizes[0] = 0
    # Equal sizes in the order of the image, so that the same masks always give the same areas.
    largest = [int(i) for i in np.argsort(-sizes, kind="stable")[:count] if sizes[i] >= max(1, least_px)]
    found = []
    for index in largest:
        rows, columns = statistics["bounding_boxes"][index][:2]
        bits = components[rows, columns] == index
        row, column = (int(axis[0]) for axis in np.nonzero(bits))
        labelled = int(truth[rows, columns][row, column])
        predicted = int(prediction[rows, columns][row, column])
        region = Region(labelled, int(rows.start), int(columns.start), bits)
        found.append(Mistake(region, labelled, predicted, float(confidence[rows, columns][bits].mean() / 255)))
    return found


def _is_background(label_map: LabelMap, classes: ClassTable) -> Bits:
    index = classes.background_index
    return np.zeros(label_map.shape, np.bool_) if index is None else label_map == index
