"""Outlines: the bands beside contours are those of SciPy's erosion, and only they count."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from annoloop.metrics.boundary import band_width_px, boundary_counts, boundary_dice

CLASSES, IGNORE = 3, 255

seeds = st.integers(0, 2**32 - 1)


def blobs(rng: np.random.Generator, shape_hw: tuple[int, int]) -> np.ndarray:
    """A map of connected patches, as masks are."""
    smooth = ndimage.gaussian_filter(rng.standard_normal((CLASSES, *shape_hw)), (0, 4, 4))
    return smooth.argmax(0).astype(np.uint8)


def eroded_band(label_map: np.ndarray, index: int, width_px: int) -> np.ndarray:
    """A class without what is left of it after eroding it so many times, as the paper defines the band."""
    bits = label_map == index
    inside = ndimage.binary_erosion(bits, np.ones((3, 3)), iterations=width_px, border_value=1)
    return bits & ~inside


@given(seeds, st.integers(1, 90), st.integers(1, 130))
def test_counts_are_those_of_eroded_classes(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    truth, prediction = blobs(rng, (height, width)), blobs(rng, (height, width))
    width_px = band_width_px((height, width))
    for index, counts in enumerate(boundary_counts(truth, prediction, CLASSES, IGNORE)):
        true_band, predicted_band = (eroded_band(m, index, width_px) for m in (truth, prediction))
        expected = [np.count_nonzero(b) for b in (true_band & predicted_band, true_band, predicted_band)]
        assert counts.tolist() == expected


@given(seeds, st.floats(0, 1))
def test_ignored_pixels_count_nowhere_and_make_no_contour(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    truth, prediction = blobs(rng, (70, 90)), blobs(rng, (70, 90))
    truth[rng.random(truth.shape) < share] = IGNORE
    reach = band_width_px(truth.shape)
    expected = np.zeros((CLASSES, 3), np.int64)
    for row, column in np.argwhere(truth != IGNORE):
        around = np.s_[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
        known = truth[around] != IGNORE
        labels = truth[row, column], prediction[row, column]
        near = [len(np.unique(m[around][known])) > 1 for m in (truth, prediction)]
        expected[labels[0], 0] += near[0] and near[1] and labels[0] == labels[1]
        expected[labels[0], 1] += near[0]
        expected[labels[1], 2] += near[1]
    assert boundary_counts(truth, prediction, CLASSES, IGNORE).tolist() == expected.tolist()


@given(seeds)
def test_an_outline_agrees_with_itself(seed: int) -> None:
    truth = blobs(np.random.default_rng(seed), (60, 60))
    values = boundary_dice(boundary_counts(truth, truth, CLASSES, IGNORE))
    assert set(values[~np.isnan(values)]) <= {1.0}


def test_a_ragged_outline_costs_more_here_than_in_dice() -> None:
    truth, prediction = np.zeros((200, 200), np.uint8), np.zeros((200, 200), np.uint8)
    truth[40:160, 40:160], prediction[44:156, 44:156] = 1, 1
    dice = 2 * 112**2 / (112**2 + 120**2)
    assert dice > 0.9
    assert boundary_dice(boundary_counts(truth, prediction, 2, IGNORE))[1] < 0.5


def test_a_class_without_a_contour_has_no_number() -> None:
    everything = np.ones((20, 30), np.uint8)
    assert np.isnan(boundary_dice(boundary_counts(everything, everything, CLASSES, IGNORE))).all()


@pytest.mark.parametrize(("shape_hw", "expected"), [((10, 10), 1), ((512, 512), 14), ((1024, 2048), 46)])
def test_the_band_is_2_percent_of_the_diagonal(shape_hw: tuple[int, int], expected: int) -> None:
    assert band_width_px(shape_hw) == expected == max(1, round(0.02 * math.hypot(*shape_hw)))
