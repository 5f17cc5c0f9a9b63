"""The label map that the shapes of a frame in CVAT make, whoever drew them.

Not here: what becomes of it (``corrections.py``).  The fact to know: a polygon that nobody touched stands for the
pixels that it was made from, not for those that its simplified outline covers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from annoloop.cvat.shapes import Drawing, draw, read_regions
from annoloop.cvat.wire import Frame, Shape
from annoloop.masks.regions import LabelMap, Region, coverage, paint
from annoloop.project.files import ProjectFiles
from annoloop.project.rows import FrameRow, TaskRow

_AT_HAND = 3
"""Whole maps of a cut image that stay in memory from one of its tiles to the next."""


def frame_map(files: ProjectFiles, row: FrameRow, digest: str) -> LabelMap:
    """What a frame shows of a mask version: all of it, or a tile's window."""
    if row.window is None:
        return files.object_label_map(digest)
    return np.ascontiguousarray(_whole(files, digest)[row.window.window])


def frame_prediction(files: ProjectFiles, row: FrameRow, run_id: int, image_sha256: str) -> LabelMap:
    """What a frame shows of a run's prediction of its image."""
    if row.window is None:
        return files.prediction(run_id, image_sha256)
    return np.ascontiguousarray(_whole_prediction(files, run_id, image_sha256)[row.window.window])


@lru_cache(_AT_HAND)
def _whole(files: ProjectFiles, digest: str) -> LabelMap:
    return files.object_label_map(digest)


@lru_cache(1)
def _whole_prediction(files: ProjectFiles, run_id: int, image_sha256: str) -> LabelMap:
    return files.prediction(run_id, image_sha256)


def forget_maps() -> None:
    """Give back the memory of whole maps, once the tiles of a task are done with."""
    _whole.cache_clear()
    _whole_prediction.cache_clear()


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
        onto = frame_map(files, row, row.base_sha256)
    covered = coverage(parts, frame.size_hw)
    uncovered_px = int(np.count_nonzero(covered == 0)) if classes.background_index is None else 0
    label_map = paint(parts, frame.size_hw, fill=classes.fill_index, onto=onto)
    return label_map, int(np.count_nonzero(covered > 1)), uncovered_px


def _originals(files: ProjectFiles, task: TaskRow, row: FrameRow) -> dict[str, Region]:
    """The pixels that the polygons of the push stand for as long as nobody touches them."""
    if task.shape == "mask":
        return {}
    how = Drawing(task.shape, task.tolerance_px, task.min_region_px)
    drawn = draw(frame_map(files, row, row.sent_sha256), files.classes, how, row.name)
    return {one.digest: one.region for one in drawn if one.region is not None}
