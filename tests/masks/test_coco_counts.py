"""Law 1: COCO's counts packed, unpacked and painted, as pycocotools does it, whatever they are; damaged ones named."""

from __future__ import annotations

import doctest
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from annoloop.errors import DataError
from annoloop.masks import coco_counts
from annoloop.masks.coco_counts import PaintedMasks, pack_coco_counts, paint_coco_counts, unpack_coco_counts
from annoloop.masks.regions import LabelMap
from annoloop.masks.run_lengths import coco_masks

many_counts = st.lists(st.lists(st.integers(0, 1 << 20), min_size=1, max_size=30), min_size=1, max_size=4)


def _unpacked(*texts: str) -> list[list[int]]:
    counts, stops = unpack_coco_counts(texts, range(len(texts)))
    return [one.tolist() for one in np.split(counts, stops[:-1])]


def _painted(masks: list[list[int]], shape_hw: tuple[int, int]) -> PaintedMasks:
    """The first mask as class 1, the second as class 2 and so on."""
    counts, stops = np.array([n for one in masks for n in one], np.int64), np.cumsum([len(one) for one in masks])
    classes = np.arange(1, len(masks) + 1, dtype=np.uint8)
    places = [f"mask {number}" for number in range(len(masks))]
    return paint_coco_counts(counts, stops, classes, shape_hw, fill=0, where=places)


@given(many_counts)
def test_counts_of_any_size_are_packed_as_pycocotools_does_and_unpack(masks: list[list[int]]) -> None:
    packed = pack_coco_counts(np.concatenate(masks), np.cumsum([len(counts) for counts in masks]))
    for text, counts in zip(packed, masks, strict=True):
        theirs = coco_mask.frPyObjects({"counts": counts, "size": [sum(counts), 1]}, sum(counts), 1)
        assert text == theirs["counts"].decode("ascii")
    assert _unpacked(*packed) == masks


@given(st.lists(st.integers(0, (1 << 58) - 1), min_size=1, max_size=9))
def test_counts_beyond_any_image_are_packed_without_loss(counts: list[int]) -> None:
    (text,) = pack_coco_counts(np.array(counts), np.array([len(counts)]))
    assert _unpacked(text) == [counts]


def test_no_masks_are_no_text_no_counts_and_an_empty_map() -> None:
    nothing = np.empty(0, np.int64)
    assert pack_coco_counts(nothing, nothing) == []
    counts, stops = unpack_coco_counts([], [])
    assert (counts.size, stops.size) == (0, 0)
    painted = paint_coco_counts(counts, stops, np.empty(0, np.uint8), (2, 3), fill=7, where=[])
    assert painted.label_map.tolist() == [[7] * 3] * 2


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 12)), elements=st.sampled_from([0, 1, 2, 255])))
def test_the_masks_of_a_label_map_give_it_back(label_map: LabelMap) -> None:
    masks = coco_masks(label_map)
    counts, stops = unpack_coco_counts(masks.counts, masks.counts)
    painted = paint_coco_counts(counts, stops, masks.regions.class_of, label_map.shape, fill=9, where=masks.counts)
    assert np.array_equal(painted.label_map, label_map)
    assert painted.label_map.flags.c_contiguous
    assert (painted.sizes_px > 0).all()
    assert len(painted.overlaps) == 0
    assert np.array_equal(painted.boxes_ltrb, masks.regions.boxes_ltrb)


@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 7))))
def test_masks_that_overlap_are_painted_in_their_order_and_counted(masks: np.ndarray) -> None:
    texts = [coco_mask.encode(np.asfortranarray(one.astype(np.uint8)))["counts"].decode("ascii") for one in masks]
    painted = _painted(_unpacked(*texts), masks.shape[1:])
    expected = np.zeros(masks.shape[1:], np.uint8)
    for number, one in enumerate(masks, 1):
        expected[one] = number
    assert np.array_equal(painted.label_map, expected)
    assert painted.sizes_px.tolist() == masks.sum((1, 2)).tolist()
    seen = [(expected == number).any() for number in range(1, len(masks) + 1)]
    assert painted.is_hidden.tolist() == [bool(one.any() and not shown) for one, shown in zip(masks, seen, strict=True)]
    assert _taken(painted) == _expected_overlaps(masks, range(1, len(masks) + 1))


