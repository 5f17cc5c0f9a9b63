"""What refuses a training: a class without a pixel, and a validation by the background alone."""

from __future__ import annotations

import numpy as np
import pytest

from annoloop.eda.gate import check_training_pixels, is_one_class_alone, missing_classes, never_predicted
from annoloop.errors import DataError
from annoloop.masks.classes import class_table

CLASSES = class_table(["background", "disc", "block"], background="background")
ALL_DRAWN = class_table(["road", "car"])


def test_classes_without_a_pixel_are_named() -> None:
    assert missing_classes([9, 0, 1], CLASSES) == ("disc",)
    assert missing_classes([[9, 0, 0], [0, 3, 0]], CLASSES) == ("block",)
    assert missing_classes(np.empty((0, 3)), CLASSES) == CLASSES.names


@pytest.mark.parametrize(
    ("pixels", "alone"), [([9, 0, 0], True), ([0, 0, 0], True), ([9, 1, 0], False), ([0, 1, 0], False)]
)
def test_background_alone(pixels: list[int], alone: bool) -> None:
    assert is_one_class_alone(pixels, CLASSES) is alone


def test_where_no_class_is_background_one_alone_says_nothing_either() -> None:
    assert is_one_class_alone([0, 4], ALL_DRAWN)
    assert not is_one_class_alone([1, 4], ALL_DRAWN)
    assert not is_one_class_alone([4], class_table(["road"]))


def test_good_masks_pass() -> None:
    assert check_training_pixels([[9, 1, 1]], [[9, 1, 0]], CLASSES, where="data") == ()


def test_both_faults_are_told_at_once_and_allowed_on_request() -> None:
    with pytest.raises(DataError) as caught:
        check_training_pixels([[9, 0, 0]], [[9, 0, 0]], CLASSES, where="data")
    assert caught.value.exit_code == 4
    assert caught.value.message == (
        "no training mask holds a pixel of disc, block: no model can learn it; no mask of val holds a class but"
        " background: a mean over that alone says nothing of the others"
    )
    assert "--allow-missing-classes" in str(caught.value.hint)
    told = check_training_pixels([[9, 0, 0]], [[9, 0, 0]], CLASSES, where="data", allow_missing=True)
    assert len(told) == 2


def test_classes_that_a_model_never_predicts_are_named() -> None:
    confusion = np.array([[5, 1, 0], [2, 0, 0], [0, 0, 0]])
    assert never_predicted(confusion, CLASSES) == ()
    assert never_predicted(np.array([[5, 0, 0], [2, 0, 0], [0, 0, 0]]), CLASSES) == ("disc",)
