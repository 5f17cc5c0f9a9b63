"""What the values stored in a mask mean: to class indices and back, exactly.

Tables of 256 only; not here: files.  The facts to know: with ``reduce_zero_label`` a stored 0 is ignore and v is class
v - 1, as in mmseg; with ``values`` a stored value that is not named, while others mean the class of its number, means
nothing (``UNNAMED``), because to take it for that class would be a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from annoloop.errors import DataError

Table = npt.NDArray[np.uint8]
Pairs = tuple[tuple[int, int], ...]

IGNORED = 255
UNNAMED = 254
"""The label of a stored value that ``data.values`` does not name; no class has this index where there are values."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredValues:
    """``labels`` uint8 (256,): the class index of each stored value.

    ``stored`` uint8 (256,): the value written for each class index; ``storable`` bool (256,): whether there is one.
    """

    labels: Table
    stored: Table
    storable: npt.NDArray[np.bool_]

    def to_stored(self, label_map: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The values to write for a label map.

        Raises:
            DataError: it holds a class, or ignored pixels, for which no stored value stands.
        """
        if not self.storable.all():
            missing = np.flatnonzero((np.bincount(label_map.ravel(), minlength=256) > 0) & ~self.storable)
            if missing.size:
                raise DataError(
                    f"no stored value stands for {', '.join(map(str, missing[:5].tolist()))}",
                    where="data.values in annoloop.yaml",
                    hint=f"name one there, as in {{128: {missing[0]}}}",
                )
        return self.stored[label_map]


@cache
def stored_values(values: Pairs, nearest: bool, reduce_zero_label: bool) -> StoredValues | None:
    """The rule of a configuration; None where every stored value means itself.

    >>> rule = stored_values(((255, 1),), False, False)
    >>> rule.labels[[0, 255]].tolist(), rule.stored[[0, 1]].tolist()
    ([0, 1], [0, 255])
    """
    if reduce_zero_label:
        labels = np.roll(np.arange(256, dtype=np.uint8), 1)
        labels[[0, 255]] = IGNORED
        stored = np.roll(np.arange(256, dtype=np.uint8), -1)
        stored[IGNORED] = 0
        return StoredValues(labels, stored, np.ones(256, np.bool_))
    if not values:
        return None
    labels = _nearest(dict(values)) if nearest else _exact(dict(values))
    return StoredValues(labels, *_inverse(labels, [value for value, _ in values]))


def changed(rule: StoredValues) -> Pairs:
    """The stored values that do not mean themselves, and what they mean."""
    return tuple((value, int(label)) for value, label in enumerate(rule.labels) if value != label)


def _exact(values: dict[int, int]) -> Table:
    labels = np.arange(256, dtype=np.uint8)
    labels[[label for label in values.values() if label not in values]] = UNNAMED
    for value, label in values.items():
        labels[value] = label
    if IGNORED in values and IGNORED not in values.values():
        # 255 means a class, and ignored pixels need a value, too: the highest that means nothing else.
        labels[next(v for v in range(254, -1, -1) if v not in values and v not in values.values())] = IGNORED
    return labels


def _nearest(values: dict[int, int]) -> Table:
    """The lower one, where two are as near."""
    known = {0: 0} | values
    points = np.array(sorted(known))
    nearest = points[np.abs(np.arange(256)[:, None] - points).argmin(axis=1)]
    return np.array([known[int(point)] for point in nearest], np.uint8)


def _inverse(labels: Table, named: Sequence[int]) -> tuple[Table, npt.NDArray[np.bool_]]:
    """For each label the value that stands for it: the first one named, itself, or the lowest that means it."""
    stored = np.arange(256, dtype=np.uint8)
    storable = np.zeros(256, np.bool_)
    for value in (*named, *(v for v in range(256) if labels[v] == v), *range(256)):
        label = int(labels[value])
        if not storable[label]:
            stored[label], storable[label] = value, True
    storable[UNNAMED] = True  # never a class; the check of labels names it
    return stored, storable
