"""What a simulation comes to: a line for each arm, what can be told and what cannot, and what to begin with.

Knows rows only.  The fact to know: every gain is a difference within a seed, so what makes seeds differ falls out of
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Protocol

from annoloop.simulation.arms import EVERYTHING, NOTHING, PROPOSALS
from annoloop.simulation.costs import Costs
from annoloop.simulation.gains import Estimate, estimate, share_of_gain
from annoloop.simulation.trial_rows import Row, Start


class Asked(Protocol):
    """What of a request a report tells."""

    @property
    def all_arms(self) -> tuple[str, ...]:
        """The arms in order, with their controls."""

    @property
    def seeds(self) -> int:
        """How many."""

    @property
    def damaged(self) -> float:
        """Share of the labels, 0 ... 1."""

    @property
    def missing(self) -> float:
        """Share of the labels, 0 ... 1."""

    @property
    def on(self) -> str:
        """The split that models are scored on."""


@dataclass(frozen=True, slots=True)
class ArmReport:
    """An arm over its seeds: means, and for Dice, as fractions of 1, intervals.

    ``mended``: share (0 ... 1) of the wrong pixels.  ``px_per_minute``: of them, a minute.  ``gain``: its mDice less
    that of correcting nothing, seed by seed.  ``share``: of the possible gain; None where that cannot be told.
    """

    arm: str
    seeds: int
    steps: float
    hits: float
    edits: float
    minutes: float
    mended: float
    px_per_minute: float
    mean_dice: Estimate | None
    foreground_dice: Estimate | None
    gain: Estimate | None
    share: float | None


@dataclass(frozen=True, slots=True)
class BeginningReport:
    """A source of full corrections: shapes deleted and drawn, and minutes, means over the seeds for all images."""

    source: str
    deleted: float
    drawn: float
    minutes: float


@dataclass(frozen=True, slots=True)
class SimulateReport:
    """``wrong_px``: of the damaged labels.  ``possible``: mDice of correcting everything less that of nothing.
    ``told``: sentences that say what follows, and what does not."""

    seeds: int
    damaged: float
    missing: float
    on: str
    wrong_px: float
    minutes: float
    minutes_for_all: float
    arms: tuple[ArmReport, ...]
    possible: Estimate | None
    beginnings: tuple[BeginningReport, ...]
    told: tuple[str, ...]
    costs: Costs
    page: Path | None = None


def summarize(asked: Asked, costs: Costs, rows: Sequence[Row], starts: Sequence[Start]) -> SimulateReport:
    """The report on the rows of the seeds and arms that were asked for."""
    wanted = [row for row in rows if row.seed < asked.seeds]
    by_arm = {arm: sorted((r for r in wanted if r.arm == arm), key=lambda r: r.seed) for arm in asked.all_arms}
    arms = tuple(_arm(arm, found, by_arm[NOTHING], by_arm[EVERYTHING]) for arm, found in by_arm.items() if found)
    possible = next((one.gain for one in arms if one.arm == EVERYTHING), None)
    others = [one for one in arms if one.arm not in (NOTHING, EVERYTHING)]
    return SimulateReport(
        seeds=asked.seeds,
        damaged=asked.damaged,
        missing=asked.missing,
        on=asked.on,
        wrong_px=mean(row.wrong_px for row in wanted),
        minutes=max((one.minutes for one in others), default=0.0),
        minutes_for_all=next(one.minutes for one in arms if one.arm == EVERYTHING),
        arms=arms,
        possible=possible,
        beginnings=_beginnings([one for one in starts if one.seed < asked.seeds], costs),
        told=(*_told(possible, others), *_told_of_minutes(others)),
        costs=costs,
    )


def _arm(arm: str, rows: Sequence[Row], control: Sequence[Row], oracle: Sequence[Row]) -> ArmReport:
    dice = [row.mean_dice for row in rows if row.mean_dice is not None]
    foreground = [row.foreground_dice for row in rows if row.foreground_dice is not None]
    nothing = [row.mean_dice for row in control if row.mean_dice is not None]
    everything = [row.mean_dice for row in oracle if row.mean_dice is not None]
    minutes = mean(row.minutes for row in rows)
    mended = mean(row.mended_px for row in rows)
    return ArmReport(
        arm=arm,
        seeds=len(rows),
        steps=mean(row.steps for row in rows),
        hits=mean(row.hits for row in rows),
        edits=mean(row.edits.deleted + row.edits.drawn for row in rows),
        minutes=minutes,
        mended=mended / max(1.0, mean(row.wrong_px for row in rows)),
        px_per_minute=mended / minutes if minutes else 0.0,
        mean_dice=estimate(dice) if dice else None,
        foreground_dice=estimate(foreground) if foreground else None,
        gain=estimate([one - other for one, other in zip(dice, nothing, strict=True)]) if dice else None,
        share=share_of_gain(dice, nothing, everything) if len(dice) == len(everything) > 1 else None,
    )


def _beginnings(starts: Sequence[Start], costs: Costs) -> tuple[BeginningReport, ...]:
    sources = dict.fromkeys(one.source for one in starts)
    found = [(source, [one.edits for one in starts if one.source == source]) for source in sources]
    return tuple(
        BeginningReport(
            source, mean(e.deleted for e in edits), mean(e.drawn for e in edits), mean(e.minutes(costs) for e in edits)
        )
        for source, edits in found
    )


def _told(possible: Estimate | None, others: Sequence[ArmReport]) -> list[str]:
    """What may be said about models."""
    if possible is None:
        return ["nothing was trained after the first model: only pixels and minutes are compared"]
    if possible.low is None or possible.high is None:
        return ["one seed has no interval: what models gain cannot be told"]
    span = f"{possible.mean:+.4f} mDice, 95 % interval {possible.low:+.4f} to {possible.high:+.4f}"
    if not possible.differs_from_zero:
        return [
            f"what models gain cannot be told: correcting everything and nothing do not differ ({span});"
            " more seeds, longer trainings or more damage may tell"
        ]
    said = [f"correcting everything gains {span}"]
    better = [one.arm for one in others if one.gain is not None and one.gain.differs_from_zero and one.gain.mean > 0]
    rest = [one.arm for one in others if one.arm not in better]
    if better:
        said.append(f"better than training on without corrections: {', '.join(better)}")
    if rest:
        said.append(f"not better than that, over these seeds: {', '.join(rest)}")
    return said


def _told_of_minutes(others: Sequence[ArmReport]) -> list[str]:
    """What may be said about an annotator's minutes."""
    images = [one for one in others if one.arm != PROPOSALS]
    asked = next((one for one in others if one.arm == PROPOSALS), None)
    if not images:
        return []
    best = max(images, key=lambda one: one.px_per_minute)
    said = [f"of whole images, {best.arm} mends most: {best.px_per_minute:.0f} px a minute"]
    if asked is not None and best.px_per_minute:
        times = asked.px_per_minute / best.px_per_minute
        said.append(f"proposals mend {asked.px_per_minute:.0f} px a minute, {times:.1f} times that")
    return said
