"""ClaSP PE, held against a second calculation that takes image after image by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annoloop.metrics.clasp_pe import CLASS_SHARE, beta_of, order, quotas


def by_hand(
    means: dict[str, list[float]], foreground: list[int], count: int, round_number: int, seed: int
) -> list[str]:
    """The first ``count``, with the same noise and plain loops."""
    names, rng = sorted(means), np.random.default_rng(seed)
    beta = 100 ** (min(round_number, 4) / 4)
    columns = [[means[name][c] for name in names] for c in foreground]
    columns.append([sum(means[name]) for name in names])
    waiting = []
    for values in columns:
        noise = rng.gumbel(0, 1 / beta, len(names))
        scores = [(math.log(v) if v > 0 else -math.inf) + g for v, g in zip(values, noise, strict=True)]
        waiting.append(sorted(range(len(names)), key=lambda i, s=scores: (-s[i], i)))
    by_class = round(0.66 * count) if foreground else 0
    places = [by_class // len(foreground) for _ in foreground] if foreground else []
    for number in range(by_class - sum(places)):
        places[(round_number + number) % len(places)] += 1
    places.append(count - by_class)
    taken: list[int] = []
    for turn in range(count):
        for one, most in zip(waiting, places, strict=True):
            free = [i for i in one if i not in taken]
            if turn < most and free:
                taken.append(free[0])
    return [names[i] for i in taken]


@given(
    st.integers(1, 4).flatmap(
        lambda k: st.dictionaries(
            st.text("abcd", min_size=1, max_size=3),
            st.lists(st.floats(1e-6, 1.0), min_size=k + 1, max_size=k + 1),
            min_size=1,
            max_size=14,
        )
    ),
    st.integers(1, 10),
    st.integers(0, 7),
    st.integers(0, 99),
)
def test_the_order_is_that_of_a_calculation_by_hand(
    means: dict[str, list[float]], count: int, round_number: int, seed: int
) -> None:
    foreground = list(range(1, len(next(iter(means.values())))))
    arrays = {name: np.array(values) for name, values in means.items()}
    found = order(arrays, foreground, count, round_number=round_number, seed=seed)
    most = min(count, len(means))
    assert found[:most] == by_hand(means, foreground, count, round_number, seed)[:most]
    assert sorted(found) == sorted(means)
    assert found == order(dict(reversed(arrays.items())), foreground, count, round_number=round_number, seed=seed)


def test_late_rounds_take_the_highest_of_every_class() -> None:
    means = {f"{n:02d}": np.array([0.2, 0.01, 0.01]) for n in range(20)}
    means["07"] = np.array([0.0, 0.9, 0.0])
    means["11"] = np.array([0.0, 0.0, 0.9])
    assert {"07", "11"} <= set(order(means, [1, 2], 3, round_number=9, seed=1)[:3])
    first = {tuple(order(means, [1, 2], 3, round_number=0, seed=seed)[:3]) for seed in range(20)}
    assert len(first) > 5


def test_a_class_that_no_image_holds_takes_nothing_away() -> None:
    means = {name: np.array([0.5, 0.0]) for name in "abc"}
    assert sorted(order(means, [1], 2, round_number=0, seed=0)) == ["a", "b", "c"]
    assert order({}, [1], 2, round_number=0, seed=0) == []


@given(st.integers(0, 200), st.integers(0, 30), st.integers(0, 9))
def test_the_budget_is_split_evenly_and_whole(count: int, classes: int, round_number: int) -> None:
    places = quotas(count, classes, round_number)
    assert sum(places) == count
    assert len(places) == classes + 1
    if classes:
        assert abs(sum(places[:-1]) - CLASS_SHARE * count) <= 0.5
        assert max(places[:-1]) - min(places[:-1]) <= 1


def test_beta_goes_from_1_to_100() -> None:
    assert [beta_of(number) for number in (0, 2, 4, 50)] == pytest.approx([1, 10, 100, 100])
