"""What may be said of a simulation: intervals over seeds, and no share of a gain that is not there."""

from __future__ import annotations

import math

import pytest

from annoloop.simulation.costs import Costs, Edits
from annoloop.simulation.gains import estimate, share_of_gain
from annoloop.simulation.simulate import SimulateRequest
from annoloop.simulation.trial_report import summarize
from annoloop.simulation.trial_rows import Point, Row, Start


def row(arm: str, seed: int, dice: float | None, *, mended: int = 0, minutes: float = 0.0) -> Row:
    curve = (Point(0.0, 0, 0), Point(minutes, mended, 1))
    return Row(arm, seed, 1, 1, Edits(), minutes, mended, 1000, dice, dice, curve)


def rows(nothing: list[float], everything: list[float], asked: list[float]) -> list[Row]:
    arms = {"nothing": nothing, "everything": everything, "dice": asked}
    return [row(arm, seed, dice) for arm, values in arms.items() for seed, dice in enumerate(values)]


def test_an_interval_is_that_of_students_t() -> None:
    found = estimate([0.1, 0.2, 0.3])  # s = 0.1, t(0.975, 2) = 4.303
    assert found.mean == pytest.approx(0.2)
    assert (found.low, found.high) == (pytest.approx(0.2 - 4.303 * 0.1 / 3**0.5), pytest.approx(0.448, abs=1e-3))
    assert not found.differs_from_zero
    assert estimate([0.2, 0.21, 0.22]).differs_from_zero


def test_one_seed_has_no_interval() -> None:
    found = estimate([0.4])
    assert (found.mean, found.low, found.differs_from_zero) == (0.4, None, False)
    assert math.isnan(estimate([]).mean)


def test_the_share_of_a_gain_is_told_only_where_there_is_one() -> None:
    assert share_of_gain([0.55, 0.56, 0.57], [0.5, 0.51, 0.52], [0.6, 0.61, 0.62]) == pytest.approx(0.5)
    assert share_of_gain([0.55, 0.56, 0.57], [0.5, 0.6, 0.4], [0.6, 0.5, 0.5]) is None
    assert share_of_gain([0.5, 0.5, 0.5], [0.6, 0.61, 0.62], [0.5, 0.51, 0.52]) is None, "worse is no gain"


def test_the_report_says_what_cannot_be_told() -> None:
    asked = SimulateRequest(arms=("dice",))
    unclear = summarize(asked, Costs(), rows([0.5, 0.6, 0.4], [0.6, 0.5, 0.5], [0.5, 0.5, 0.5]), [])
    assert "cannot be told" in unclear.told[0]
    assert all(one.share is None for one in unclear.arms)
    clear = summarize(asked, Costs(), rows([0.5, 0.51, 0.52], [0.6, 0.61, 0.62], [0.55, 0.56, 0.57]), [])
    assert "correcting everything gains +0.1000" in clear.told[0]
    assert clear.told[1] == "better than training on without corrections: dice"
    single = summarize(SimulateRequest(arms=("dice",), seeds=1), Costs(), rows([0.5], [0.6], [0.55]), [])
    assert "one seed" in single.told[0]


def test_proposals_are_compared_with_the_best_criterion() -> None:
    found = [row(arm, 0, None) for arm in ("nothing", "everything")]
    found += [row("dice", 0, None, mended=100, minutes=2), row("random", 0, None, mended=10, minutes=2)]
    found += [row("proposals", 0, None, mended=400, minutes=2)]
    starts = [Start(0, "label", Edits(images=6)), Start(0, "both", Edits(images=3))]
    asked = SimulateRequest(arms=("dice", "random", "proposals"), seeds=1)
    report = summarize(asked, Costs(), found, starts)
    assert report.told[-1] == "proposals mend 200 px a minute, 4.0 times that"
    assert {one.arm: one.mended for one in report.arms}["proposals"] == pytest.approx(0.4)
    assert {one.source: one.minutes for one in report.beginnings} == {"label": 1.0, "both": 0.5}
