"""Whether two images look nearly the same: re-encoded, resized, a little brighter, a pixel or two cut off.

Knows small grey pictures only, no files.  The fact to know: a hash of 255 bits finds the candidates in
no time, and a look at the pictures decides, because frames of one fixed camera share their hash while
what counts in them, a small object, differs.  Mirrored and turned images are other images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

SIDE = 32
"""Cells along each side of the small grey picture."""

MOST_BITS = 64
"""Two looks may differ in so many of 255 bits.

Measured on 891 steel surfaces of 200 x 200 px and 600 made street scenes: copies (JPEG quality 50, half
size, contrast x 0.8, 1 or 2 px cut off on every side) differ in 20 bits as a rule and in 58 at most.
Different images differ in 127, as chance has it.  The nearest of 576 000 pairs, 42 and 65 apart, show one
surface twice with a few pixels between; the next is 70 apart.  Made images (96 x 96 px) begin at 62.
"""

MOST_LEVELS = 8.0
"""No cell may differ by more grey levels (of 255) than a shift by one cell explains.

Of the same copies 99 in 100 stay below 3 if nothing was cut off.  Cut by 2 px, thin bright lines reach 30:
6 in 100 steel surfaces are missed, and more where a brighter copy clips them.  An object that fills a
cell, a thousandth of the picture, exceeds it as soon as it stands out from calm ground by more.
"""

_FREQUENCIES = 16
_FLAT = np.float32(1e-3)
"""Stands for the standard deviation of a picture without any, so that it can be divided by."""

_BLOCK = 1 << 22
"""Pairs whose bits are compared at a time: 4 MB for each intermediate array."""

_NEAREST = 16
_FEW_CELLS = 3
"""Every third cell in both directions is compared first: one of nine."""

Bits: TypeAlias = npt.NDArray[np.uint8]
Grey: TypeAlias = npt.NDArray[np.uint8]
Floats: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One image: its hash, packed ``bits`` uint8 (32,), and ``grey`` uint8 (SIDE, SIDE)."""

    bits: Bits
    grey: Grey


def look(grey: npt.NDArray[np.floating]) -> Look:
    """The look of a small grey picture, levels 0 ... 255, (SIDE, SIDE).

    A bit is the sign of one of the 16 x 16 lowest frequencies of the cosine transform; the mean, which
    is mere brightness, is left out and its bit stays 0.
    Source: DCT-II as in Ahmed, Natarajan & Rao, "Discrete cosine transform", 1974; its signs as a hash:
    Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010.
    """
    spectrum = _COSINES @ (grey - grey.mean()) @ _COSINES.T
    signs = spectrum.ravel() > 0
    signs[0] = False
    return Look(np.packbits(signs), np.rint(grey).astype(np.uint8))


