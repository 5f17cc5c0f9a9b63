"""Areas of which a model is sure: weighed by sure pixels that are not thin, heaviest first; and what it would add."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from annoloop.masks.classes import class_table
from annoloop.metrics.error_regions import SHARPNESS, SURE, additions, contradictions

Values = npt.NDArray[np.uint8]

CLASSES = class_table(["ground", "disc", "ring"], background="ground")

maps = hnp.arrays(np.uint8, (20, 22), elements=st.sampled_from([0, 1, 2]), fill=st.just(0))
confidences = hnp.arrays(np.uint8, (20, 22), elements=st.integers(0, 255), fill=st.just(230))


def test_an_area_weighs_its_sure_pixels_and_more_the_surer_it_is_as_a_whole() -> None:
    label, prediction = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    prediction[5:15, 5:15], prediction[20:26, 20:26] = 1, 2
    confidence = np.full((40, 40), 204, np.uint8)  # c = 0.8, 2 c - 1 = 0.6
    confidence[20:26, 20:26] = 255
    found = contradictions(label, prediction, confidence, CLASSES, least_px=16)
    assert [one.mistake.predicted for one in found] == [2, 1]
    assert [one.weight for one in found] == [pytest.approx(36), pytest.approx(60 * 0.6**SHARPNESS)]
    assert [one.mistake.region.area_px for one in found] == [36, 100]


def test_thin_small_unsure_and_ignored_areas_are_none() -> None:
    label, prediction = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    prediction[2:38, 3] = 1  # a line
    prediction[10:13, 10:13] = 1  # nine pixels
    prediction[20:30, 10:20] = 2  # the model doubts it
    prediction[20:30, 25:35], label[20:30, 25:35] = 1, 255
    confidence = np.full((40, 40), 250, np.uint8)
    confidence[20:30, 10:20] = 127
    assert contradictions(label, prediction, confidence, CLASSES, least_px=16) == []


@given(maps, maps, confidences)
def test_areas_are_apart_and_each_is_one_pair_of_classes(label: Values, prediction: Values, confidence: Values) -> None:
    seen = np.zeros(label.shape, np.int64)
    found = contradictions(label, prediction, confidence, CLASSES, least_px=1)
    for one in found:
        left, top, right, bottom = one.mistake.region.box_ltrb
        bits = one.mistake.region.bits
        assert (label[top:bottom, left:right][bits] == one.mistake.labelled).all()
        assert (prediction[top:bottom, left:right][bits] == one.mistake.predicted).all()
        assert one.mistake.labelled != one.mistake.predicted
        assert 0 < one.weight <= bits.sum()
        seen[top:bottom, left:right] += bits
    assert seen.max(initial=0) <= 1
    assert [one.weight for one in found] == sorted((one.weight for one in found), reverse=True)


@given(maps, maps, confidences)
def test_what_a_model_would_add_is_sure_and_on_background(
    label: Values, prediction: Values, confidence: Values
) -> None:
    for one in additions(label, prediction, confidence, CLASSES, least_px=1):
        assert one.labelled == 0 != one.predicted
        assert one.confidence >= SURE
    bare = class_table(["road", "disc", "ring"])
    assert additions(label, prediction, confidence, bare, least_px=1) == []
