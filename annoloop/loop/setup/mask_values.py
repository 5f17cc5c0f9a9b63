"""What the values in masks are like: which there are, and what is odd about them.

A look at some masks, for ``start.py``; not here: what eda says of every mask.  The fact to know: counts are of stored
values, before anything is mapped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from annoloop.data.images import read_index_png
from annoloop.data.mask_formats import beyond_8_bits
from annoloop.data.mmseg_folders import Sample
from annoloop.data.storage import Location, each
from annoloop.errors import DataError
from annoloop.masks.classes import NARROW_IGNORE
from annoloop.masks.value_counts import value_counts
from annoloop.progress import Track

_MOST_READ = 500
_SHOWN_ODD = 3
_WHITE = 255
_MANY = 4
_RIM = 0.25
_TRAIN_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The Cityscapes label ids of train ids 0 … 18: https://github.com/mcordts/cityscapesScripts (labels.py)."""


@dataclass(frozen=True, slots=True)
class MaskValues:
    """Pixels per stored value over some masks, and lines on those that cannot be read; and what ignored ones have."""

    counts: Mapping[int, int]
    unreadable: tuple[str, ...]
    ignore_index: int = NARROW_IGNORE

    @property
    def real(self) -> list[int]:
        """All stored values but the ignore index, in order."""
        return sorted(value for value in self.counts if value != self.ignore_index)

    @property
    def black_and_white(self) -> bool:
        """Whether there are 0 and 255 and nothing else."""
        return self.real == [0] and self.counts.get(_WHITE, 0) > 0

    @property
    def rim(self) -> float:
        """Share of pixels between black and white, where these are nearly all; 0 where that is not so."""
        total = sum(self.counts.values())
        between = total - self.counts.get(0, 0) - max((self.counts.get(v, 0) for v in range(250, 256)), default=0)
        # Class ids and 255 for ignored ones leave a gap between them that smoothing fills.
        both_ends = any(5 < value < 60 for value in self.counts) and any(200 < value < 250 for value in self.counts)
        smooth = (
            self.ignore_index == NARROW_IGNORE
            and both_ends
            and len(self.counts) > _MANY
            and 0 < between <= _RIM * total
        )
        return between / total if smooth else 0.0


def look_at_values(root: Location, samples: Sequence[Sample], track: Track, ignore_index: int) -> MaskValues:
    """The values in the masks, in 500 or so of them if there are many."""
    masks = [s.mask for s in samples if s.mask is not None]
    chosen = masks[:: max(1, len(masks) // _MOST_READ)]
    counts = np.zeros(ignore_index + 1, np.int64)
    bad: list[DataError] = []
    for found in track(each(root, partial(_values_of, levels=counts.size), chosen), "looking at masks", len(chosen)):
        if isinstance(found, DataError):
            bad.append(found)
        else:
            counts += found
    held = Counter({int(v): int(counts[v]) for v in np.flatnonzero(counts)})
    return MaskValues(held, tuple(_in_short(bad)), ignore_index)


def _values_of(mask: Location, levels: int) -> npt.NDArray[np.int64] | DataError:
    """Pixels per stored value (levels,), or why there are none."""
    try:
        values = read_index_png(mask).values
        if int(values.max()) >= levels:
            return beyond_8_bits(values, mask)
        return value_counts(values, levels)
    except DataError as error:
        return error


def _in_short(bad: Sequence[DataError]) -> Iterator[str]:
    """The first masks of each message, and how many more there are."""
    for message, count in Counter(error.message for error in bad).items():
        own = [error for error in bad if error.message == message][:_SHOWN_ODD]
        yield from (f"{error.where}: {error.message}" for error in own)
        if count > _SHOWN_ODD:
            yield f"{count - _SHOWN_ODD} more masks: {message}"


def odd_values(values: MaskValues, labels: Mapping[int, int], names: Sequence[str], *, given: bool) -> Iterator[str]:
    """What is odd about masks as they will be read: ``labels`` are pixels per class index, ignored ones left out."""
    total = sum(values.counts.values())
    real = sorted(labels)
    beyond = [label for label in real if label >= len(names)]
    if beyond:
        yield f"masks hold indices beyond the classes: {beyond[:10]}"
    if not given:
        yield "class names were not given: background, class_1, … were made up; edit annoloop.yaml"
    unused = [name for i, name in enumerate(names) if i not in labels]
    if unused and total:
        yield f"no pixel of {', '.join(unused[:10])}{f' and {len(unused) - 10} more' if unused[10:] else ''}"
    if real == [0] and values.real == [0] and not values.counts.get(_WHITE):
        yield "every mask is all 0"
    if total and labels.get(0, 0) / total > 0.8:
        yield f"index 0 covers {labels[0] / total:.0%} of the pixels: the recipes' losses are made for that"


def of_another_kind(values: MaskValues) -> Iterator[str]:
    """Masks that are black and white, smoothed or not, and read as they are would mean nothing."""
    if values.black_and_white:
        yield (
            "black and white masks: they hold only 0 and 255, and 255 is ignored, so nothing is labelled;"
            " --values 255=1 makes white class 1 (data.values: {255: 1})"
        )
    elif values.rim:
        yield (
            f"smoothed outlines: {values.rim:.1%} of the pixels lie between black and white and are no classes;"
            " --values 255=1 takes the nearest of the two (data.values, data.nearest)"
        )


def on_label_ids(mask_set: str) -> Iterator[str]:
    """What to do where there are Cityscapes' label ids and no train ids."""
    if "labelids" in mask_set.lower():
        others = [value for value in range(34) if value not in _TRAIN_IDS]
        train = ",".join(f"{value}={i}" for i, value in enumerate(_TRAIN_IDS))
        yield (
            f"only labelIds are here ({mask_set}): csCreateTrainIdLabelImgs of cityscapesscripts makes train ids; or"
            f" --values {train},{','.join(f'{value}=255' for value in others)} reads them as the 19 classes"
        )
