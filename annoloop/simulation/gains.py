"""What the arms of a simulation gained: means over seeds, their intervals, and the share of the possible gain.

Knows numbers only.  The fact to know: a difference whose interval over the seeds holds zero is not told as one, and
with a single seed there is no interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

_T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
"""Student's t, two-sided 95 %, for 1 to 15 degrees of freedom; beyond, the last is a little too careful."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds and its 95 % interval (Student's t); low and high are None for a single seed."""

    mean: float
    low: float | None
    high: float | None

    @property
    def differs_from_zero(self) -> bool:
        """Whether zero lies outside of the interval; never so for a single seed."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of one value a seed.

    >>> estimate([1.0, 2.0, 3.0])
    Estimate(mean=2.0, low=-0.484..., high=4.484...)
    """
    if len(values) < 2:
        return Estimate(values[0] if values else math.nan, None, None)
    half = _T_975[min(len(values) - 1, len(_T_975)) - 1] * stdev(values) / math.sqrt(len(values))
    middle = mean(values)
    return Estimate(middle, middle - half, middle + half)


def share_of_gain(arm: Sequence[float], control: Sequence[float], oracle: Sequence[float]) -> float | None:
    """(arm - control) / (oracle - control), of means over the same seeds.

    None where it cannot be told: correcting everything and nothing do not differ over the seeds.
    """
    possible = estimate([best - worst for best, worst in zip(oracle, control, strict=True)])
    if not possible.differs_from_zero or possible.mean <= 0:
        return None
    return (mean(arm) - mean(control)) / possible.mean
