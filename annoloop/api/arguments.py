"""What people may write for an argument: a place, several names or one alone, a duration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from annoloop.data.durations import seconds_of
from annoloop.data.storage import Location, RemotePath, location
from annoloop.errors import ConfigError

Place: TypeAlias = str | Location
"""A path, or the URL of a file or folder in an object store."""


def names_of(names: Sequence[str]) -> tuple[str, ...]:
    """Names as a tuple; one alone may be given without."""
    return (names,) if isinstance(names, str) else tuple(names)


def places_of(places: Place | Sequence[Place]) -> tuple[Location, ...]:
    """Places as locations; one alone may be given without a list.

    Raises:
        ConfigError: a URL with credentials in it, or without a bucket.
    """
    several = [places] if isinstance(places, str | Path | RemotePath) else places
    return tuple(map(location, several))


def budget_s(budget: str | float | None) -> float | None:
    """A budget in seconds, from that or from words like "1h30m".

    Raises:
        ConfigError: the words are no duration.
    """
    if not isinstance(budget, str):
        return budget
    try:
        return seconds_of(budget)
    except ValueError as error:
        raise ConfigError(str(error), where="budget") from None
