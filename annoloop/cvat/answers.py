"""The border for what a server says: every value is looked at before anything is done with it.

An ``Answer`` is decoded JSON together with its place, so whatever is not as it must be is a ``CvatError`` with the URL
and the key.  The facts to know: a number may come as 3, 3.0 or "3"; JSON as Python reads it knows NaN, Infinity and
numbers of any length, none of which a database takes.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from annoloop.errors import CvatError

Json = Any

MOST_BYTES = 1 << 30
"""The longest answer that is read."""

LARGEST = 2**53 - 1
"""The largest whole number that every program that reads JSON agrees on; CVAT numbers nothing higher."""

LONGEST_SIDE_PX = 1 << 20
NOT_CVAT_HINT = "is cvat.url in annoloop.yaml the address of a CVAT server?"
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Answer:
    """A JSON value of a server; ``where`` is the URL, ``key`` the way to the value in what came from there."""

    value: Json
    where: str
    key: str = ""

    def __getitem__(self, key: str) -> Answer:
        """A value that must be there; null is one."""
        found = self.fields()
        if key not in found:
            raise self.refused(f"has no {key!r}")
        return Answer(found[key], self.where, f"{self.key}.{key}" if self.key else key)

    def get(self, key: str) -> Answer | None:
        """A value that may be missing or null."""
        return self[key] if self.fields().get(key) is not None else None

    def fields(self) -> dict[str, Json]:
        """The value as an object."""
        if not isinstance(self.value, dict):
            raise self.refused(f"is {_kind(self.value)}, not an object")
        return self.value

    def items(self) -> list[Answer]:
        """The values of a list."""
        return [Answer(value, self.where, f"{self.key}[{place}]") for place, value in enumerate(self._list())]

    def whole(self, low: int = 0, high: int = LARGEST) -> int:
        """A whole number in these bounds, however it is written."""
        value = self.value
        if isinstance(value, str) and len(value) < 20 and value.isascii() and value.removeprefix("-").isdecimal():
            value = int(value)
        if isinstance(value, float) and math.isfinite(value) and value == int(value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.refused(f"is {_kind(self.value)}, not a whole number")
        if not low <= value <= high:
            raise self.refused(f"is {_short(value)}, not a number from {low} to {high}")
        return value

    def number(self) -> float:
        """A finite number."""
        if not isinstance(self.value, int | float) or isinstance(self.value, bool):
            raise self.refused(f"is {_kind(self.value)}, not a number")
        return self._finite([self.value])[0]

    def numbers(self) -> tuple[float, ...]:
        """A list of finite numbers, of which there may be millions."""
        values = self._list()
        # set(map(type, …)) looks at a million of them in a few milliseconds
        if not set(map(type, values)) <= {int, float}:
            place = next(place for place, value in enumerate(values) if type(value) not in (int, float))
            raise self.refused(f"holds {_kind(values[place])} at {place}, not a number")
        return self._finite(values)

    def text(self) -> str:
        """A text that every file and database can hold."""
        if not isinstance(self.value, str):
            raise self.refused(f"is {_kind(self.value)}, not a text")
        if "\0" in self.value or any("\ud800" <= letter <= "\udfff" for letter in self.value):
            raise self.refused("holds characters that are no text")
        return self.value

    def flag(self) -> bool:
        """True or false."""
        if not isinstance(self.value, bool):
            raise self.refused(f"is {_kind(self.value)}, neither true nor false")
        return self.value

    def refused(self, fault: str) -> CvatError:
        """The error that says what is wrong with this value."""
        return CvatError(f"unexpected answer: {self.key or 'the answer'} {fault}", where=self.where, hint=NOT_CVAT_HINT)

    def _list(self) -> list[Json]:
        if not isinstance(self.value, list):
            raise self.refused(f"is {_kind(self.value)}, not a list")
        return self.value

    def _finite(self, values: list[float]) -> tuple[float, ...]:
        try:
            found = tuple(map(float, values))
        except OverflowError:
            raise self.refused("holds a number that is too large") from None
        if not all(map(math.isfinite, found)):
            raise self.refused("holds NaN or an infinite number")
        return found


def decoded(body: bytes | None, where: str) -> Json:
    """The JSON of an answer; None if it is empty.

    Raises:
        CvatError: it is none.
    """
    if not body:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        # Not the parser's words: they say where in a text that nobody sees.
        start = body[:200].lstrip().lower()
        kind = "a web page" if start.startswith(b"<") else "no JSON"
        raise CvatError(f"unexpected answer: {kind}, not what CVAT says", where=where, hint=NOT_CVAT_HINT) from None


def _kind(value: object) -> str:
    """What a value is; itself where it is a number."""
    if value is None:
        return "null"
    if isinstance(value, dict | list | str):  # what stands in a text may be anything, our own token too
        return {dict: "an object", list: "a list", str: "a text"}[type(value)]
    return _short(value)


def _short(value: object) -> str:
    if isinstance(value, int) and value.bit_length() > 10_000:
        return "a number of thousands of digits"
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
