"""What corrections cost a person: counted edits, and the minutes that they are estimated to take.

Knows label maps only.  The fact to know: the seconds are stated, not measured; ``annoloop simulate --cost`` puts others
in their place, and ``annoloop effort`` says what your own annotators need.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from annoloop.errors import ConfigError, meant
from annoloop.masks.classes import ClassTable
from annoloop.masks.regions import Bits, LabelMap, Region, regions


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds: to open an image and look it over, for one verdict on a region, to find and delete a shape, to begin a
    new one, and for each pixel of its outline.

    A verdict on a shown box takes 1.6 s (Papadopoulos et al., "We don't need no bounding-boxes", CVPR 2016), an
    outlined object 79 s (Lin et al., "Microsoft COCO", 2014), some 300 px long; the verdict counts nearly double here,
    and the outline half, so that a claim for verdicts is rather too small than too large.
    """

    image: float = 10.0
    verdict: float = 3.0
    delete: float = 2.0
    draw: float = 5.0
    outline_px: float = 0.1

    @classmethod
    def given(cls, pairs: tuple[str, ...]) -> Costs:
        """Costs of pairs like ``verdict=2``; what they do not name stays.

        Raises:
            ConfigError: no such cost, or no number of seconds.
        """
        names = [field.name for field in fields(cls)]
        found = {}
        for pair in pairs:
            name, _, value = pair.partition("=")
            if name not in names:
                raise ConfigError(
                    f"there is no cost {name!r}{meant(name, names)}", where="--cost", hint=f"one of {', '.join(names)}"
                )
            try:
                found[name] = float(value)
            except ValueError:
                found[name] = math.nan
            if not 0 <= found[name] < math.inf:
                raise ConfigError(f"{pair!r} is no number of seconds", where="--cost", hint=f"as in {name}=2.5")
        return cls(**found)


@dataclass(frozen=True, slots=True)
class Edits:
    """What somebody did: images looked over, verdicts given, shapes deleted and drawn, and the new outlines' length."""

    images: int = 0
    verdicts: int = 0
    deleted: int = 0
    drawn: int = 0
    outline_px: float = 0.0

    def __add__(self, other: Edits) -> Edits:
        return Edits(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def minutes(self, costs: Costs) -> float:
        """How long that takes."""
        seconds = (
            self.images * costs.image
            + self.verdicts * costs.verdict
            + self.deleted * costs.delete
            + self.drawn * costs.draw
            + self.outline_px * costs.outline_px
        )
        return seconds / 60


def edits_between(label_map: LabelMap, truth: LabelMap, classes: ClassTable) -> Edits:
    """What it takes to correct a whole image from one map to another, both (H, W).

    Shapes are connected components.  One that is not in the truth is deleted, one that is in the truth alone is drawn;
    of its outline only that part counts which is not there yet, so that a mended outline costs its mended stretch.
    """
    before, after = _shapes(label_map, classes), _shapes(truth, classes)
    return Edits(
        images=1,
        deleted=len(before - after),
        drawn=len(after - before),
        outline_px=new_outline_px(label_map, truth),
    )


def new_outline_px(label_map: LabelMap | Bits, truth: LabelMap | Bits) -> float:
    """The length of the outlines in ``truth`` that are not in ``label_map``, px; both (H, W), or the bits of one class.

    The edges between unlike pixels, times pi / 4: what a staircase is longer than the line that it stands for, over all
    directions (Cauchy and Crofton's formula).
    """
    edges = 0
    for one, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        there = (label_map[one] == truth[one]) & (label_map[other] == truth[other])
        edges += int(np.count_nonzero((truth[one] != truth[other]) & ~there))
    return edges * math.pi / 4


def _shapes(label_map: LabelMap, classes: ClassTable) -> set[tuple[int, int, int, tuple[int, ...], bytes]]:
    return {_key(region) for region in regions(label_map, skip=classes.undrawn_indices)}


def _key(region: Region) -> tuple[int, int, int, tuple[int, ...], bytes]:
    return region.class_index, region.top_px, region.left_px, region.bits.shape, np.packbits(region.bits).tobytes()
