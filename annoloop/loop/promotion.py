"""Promotion is earned: whether a candidate takes the place of the current model, and why (law 8).

Both were scored on the same images with the same masks; not here: how (``selection/scoring.py``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from annoloop.metrics.scores import Comparison, dice
from annoloop.project.project import Project
from annoloop.selection.scoring import Scored, total

PROMOTE_SHARE = 0.95
"""A candidate must be better in this share of the bootstrap's resamples."""

COLLAPSE = 0.10
"""No class may lose more Dice than this."""


def verdict(
    project: Project,
    candidate: Sequence[Scored],
    current: Sequence[Scored] | None,
    comparison: Comparison | None,
) -> tuple[bool, str]:
    if current is None or comparison is None:
        return True, "the first model"
    gain = f"{comparison.difference:+.3f} mDice [{comparison.low:+.3f}, {comparison.high:+.3f}]"
    lost = dice(total(current)) - dice(total(candidate))
    worst = int(np.nanargmax(np.where(np.isnan(lost), -1, lost)))
    if lost[worst] > COLLAPSE:
        return False, f"class {project.classes.names[worst]} lost {lost[worst]:.3f} Dice ({gain})"
    if comparison.share_better < PROMOTE_SHARE:
        return False, f"not surely better: in {comparison.share_better:.0%} of resamples ({gain})"
    return True, f"better in {comparison.share_better:.0%} of resamples ({gain})"
