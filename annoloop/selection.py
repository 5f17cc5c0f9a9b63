"""Which images next: ranks candidates from worst to best and mixes in a random share.

Knows numbers only; what a score means is the caller's business.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image that may be chosen: the lower the score the worse; ties go to more wrong pixels."""

    sample_id: str
    score: float
    wrong_px: int


def choose(candidates: Sequence[Candidate], count: int, *, random_share: float = 0.0, seed: int = 0) -> list[Candidate]:
    """The worst ``count`` candidates, worst first, then a random share drawn from the rest.

    ``random_share`` (0 ... 1) of the places goes to images drawn without regard to their score: only
    they tell honestly how good the labels are, because the worst are bad by choice.
    """
    count = min(count, len(candidates))
    drawn_count = round(count * random_share)
    ranked = sorted(candidates, key=lambda c: (c.score, -c.wrong_px, c.sample_id))
    worst, rest = ranked[: count - drawn_count], ranked[count - drawn_count :]
    drawn = random.Random(seed).sample(rest, min(drawn_count, len(rest)))  # noqa: S311 - not for secrets
    return worst + drawn
