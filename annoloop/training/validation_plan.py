"""How a training validates: on which share of the images, how often, and what that costs of its time.

Numbers in and out; the training process and the plan that is shown before it count alike.  The fact to know: while
training a fixed share is looked at, and all images only for the last candidates.
"""

from __future__ import annotations

from collections.abc import Sequence

MEANWHILE = 32
"""So many images are validated on while training; the others wait for the end."""

CANDIDATES = 2
"""Weights that are judged on all images: the best ones meanwhile, and the last."""

BY_ITERATIONS = 6
"""How often a run of a given number of iterations validates, at equal distances; the last time at its end."""

_MEANWHILE_SHARE = 0.07
"""Of a budget, for validations while training; with the judging less than 15 %."""

_JUDGING_SHARE = 0.07
_QUICK_S = 5.0
"""All images are looked at where that is quickly done, however short the budget."""

_MOST = 8


def validations(budget_s: float, each_s: float) -> int:
    """How many validations of ``each_s`` a budget allows; one at least, at the end."""
    return min(_MOST, max(1, int(_MEANWHILE_SHARE * budget_s / max(each_s, 1e-3))))


def judging_s(val_images: int, image_s: float, budget_s: float | None) -> float:
    """How long judging the last candidates may take: nothing where all images were looked at meanwhile."""
    if val_images <= MEANWHILE:
        return 0.0
    whole_s = CANDIDATES * val_images * image_s
    return whole_s if budget_s is None else min(whole_s, max(_QUICK_S, _JUDGING_SHARE * budget_s))


def stratified_order(pixels: Sequence[Sequence[int]]) -> list[int]:
    """Images in an order of which every beginning is a fair share, by their pixels of each class (N, K).

    An image stands for the rarest class in it; each class's images are spread evenly, the first of them early.
    """
    import numpy as np  # not at the top: a Python without it still says that torch is missing

    counts = np.asarray(pixels, dtype=np.int64)
    holds = counts > 0
    images_with = np.where(holds, holds.sum(axis=0), len(counts) + 1)
    stands_for = np.where(holds.any(axis=1), images_with.argmin(axis=1), -1)
    shuffled = np.random.default_rng(0).permutation(len(counts))
    place = np.empty(len(counts))
    for stratum in np.unique(stands_for):
        members = shuffled[stands_for[shuffled] == stratum]
        place[members] = np.arange(len(members)) / len(members)
    return [int(index) for index in np.lexsort((stands_for, place))]
