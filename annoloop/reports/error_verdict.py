"""What a diagnosis says in plain words: the sentences that an error report begins with.

Not here: charts and pictures.  The fact to know: a sentence about something that is not there is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from annoloop.errors import DataError
from annoloop.masks.classes import ClassTable
from annoloop.metrics.calibration import calibration
from annoloop.metrics.examination import SIZE_EDGES_PX, ErrorTally
from annoloop.metrics.scores import IN_PLAIN_WORDS, Intervals, Scores, compare, wrong_by_kind, wrong_px
from annoloop.reports.diagnosis import Before, Case, Diagnosis, images_with_half_of_the_errors
from annoloop.reports.page import percent, thousands

_SMALL_PX = 1024  # COCO's: under 32 x 32
_SAME_WITHIN = 0.02
"""Confidence and accuracy that are closer than this are the same for a reader."""


def verdict(
    diagnosis: Diagnosis, scores: Scores, intervals: Intervals, classes: ClassTable, split: str
) -> tuple[str, ...]:
    """The state of a split, the most important first."""
    if np.isnan(scores.mean_dice):
        return ("No pixel of this split is labelled: there is nothing to score.",)
    low, high = intervals.mean_dice
    images = f"{thousands(len(diagnosis.cases))} images of {split}"
    return (
        f"mDice is {scores.mean_dice:.3f} on {images}; with other images like them it would mostly lie between"
        f" {low:.3f} and {high:.3f}.",
        *_worst_class(scores, intervals, classes),
        *_errors(diagnosis, classes),
        *_small_objects(diagnosis.tally),
        *_confidence(diagnosis.tally),
    )


def change(compared: Sequence[tuple[Case, Before]], older: int) -> tuple[str, ...]:
    """What became of an older run's images."""
    if not compared:
        return (f"No image of this split was predicted by run {older}; --against {older} predicts them.",)
    steps = [case.dice - before.dice for case, before in compared]
    better, worse = sum(step > 0 for step in steps), sum(step < 0 for step in steps)
    counted = (
        f"Against run {older}: {thousands(better)} of {thousands(len(steps))} images got better,"
        f" {thousands(worse)} got worse."
    )
    try:
        found = compare(
            np.stack([case.counts for case, _ in compared]), np.stack([before.counts for _, before in compared])
        )
    except DataError:  # no pixel is labelled
        return (counted,)
    between = f"95 % interval {found.low:+.3f} to {found.high:+.3f}"
    judged = "more than chance" if found.low > 0 or found.high < 0 else "which may be chance"
    return (counted, f"mDice changed by {found.difference:+.3f} ({between}), {judged}. Both on the present masks.")


def _worst_class(scores: Scores, intervals: Intervals, classes: ClassTable) -> Iterator[str]:
    if len(classes) == 1:
        return
    worst = int(np.nanargmin(scores.dice))
    low, high = intervals.dice[worst]
    yield f"The worst class is {classes.names[worst]}: Dice {scores.dice[worst]:.3f} ({low:.3f} to {high:.3f})."


def _errors(diagnosis: Diagnosis, classes: ClassTable) -> Iterator[str]:
    counts = diagnosis.counts.sum(0)
    wrong = wrong_px(counts)
    if wrong == 0:
        yield "No pixel is wrong."
        return
    kinds = wrong_by_kind(counts, classes.background_index)
    shares = ", ".join(f"{percent(count / wrong, 0)} {IN_PLAIN_WORDS[kind]}" for kind, count in kinds.items())
    few, every = images_with_half_of_the_errors(diagnosis.cases), len(diagnosis.cases)
    yield f"{percent(wrong / counts.sum())} of the pixels are wrong: {shares}."
    yield f"{thousands(few)} of {thousands(every)} images {'holds' if few == 1 else 'hold'} half of the wrong pixels."


def _small_objects(tally: ErrorTally) -> Iterator[str]:
    by_size = tally.objects.sum(0)
    small = SIZE_EDGES_PX.index(_SMALL_PX) + 1
    (few, smalls), (many, larges) = by_size[:small].sum(0), by_size[small:].sum(0)
    if smalls and larges:
        yield (
            f"Of {thousands(int(smalls))} objects under {thousands(_SMALL_PX)} px {percent(few / smalls, 0)} are found,"
            f" of {thousands(int(larges))} larger ones {percent(many / larges, 0)}."
        )


def _confidence(tally: ErrorTally) -> Iterator[str]:
    found = calibration(tally.confidence)
    if found is None:
        return
    gap = found.confidence - found.accuracy
    if abs(gap) < _SAME_WITHIN:
        said = "The model is about as sure as it is right"
    else:
        said = "The model is surer than it is right" if gap > 0 else "The model is more often right than sure"
    yield f"{said}: confidence {found.confidence:.3f}, right {found.accuracy:.3f} (ECE {found.error:.3f})."
