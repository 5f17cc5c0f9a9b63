"""Class-stratified, scheduled power sampling of predictive entropy (ClaSP PE): an order in which images are taken.

Numbers in and out; no files.  The fact to know: it is drawn by chance, but the same numbers, round and seed draw the
same images.

Source: ClaSP PE of nnActive, 2026; power sampling: Kirsch et al., "Stochastic Batch Acquisition", TMLR 2023.  How many
rounds the schedule takes, and who gets what a split leaves over, is ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

CLASS_SHARE = 0.66
"""Of the budget, split evenly over the foreground classes; the rest goes by entropy."""

FIRST_BETA, LAST_BETA = 1.0, 100.0
ROUNDS = 5
"""In so many rounds, geometrically, chance gives way to rank; afterwards beta stays."""

Floats = npt.NDArray[np.float64]


def beta_of(round_number: int) -> float:
    """How far rank counts against chance in a round, counted from 0.

    >>> [round(beta_of(number), 2) for number in (0, 1, 2, 4, 9)]
    [1.0, 3.16, 10.0, 100.0, 100.0]
    """
    share: float = min(round_number, ROUNDS - 1) / (ROUNDS - 1)
    return float(FIRST_BETA * (LAST_BETA / FIRST_BETA) ** share)


def quotas(count: int, classes: int, round_number: int) -> list[int]:
    """Of ``count`` images, how many each foreground class gets, and last how many go by entropy.

    What an even split leaves over goes to one class each, beginning with another class in every round.

    >>> quotas(10, 3, 0), quotas(10, 3, 1), quotas(5, 0, 0)
    ([3, 2, 2, 3], [2, 3, 2, 3], [5])
    """
    by_class = round(CLASS_SHARE * count) if classes else 0
    each, over = divmod(by_class, classes) if classes else (0, 0)
    extra = {(round_number + number) % classes for number in range(over)}
    return [*(each + (number in extra) for number in range(classes)), count - by_class]


def order(
    means: Mapping[str, Floats], foreground: Sequence[int], count: int, *, round_number: int, seed: int
) -> list[str]:
    """All images by name, the first ``count`` of them by the quotas; the others follow in the same proportions.

    For each foreground class c images are ranked by log(u) + Gumbel(0, 1 / beta), u being the mean over the image's
    pixels of H x p_c; those by entropy with the mean of H.  An image that was taken once is not taken again.

    Args:
        means: (K,) for each image, the mean of H x p_c over its pixels.
        foreground: indices of the classes that are no background.
    """
    names = sorted(means)
    if not names or count < 1:
        return []
    table = np.array([means[name] for name in names])
    drawn = np.random.default_rng(seed)
    beta = beta_of(round_number)
    rankings = []
    for values in (*(table[:, index] for index in foreground), table.sum(axis=1)):
        with np.errstate(divide="ignore"):
            scores = np.log(values) + drawn.gumbel(0, 1 / beta, len(names))
        rankings.append(iter(np.argsort(-scores, kind="stable").tolist()))
    taken: dict[int, None] = {}
    while len(taken) < len(names):
        for ranking in _turns(rankings, quotas(count, len(foreground), round_number)):
            best = next((number for number in ranking if number not in taken), None)
            if best is not None:
                taken[best] = None
    return [names[number] for number in taken]


def _turns(rankings: Sequence[Iterator[int]], places: Sequence[int]) -> Iterator[Iterator[int]]:
    """The rankings turn by turn, until each has had its places."""
    for turn in range(max(places)):
        for ranking, most in zip(rankings, places, strict=True):
            if turn < most:
                yield ranking
