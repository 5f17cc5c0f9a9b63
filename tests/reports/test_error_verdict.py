"""What an error report says in words: the numbers are those of the counts, and nothing is said of what is not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from annoloop.masks.classes import ClassTable, class_table
from annoloop.metrics.examination import ErrorTally, Observation, no_tally
from annoloop.metrics.label_quality import Belief
from annoloop.metrics.scores import Confusion, intervals, scores
from annoloop.reports.diagnosis import Before, Case, Diagnosis, Files
from annoloop.reports.error_verdict import change, verdict

CLASSES = class_table(["background", "disc", "ring"], background="background")
FILES = Files(*[Path("none")] * 4, None)

GOOD = np.array([[900, 0, 0], [0, 50, 0], [0, 0, 50]], np.int64)
BAD = np.array([[880, 20, 0], [30, 10, 10], [0, 0, 50]], np.int64)


def said(counts: list[Confusion], tally: ErrorTally | None = None, classes: ClassTable = CLASSES) -> tuple[str, ...]:
    cases = tuple(Case(str(n), FILES, 0.5, one, corrected=False) for n, one in enumerate(counts))
    found = Diagnosis(cases, (Observation({}, Belief(0.9, 0.9, 0.0)),) * len(cases), tally or no_tally(len(classes)))
    return verdict(
        found, scores(found.counts.sum(0), classes.background_index), intervals(found.counts), classes, "val"
    )


def test_the_score_comes_first_then_the_worst_class_and_the_errors() -> None:
    score, worst, errors, half = said([GOOD, GOOD, GOOD, BAD])
    assert score.startswith("mDice is 0.937 on 4 images of val; ")
    assert worst.startswith("The worst class is disc: Dice 0.842 (")
    assert (
        errors
        == "1.5 % of the pixels are wrong: 50 % false negative (missed), 33 % false positive (invented), 17 % confused."
    )
    assert half == "1 of 4 images holds half of the wrong pixels."


def test_what_is_not_there_is_not_spoken_of() -> None:
    assert said([GOOD])[-1] == "No pixel is wrong."
    assert said([np.zeros((3, 3), np.int64)]) == ("No pixel of this split is labelled: there is nothing to score.",)
    assert len(said([np.array([[9]], np.int64)], classes=class_table(["road"]))) == 2  # no class is the worst of one


def test_small_objects_are_set_beside_large_ones_if_there_are_both() -> None:
    tally = no_tally(3)
    tally.objects[1, 0], tally.objects[2, 3], tally.objects[1, 4] = (1, 3), (1, 1), (4, 5)
    sentence = "Of 4 objects under 1\u202f024 px 50 % are found, of 5 larger ones 80 %."
    assert sentence in said([GOOD], tally)
    tally.objects[1, 4] = 0
    assert not any("objects" in one for one in said([GOOD], tally))


def test_confidence_is_held_against_being_right() -> None:
    for level, right, words in (
        (255, 70, "surer than it is right"),
        (51, 70, "more often right than sure"),
        (178, 70, "about as sure as it is right"),
    ):
        tally = no_tally(3)
        tally.confidence[level] = (100, right)
        assert words in said([GOOD], tally)[-1]


def test_a_change_is_counted_by_images_and_weighed_by_chance() -> None:
    before = Before(0.4, BAD, Path("none"))
    better = [(Case(str(n), FILES, 0.5, GOOD, corrected=False), before) for n in range(5)]
    counted, weighed = change(better, 3)
    assert counted == "Against run 3: 5 of 5 images got better, 0 got worse."
    assert weighed.startswith("mDice changed by +0.2")
    assert "more than chance" in weighed
    same = [(Case("a", FILES, 0.4, BAD, corrected=False), before)]
    assert change(same, 3)[0] == "Against run 3: 0 of 1 images got better, 0 got worse."
    assert "may be chance" in change(same, 3)[1]
    assert change([], 3) == ("No image of this split was predicted by run 3; --against 3 predicts them.",)
    nothing = np.zeros((3, 3), np.int64)
    ignored = [(Case("a", FILES, 1.0, nothing, corrected=False), Before(1.0, nothing, Path("none")))]
    assert len(change(ignored, 3)) == 1
