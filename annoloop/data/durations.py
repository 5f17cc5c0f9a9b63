"""Durations as people write and read them: 90s, 15m, 1h30m; 7.2 min, 2.5 days."""

from __future__ import annotations

import re

_UNITS = (86400, 3600, 60, 1)
_WRITTEN = re.compile(r"(?:([\d.]+)d)?(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s)?")

NIGHT_S = 12 * 3600.0
"""A training that takes longer than a night is a mistake more often than a wish."""


def seconds_of(duration: str) -> float:
    """A duration in seconds.

    >>> seconds_of("1h30m")
    5400.0

    Raises:
        ValueError: it is none, or not longer than nothing.
    """
    found = _WRITTEN.fullmatch(duration.strip())
    try:
        amounts = [float(amount or 0) for amount in found.groups()] if found else []
    except ValueError:
        amounts = []
    seconds = sum(amount * unit for amount, unit in zip(amounts, _UNITS, strict=False))
    if seconds <= 0:
        raise ValueError(f"{duration!r} is no duration like 90s, 15m, 2h or 1h30m")
    return seconds


def in_words(seconds: float) -> str:
    """Seconds in the largest unit of which there are two or more.

    >>> in_words(432)
    '7.2 min'
    """
    for unit, size in zip(("days", "h", "min"), _UNITS, strict=False):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
