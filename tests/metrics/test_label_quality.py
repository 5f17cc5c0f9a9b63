"""Belief in a label and in itself: the published formula, what is counted, and what two numbers say together."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annoloop.masks.classes import class_table
from annoloop.metrics.label_quality import TEMPERATURE, certainty, contradiction, label_quality, reading

IGNORE = 255
CLASSES = class_table(["background", "disc", "ring"], background="background")
SURE, UNSURE, TORN = 250, 110, 128

maps = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**32 - 1))


def softmin(scores: np.ndarray) -> float:
    """Pixel by pixel, as the paper writes it."""
    weights = np.exp((1 - scores) / TEMPERATURE)
    return float((scores * weights).sum() / weights.sum())


def drawn(height: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label_map = rng.choice(np.array([0, 1, IGNORE], np.uint8), (height, width))
    return label_map, rng.integers(0, 2, (height, width), np.uint8), rng.integers(0, 256, (height, width), np.uint8)


@given(maps)
def test_equal_to_the_formula_pixel_by_pixel(shape: tuple[int, int, int]) -> None:
    label_map, prediction, confidence = drawn(*shape)
    share = confidence / 255
    bound = np.where(label_map == prediction, share, np.minimum(share, 1 - share))[label_map != IGNORE]
    found = label_quality(label_map, prediction, confidence, IGNORE)
    assert math.isnan(found) if bound.size == 0 else found == pytest.approx(softmin(bound))
    assert certainty(confidence) == pytest.approx(softmin(share))


def test_the_label_of_a_sure_contradiction_is_believed_least() -> None:
    label_map = np.zeros((40, 40), np.uint8)
    blob = label_map.copy()
    blob[:8, :8] = 1

    def quality(prediction: np.ndarray, confidence_there: int) -> float:
        confidence = np.full_like(label_map, SURE)
        confidence[:8, :8] = confidence_there
        return label_quality(label_map, prediction, confidence, IGNORE)

    assert quality(blob, SURE) < quality(blob, TORN) < quality(label_map, SURE)
    assert quality(blob, UNSURE) == quality(label_map, UNSURE), "what the model cannot tell is no contradiction"


def test_ignored_pixels_count_nowhere() -> None:
    label_map, prediction = np.zeros((4, 5), np.uint8), np.zeros((4, 5), np.uint8)
    confidence = np.full((4, 5), SURE, np.uint8)
    clean = label_quality(label_map, prediction, confidence, IGNORE)
    label_map[0], prediction[0] = IGNORE, 1
    assert label_quality(label_map, prediction, confidence, IGNORE) == clean
    assert math.isnan(label_quality(np.full_like(label_map, IGNORE), prediction, confidence, IGNORE))


def test_nothing_counted_says_nothing() -> None:
    assert math.isnan(certainty(np.zeros(0, np.uint8)))
    ignored = np.full((4, 4), IGNORE, np.uint8)
    assert math.isnan(contradiction(ignored, ignored * 0, ignored, CLASSES))
    assert reading(float("nan"), float("nan")) is None


# contradiction


def scene(**boxes: tuple[slice, slice]) -> np.ndarray:
    """100 x 100 px of background with a square of each class that is named."""
    label_map = np.zeros((100, 100), np.uint8)
    for name, box in boxes.items():
        label_map[box] = CLASSES.names.index(name)
    return label_map


BIG, SMALL, ELSEWHERE = np.s_[10:50, 10:50], np.s_[60:80, 60:80], np.s_[60:80, 20:40]


@pytest.mark.parametrize(
    ("label", "prediction", "expected"),
    [
        (scene(disc=BIG), scene(disc=BIG), 0),
        (scene(), scene(), 0),
        (scene(), scene(disc=BIG), 1),  # forgotten
        (scene(disc=BIG), scene(ring=BIG), 1),  # another class
        (scene(disc=BIG), scene(disc=BIG, ring=SMALL), 400 / 2000),
        (scene(disc=SMALL), scene(disc=ELSEWHERE), 1),  # shifted
        (scene(disc=BIG), scene(disc=np.s_[9:51, 9:51]), 0),  # an outline that is disputed by one pixel
    ],
)
def test_it_is_the_share_of_the_objects_on_which_label_and_model_differ(
    label: np.ndarray, prediction: np.ndarray, expected: float
) -> None:
    sure = np.full_like(label, 255)
    assert contradiction(label, prediction, sure, CLASSES) == pytest.approx(expected)


@pytest.mark.parametrize(("confidence", "weight"), [(255, 1), (191, 127 / 255), (127, 0), (40, 0)])
def test_the_surer_the_model_the_more_it_contradicts(confidence: int, weight: float) -> None:
    sure = np.full((100, 100), confidence, np.uint8)
    assert contradiction(scene(), scene(disc=BIG), sure, CLASSES) == pytest.approx(weight)


def test_what_is_ignored_is_no_object_and_no_contradiction() -> None:
    label, prediction = scene(disc=BIG), scene(disc=BIG, ring=SMALL)
    label[SMALL] = IGNORE
    assert contradiction(label, prediction, np.full_like(label, 255), CLASSES) == 0


def test_without_a_background_every_pixel_is_of_an_object() -> None:
    classes = class_table(["road", "car"])
    label, sure = np.zeros((100, 100), np.uint8), np.full((100, 100), 255, np.uint8)
    prediction = label.copy()
    prediction[BIG] = 1
    assert contradiction(label, prediction, sure, classes) == pytest.approx(0.16)


@pytest.mark.parametrize(
    ("contradicted", "sure", "expected"),
    [
        (0.21, 0.9, "label looks wrong"),
        (0.21, 0.3, "label looks wrong"),
        (0.20, 0.49, "model finds it hard"),
        (0.20, 0.50, None),
        (0.0, 1.0, None),
    ],
)
def test_a_wrong_label_is_told_from_a_hard_image(contradicted: float, sure: float, expected: str | None) -> None:
    assert reading(contradicted, sure) == expected
