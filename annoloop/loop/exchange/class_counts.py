"""Pixels by class: of label maps, and of what differs between two.

Not here: what these counts are of (``corrections.py``, ``pull.py``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from annoloop.masks.regions import LabelMap
from annoloop.masks.value_counts import value_counts
from annoloop.project.project import Project
from annoloop.project.rows import FrameRow

Counts = npt.NDArray[np.int64]
"""int64 (256,), (65536,) where masks have 16 bits: pixels by class index."""


def class_pixels(project: Project, rows: Sequence[FrameRow]) -> Counts:
    """Pixels by class in the masks of frames as they were last in step."""
    counts: Counts = np.zeros(project.classes.levels, np.int64)
    for row in rows:
        counts += counts_of(project.object_label_map(row.pushed_sha256))
    return counts


def counts_of(label_map: LabelMap) -> Counts:
    """Pixels of a label map by class."""
    return value_counts(label_map, _levels(label_map))


def _levels(label_map: LabelMap) -> int:
    """How many values its type has."""
    return np.iinfo(label_map.dtype).max + 1


def differences(before: LabelMap | None, after: LabelMap) -> tuple[Counts, Counts]:
    """Pixels gained and lost by class; where nothing comparable was before, all are gained."""
    nothing: Counts = np.zeros(_levels(after), np.int64)
    if before is None:
        return counts_of(after), nothing
    if before is after or before.shape != after.shape:
        return nothing, nothing
    differs = before != after
    return counts_of(after[differs]), counts_of(before[differs])
