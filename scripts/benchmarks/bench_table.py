"""What every bench shares: repetitions in turns, rows that compare, the one table, and the same as JSON.

The fact to know: what counts is a ratio of two ways that took turns in the same run, and a row whose own
repetitions differ by more than 1.5 times says that it cannot tell.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, Literal, TypeAlias, TypeVar

from rich.console import Console
from rich.table import Table

NOISY = 1.5
"""Slowest by fastest repetition from which on nothing can be told."""

R = TypeVar("R")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Times:
    """How long one way took for ``images`` images, repetition by repetition, and the memory it needed at most."""

    way: str
    images: int
    seconds: tuple[float, ...]
    peak_mb: float | None = None

    @property
    def ms_per_image(self) -> float:
        """The median repetition."""
        return 1000 * statistics.median(self.seconds) / self.images

    @property
    def noisy(self) -> bool:
        """Whether the repetitions differ too much to tell."""
        return max(self.seconds) > NOISY * min(self.seconds)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A way that could not be measured, and why."""

    way: str
    reason: str


Measured: TypeAlias = Times | Skipped
Against: TypeAlias = Literal["peer", "floor"]
"""A peer is to be beaten; a floor is work that nobody can do without, to be kept close to."""


@dataclass(frozen=True, slots=True)
class Row:
    """Ours beside another way; ``ratio`` is times faster than a peer, or times as long as a floor takes."""

    section: str
    task: str
    images: int
    ms: float
    peak_mb: float | None
    other: str
    other_images: int | None
    other_ms: float | None
    other_peak_mb: float | None
    against: Against
    ratio: float | None
    goal: float | None
    memory_ratio: float | None
    memory_goal: float | None
    falls_short: bool
    noisy: bool
    skipped: str | None


def compare(
    section: str,
    ours: Times,
    other: Measured,
    *,
    against: Against = "peer",
    goal: float | None = None,
    memory_goal: float | None = None,
) -> Row:
    """The row of two ways that took turns; a noisy one misses no goal in time, it cannot tell.

    Args:
        memory_goal: how many times the other's peak memory ours may be.
    """
    theirs = other if isinstance(other, Times) else None
    images, ms, peak_mb = (theirs.images, theirs.ms_per_image, theirs.peak_mb) if theirs else (None, None, None)
    ratio = memory = None
    if theirs is not None:
        times = ours.ms_per_image / theirs.ms_per_image
        ratio = times if against == "floor" else 1 / times
        memory = ours.peak_mb / theirs.peak_mb if ours.peak_mb and theirs.peak_mb else None
    noisy = ours.noisy or (theirs is not None and theirs.noisy)
    slow = not noisy and _misses(ratio, goal, against)
    return Row(
        section, ours.way, ours.images, ours.ms_per_image, ours.peak_mb, other.way,
        other_images=images, other_ms=ms, other_peak_mb=peak_mb,
        against=against, ratio=ratio, goal=goal, memory_ratio=memory, memory_goal=memory_goal,
        falls_short=slow or _misses(memory, memory_goal, "floor"), noisy=noisy,
        skipped=other.reason if isinstance(other, Skipped) else None,
    )  # fmt: skip


def _misses(ratio: float | None, goal: float | None, against: Against) -> bool:
    if ratio is None or goal is None:
        return False
    return ratio > goal if against == "floor" else ratio < goal


def in_turns(ways: Mapping[str, Callable[[], T]], turns: int) -> dict[str, list[T]]:
    """What every way answers, turn by turn, so that a slow spell of the machine meets all of them."""
    found: dict[str, list[T]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, way in ways.items():
            found[name].append(way())
    return found


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that every bench has; ``description`` is its module's docstring."""
    found = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    found.add_argument("--json", action="store_true", help="JSON instead of a table")
    return found


def show(
    title: str,
    rows: Sequence[R],
    columns: Mapping[str, Callable[[R], str]],
    as_json: bool,
    group: Callable[[R], str] | None = None,
) -> None:
    """Print rows, which are dataclasses, as one table or as JSON; ``group`` heads rows that belong together."""
    if as_json:
        print(json.dumps({"title": title, "rows": [as_dict(row) for row in rows]}, indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right")
    above = None
    for row in rows:
        if group is not None and group(row) != above:
            above = group(row)
            table.add_row()
            table.add_row(f"[bold]{above}[/]")
        table.add_row(*(cell(row) for cell in columns.values()))
    Console(width=int(os.environ.get("COLUMNS", "150"))).print(title, table)


def as_dict(row: object) -> dict[str, Any]:
    """A row for JSON."""
    assert is_dataclass(row)
    assert not isinstance(row, type)
    return asdict(row)


def said(row: Row) -> str:
    """The ratio of a row in words."""
    if row.skipped is not None:
        return "not measured"
    assert row.ratio is not None
    if row.against == "floor":
        return f"{_short(row.ratio)} x as long"
    return f"{_short(row.ratio)} x faster" if row.ratio >= 1 else f"{_short(1 / row.ratio)} x slower"


def remark(row: Row) -> str:
    """What is to be said of a row beside its numbers."""
    if row.skipped is not None:
        return row.skipped
    told = ["too noisy to tell"] if row.noisy else _told(row.ratio, row.goal, row.against)
    told += [f"memory x {number(row.memory_ratio)}, {one}" for one in _told(row.memory_ratio, row.memory_goal, "floor")]
    return "; ".join(told)


def _told(ratio: float | None, goal: float | None, against: Against) -> list[str]:
    if ratio is None or goal is None:
        return []
    bound = f"{'at most' if against == 'floor' else 'at least'} {goal:g}"
    return [f"falls short of {bound}" if _misses(ratio, goal, against) else f"goal: {bound}"]


def number(value: float | None) -> str:
    """A figure with as many digits as mean something."""
    return "" if value is None else _short(value)


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
