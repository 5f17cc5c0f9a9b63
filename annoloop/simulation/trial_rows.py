"""What a simulation has found so far, in one JSON file: a row for each arm and seed, and how its work went on.

The fact to know: a simulation that was asked for otherwise has another file, so rows of two never mix.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from annoloop.data.images import read_bytes, write_atomic
from annoloop.errors import DataError
from annoloop.simulation.costs import Edits


@dataclass(frozen=True, slots=True)
class Point:
    """How far an arm's work has come: minutes, wrong pixels mended, images opened or verdicts given."""

    minutes: float
    mended_px: int
    steps: int


@dataclass(frozen=True, slots=True)
class Row:
    """One arm of one seed: its work within the minutes, and the Dice of the model trained after it, if it was.

    ``hits``: images that were opened, or asked about, and had a wrong label.  ``curve`` goes on beyond the minutes, to
    the end of the arm's work.
    """

    arm: str
    seed: int
    steps: int
    hits: int
    edits: Edits
    minutes: float
    mended_px: int
    wrong_px: int
    mean_dice: float | None
    foreground_dice: float | None
    curve: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Start:
    """What an annotator may begin a full correction with, and the edits from there to the truth of all images."""

    seed: int
    source: str
    edits: Edits


class Rows:
    """The rows that there are, and their file."""

    def __init__(self, file: Path) -> None:
        """Read what an earlier, perhaps killed, simulation left.

        Raises:
            DataError: the file cannot be read or is none of ours.
        """
        self._file = file
        self.rows: list[Row] = []
        self.starts: list[Start] = []
        if not file.exists():
            return
        try:
            told = json.loads(read_bytes(file))
            self.rows = [
                Row(**{**row, "edits": Edits(**row["edits"]), "curve": tuple(Point(**p) for p in row["curve"])})
                for row in told["rows"]
            ]
            self.starts = [Start(**{**one, "edits": Edits(**one["edits"])}) for one in told["starts"]]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"holds no rows of a simulation ({error})", where=file, hint="--anew begins from the beginning"
            ) from error

    def has(self, arm: str, seed: int) -> bool:
        """Whether an arm of a seed is done."""
        return any((row.arm, row.seed) == (arm, seed) for row in self.rows)

    def add(self, row: Row) -> None:
        """Keep a row."""
        self.rows.append(row)
        self._write()

    def add_starts(self, starts: list[Start]) -> None:
        """Keep what a seed's beginnings cost."""
        self.starts += starts
        self._write()

    def _write(self) -> None:
        told = {"rows": [asdict(row) for row in self.rows], "starts": [asdict(one) for one in self.starts]}
        write_atomic(self._file, json.dumps(told, indent=1).encode())