@given(
    hnp.arrays(np.bool_, st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 7))),
    st.lists(st.integers(0, 1), min_size=5, max_size=5),
)
def test_only_pixels_that_change_their_class_are_overlaps(masks: np.ndarray, values: list[int]) -> None:
    texts = [coco_mask.encode(np.asfortranarray(one.astype(np.uint8)))["counts"].decode("ascii") for one in masks]
    counts, stops = unpack_coco_counts(texts, texts)
    class_of = np.array(values[: len(masks)], np.uint8)
    painted = paint_coco_counts(counts, stops, class_of, masks.shape[1:], fill=9, where=texts)
    assert _taken(painted) == _expected_overlaps(masks, class_of.tolist())


def _taken(painted: PaintedMasks) -> set[tuple[int, ...]]:
    return {tuple(one) for one in painted.overlaps.tolist()}


def _expected_overlaps(masks: np.ndarray, classes: Sequence[int]) -> set[tuple[int, ...]]:
    """A mask, one painted over it, and the px of another class that it took."""
    owner, found = np.full(masks.shape[1:], -1), set()
    for number, one in enumerate(masks):
        under, px = np.unique(owner[one], return_counts=True)
        for before, count in zip(under.tolist(), px.tolist(), strict=True):
            if before >= 0 and classes[before] != classes[number]:
                found.add((before, number, count))
        owner[one] = number
    return found


def test_the_box_of_each_mask_is_that_of_pycocotools() -> None:
    noise = np.random.default_rng(0).random((40, 7, 9)) > 0.9
    encoded = [coco_mask.encode(np.asfortranarray(one.astype(np.uint8))) for one in noise]
    painted = _painted(_unpacked(*(one["counts"].decode("ascii") for one in encoded)), (7, 9))
    for one, box in zip(encoded, painted.boxes_ltrb.tolist(), strict=True):
        left, top, width, height = coco_mask.toBbox(one).tolist()
        assert box == [left, top, left + width, top + height]


@given(st.lists(st.text(st.characters(min_codepoint=40, max_codepoint=130), max_size=40), min_size=1, max_size=3))
def test_damaged_compressed_counts_are_data_errors_and_nothing_else(texts: list[str]) -> None:
    with suppress(DataError):
        _painted(_unpacked(*texts), (5, 7))


@pytest.mark.parametrize("text", ["", "~~~", "!!", "P", "ÿ", "o" * 20 + "0"])
def test_the_first_damaged_mask_is_named(text: str) -> None:
    with pytest.raises(DataError, match="compressed RLE counts are damaged") as caught:
        unpack_coco_counts(["52", text, "2110100", text], ["a", "b", "c", "d"])
    assert caught.value.where == "b"


@pytest.mark.parametrize("counts", [[], [11], [13], [6, -1, 7], [4, 4, 3], [1 << 62, 1 << 62, 1 << 62, 1 << 62, 12]])
def test_counts_must_fill_the_image(counts: list[int]) -> None:
    with pytest.raises(DataError, match="the image holds 12") as caught:
        _painted([[12], counts, [13]], (3, 4))
    assert caught.value.where == "mask 1"


def test_runs_of_no_pixel_are_allowed() -> None:
    painted = _painted([[0, 0, 2, 1, 0, 3, 6], [12]], (3, 4))
    assert painted.label_map.T.ravel().tolist() == [0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert painted.sizes_px.tolist() == [4, 0]


def test_the_examples_in_the_docstrings_are_true() -> None:
    result = doctest.testmod(coco_counts)
    assert (result.attempted, result.failed) == (3, 0)
