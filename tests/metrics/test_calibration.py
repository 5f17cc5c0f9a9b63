"""Confidence against being right: counters, bins and the expected calibration error, each pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annoloop.metrics.calibration import BINS, calibration, confidence_counts


def drawn(seed: int, shape_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    confidence = rng.integers(0, 256, shape_hw, np.uint8)
    return confidence, rng.random(shape_hw) < confidence / 255 * rng.random()


pixels = st.builds(drawn, st.integers(0, 2**32 - 1), st.tuples(st.integers(1, 30), st.integers(1, 30)))


@given(pixels)
def test_the_error_is_the_papers_pixel_by_pixel(image: tuple[np.ndarray, np.ndarray]) -> None:
    confidence, right = image
    error = 0.0
    for number in range(BINS):
        low, high = 255 * number / BINS, 255 * (number + 1) / BINS
        held = (confidence > low) & (confidence <= high) | ((number == 0) & (confidence == 0))
        if held.any():
            error += held.mean() * abs(right[held].mean() - confidence[held].mean() / 255)
    found = calibration(confidence_counts(confidence, right))
    assert found is not None
    assert found.error == pytest.approx(error)
    assert found.bin_share.sum() == pytest.approx(1)
    assert (found.accuracy, found.confidence) == pytest.approx((right.mean(), confidence.mean() / 255))


@given(pixels, pixels)
def test_counts_of_two_images_add_up(one: tuple[np.ndarray, np.ndarray], two: tuple[np.ndarray, np.ndarray]) -> None:
    together = confidence_counts(*(np.concatenate([a.ravel(), b.ravel()]) for a, b in zip(one, two, strict=True)))
    assert (confidence_counts(*one) + confidence_counts(*two)).tolist() == together.tolist()


def test_a_model_that_is_right_as_often_as_it_says_has_no_error() -> None:
    counts = np.zeros((256, 2), np.int64)
    counts[51], counts[204], counts[255] = (5, 1), (10, 8), (3, 3)
    found = calibration(counts)
    assert found is not None
    assert found.error == pytest.approx(0)
    assert found.bin_accuracy.tolist() == pytest.approx([0.2, 0.8, 1.0])


def test_boasting_by_a_tenth_is_an_error_of_a_tenth() -> None:
    counts = np.zeros((256, 2), np.int64)
    counts[204] = (100, 70)
    found = calibration(counts)
    assert found is not None
    assert found.error == pytest.approx(0.1)


def test_without_a_pixel_there_is_nothing_to_say() -> None:
    assert calibration(confidence_counts(np.zeros(0, np.uint8), np.zeros(0, bool))) is None
