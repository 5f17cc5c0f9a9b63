"""Which images next: worst first, ties by wrong pixels, an honest random share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annoloop.selection import Candidate, choose

TEN = [Candidate(f"train/{i}", i / 10, 0) for i in range(10)]

candidates = st.lists(
    st.builds(Candidate, st.uuids().map(str), st.floats(0, 1), st.integers(0, 50)),
    unique_by=lambda c: c.sample_id,
    max_size=30,
)


def test_worst_first() -> None:
    assert [c.sample_id for c in choose(TEN[::-1], 3)] == ["train/0", "train/1", "train/2"]


def test_ties_go_to_more_wrong_pixels_then_to_the_name() -> None:
    tied = [Candidate("b", 0.5, 1), Candidate("a", 0.5, 1), Candidate("c", 0.5, 9)]
    assert [c.sample_id for c in choose(tied, 3)] == ["c", "a", "b"]


@pytest.mark.parametrize(("share", "worst"), [(0.0, 4), (0.25, 3), (0.5, 2), (1.0, 0)])
def test_the_random_share_takes_places_from_the_worst(share: float, worst: int) -> None:
    chosen = choose(TEN, 4, random_share=share)
    assert chosen[:worst] == TEN[:worst]
    assert len(set(chosen)) == 4


def test_the_seed_decides_the_random_share() -> None:
    assert choose(TEN, 6, random_share=1, seed=1) == choose(TEN, 6, random_share=1, seed=1)
    drawn = {tuple(choose(TEN, 6, random_share=1, seed=seed)) for seed in range(5)}
    assert len(drawn) > 1


@given(candidates, st.integers(0, 40), st.floats(0, 1), st.integers(0, 3))
def test_as_many_as_asked_for_and_none_twice(given_: list[Candidate], count: int, share: float, seed: int) -> None:
    chosen = choose(given_, count, random_share=share, seed=seed)
    assert len(chosen) == len(set(chosen)) == min(count, len(given_))
    assert set(chosen) <= set(given_)
