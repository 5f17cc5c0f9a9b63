"""What is told of a training, and what a tracker is: the place that keeps it.

Plain values and a protocol; each library has its home in a module of its own.  The fact to know: a tracker is called
from one thread only, after its ``begin``; it raises ``Unreached`` for what may work later, and anything else for what
never will.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

TrackerName = Literal["none", "mlflow", "tensorboard", "wandb"]
Status = Literal["finished", "failed", "stopped"]

NO_TRACKING = "--track none trains without"
"""A hint behind every refusal."""


class Unreached(Exception):
    """The place did not answer, or asked for patience: the same call may work later."""


@dataclass(frozen=True, slots=True)
class Point:
    """A value of a curve at an iteration."""

    name: str
    step: int
    value: float


@dataclass(frozen=True, slots=True)
class Params:
    """What a training was made with, by name."""

    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Points:
    """Values of a series at one iteration; what was sent of a series before is not sent again."""

    series: str
    step: int
    values: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """A file of a picture, PNG; ``name`` is its own."""

    name: str
    file: Path


@dataclass(frozen=True, slots=True)
class Texts:
    """What was decided, in words, by name."""

    values: Mapping[str, str]


Call: TypeAlias = Params | Points | Picture | Texts


@dataclass(frozen=True, slots=True)
class Begun:
    """A run as its place knows it: its id there, where people see it, the command that shows it, if one must.

    ``note``: what else there is to say of it.
    """

    id: str
    place: str
    look: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Tracked:
    """Where a training was tracked; ``place`` is None where that was never reached, ``lost`` counts what is not there.

    ``look``: the command that shows it, where a URL alone does not.
    """

    tracker: str
    place: str | None
    look: str | None = None
    lost: int = 0


@dataclass(slots=True)
class Sent:
    """What a tracked run has already, so that nothing is told twice: ``steps`` is the last one of each series."""

    id: str | None = None
    steps: dict[str, int] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    pictures: list[str] = field(default_factory=list)


class Tracker(Protocol):
    """A place that keeps runs."""

    name: str
    """As in ``train.track``."""
    place: str
    """Where all its runs are, without credentials."""

    def begin(self, name: str, known_id: str | None) -> Begun:
        """Go on with the run of an id, or make one of this name where there is none, or none any more."""

    def params(self, values: Mapping[str, str]) -> None:
        """Note what a run is made with; a name that was there gets a new value."""

    def scalars(self, points: Sequence[Point]) -> None:
        """Add to curves."""

    def picture(self, name: str, file: Path) -> None:
        """Keep a PNG."""

    def texts(self, values: Mapping[str, str]) -> None:
        """Note what was decided."""

    def end(self, status: Status) -> None:
        """The run is over; what is kept of it is whole after that."""


def without_credentials(text: str) -> str:
    """A text whose URLs hold no user and no password.

    >>> without_credentials("no answer from http://ann:secret@host:5000/x")
    'no answer from http://host:5000/x'
    """
    return re.sub(r"(\w://)[^/@\s]*@", r"\1", text)


def shortened(text: str, most: int = 300) -> str:
    """What a library says, in one line that is no longer than somebody reads.

    >>> shortened("no   answer, for a long time", 12)
    'no answer, …'
    """
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
