"""Which images next: the worst of those ranked from worst to best, and a random share.

Knows numbers only; what a score means is the caller's business.  The fact to know: of a million candidates only
those are looked at that go, or would but for a twin.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import isnan


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image that may be chosen: the lower the score the worse; ties go to more wrong pixels."""

    sample_id: str
    score: float
    wrong_px: int


Alike = Callable[[str, Sequence[str]], bool]
"""Whether an image, by its sample id, is nearly the same as one of others."""


Compare = Callable[[Sequence[str]], Alike]
"""Makes ready to compare some images, by their sample ids, and no others."""


def never_alike(_: Sequence[str]) -> Alike:
    """No two images are the same."""
    return lambda _, __: False


def rank(one: Candidate) -> tuple[bool, float, int, str]:
    """Sorts candidates, worst first; those without a number come last."""
    return isnan(one.score), one.score, -one.wrong_px, one.sample_id


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen ones: asked for, worst, then drawn; and who would have been, but for a twin among them."""

    chosen: tuple[Candidate, ...]
    left_out: tuple[Candidate, ...]


def choose(
    first: Sequence[Candidate],
    others: Iterable[Candidate],
    count: int,
    *,
    random_share: float = 0.0,
    seed: int = 0,
    compare: Compare = never_alike,
) -> Choice:
    """Those who are asked for ``first``, the worst of the others, then a random share: ``count`` in all.

    ``random_share`` (0 ... 1) of the places that nobody asked for goes to images drawn without regard to their
    score: only they tell honestly how good the labels are, because the worst are bad by choice.  Of images that
    are alike one goes, the worst: correcting one mask twice teaches nothing.

    Args:
        first: sorted by ``rank``, as ``others``, who without a random share are read only as far as they are needed.
    """
    if random_share:
        return _with_chance(first, list(others), count, random_share, seed, compare)
    asked = tuple(first[:count])
    worst = _take(iter(others), count - len(asked), asked, compare)
    return Choice(asked + worst.chosen, worst.left_out)


def _with_chance(
    first: Sequence[Candidate], others: Sequence[Candidate], count: int, share: float, seed: int, compare: Compare
) -> Choice:
    count = min(count, len(first) + len(others))
    asked = tuple(first[:count])
    free = count - len(asked)
    worst = _take(iter(others), free - round(free * share), asked, compare)
    rest = sorted(others[len(worst.chosen) + len(worst.left_out) :], key=lambda c: c.sample_id)
    shuffled = random.Random(seed).sample(rest, len(rest))  # noqa: S311 - not for secrets
    drawn = _take(iter(shuffled), free - len(worst.chosen), asked + worst.chosen, compare)
    return Choice(asked + worst.chosen + drawn.chosen, worst.left_out + drawn.left_out)


def _take(candidates: Iterator[Candidate], count: int, beside: Sequence[Candidate], compare: Compare) -> Choice:
    """The first ``count`` candidates that look like none before them and none of ``beside``."""
    chosen: list[Candidate] = []
    left_out: list[Candidate] = []
    while some := list(islice(candidates, count - len(chosen))):  # no more than have a place if none is a twin
        alike = compare([one.sample_id for one in (*beside, *chosen, *some)])
        for candidate in some:
            twin = alike(candidate.sample_id, [other.sample_id for other in (*beside, *chosen)])
            (left_out if twin else chosen).append(candidate)
    return Choice(tuple(chosen), tuple(left_out))
