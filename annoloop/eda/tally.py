"""Sums over the facts of many samples: one of the same size however many there are, and what is usual in them.

Not here: files, and what follows from the sums.  The fact to know: tallies of splits add up to that of the whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from annoloop.eda.mask_facts import BINS, CELLS, MaskFacts
from annoloop.eda.sample_facts import ImageFacts, SampleFacts
from annoloop.masks.regions import Ints
from annoloop.metrics.scores import Floats

LEVEL_BINS = 32
"""Bins of 8 grey levels each."""

MOST_MAPPED = 2048
"""Of more classes it is not kept where they lie and which occur together: that would take gigabytes."""

_PER_BIN = 256 // LEVEL_BINS

_ROUNDING = 1e-9
"""Three tenths of ten are three, whatever binary fractions make of it."""


class Tally:
    """Sums by class (K, ...) over the samples that were added; all int64.

    ``pixels``, ``images``, ``components``, ``holed`` (K,); ``sizes`` (K, BINS) and ``heat`` (K, CELLS, CELLS) as in
    ``MaskFacts``; ``together`` (K, K) counts images that hold both classes, and like ``heat`` it is empty where there
    are more than ``MOST_MAPPED`` classes; ``sides`` (BINS,); ``brightness`` and
    ``contrast`` (LEVEL_BINS,) count images; ``image_sizes_hw`` counts images by their size.
    """

    def __init__(self, class_count: int) -> None:
        self.samples = self.readable = self.labelled = self.with_ignored = self.ignored_px = 0
        self.pixels, self.images, self.components, self.holed = (_zeros(class_count) for _ in range(4))
        self.sizes = _zeros(class_count, BINS)
        self.is_mapped = class_count <= MOST_MAPPED
        mapped = class_count if self.is_mapped else 0
        self.heat = _zeros(mapped, CELLS, CELLS)
        self.together = _zeros(mapped, mapped)
        self.sides = _zeros(BINS)
        self.brightness, self.contrast = _zeros(LEVEL_BINS), _zeros(LEVEL_BINS)
        self.image_sizes_hw: Counter[tuple[int, int]] = Counter()

    def add(self, facts: SampleFacts) -> None:
        """Count one sample in."""
        self.samples += 1
        if facts.image is not None:
            self._add_image(facts.image)
        if facts.mask is not None:
            self._add_mask(facts.mask)

    def usual_px(self, class_index: int) -> float:
        """The median area of a class's components, to a quarter octave; NaN where there is none."""
        return quantile_px(self.sizes[class_index], 0.5)

    def together_shares(self) -> Floats:
        """(K, K): of the images that hold the row's class the share that holds the column's; NaN for no image."""
        images = self.images[: len(self.together), None].astype(np.float64)
        shares: Floats = np.full(self.together.shape, np.nan)
        np.divide(self.together, images, out=shares, where=images > 0)
        return shares

    def _add_image(self, image: ImageFacts) -> None:
        self.readable += 1
        self.image_sizes_hw[image.size_hw] += 1
        self.brightness[int(image.brightness) // _PER_BIN] += 1
        self.contrast[int(image.contrast) // _PER_BIN] += 1

    def _add_mask(self, mask: MaskFacts) -> None:
        self.labelled += 1
        self.with_ignored += mask.ignored_px > 0
        self.ignored_px += mask.ignored_px
        self.images[mask.present] += 1
        self.pixels[mask.present] += mask.pixels
        self.components[mask.present] += mask.components
        self.holed[mask.present] += mask.holed
        self.sizes[mask.present] += mask.sizes
        if self.is_mapped:
            self.together[np.ix_(mask.present, mask.present)] += 1
            self.heat[mask.present] += mask.heat
        self.sides += mask.sides


def total(tallies: Iterable[Tally], class_count: int) -> Tally:
    """The sum of some tallies; an empty one of none."""
    whole = Tally(class_count)
    for one in tallies:
        for name, value in vars(one).items():
            setattr(whole, name, getattr(whole, name) + value)
    return whole


def quantile_px(counts: Ints | Floats, share: float) -> float:
    """The size that ``share`` of those counted in bins (BINS,) do not exceed, to a quarter octave; NaN for none.

    Of n sizes it is that of rank ceil(share * n), and what is told of it is the middle of the whole numbers of its bin:
    a bin of one number, as the smallest are, is exact.

    >>> sizes = np.bincount([0, 2, 3, 3], minlength=BINS)  # 1, 2, 3 and 3 px
    >>> [quantile_px(sizes, share) for share in (0.25, 0.5, 0.75, 1.0)]
    [1.0, 2.0, 3.0, 3.0]
    """
    if not counts.any():
        return float("nan")
    rank = max(1, int(np.ceil(share * counts.sum() - _ROUNDING)))
    place = int(np.searchsorted(np.cumsum(counts), rank))
    first, last = np.ceil(2 ** (place / 2) - _ROUNDING), np.ceil(2 ** ((place + 1) / 2) - _ROUNDING) - 1
    return float(np.sqrt(first * max(first, last)))


def _zeros(*shape: int) -> Ints:
    return np.zeros(shape, np.int64)
