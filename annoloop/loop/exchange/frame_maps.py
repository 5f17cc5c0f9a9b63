"""The label map that the shapes of a frame in CVAT make, whoever drew them.

Not here: what becomes of it (``corrections.py``).  The fact to know: a polygon that nobody touched stands for the
pixels that it was made from, not for those that its simplified outline covers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from annoloop.cvat.shapes import Drawing, draw, read_regions
from annoloop.cvat.wire import Frame, Shape
from annoloop.masks.regions import LabelMap, Region, coverage, paint
from annoloop.project.files import ProjectFiles
from annoloop.project.rows import FrameRow, TaskRow


def painted(
    files: ProjectFiles,
    task: TaskRow,
    labels: Mapping[int, str],
    row: FrameRow,
    frame: Frame,
    shapes: Sequence[Shape],
) -> tuple[LabelMap, int, int]:
    """The mask that shapes make, and how many pixels several of them and none of them cover.

    Args:
        labels: names by their numbers in CVAT.

    Raises:
        CvatError: a shape that is no area of this image.
    """
    classes = files.classes
    parts = read_regions(
        shapes,
        labels,
        classes,
        frame.size_hw,
        originals=_originals(files, task, row),
        before=set(row.shapes),
        where=f"frame {frame.name}",
    )
    onto: LabelMap = np.full(frame.size_hw, classes.fill_index, classes.dtype)
    if classes.keeps_uncovered and row.base_sha256 is not None:  # without labels before, uncovered is ignored
        onto = files.object_label_map(row.base_sha256)
    covered = coverage(parts, frame.size_hw)
    uncovered_px = int(np.count_nonzero(covered == 0)) if classes.background_index is None else 0
    label_map = paint(parts, frame.size_hw, fill=classes.fill_index, onto=onto)
    return label_map, int(np.count_nonzero(covered > 1)), uncovered_px


def _originals(files: ProjectFiles, task: TaskRow, row: FrameRow) -> dict[str, Region]:
    """The pixels that the polygons of the push stand for as long as nobody touches them."""
    if task.shape == "mask":
        return {}
    how = Drawing(task.shape, task.tolerance_px, task.min_region_px)
    drawn = draw(files.object_label_map(row.sent_sha256), files.classes, how, row.name)
    return {one.digest: one.region for one in drawn if one.region is not None}
