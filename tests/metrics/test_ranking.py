"""Which images next: worst first, ties by wrong pixels, an honest random share, no two that are nearly the same."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annoloop.metrics import ranking
from annoloop.metrics.ranking import Alike, Candidate, Choice, rank

TEN = [Candidate(f"train/{i}", i / 10, 0) for i in range(10)]

candidates = st.lists(
    st.builds(Candidate, st.uuids().map(str), st.floats(0, 1), st.integers(0, 50)),
    unique_by=lambda c: c.sample_id,
    max_size=30,
)


def choose(
    given_: Sequence[Candidate], count: int, first: Collection[str] = (), alike: Alike | None = None, **details: float
) -> Choice:
    """Of candidates in any order; ``first`` by name."""
    ranked = sorted(given_, key=rank)
    asked = [one for one in ranked if one.sample_id in first]
    others = [one for one in ranked if one.sample_id not in first]
    if alike is not None:
        details |= {"compare": lambda _: alike}  # type: ignore[dict-item]
    return ranking.choose(asked, others, count, **details)  # type: ignore[arg-type]


def _ids(chosen: Sequence[Candidate]) -> list[str]:
    return [c.sample_id for c in chosen]


def _same_last_digit(one: str, others: Sequence[str]) -> bool:
    return any(one[-1] == other[-1] for other in others)


def test_worst_first() -> None:
    assert _ids(choose(TEN[::-1], 3).chosen) == ["train/0", "train/1", "train/2"]


def test_no_more_are_looked_at_than_have_a_place_or_a_twin_before_them() -> None:
    compared: list[list[str]] = []

    def compare(names: Sequence[str]) -> Alike:
        compared.append(list(names))
        return _same_last_digit

    def endless() -> Iterator[Candidate]:
        for number in (10, 20, 11, 22):
            yield Candidate(str(number), number, 0)
        raise AssertionError("nobody needs to know the next one")

    choice = ranking.choose([TEN[7]], endless(), 4, compare=compare)
    assert _ids(choice.chosen) == ["train/7", "10", "11", "22"]
    assert _ids(choice.left_out) == ["20"]
    assert compared == [["train/7", "10", "20", "11"], ["train/7", "10", "11", "22"]]


def test_ties_go_to_more_wrong_pixels_then_to_the_name() -> None:
    tied = [Candidate("b", 0.5, 1), Candidate("a", 0.5, 1), Candidate("c", 0.5, 9)]
    assert _ids(choose(tied, 3).chosen) == ["c", "a", "b"]


@pytest.mark.parametrize(("share", "worst"), [(0.0, 4), (0.25, 3), (0.5, 2), (1.0, 0)])
def test_the_random_share_takes_places_from_the_worst(share: float, worst: int) -> None:
    chosen = choose(TEN, 4, random_share=share).chosen
    assert list(chosen[:worst]) == TEN[:worst]
    assert len(set(chosen)) == 4


def test_the_seed_decides_the_random_share() -> None:
    assert choose(TEN, 6, random_share=1, seed=1) == choose(TEN, 6, random_share=1, seed=1)
    drawn = {choose(TEN, 6, random_share=1, seed=seed).chosen for seed in range(5)}
    assert len(drawn) > 1


@given(candidates, st.integers(0, 40), st.floats(0, 1), st.integers(0, 3))
def test_as_many_as_asked_for_and_none_twice(given_: list[Candidate], count: int, share: float, seed: int) -> None:
    chosen = choose(given_, count, random_share=share, seed=seed).chosen
    assert len(chosen) == len(set(chosen)) == min(count, len(given_))
    assert set(chosen) <= set(given_)


def test_of_images_that_look_alike_the_worst_goes_and_the_place_of_the_others_is_filled() -> None:
    many = [Candidate(f"train/{i}{digit}", i + digit / 10, 0) for i, digit in ((0, 7), (1, 7), (2, 3), (3, 7), (4, 5))]
    choice = choose(many[::-1], 3, alike=_same_last_digit)
    assert _ids(choice.chosen) == ["train/07", "train/23", "train/45"]
    assert _ids(choice.left_out) == ["train/17", "train/37"]


def test_those_behind_the_last_chosen_one_were_not_left_out_for_anybody() -> None:
    many = [Candidate(f"train/{i}7", i, 0) for i in range(5)]
    choice = choose(many, 1, alike=_same_last_digit)
    assert (_ids(choice.chosen), choice.left_out) == (["train/07"], ())


@given(candidates, st.integers(0, 40), st.floats(0, 1), st.integers(0, 3))
def test_no_two_alike_go_whether_worst_or_drawn(given_: list[Candidate], count: int, share: float, seed: int) -> None:
    choice = choose(given_, count, random_share=share, seed=seed, alike=_same_last_digit)
    kinds = [c.sample_id[-1] for c in choice.chosen]
    assert len(set(kinds)) == len(kinds)
    assert not set(choice.chosen) & set(choice.left_out)
    assert {c.sample_id[-1] for c in choice.left_out} <= set(kinds), "who was left out has a twin that goes"
    if len(kinds) < min(count, len(given_)):
        assert set(kinds) == {c.sample_id[-1] for c in given_}, "places stay free only where nobody else was to be had"


def test_what_is_asked_for_comes_first_whatever_its_score() -> None:
    unknown = Candidate("train/x", float("nan"), 0)
    assert _ids(choose([*TEN, unknown], 4, first={"train/8", "train/x"}).chosen) == [
        "train/8", "train/x", "train/0", "train/1",
    ]  # fmt: skip
    assert _ids(choose(TEN, 1, first={"train/8", "train/7"}).chosen) == ["train/7"]


def test_the_random_share_is_of_the_places_that_nobody_asked_for() -> None:
    chosen = _ids(choose(TEN, 6, first={"train/8", "train/9"}, random_share=0.5).chosen)
    assert chosen[:4] == ["train/8", "train/9", "train/0", "train/1"]
    assert len(set(chosen)) == 6


def test_a_twin_of_what_is_asked_for_stays_out() -> None:
    twins = [Candidate("a1", 0.5, 0), Candidate("b1", 0.1, 0), Candidate("c2", 0.2, 0)]
    choice = choose(twins, 2, first={"a1"}, alike=_same_last_digit)
    assert _ids(choice.chosen) == ["a1", "c2"]
    assert _ids(choice.left_out) == ["b1"]
