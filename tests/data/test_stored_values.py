"""What stored values mean: both ways, exactly, for every map that a person may write."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from annoloop.data.config import DataConfig
from annoloop.data.images import IndexImage, decode_index_png, encode_index_png
from annoloop.data.mmseg_folders import check_label_map, to_label_map, to_stored
from annoloop.data.stored_values import NARROW, changed, stored_values, unnamed
from annoloop.errors import DataError
from annoloop.masks.classes import class_table

CLASSES = 6
MASKS = hnp.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6)))
VALUES = st.dictionaries(st.integers(0, 255), st.sampled_from([*range(CLASSES), 255]), min_size=1, max_size=12)


def _data(values: dict[int, int], *, nearest: bool = False, suffix: str = ".png") -> DataConfig:
    return DataConfig(root=".", splits={"train": "."}, values=values, nearest=nearest, mask_suffix=suffix)


@given(VALUES, st.booleans())
def test_every_class_that_can_be_stored_is_read_again(values: dict[int, int], nearest: bool) -> None:
    rule = stored_values(tuple(values.items()), nearest, False)
    assert rule is not None
    for label in range(256):
        if rule.storable[label] and label != unnamed(NARROW):
            assert rule.labels[rule.stored[label]] == label
    for value, label in values.items():
        assert rule.labels[value] == label
        assert rule.storable[label]
    assert nearest or rule.storable[255]


@given(VALUES, MASKS)
def test_stored_values_that_nobody_changed_stay(values: dict[int, int], stored: np.ndarray) -> None:
    data, before = _data(values), IndexImage(stored)
    label_map = to_label_map(before, data)
    assert np.array_equal(to_stored(label_map, data, before).values, stored)
    edited = label_map.copy()
    edited[0, 0] = next(iter(values.values()))
    after = to_stored(edited, data, before)
    assert np.array_equal(to_label_map(after, data), edited)
    assert np.array_equal(after.values.ravel()[1:], stored.ravel()[1:])


def test_white_is_class_1_and_is_written_as_white() -> None:
    data = _data({255: 1})
    assert to_label_map(IndexImage(np.array([[0, 255]], np.uint8)), data).tolist() == [[0, 1]]
    assert to_stored(np.array([[0, 1, 255]], np.uint8), data, None).values.tolist() == [[0, 255, 254]]


def test_a_value_that_is_not_named_while_another_means_its_class_is_a_fault() -> None:
    classes = class_table(["a", "b"], values=((255, 1),))
    label_map = to_label_map(IndexImage(np.array([[0, 1, 255]], np.uint8)), _data({255: 1}))
    with pytest.raises(DataError, match=r"1 px hold stored values that data\.values does not name"):
        check_label_map(label_map, (1, 3), classes, "m.png")


def test_the_first_of_several_values_is_written() -> None:
    data = _data({9: 1, 200: 1})
    assert to_stored(np.array([[1]], np.uint8), data, None).values.tolist() == [[9]]
    assert to_label_map(IndexImage(np.array([[9, 200]], np.uint8)), data).tolist() == [[1, 1]]


def test_with_nearest_every_value_means_a_class_and_ignore_cannot_be_stored() -> None:
    data = _data({0: 0, 128: 2, 255: 1}, nearest=True)
    stored = np.array([[0, 60, 64, 65, 191, 192, 255]], np.uint8)
    assert to_label_map(IndexImage(stored), data).tolist() == [[0, 0, 0, 2, 2, 1, 1]]
    with pytest.raises(DataError, match="no stored value stands for 255"):
        to_stored(np.array([[255]], np.uint8), data, None)


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.integers(0, 1)), st.data())
def test_a_jpeg_mask_comes_back_as_the_same_classes(label_map: np.ndarray, draw: st.DataObject) -> None:
    data = _data({0: 0, 255: 1}, nearest=True, suffix=".jpg")
    first = encode_index_png(to_stored(label_map, data, None))
    assert first.startswith(b"\xff\xd8")
    before = decode_index_png(first, "m.jpg")
    assert np.array_equal(to_label_map(before, data), label_map)
    edited = label_map ^ draw.draw(hnp.arrays(np.uint8, label_map.shape, elements=st.integers(0, 1)))
    again = decode_index_png(encode_index_png(to_stored(edited, data, before)), "m.jpg")
    assert np.array_equal(to_label_map(again, data), edited)


def test_values_belong_to_the_contract_and_no_values_leave_it_as_it_was() -> None:
    plain = class_table(["a", "b"])
    assert plain.digest == class_table(["a", "b"], values=()).digest
    digests = {plain.digest, *(class_table(["a", "b"], values=v).digest for v in (((255, 1),), ((254, 1),)))}
    assert len(digests) == 3
    assert class_table(["a", "b"], values=((255, 1),), nearest=True).digest not in digests


def test_what_differs_is_what_the_training_is_told() -> None:
    rule = stored_values(((255, 1),), False, False)
    assert rule is not None
    assert changed(rule) == ((1, unnamed(NARROW)), (254, 255), (255, 1))
