"""What the values stored in a mask mean: to class indices and back, exactly.

Tables of 256 values, or of 65536 for masks of 16 bits; not here: files.  The facts to know: with ``reduce_zero_label``
a stored 0 is ignore and v is class v - 1, as in mmseg; with ``values`` a stored value that is not named, while others
mean the class of its number, means nothing (``unnamed``), because to take it for that class would be a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from annoloop.errors import DataError
from annoloop.masks.value_counts import value_counts

Table = npt.NDArray[np.unsignedinteger[Any]]
Pairs = tuple[tuple[int, int], ...]

NARROW, WIDE = 256, 65_536
"""So many values a mask of 8 bits can hold, and one of 16."""


def ignored(levels: int) -> int:
    """The label of ignored pixels in masks that can hold so many values."""
    return levels - 1


def unnamed(levels: int) -> int:
    """The label of a value that ``data.values`` does not name; no class has this index where there are values."""
    return levels - 2


@dataclass(frozen=True, slots=True, eq=False)
class StoredValues:
    """``labels`` uint8 (256,), or uint16 (65536,): the class index of each stored value.

    ``stored``, as long: the value written for each class index; ``storable`` bool: whether there is one.
    """

    labels: Table
    stored: Table
    storable: npt.NDArray[np.bool_]

    def to_stored(self, label_map: Table) -> Table:
        """The values to write for a label map.

        Raises:
            DataError: it holds a class, or ignored pixels, for which no stored value stands.
        """
        if not self.storable.all():
            missing = np.flatnonzero((value_counts(label_map, self.storable.size) > 0) & ~self.storable)
            if missing.size:
                raise DataError(
                    f"no stored value stands for {', '.join(map(str, missing[:5].tolist()))}",
                    where="data.values in annoloop.yaml",
                    hint=f"name one there, as in {{128: {missing[0]}}}",
                )
        return self.stored[label_map]


@cache
def stored_values(values: Pairs, nearest: bool, reduce_zero_label: bool, levels: int = NARROW) -> StoredValues | None:
    """The rule of a configuration; None where every stored value means itself.

    ``levels``: so many values a mask can hold.  With ``reduce_zero_label`` they are ``NARROW``, as in mmseg.

    >>> rule = stored_values(((255, 1),), False, False)
    >>> rule.labels[[0, 255]].tolist(), rule.stored[[0, 1]].tolist()
    ([0, 1], [0, 255])
    """
    if reduce_zero_label:
        labels = np.roll(_themselves(NARROW), 1)
        labels[[0, ignored(NARROW)]] = ignored(NARROW)
        stored = np.roll(_themselves(NARROW), -1)
        stored[ignored(NARROW)] = 0
        return StoredValues(labels, stored, np.ones(NARROW, np.bool_))
    if not values:
        return None
    labels = _nearest(dict(values), levels) if nearest else _exact(dict(values), levels)
    return StoredValues(labels, *_inverse(labels, [value for value, _ in values]))


def changed(rule: StoredValues) -> Pairs:
    """The stored values that do not mean themselves, and what they mean."""
    return tuple((value, int(label)) for value, label in enumerate(rule.labels) if value != label)


def _themselves(levels: int) -> Table:
    return np.arange(levels, dtype=np.uint8 if levels == NARROW else np.uint16)


def _exact(values: dict[int, int], levels: int) -> Table:
    labels, highest = _themselves(levels), ignored(levels)
    labels[[label for label in values.values() if label not in values]] = unnamed(levels)
    for value, label in values.items():
        labels[value] = label
    meant = set(values.values())
    if highest in values and highest not in meant:
        # It means a class, and ignored pixels need a value, too: the highest that means nothing else.
        labels[next(v for v in range(highest - 1, -1, -1) if v not in values and v not in meant)] = highest
    return labels


def _nearest(values: dict[int, int], levels: int) -> Table:
    """The lower one, where two are as near."""
    known = {0: 0} | values
    points = np.array(sorted(known))
    # Up to the middle between two the lower one is as near, or nearer.
    places = np.searchsorted((points[:-1] + points[1:]) // 2, np.arange(levels))
    means = np.array([known[int(point)] for point in points], _themselves(levels).dtype)
    return means[places]


def _inverse(labels: Table, named: Sequence[int]) -> tuple[Table, npt.NDArray[np.bool_]]:
    """For each label the value that stands for it: the first one named, itself, or the lowest that means it."""
    levels = labels.size
    stored = _themselves(levels)
    storable = np.zeros(levels, np.bool_)
    for value in (*named, *np.flatnonzero(labels == np.arange(levels)).tolist(), *range(levels)):
        label = int(labels[value])
        if not storable[label]:
            stored[label], storable[label] = value, True
    storable[unnamed(levels)] = True  # never a class; the check of labels names it
    return stored, storable
