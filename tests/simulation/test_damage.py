"""Damaged labels: only foreground changes, ignored pixels stay, and exactly the asked share is wrong."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from annoloop.errors import ConfigError, DataError
from annoloop.masks.classes import class_table
from annoloop.masks.regions import LabelMap, regions
from annoloop.simulation.damage import KINDS, damage, damage_share

CLASSES = class_table(["ground", "disc", "ring", "cross"], background="ground")
TWO = class_table(["ground", "disc"], background="ground")

label_maps = hnp.arrays(
    np.uint8,
    st.tuples(st.integers(1, 24), st.integers(1, 24)),
    elements=st.sampled_from([0, 1, 2, 3, 255]),
    fill=st.sampled_from([0, 255]),
)


def _objects(count: int = 40) -> dict[str, LabelMap]:
    """Maps with two discs and a ring; every fourth map is empty."""
    maps = {}
    for number in range(count):
        label_map = np.zeros((30, 40), np.uint8)
        if number % 4:
            label_map[2:8, 3:9] = label_map[20:26, 30:34] = 1
            label_map[12:18, 14:22] = 2
            label_map[14:16, 16:20] = 255
        maps[f"train/{number:02d}"] = label_map
    return maps


@given(label_maps, st.integers(0, 99))
def test_one_component_is_wrong_and_all_else_is_as_it_was(right: LabelMap, seed: int) -> None:
    before = right.copy()
    done = damage(right, CLASSES, seed)
    assert np.array_equal(right, before)
    if done is None:
        assert set(np.unique(right)) <= {0, 255}
        return
    wrong = done.label_map
    assert (wrong.dtype, wrong.shape) == (np.uint8, right.shape)
    assert (wrong != right).any()
    assert np.array_equal(wrong == 255, right == 255)
    left, top, right_px, bottom = done.component.box_ltrb
    inside = np.zeros(right.shape, bool)
    inside[top:bottom, left:right_px] = done.component.bits
    assert (right[inside] == done.component.class_index).all()
    beside = (wrong != right) & ~inside
    assert (right[beside] == 0).all(), "only background is drawn over"
    assert (wrong[beside] == done.component.class_index).all()
    if done.kind == "removed":
        assert (wrong[inside] == 0).all()
        assert not beside.any()
    if done.kind == "swapped":
        (other,) = np.unique(wrong[inside])
        assert other not in (0, 255, done.component.class_index)
        assert not beside.any()


@given(label_maps, st.integers(0, 99))
def test_the_same_seed_does_the_same(right: LabelMap, seed: int) -> None:
    first, second = damage(right, CLASSES, seed), damage(right, CLASSES, seed)
    assert (first is None) == (second is None)
    if first is not None and second is not None:
        assert first.kind == second.kind
        assert np.array_equal(first.label_map, second.label_map)


def test_every_kind_of_damage_happens_and_any_component_may_be_hit() -> None:
    right = _objects(2)["train/01"]
    done = [one for seed in range(60) if (one := damage(right, CLASSES, seed)) is not None]
    assert set(Counter(one.kind for one in done)) == set(KINDS)
    assert {one.component.top_px for one in done} == {r.top_px for r in regions(right, skip=(0, 255))}


def test_a_shifted_component_is_drawn_beside_its_place() -> None:
    right = _objects(2)["train/01"]
    shifted = [one for seed in range(60) if (one := damage(right, CLASSES, seed)) is not None and one.kind == "shifted"]
    for one in shifted:
        ours = one.label_map == one.component.class_index
        assert (ours & (right == 0)).any()
        assert np.count_nonzero(ours) <= np.count_nonzero(right == one.component.class_index)


def test_with_a_single_foreground_class_nothing_is_swapped() -> None:
    right = np.zeros((9, 9), np.uint8)
    right[2:5, 2:5] = 1
    kinds = {one.kind for seed in range(40) if (one := damage(right, TWO, seed)) is not None}
    assert kinds == set(KINDS) - {"swapped"}
    assert damage(right, TWO, 0, kinds=("swapped",)) is None


def test_holes_and_ragged_outlines_are_inside_and_along_the_component() -> None:
    right = np.zeros((60, 60), np.uint8)
    right[10:50, 10:50] = 1
    for seed in range(10):
        holes, ragged = (damage(right, CLASSES, seed, kinds=(kind,)) for kind in ("holes", "ragged"))
        assert holes is not None
        assert ragged is not None
        lost = (holes.label_map == 0) & (right == 1)
        assert 0.3 <= lost.sum() / 1600 < 0.6
        assert not (holes.label_map != right)[right == 0].any()
        differs = ragged.label_map != right
        assert (differs & (right == 1)).any()
        assert (differs & (right == 0)).any()
        assert not differs[22:38, 22:38].any(), "the middle is far from the outline"


def test_specks_can_be_left_alone() -> None:
    right = _objects(2)["train/01"]
    done = [damage(right, CLASSES, seed, least_px=30) for seed in range(30)]
    assert {one.component.area_px for one in done if one is not None} == {36, 40}
    assert damage(right, CLASSES, 0, least_px=41) is None


@given(st.floats(0, 0.75), st.integers(0, 9))
def test_exactly_the_share_is_wrong_and_always_the_same_for_a_seed(share: float, seed: int) -> None:
    maps = _objects()
    damaged = dict(damage_share(list(maps), maps.__getitem__, CLASSES, share=share, seed=seed))
    assert len(damaged) == round(share * len(maps))
    assert all((one.label_map != maps[name]).any() for name, one in damaged.items())
    again = dict(damage_share(list(maps), maps.__getitem__, CLASSES, share=share, seed=seed))
    assert {k: v.label_map.tobytes() for k, v in damaged.items()} == {
        k: v.label_map.tobytes() for k, v in again.items()
    }


def test_another_seed_hits_other_images() -> None:
    maps = _objects()
    hit = [
        frozenset(dict(damage_share(list(maps), maps.__getitem__, CLASSES, share=0.3, seed=seed))) for seed in range(4)
    ]
    assert len(set(hit)) == 4


def test_too_few_objects_for_the_share_is_told() -> None:
    maps = _objects()
    with pytest.raises(DataError, match="only 30 of 40 masks have an object to damage, 32 are wanted"):
        list(damage_share(list(maps), maps.__getitem__, CLASSES, share=0.8, seed=0))


def test_without_a_background_there_is_nothing_to_remove_to() -> None:
    with pytest.raises(ConfigError, match="only where a class is the background"):
        damage(np.ones((3, 3), np.uint8), class_table(["a", "b"]), 0)
