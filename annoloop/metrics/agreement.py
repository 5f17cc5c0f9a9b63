"""How far annotators agree on the same images: votes, Dice between them, who stands apart, and where they differ.

Arrays only; not here: whose maps these are (``loop/quality.py``).  The facts to know: of pixels that one of two maps
ignores nothing is said; and between two people there is no truth, so that Dice between them is the same both ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from annoloop.masks.regions import Bits, Ints, LabelMap, Region, components
from annoloop.metrics.scores import Floats

Counts = npt.NDArray[np.int64]
"""int64 (K, 2): by class twice the pixels that two maps share, and the pixels of both; sums over images give Dice."""

_RESAMPLES = 2000
_APART = 0.1
"""Whoever agrees with the others by so much less in Dice than they do among themselves stands apart."""
_MOST_SURE = 0.975


def vote(maps: Sequence[LabelMap], previous: LabelMap) -> LabelMap:
    """The value that most of the maps (H, W) have at each pixel; where several share the most votes, ``previous``.

    >>> one, two, three = (np.array([row], np.uint8) for row in ([1, 1, 1], [1, 2, 2], [1, 2, 3]))
    >>> vote([one, two, three], np.array([[9, 9, 9]], np.uint8)).tolist()
    [[1, 2, 9]]
    """
    most = np.zeros(previous.shape, np.int64)
    won, tied = previous.copy(), np.zeros(previous.shape, np.bool_)
    for one in maps:
        votes = sum((one == other).astype(np.int64) for other in maps)
        tied = np.where(votes > most, False, tied | ((votes == most) & (one != won)))
        won = np.where(votes > most, one, won)
        most = np.maximum(votes, most)
    settled: LabelMap = np.where(tied, previous, won).astype(previous.dtype)
    return settled


def pair_counts(
    one: LabelMap, other: LabelMap, class_count: int, ignore_index: int, among: Bits | None = None
) -> Counts:
    """What two maps (H, W) of an image share, by class; pixels that either ignores, or not ``among``, do not count."""
    counted = (one != ignore_index) & (other != ignore_index)
    if among is not None:
        counted &= among
    a, b = one[counted], other[counted]
    shared, first, second = (np.bincount(x, minlength=class_count)[:class_count] for x in (a[a == b], a, b))
    return np.stack([2 * shared, first + second], axis=1).astype(np.int64)


def dice_of(counts: Counts) -> Floats:
    """Dice by class from summed counts (..., K, 2); NaN where neither has a pixel."""
    found: Floats = np.full(counts.shape[:-1], np.nan)
    np.divide(counts[..., 0], counts[..., 1], out=found, where=counts[..., 1] > 0)
    return found


def agreement(maps: Sequence[LabelMap], class_count: int, ignore_index: int) -> Counts:
    """The sum of ``pair_counts`` over all pairs of maps of one image."""
    total: Counts = np.zeros((class_count, 2), np.int64)
    for one, other in combinations(maps, 2):
        total += pair_counts(one, other, class_count, ignore_index)
    return total


def against_the_others(maps: Sequence[LabelMap], class_count: int, ignore_index: int) -> list[Counts]:
    """For each of three maps or more: what it shares with the majority of the others, where these have one."""
    found = []
    for number, own in enumerate(maps):
        others = [one for place, one in enumerate(maps) if place != number]
        settled, tied = vote(others, np.full_like(own, 0)), vote(others, np.full_like(own, 1))
        found.append(pair_counts(own, settled, class_count, ignore_index, settled == tied))
    return found


def mean_dice(counts: Counts, background_index: int | None) -> float:
    """The mean Dice over the foreground classes that are there, from summed counts (K, 2); NaN for none."""
    per_class = dice_of(counts)
    if background_index is not None and per_class.size > 1:
        per_class = np.delete(per_class, background_index)
    present = per_class[~np.isnan(per_class)]
    return float(present.mean()) if present.size else float("nan")


@dataclass(frozen=True, slots=True)
class Standing:
    """How far one annotator agrees with the majority of the others; ``gap`` is how much less than they do, mean Dice.

    ``apart``: surely less, in nearly all resamples of the images, and by more than a little.
    """

    dice: float
    gap: float
    apart: bool


def standings(counts: Counts, background_index: int | None, *, seed: int = 0) -> list[Standing]:
    """Of each annotator, from ``against_the_others`` of every image (N, A, K, 2); bootstrap over the images.

    The gap is to the median of the other annotators, whose own agreement one bad one hardly changes.
    """
    images, people = counts.shape[:2]
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(images, np.full(images, 1 / images), size=_RESAMPLES)
    gaps = np.array([_gaps(np.tensordot(weights, counts, 1), background_index) for weights in drawn])
    whole = counts.sum(axis=0)
    now = _gaps(whole, background_index)
    sure = np.mean(gaps > 0, axis=0) >= _MOST_SURE
    return [
        Standing(mean_dice(whole[i], background_index), float(now[i]), bool(sure[i] and now[i] > _APART))
        for i in range(people)
    ]


def _gaps(counts: Counts, background_index: int | None) -> Floats:
    dices = np.array([mean_dice(one, background_index) for one in counts])
    others = [np.delete(dices, i) for i in range(len(dices))]
    middles = np.array([np.median(one[~np.isnan(one)]) if (~np.isnan(one)).any() else np.nan for one in others])
    gaps: Floats = np.nan_to_num(middles - dices)
    return gaps


def disagreements(
    maps: Sequence[LabelMap], ignore_index: int, *, least_px: int
) -> list[tuple[Region, tuple[int, ...]]]:
    """The connected areas in which the maps of one image differ in one way, and what each says there; largest first.

    A region's ``class_index`` is the lowest class that any of them says.
    """
    stack = np.stack([one.astype(np.int64) for one in maps])
    differs = (stack != stack[0]).any(axis=0) & ~(stack == ignore_index).any(axis=0)
    said, numbers = np.unique(stack[:, differs], axis=1, return_inverse=True)
    if said.shape[1] >= np.iinfo(np.uint16).max:
        return []
    canvas = np.zeros(differs.shape, np.uint16)
    canvas[differs] = numbers.ravel() + 1
    found = components(canvas)
    areas = [
        i for i in np.argsort(-found.sizes_px, kind="stable") if found.class_of[i] and found.sizes_px[i] >= least_px
    ]
    return [_area(found.numbers, found.boxes_ltrb[i], i, said[:, found.class_of[i] - 1]) for i in areas]


def _area(numbers: npt.NDArray[np.int32], box_ltrb: Ints, number: int, said: Ints) -> tuple[Region, tuple[int, ...]]:
    left, top, right, bottom = box_ltrb.tolist()
    bits = numbers[top:bottom, left:right] == number
    return Region(int(said.min()), top, left, bits), tuple(said.tolist())