class Looks:
    """The looks of many images by name, laid out for comparing; about 2 KB an image."""

    def __init__(self, looks: Mapping[str, Look]) -> None:
        self.names = tuple(looks)
        self._index = {name: i for i, name in enumerate(self.names)}
        self._words = _stacked([one.bits for one in looks.values()], (32,)).view(np.uint64)
        grey = _stacked([one.grey for one in looks.values()], (SIDE, SIDE))
        span = _span(grey)
        self._cells = {
            step: (np.ascontiguousarray(grey[:, ::step, ::step]), np.ascontiguousarray(span[:, ::step, ::step]))
            for step in (_FEW_CELLS, 1)
        }
        self._mean = grey.mean((1, 2), dtype=np.float32)
        self._contrast = np.maximum(grey.std((1, 2), dtype=np.float32), _FLAT)

    def any_alike(self, name: str, others: Sequence[str]) -> bool:
        """Whether an image is nearly the same as one of ``others``; one that is not in this collection is not."""
        if name not in self._index:
            return False
        rows = np.array([self._index[other] for other in others if other in self._index], np.intp)
        return self._first_alike(self._index[name], self, rows) is not None

    def partners(self, among: Looks) -> dict[str, str]:
        """For every image that is nearly the same as one of ``among``: the one with the nearest hash."""
        found = {}
        block = max(1, _BLOCK // max(1, len(among.names)))
        for start in range(0, len(self.names), block):
            distances = _distances(self._words[start : start + block], among._words)
            for row in np.flatnonzero((distances <= MOST_BITS).any(axis=1)):
                nearest = np.argsort(distances[row], kind="stable")
                partner = self._first_alike(start + int(row), among, nearest[distances[row][nearest] <= MOST_BITS])
                if partner is not None:
                    found[self.names[start + row]] = among.names[partner]
        return found

    def repeats(self) -> dict[str, str]:
        """For every image that is nearly the same as one before it in this collection: that one.

        Of the images before it those with the ``_NEAREST`` nearest hashes are compared: frames of a fixed camera
        share their hash by the thousand, and comparing each with each would take hours.
        """
        found = {}
        block = max(1, _BLOCK // max(1, len(self.names)))
        for start in range(0, len(self.names), block):
            before = self._words[: start + block]
            distances = _distances(self._words[start : start + block], before)
            for row in np.flatnonzero((distances <= MOST_BITS).sum(axis=1) > 1):  # itself is one
                earlier = distances[row, : start + row]
                nearest = np.argsort(earlier, kind="stable")[:_NEAREST]
                partner = self._first_alike(start + int(row), self, nearest)
                if partner is not None:
                    found[self.names[start + row]] = self.names[partner]
        return found

    def _first_alike(self, row: int, among: Looks, rows: npt.NDArray[np.intp]) -> int | None:
        """The first of some rows of ``among`` that looks like a row of this collection."""
        rows = rows[_distances(self._words[row : row + 1], among._words[rows])[0] <= MOST_BITS]
        for step in (_FEW_CELLS, 1):  # a few cells tell most pictures apart, and the others need not be compared
            rows = rows[self._unexplained(row, among, rows, step) <= MOST_LEVELS]
        return int(rows[0]) if rows.size else None

    def _unexplained(self, row: int, among: Looks, rows: npt.NDArray[np.intp], step: int) -> Floats:
        """The largest difference of a cell that no shift by a cell explains, in grey levels, (len(rows),).

        Looks at every ``step``-th cell in both directions.

        Brightness and contrast are made equal first.  A shift moves a cell by no more than its
        neighbourhood spans, in the calmer of the two pictures: an object that only one of them has
        stands on calm ground in the other.
        """
        contrast = np.sqrt(self._contrast[row] * among._contrast[rows])
        one, span = self._at_contrast(np.array([row]), contrast, step)
        others, spans = among._at_contrast(rows, contrast, step)
        unexplained: Floats = (np.abs(one - others) - np.minimum(span, spans)).max((1, 2), initial=0)
        return unexplained

    def _at_contrast(self, rows: npt.NDArray[np.intp], contrast: Floats, step: int) -> tuple[Floats, Floats]:
        """Cells of pictures with mean 0 and a given standard deviation, and their spans, both (len(rows), ., .)."""
        gain = (contrast / self._contrast[rows])[:, None, None]
        grey, span = (cells[rows] for cells in self._cells[step])
        return gain * (grey - self._mean[rows, None, None]), gain * span


def _stacked(parts: Sequence[npt.NDArray[np.uint8]], shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    return np.stack(parts) if parts else np.empty((0, *shape), np.uint8)


def _distances(one: npt.NDArray[np.uint64], other: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    """In how many bits every row of one (N, 4) differs from every row of the other (M, 4); 255 fit into a byte."""
    total = np.zeros((len(one), len(other)), np.uint8)
    for word in range(one.shape[1]):
        total += np.bitwise_count(one[:, None, word] ^ other[None, :, word])
    return total


def _span(grey: Grey) -> Grey:
    """Largest minus smallest level among a cell and its eight neighbours, (N, SIDE, SIDE)."""
    low = high = np.pad(grey, ((0, 0), (1, 1), (1, 1)), mode="edge")
    for axis in (1, 2):
        low, high = _among_three(np.minimum, low, axis), _among_three(np.maximum, high, axis)
    return high - low


def _among_three(choose: np.ufunc, values: Grey, axis: int) -> Grey:
    """The smallest or largest of three neighbours along an axis, which gets shorter by two."""
    length = values.shape[axis] - 2
    first, second, third = (values.take(range(start, start + length), axis) for start in range(3))
    smallest_or_largest: Grey = choose(choose(first, second), third)
    return smallest_or_largest


_COSINES = np.cos(np.pi * (2 * np.arange(SIDE) + 1) * np.arange(_FREQUENCIES)[:, None] / (2 * SIDE))
"""(16, SIDE): the DCT-II's rows up to their scale, which no sign depends on."""
