"""One image looked into: objects as SciPy finds them, the largest error of each kind, the label's judge."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from annoloop.masks.classes import ClassTable, class_table
from annoloop.metrics.examination import SIZE_EDGES_PX, Area, examine, no_tally, object_counts

CLASSES = class_table(["background", "disc", "ring"], background="background")
NO_BACKGROUND = class_table(["road", "car", "tree"])
IGNORE = 255


def patches(seed: int, shape_hw: tuple[int, int] = (40, 50)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth with ignored pixels, a prediction that is mostly right, and its confidence."""
    rng = np.random.default_rng(seed)
    truth = ndimage.gaussian_filter(rng.standard_normal((3, *shape_hw)), (0, 2, 2)).argmax(0).astype(np.uint8)
    other = rng.integers(0, 3, shape_hw, np.uint8)
    prediction = np.where(rng.random(shape_hw) < 0.5 + 0.5 * rng.random(), truth, other)
    truth[rng.random(shape_hw) < 0.1] = IGNORE
    return truth, prediction, rng.integers(0, 256, shape_hw, np.uint8)


@given(st.integers(0, 2**32 - 1), st.sampled_from([CLASSES, NO_BACKGROUND]))
def test_objects_are_the_components_of_the_truth(seed: int, classes: ClassTable) -> None:
    truth, prediction, _ = patches(seed)
    expected = np.zeros((3, len(SIZE_EDGES_PX) + 1, 2), np.int64)
    for index in range(classes.background_index is not None, 3):
        components, count = ndimage.label(truth == index, np.ones((3, 3)))
        for number in range(1, count + 1):
            bits = components == number
            size = sum(bits.sum() >= edge for edge in SIZE_EDGES_PX)
            expected[index, size] += ((prediction[bits] == index).mean() >= 0.5, 1)
    assert object_counts(truth, prediction, classes).tolist() == expected.tolist()


@given(st.integers(0, 2**32 - 1))
def test_the_largest_areas_are_the_largest_components_of_their_kind(seed: int) -> None:
    truth, prediction, confidence = patches(seed)
    wrong = (truth != prediction) & (truth != IGNORE)
    found = examine(truth, prediction, confidence, CLASSES).observation.largest
    kinds = {
        "false negative": prediction == 0,
        "false positive": truth == 0,
        "confused": (truth != 0) & (prediction != 0),
    }
    for kind, where in kinds.items():
        areas = []
        for pair in {(t, p) for t in range(3) for p in range(3)}:
            bits = wrong & where & (truth == pair[0]) & (prediction == pair[1])
            components, count = ndimage.label(bits, np.ones((3, 3)))
            areas += [int((components == n).sum()) for n in range(1, count + 1)]
        assert (found[kind].area_px if kind in found else 0) == max(areas, default=0)  # type: ignore[index]


def test_an_area_says_where_it_is_and_how_sure_the_model_was() -> None:
    truth, prediction = np.zeros((20, 30), np.uint8), np.zeros((20, 30), np.uint8)
    truth[2:6, 3:8] = 1
    confidence = np.full((20, 30), 51, np.uint8)
    observation = examine(truth, prediction, confidence, CLASSES).observation
    assert observation.largest == {"false negative": Area(20, (3, 2, 8, 6), 1, 0, 0.2)}


def test_confidences_are_counted_everywhere_and_where_a_class_is_predicted() -> None:
    truth = np.array([[0, 0, 1, IGNORE]], np.uint8)
    prediction = np.array([[0, 1, 1, 1]], np.uint8)
    tally = examine(truth, prediction, np.array([[9, 8, 7, 6]], np.uint8), CLASSES).tally
    assert {level: tuple(counts) for level, counts in enumerate(tally.confidence.tolist()) if counts[0]} == {
        9: (1, 1), 8: (1, 0), 7: (1, 1),
    }  # fmt: skip
    assert {level: tuple(counts) for level, counts in enumerate(tally.class_confidence.tolist()) if counts[0]} == {
        8: (1, 0), 7: (1, 1),
    }  # fmt: skip


def test_tallies_add_up_and_travel_between_processes() -> None:
    one, two = (examine(*patches(seed), CLASSES) for seed in (1, 2))
    summed = no_tally(3) + one.tally + two.tally
    copied = pickle.loads(pickle.dumps(one))
    assert copied.observation == one.observation
    assert (summed.objects == copied.tally.objects + two.tally.objects).all()
    assert (summed.boundary == one.tally.boundary + two.tally.boundary).all()
    assert summed.confidence.sum() > one.tally.confidence.sum() > 0


def test_a_label_is_held_against_its_judge_and_scored_against_the_run() -> None:
    truth, sure = np.zeros((20, 20), np.uint8), np.full((20, 20), 250, np.uint8)
    contradiction = truth.copy()
    contradiction[5:15, 5:15] = 1
    own = examine(truth, truth, sure, CLASSES)
    judged = examine(truth, truth, sure, CLASSES, judge=(contradiction, sure))
    assert (own.observation.belief.reading, judged.observation.belief.reading) == (None, "label looks wrong")
    assert judged.observation.largest == own.observation.largest == {}


def test_an_image_that_is_ignored_everywhere_says_nothing() -> None:
    ignored, anything = np.full((9, 9), IGNORE, np.uint8), np.full((9, 9), 77, np.uint8)
    found = examine(ignored, anything, anything, CLASSES)
    assert found.observation.largest == {}
    assert found.observation.belief.reading is None
    assert math.isnan(found.observation.belief.quality)
    assert found.tally.objects.sum() == found.tally.boundary.sum() == found.tally.confidence.sum() == 0


@pytest.mark.parametrize(("area", "size"), [(15, 0), (16, 1), (1023, 3), (1024, 4), (16384, 6)])
def test_sizes_begin_at_their_edge(area: int, size: int) -> None:
    truth = np.zeros((1, 20000), np.uint8)
    truth[0, :area] = 1
    assert object_counts(truth, truth, CLASSES)[1, :, 1].tolist() == [int(n == size) for n in range(7)]
