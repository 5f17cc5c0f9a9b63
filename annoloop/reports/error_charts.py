"""What a diagnosis says in numbers, as charts: scores, confusions, object sizes, calibration, learning curves.

Not here: pictures of images (``error_galleries.py``) and the page (``error_report.py``).  The fact to know:
where there is nothing to draw there is no chart, never an empty one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from annoloop.masks.classes import ClassTable
from annoloop.metrics.calibration import calibration
from annoloop.metrics.examination import SIZE_EDGES_PX, ErrorTally
from annoloop.metrics.scores import Confusion, Floats, Intervals, Scores, dice
from annoloop.reports import plots
from annoloop.reports.diagnosis import Before, Case
from annoloop.reports.page import thousands
from annoloop.training.records import Event

_MOST_HISTOGRAMS = 12
_MOST_CLASS_LINES = len(plots.PALETTE) - 1
_MOST_LOSSES = 150
_LIGHT = plots.PALETTE[4]  # whiskers stand out on it


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing and what is to be seen on it."""

    svg: str
    caption: str


def size_names() -> tuple[str, ...]:
    """The sizes of objects in words, smallest first."""
    edges = [thousands(edge) for edge in SIZE_EDGES_PX]
    between = [f"{low} – {thousands(high - 1)} px" for low, high in zip(edges, SIZE_EDGES_PX[1:], strict=False)]
    return (f"under {edges[0]} px", *between, f"from {edges[-1]} px")


def score_chart(scores: Scores, intervals: Intervals, classes: ClassTable) -> Chart:
    """Dice per class with its interval."""
    bars = plots.bars(
        dict(zip(classes.names, scores.dice, strict=True)),
        label="Dice",
        colors=[_LIGHT],
        intervals=intervals.dice,
        limits=(0, 1),
    )
    return Chart(bars, "Dice per class with its 95 % interval")


def confusion_chart(counts: Confusion, classes: ClassTable) -> Chart:
    """Where the pixels of every class went; each row of (K, K) sums to 1."""
    totals = counts.sum(1, keepdims=True)
    shares: Floats = np.full(counts.shape, np.nan)
    np.divide(counts, totals, out=shares, where=totals > 0)
    drawn = plots.matrix(shares, classes.names, x_label="predicted as", y_label="truth")
    return Chart(drawn, "share of each class's pixels by what they were predicted as")


def dice_histograms(cases: Sequence[Case], classes: ClassTable) -> list[Chart]:
    """How Dice is spread over images: over all classes, then class by class, the worst class first."""
    per_class = np.stack([dice(case.counts) for case in cases])
    present = {
        name: per_class[:, index][~np.isnan(per_class[:, index])]
        for index, name in enumerate(classes.names)
        if index != classes.background_index
    }
    worst_first = sorted((values.mean(), name) for name, values in present.items() if values.size)
    drawn = [
        (f"{name}: in {thousands(present[name].size)} of them, mean {mean:.3f}", present[name])
        for mean, name in worst_first[:_MOST_HISTOGRAMS]
    ]
    whole = (f"all {thousands(len(cases))} images", np.array([case.dice for case in cases]))
    return [
        Chart(plots.histogram(values, label="Dice of an image", range_=(0, 1)), caption)
        for caption, values in (whole, *drawn)
    ]


def recall_chart(tally: ErrorTally) -> list[Chart]:
    """Share of the objects that were found, by their size; sizes without an object are left out."""
    found, every = tally.objects.sum(0).T
    bars = {
        f"{name}  ({thousands(int(total))})": hits / total
        for name, hits, total in zip(size_names(), found, every, strict=True)
        if total
    }
    if not bars:
        return []
    drawn = plots.bars(bars, label="share of objects found", limits=(0, 1))
    return [Chart(drawn, "objects found by size, in brackets how many there are")]


def reliability_chart(tally: ErrorTally, classes: ClassTable) -> list[Chart]:
    """The share of right pixels at every confidence; on the diagonal the model knows how good it is."""
    counts = {"all pixels": tally.confidence}
    if classes.background_index is not None:
        counts["predicted as a class"] = tally.class_confidence
    found = {name: calibration(one) for name, one in counts.items()}
    series = {
        f"{name}, ECE {one.error:.3f}": (one.bin_confidence, one.bin_accuracy)
        for name, one in found.items()
        if one is not None
    }
    if not series:
        return []
    drawn = plots.lines(series, x_label="confidence", y_label="share right", diagonal=True, limits=(0, 1.02))
    return [Chart(drawn, "below the diagonal the model claims to know more than it does")]


def change_chart(compared: Sequence[tuple[Case, Before]], run: int, older: int) -> Chart:
    """Dice of every image by two runs."""
    drawn = plots.points(
        [before.dice for _, before in compared],
        [case.dice for case, _ in compared],
        x_label=f"Dice by run {older}",
        y_label=f"Dice by run {run}",
    )
    return Chart(drawn, f"one point per image; above the diagonal run {run} is better")


def learning_curves(events: Iterable[Event], classes: ClassTable) -> list[Chart]:
    """Loss and validation scores of a training; what a resumed training did again counts once."""
    losses: dict[int, float] = {}
    validations: dict[int, Event] = {}
    for event in events:
        if event.kind == "started":
            resumed = event.fields.get("resumed_from", 0)
            losses = {at: loss for at, loss in losses.items() if at <= resumed}
            validations = {at: one for at, one in validations.items() if at <= resumed}
        elif event.kind == "iteration":
            losses[event.fields["iteration"]] = event.fields["loss"]
        elif event.kind == "validation":
            validations[event.fields["iteration"]] = event
    charts = [Chart(_loss_lines(losses), "training loss, averaged over neighbouring iterations")] if losses else []
    if validations:
        charts.append(Chart(_validation_lines(validations, classes), "Dice on the validation split while training"))
    return charts


def _loss_lines(losses: dict[int, float]) -> str:
    points = np.array(sorted(losses.items()))
    size = -(-len(points) // _MOST_LOSSES)
    means = np.array([part.mean(0) for part in np.split(points, range(size, len(points), size))])
    return plots.lines({"loss": (means[:, 0], means[:, 1])}, x_label="iteration", y_label="loss")


def _validation_lines(validations: dict[int, Event], classes: ClassTable) -> str:
    at = sorted(validations)
    series = {"mDice": (at, [validations[i].fields["mdice"] for i in at])}
    if len(classes) <= _MOST_CLASS_LINES:
        for index, name in enumerate(classes.names):
            values = [validations[i].fields["dice_per_class"][index] for i in at]
            series[name] = (at, [float("nan") if value is None else value for value in values])
    return plots.lines(series, x_label="iteration", y_label="Dice")
