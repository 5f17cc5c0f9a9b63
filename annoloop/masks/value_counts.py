"""How many pixels have each value.

Not here: pairs of values of two maps (``metrics/scores.py``).  The fact to know: numpy's ``bincount`` makes eight bytes
of each pixel first, so a large map is counted piece by piece.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from annoloop.masks.regions import LabelMap

_PIECE_PX = 1 << 22


def value_counts(label_map: LabelMap, levels: int) -> npt.NDArray[np.int64]:
    """Pixels by value, int64 of ``levels`` or more; the map may have any shape.

    >>> value_counts(np.array([[0, 2], [2, 2]], np.uint8), 4).tolist()
    [1, 0, 3, 0]
    """
    flat = label_map.reshape(-1)
    if flat.size <= _PIECE_PX:
        return np.bincount(flat, minlength=levels).astype(np.int64)
    highest = max(int(flat.max()) + 1, levels)
    counts = np.zeros(highest, np.int64)
    for start in range(0, flat.size, _PIECE_PX):
        counts += np.bincount(flat[start : start + _PIECE_PX], minlength=highest)
    return counts
