"""Promotion is earned: whether a candidate takes the place of the current model, and why (law 8).

Both were scored on the same images with the same masks; not here: how (``selection/scoring.py``).
"""

from __future__ import annotations

import numpy as np

from annoloop.eda.gate import ALLOW, never_predicted
from annoloop.masks.classes import ClassTable
from annoloop.metrics.scores import Comparison, Confusion, dice

PROMOTE_SHARE = 0.95
"""A candidate must be better in this share of the bootstrap's resamples."""

COLLAPSE = 0.10
"""No class may lose more Dice than this."""


def verdict(
    classes: ClassTable,
    candidate: Confusion,
    current: Confusion | None,
    comparison: Comparison | None,
    *,
    allow_missing: bool,
) -> tuple[bool, str]:
    """Whether the candidate is promoted, and why, from the confusions of both over the validation split.

    A model that never predicts a class which the labels hold is not, unless the current one does not either, or
    ``allow_missing`` asks for it.
    """
    never = set(never_predicted(candidate, classes))
    if current is not None:
        never -= set(never_predicted(current, classes))
    if never and not allow_missing:
        names = ", ".join(name for name in classes.names if name in never)
        return False, f"it never predicts {names}: train longer, or promote it all the same with {ALLOW}"
    if current is None or comparison is None:
        return True, "the first model"
    gain = f"{comparison.difference:+.3f} mDice [{comparison.low:+.3f}, {comparison.high:+.3f}]"
    lost = dice(current) - dice(candidate)
    worst = int(np.nanargmax(np.where(np.isnan(lost), -1, lost)))
    if lost[worst] > COLLAPSE:
        return False, f"class {classes.names[worst]} lost {lost[worst]:.3f} Dice ({gain})"
    if comparison.share_better < PROMOTE_SHARE:
        return False, f"not surely better: in {comparison.share_better:.0%} of resamples ({gain})"
    return True, f"better in {comparison.share_better:.0%} of resamples ({gain})"
