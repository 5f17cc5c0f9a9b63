"""Charts of a diagnosis: what is on them, and none where there is nothing to draw."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from annoloop.masks.classes import class_table
from annoloop.metrics.examination import SIZE_COUNT, examine, no_tally
from annoloop.reports.diagnosis import Case, Files
from annoloop.reports.error_charts import (
    Chart,
    confusion_chart,
    dice_histograms,
    learning_curves,
    recall_chart,
    reliability_chart,
    size_names,
)
from annoloop.training.records import Event, events_of

CLASSES = class_table(["background", "disc", "ring"], background="background")
FILES = Files(*[Path("none")] * 4, None)


def texts(chart: Chart) -> list[str]:
    """The words on a chart."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", chart.svg)


def test_every_size_has_a_name() -> None:
    assert len(size_names()) == SIZE_COUNT
    assert size_names()[0] == "under 16 px"
    assert size_names()[4] == "1\u202f024 – 4\u202f095 px"
    assert size_names()[-1] == "from 16\u202f384 px"


def test_confusions_are_shares_of_the_truth() -> None:
    said = texts(confusion_chart(np.array([[75, 25, 0], [0, 3, 1], [0, 0, 0]], np.int64), CLASSES))
    assert said.count(".75") == 2
    assert said.count(".25") == 2
    assert {"disc", "ring", "truth", "predicted as"} <= set(said)


def test_histograms_begin_with_the_worst_class_and_leave_out_what_is_nowhere() -> None:
    good, bad = np.array([[50, 0, 0], [0, 9, 0], [0, 0, 0]]), np.array([[50, 0, 9], [0, 9, 0], [0, 0, 1]])
    charts = dice_histograms([Case(str(n), FILES, 1.0, one, False) for n, one in enumerate((good, good, bad))], CLASSES)
    assert [chart.caption for chart in charts] == [
        "all 3 images",
        "ring: in 1 of them, mean 0.182",
        "disc: in 3 of them, mean 1.000",
    ]
    assert len(dice_histograms([Case("a", FILES, 1.0, good, False)], CLASSES)) == 2


def test_there_is_no_chart_of_nothing() -> None:
    assert recall_chart(no_tally(3)) == []
    assert reliability_chart(no_tally(3), CLASSES) == []
    assert learning_curves([], CLASSES) == []


def test_recall_and_reliability_say_how_many_and_how_far_off() -> None:
    truth = np.zeros((40, 40), np.uint8)
    truth[:4, :5], truth[10:30, 10:30] = 1, 2
    tally = examine(truth, np.where(truth == 1, 0, truth), np.full((40, 40), 204, np.uint8), CLASSES).tally
    (recall,) = recall_chart(tally)
    assert {"16 – 63 px  (1)", "256 – 1\u202f023 px  (1)"} <= set(texts(recall))
    (reliability,) = reliability_chart(tally, CLASSES)
    assert {"all pixels, ECE 0.188", "predicted as a class, ECE 0.200"} <= set(texts(reliability))


def test_what_a_resumed_training_did_again_counts_once(tmp_path: Path) -> None:
    record = [
        Event("started", {"resumed_from": 0}),
        *(Event("iteration", {"iteration": i, "loss": 100.0}) for i in range(1, 8)),
        Event("validation", {"iteration": 7, "mdice": 0.1, "dice_per_class": [0.1, None, 0.1]}),
        Event("started", {"resumed_from": 5}),
        Event("iteration", {"iteration": 6, "loss": 1.0}),
        Event("validation", {"iteration": 6, "mdice": 0.8, "dice_per_class": [0.9, None, 0.7]}),
    ]
    (tmp_path / "events.jsonl").write_text("".join(one.to_json() + "\n" for one in record) + '{"kind": "valid')
    assert list(events_of(tmp_path)) == record
    straight = [*record[:6], *record[-2:]]
    resumed, plain = (learning_curves(events, CLASSES) for events in (record, straight))
    assert [texts(chart) for chart in resumed] == [texts(chart) for chart in plain]
    assert {"mDice", "disc", "ring"} <= set(texts(resumed[1]))
    assert list(events_of(tmp_path / "nowhere")) == []
