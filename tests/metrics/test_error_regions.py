"""The largest areas of disagreement: one per pair of classes, largest first, in words that begin with what matters."""

from __future__ import annotations

import numpy as np

from annoloop.masks.classes import class_table
from annoloop.masks.regions import Region
from annoloop.metrics.error_regions import Mistake, largest_mistakes

CLASSES = class_table(["background", "patches", "scratches"], background="background")
SURE = np.full((20, 30), 255, np.uint8)


def maps() -> tuple[np.ndarray, np.ndarray]:
    """Missed: 4 x 5 patches at (2, 3); invented: 3 x 3 scratches at (10, 10); confused: 2 x 2 at (15, 20)."""
    truth, prediction = np.zeros((20, 30), np.uint8), np.zeros((20, 30), np.uint8)
    truth[2:6, 3:8] = 1
    prediction[10:13, 10:13] = 2
    truth[15:17, 20:22], prediction[15:17, 20:22] = 1, 2
    return truth, prediction


def test_areas_come_largest_first_with_their_classes_and_boxes() -> None:
    found = largest_mistakes(*maps(), SURE, CLASSES, count=5, least_px=1)
    assert [(m.labelled, m.predicted, m.region.box_ltrb, m.region.area_px) for m in found] == [
        (1, 0, (3, 2, 8, 6), 20),
        (0, 2, (10, 10, 13, 13), 9),
        (1, 2, (20, 15, 22, 17), 4),
    ]
    assert [m.message(CLASSES) for m in found] == [
        "20 px missed patches: labelled patches, predicted background, confidence 1.00",
        "9 px invented scratches: labelled background, predicted scratches, confidence 1.00",
        "4 px patches or scratches: labelled patches, predicted scratches, confidence 1.00",
    ]


def test_no_more_than_asked_for_and_none_that_is_small() -> None:
    assert len(largest_mistakes(*maps(), SURE, CLASSES, count=1, least_px=1)) == 1
    assert len(largest_mistakes(*maps(), SURE, CLASSES, count=5, least_px=9)) == 2
    assert largest_mistakes(*maps(), SURE, CLASSES, count=0, least_px=1) == []
    truth, _ = maps()
    assert largest_mistakes(truth, truth, SURE, CLASSES, count=5, least_px=1) == []


def test_ignored_pixels_are_no_mistake_and_cut_areas_apart() -> None:
    truth, prediction = maps()
    truth[2:6, 5] = 255
    found = largest_mistakes(truth, prediction, SURE, CLASSES, count=2, least_px=1)
    assert [m.region.area_px for m in found] == [9, 8]


def test_confidence_is_the_mean_over_the_area_itself() -> None:
    truth, prediction = np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)
    prediction[np.arange(4), np.arange(4)] = 1
    confidence = np.zeros((4, 4), np.uint8)
    confidence[np.arange(4), np.arange(4)] = [51, 102, 153, 204]
    (found,) = largest_mistakes(truth, prediction, confidence, CLASSES, count=3, least_px=1)
    assert found.confidence == 0.5


def test_neighbouring_mistakes_of_different_pairs_are_two_areas() -> None:
    truth, prediction = np.zeros((4, 8), np.uint8), np.zeros((4, 8), np.uint8)
    prediction[:, :4], prediction[:, 4:] = 1, 2
    found = largest_mistakes(truth, prediction, SURE[:4, :8], CLASSES, count=3, least_px=1)
    assert [(m.predicted, m.region.area_px) for m in found] == [(1, 16), (2, 16)]


def test_what_differs_stands_in_the_characters_that_cvat_shows() -> None:
    region = Region(1, 0, 0, np.ones((40, 31), bool))
    assert Mistake(region, 0, 1, 0.97).message(CLASSES).startswith("1240 px invent")
    assert Mistake(region, 1, 0, 0.97).message(CLASSES).startswith("1240 px missed")
