"""What an event says for a tracker: curves, parameters, and names that all of them take."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded_training import CLASSES, STARTED, training

from annoloop.tracking.curves import calls_of, final_points, metric_names
from annoloop.tracking.tracker import Params, Point, Points, shortened, without_credentials
from annoloop.training.records import Event

NAMES = metric_names(CLASSES)


def test_a_training_becomes_parameters_and_two_series() -> None:
    calls = [call for event in training() for call in calls_of(event, NAMES)]
    (params,) = (call for call in calls if isinstance(call, Params))
    assert params.values["batch_size"] == "8"
    assert params.values["version.torch"] == "2.13.0+cpu"
    points = [call for call in calls if isinstance(call, Points)]
    assert [call.step for call in points if call.series == "training"] == list(range(1, 41))
    assert points[0].values == (Point("loss", 1, 2.0), Point("lr", 1, 0.01))
    validation = [call for call in points if call.series == "validation"]
    assert [call.step for call in validation] == [20, 40]
    assert {point.name for point in validation[0].values} == {
        "val/mDice", "val/mIoU", "val/Dice/background", "val/Dice/disc", "val/Dice/a_b-3",
    }, "a class that is nowhere has no score"  # fmt: skip


def test_the_judging_of_the_last_candidates_is_no_point_of_a_curve() -> None:
    scores = {"mdice": 0.6, "miou": 0.5, "dice_per_class": [0.1] * 4, "never_predicted": []}
    assert calls_of(Event("validation", {"iteration": 20, "settled": True, "images": 900, **scores}), NAMES) == []


@pytest.mark.parametrize("kind", ["prediction", "planned", "warning", "fold", "something new"])
def test_other_events_say_nothing(kind: str) -> None:
    assert calls_of(Event(kind, {"iterations": 3}), NAMES) == []


def test_what_predicts_only_has_no_parameters() -> None:
    assert calls_of(Event("started", {"device": "cpu", "total": 3}), NAMES) == []
    assert calls_of(Event("started", STARTED), NAMES) != []


def test_final_scores_leave_out_what_is_no_number() -> None:
    (call,) = final_points(40, {"mDice": 0.5}, [0.5, math.nan], [0.4, math.nan], ["a", "b"])
    assert isinstance(call, Points)
    assert [(point.name, point.value) for point in call.values] == [
        ("final/mDice", 0.5), ("final/Dice/a", 0.5), ("final/IoU/a", 0.4),
    ]  # fmt: skip


@given(st.lists(st.text(min_size=1), min_size=1, max_size=20))
def test_names_are_different_and_of_what_everybody_takes(classes: list[str]) -> None:
    names = metric_names(classes)
    assert len(set(names)) == len(classes)
    assert all(re.fullmatch(r"[\w\-. ]+", name) and name.strip(".") for name in names)


def test_credentials_and_long_texts_are_cut() -> None:
    assert without_credentials("mysql://a:b@h/db and http://h/x@y") == "mysql://h/db and http://h/x@y"
    assert len(shortened("x" * 1000)) == 300
