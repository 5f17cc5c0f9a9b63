"""Which images next: ranks candidates from worst to best and mixes in a random share.

Knows numbers only; what a score means is the caller's business.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass


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
    """The chosen ones, worst first and then the drawn ones; and who would have been, but for a twin among them."""

    chosen: tuple[Candidate, ...]
    left_out: tuple[Candidate, ...]


def choose(
    candidates: Sequence[Candidate],
    count: int,
    *,
    random_share: float = 0.0,
    seed: int = 0,
    alike: Alike = never_alike,
) -> Choice:
    """The worst ``count`` candidates, worst first, then a random share drawn from the rest.

    ``random_share`` (0 ... 1) of the places goes to images drawn without regard to their score: only
    they tell honestly how good the labels are, because the worst are bad by choice.  Of images that are
    ``alike`` one goes, the worst: correcting one mask twice teaches nothing.
    """
    count = min(count, len(candidates))
    drawn_count = round(count * random_share)
    ranked = sorted(candidates, key=lambda c: (c.score, -c.wrong_px, c.sample_id))
    worst = _take(ranked, count - drawn_count, (), alike)
    rest = sorted(ranked[len(worst.chosen) + len(worst.left_out) :], key=lambda c: c.sample_id)
    shuffled = random.Random(seed).sample(rest, len(rest))  # noqa: S311 - not for secrets
    drawn = _take(shuffled, count - len(worst.chosen), worst.chosen, alike)
    return Choice(worst.chosen + drawn.chosen, worst.left_out + drawn.left_out)


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
