"""Which images next: ranks candidates from worst to best and mixes in a random share.

Knows numbers only; what a score means is the caller's business.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from math import isnan


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image that may be chosen: the lower the score the worse; ties go to more wrong pixels."""

    sample_id: str
    score: float
    wrong_px: int


Alike = Callable[[str, Sequence[str]], bool]
"""Whether an image, by its sample id, is nearly the same as one of others."""


def never_alike(_: str, __: Sequence[str]) -> bool:
    """No two images are the same."""
    return False


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen ones: asked for, worst, then drawn; and who would have been, but for a twin among them."""

    chosen: tuple[Candidate, ...]
    left_out: tuple[Candidate, ...]


def choose(
    candidates: Sequence[Candidate],
    count: int,
    *,
    first: Collection[str] = (),
    random_share: float = 0.0,
    seed: int = 0,
    alike: Alike = never_alike,
) -> Choice:
    """The candidates named in ``first``, the worst of the rest, then a random share: ``count`` in all.

    ``random_share`` (0 ... 1) of the places that nobody asked for goes to images drawn without regard to their
    score: only they tell honestly how good the labels are, because the worst are bad by choice.  Of images that
    are ``alike`` one goes, the worst: correcting one mask twice teaches nothing.
    """
    count = min(count, len(candidates))
    ranked = sorted(candidates, key=lambda c: (isnan(c.score), c.score, -c.wrong_px, c.sample_id))
    asked = tuple(c for c in ranked if c.sample_id in first)[:count]
    others = [c for c in ranked if c.sample_id not in first]
    free = count - len(asked)
    worst = _take(others, free - round(free * random_share), asked, alike)
    rest = sorted(others[len(worst.chosen) + len(worst.left_out) :], key=lambda c: c.sample_id)
    shuffled = random.Random(seed).sample(rest, len(rest))  # noqa: S311 - not for secrets
    drawn = _take(shuffled, free - len(worst.chosen), asked + worst.chosen, alike)
    return Choice(asked + worst.chosen + drawn.chosen, worst.left_out + drawn.left_out)


def _take(candidates: Sequence[Candidate], count: int, beside: Sequence[Candidate], alike: Alike) -> Choice:
    """The first ``count`` candidates that look like none before them and none of ``beside``."""
    chosen: list[Candidate] = []
    left_out: list[Candidate] = []
    for candidate in candidates:
        if len(chosen) == count:
            break
        twin = alike(candidate.sample_id, [other.sample_id for other in (*beside, *chosen)])
        (left_out if twin else chosen).append(candidate)
    return Choice(tuple(chosen), tuple(left_out))
