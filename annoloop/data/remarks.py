"""What was left out of foreign data, or looked odd, by kind: counted, with the first places.

Words and numbers only; not here: what makes an entry bad (``reading.py`` and its neighbours).  The fact to know:
a kind that is a loss takes pixels away that somebody labelled, the others cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from annoloop.errors import DataError

MOST_PLACES = 3
_MOST_KINDS = 20


@dataclass(slots=True)
class Remark:
    """All of one kind: how many, where the first of them are, whether labelled pixels are lost, and what helps."""

    count: int = 0
    places: list[str] = field(default_factory=list)
    loss: bool = False
    hint: str | None = None


class Remarks:
    """Remarks by kind, in the order in which the kinds came."""

    def __init__(self) -> None:
        self.kinds: dict[str, Remark] = {}

    def add(self, kind: str, place: str = "", *, count: int = 1, loss: bool = False, hint: str | None = None) -> None:
        """Count ``count`` more of a kind; ``kind`` reads on from a number: "parts of fewer than three points"."""
        known = self.kinds.setdefault(kind, Remark())
        known.count += count
        known.loss |= loss
        known.hint = known.hint or hint
        if place and len(known.places) < MOST_PLACES:
            known.places.append(place)

    def merge(self, other: Remarks) -> None:
        """Count those of another process in."""
        for kind, one in other.kinds.items():
            known = self.kinds.setdefault(kind, Remark(loss=one.loss, hint=one.hint))
            known.count += one.count
            known.loss |= one.loss
            known.places = [*known.places, *one.places][:MOST_PLACES]

    @property
    def losses(self) -> int:
        """How many of them took labelled pixels away."""
        return sum(one.count for one in self.kinds.values() if one.loss)

    def counts(self) -> dict[str, int]:
        """How many of each kind."""
        return {kind: one.count for kind, one in self.kinds.items()}

    def notes(self) -> tuple[str, ...]:
        """A line for each kind; what was lost comes first."""
        return tuple(self._lines(losses_only=False))

    def error(self, where: object) -> DataError:
        """The error for a file of which nothing is left."""
        hints = [one.hint for one in self.kinds.values() if one.loss and one.hint]
        lines = list(self._lines(losses_only=True))
        first = [one for one in self.kinds.values() if one.loss]
        shown = lines[:_MOST_KINDS] + ([f"{len(lines) - _MOST_KINDS} more kinds"] if len(lines) > _MOST_KINDS else [])
        if len(first) == 1 and first[0].count == 1:
            said = f"nothing in it can be used: {shown[0]}"
        else:
            said = "nothing in it can be used:" + "".join(f"\n  {line}" for line in shown)
        return DataError(said, where=where, hint=hints[0] if hints else None)

    def _lines(self, *, losses_only: bool) -> Iterator[str]:
        for kind, one in sorted(self.kinds.items(), key=lambda pair: not pair[1].loss):
            if one.loss or not losses_only:
                yield said(kind, one)


def said(kind: str, one: Remark) -> str:
    """One kind in words: how many, what, where the first are."""
    places = ", ".join(one.places) + (", …" if one.count > len(one.places) == MOST_PLACES else "")
    return f"{one.count} {kind}" + (f": {places}" if places else "")
