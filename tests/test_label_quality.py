"""Belief in a label and in itself: the published formula, what is counted, and what two numbers say together."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annoloop.label_quality import TEMPERATURE, certainty, label_quality, reading

IGNORE = 255
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
    assert reading(float("nan"), float("nan")) is None


@pytest.mark.parametrize(
    ("quality", "sure", "expected"),
    [
        (0.05, 0.9, "label looks wrong"),
        (0.20, 0.41, "label looks wrong"),
        (0.21, 0.41, "model finds it hard"),
        (0.45, 0.45, "model finds it hard"),
        (0.55, 0.60, None),
        (1.0, 1.0, None),
    ],
)
def test_a_low_score_is_the_labels_or_the_models(quality: float, sure: float, expected: str | None) -> None:
    assert reading(quality, sure) == expected
