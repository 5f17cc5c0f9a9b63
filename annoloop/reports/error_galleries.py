"""Which images are worth a look, and why: best, worst, the largest errors, labels that look wrong.

Chooses from a diagnosis, then draws what was chosen as pictures inside a page.  The fact to know: choosing
opens no file, so a page knows how many pictures there will be before the first is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from annoloop.data.config import DataConfig
from annoloop.data.images import read_image, read_index_png
from annoloop.data.mmseg_folders import read_label_map
from annoloop.masks.classes import ClassTable
from annoloop.metrics.examination import Area
from annoloop.metrics.label_quality import WRONG_FROM
from annoloop.metrics.scores import ErrorKind, dice, wrong_by_kind
from annoloop.reports.diagnosis import Before, Case, Diagnosis
from annoloop.reports.gallery import ERROR_COLORS, Panel, error_map, framed, overlay, pictures_of
from annoloop.reports.page import percent, picture, thousands
from annoloop.reports.plots import Rgb

PICTURES_PER_SHOT = 4

CHANGED = 5
"""How many images are shown that got better, and how many that got worse."""

_MOST_CLASSES = 20
_LEAST_CROP_PX = 256
_CONTEXT = 3  # a crop is so many times as wide as the area in its middle


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """One image to be drawn; ``area`` is framed, ``before`` shows an older run's prediction beside it."""

    case: Case
    caption: str
    area: Area | None = None
    before: Before | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """Shots of one kind; ``about`` says what they are, ``command`` what can be done about them."""

    title: str
    about: str
    shots: tuple[Shot, ...]
    command: str | None = None


def galleries(diagnosis: Diagnosis, classes: ClassTable, split: str, show: int) -> list[Gallery]:
    """All galleries of a split, at most ``show`` shots in each; among the worst of each class one per class."""
    ranked = sorted(diagnosis.cases, key=lambda case: (case.dice, case.sample_id))
    worst, best = ([_scored(case, classes) for case in some[:show]] for some in (ranked, ranked[::-1]))
    largest = [_largest(diagnosis, classes, kind, show) for kind in ERROR_COLORS]
    return [
        Gallery("Worst images", "The lowest Dice.", tuple(worst)),
        Gallery("Best images", "The highest Dice.", tuple(best)),
        _worst_per_class(diagnosis.cases, classes),
        *largest,
        _suspected(diagnosis, split, show),
    ]


def change_galleries(compared: Sequence[tuple[Case, Before]], run: int, older: int) -> list[Gallery]:
    """The images that got most better and most worse from one run to another; equal ones are in neither."""
    ranked = sorted(compared, key=lambda pair: (pair[0].dice - pair[1].dice, pair[0].sample_id))
    better = [pair for pair in ranked[::-1] if pair[0].dice > pair[1].dice][:CHANGED]
    worse = [pair for pair in ranked if pair[0].dice < pair[1].dice][:CHANGED]
    return [
        Gallery("Got most better", f"From run {older} to run {run}.", tuple(map(_changed, better))),
        Gallery("Got most worse", f"From run {older} to run {run}.", tuple(map(_changed, worse))),
    ]


def draw(shot: Shot, data: DataConfig, classes: ClassTable, longest_px: int) -> dict[str, str]:
    """The pictures of a shot as data URIs by their names, at most ``longest_px`` wide and high.

    Raises:
        DataError: one of its files cannot be read.
    """
    files = shot.case.files
    image, truth = read_image(files.image), read_label_map(files.mask, data)
    prediction = read_index_png(files.prediction).values
    if shot.before is None:
        pictures = pictures_of(Panel("", "", image, truth, prediction), classes)
    else:
        pictures = {
            "truth": overlay(image, truth, classes),
            "before": overlay(image, read_index_png(shot.before.prediction).values, classes),
            "after": overlay(image, prediction, classes),
            "errors after": error_map(truth, prediction, classes, image),
        }
    box = None if shot.area is None else shot.area.box_ltrb
    return {name: picture(_closer(one, box, longest_px), longest_px=longest_px) for name, one in pictures.items()}


def window(box_ltrb: tuple[int, int, int, int], shape_hw: tuple[int, int]) -> tuple[int, int, int, int]:
    """The part of an image that shows a box with what is around it: left, top, right, bottom, half-open.

    >>> window((10, 10, 20, 20), (200, 200)), window((1000, 500, 1100, 540), (1024, 2048))
    ((0, 0, 200, 200), (900, 370, 1200, 670))
    """
    left, top, right, bottom = box_ltrb
    side = max(_LEAST_CROP_PX, _CONTEXT * max(right - left, bottom - top))
    (first_row, last_row), (first_column, last_column) = (
        _stretch((low + high) // 2, side, length)
        for low, high, length in ((top, bottom, shape_hw[0]), (left, right, shape_hw[1]))
    )
    return first_column, first_row, last_column, last_row


def _stretch(middle: int, side: int, length: int) -> tuple[int, int]:
    """``side`` pixels around the middle, pushed inside an axis; all of it where it is shorter."""
    start = min(max(0, middle - side // 2), max(0, length - side))
    return start, min(length, start + side)


def _closer(whole: Rgb, box_ltrb: tuple[int, int, int, int] | None, longest_px: int) -> Rgb:
    """A picture as a page shows it: a framed box with its surroundings, and small ones enlarged in whole steps."""
    left, top, right, bottom = (0, 0, *whole.shape[1::-1]) if box_ltrb is None else window(box_ltrb, whole.shape[:2])
    cut = whole[top:bottom, left:right]
    times = max(1, longest_px // max(cut.shape))
    enlarged: Rgb = cut.repeat(times, axis=0).repeat(times, axis=1)
    if box_ltrb is None:
        return enlarged
    inside = [(edge - start) * times for edge, start in zip(box_ltrb, (left, top, left, top), strict=True)]
    return framed(enlarged, (inside[0], inside[1], inside[2], inside[3]))


def _titled(case: Case) -> str:
    return f"{case.sample_id}, Dice {case.dice:.3f}"


def _scored(case: Case, classes: ClassTable) -> Shot:
    wrong = wrong_by_kind(case.counts, classes.background_index)
    kinds = ", ".join(f"{thousands(count)} px {kind}" for kind, count in wrong.items() if count)
    return Shot(case, f"{_titled(case)}: {kinds or 'nothing wrong'}")


def _worst_per_class(cases: Sequence[Case], classes: ClassTable) -> Gallery:
    """For every class but the background the image with its lowest Dice; of equal ones the one with most of it.

    Only images whose label has the class: one that is a false positive, be it a speck, has a Dice of 0.
    """
    per_class = np.stack([dice(case.counts) for case in cases])
    amounts = np.stack([case.counts.sum(1) for case in cases])
    found = []
    for index, name in enumerate(classes.names):
        holding = np.flatnonzero(amounts[:, index])
        if index != classes.background_index and holding.size:
            worst = int(holding[np.lexsort((-amounts[holding, index], per_class[holding, index]))[0]])
            found.append((float(per_class[worst, index]), name, cases[worst]))
    found.sort(key=lambda one: one[:2])
    shots = [Shot(case, f"{name}: its Dice is {value:.3f} in {case.sample_id}") for value, name, case in found]
    about = "For every class the image, of those labelled with it, in which its Dice is lowest."
    return Gallery("Worst of each class", about, tuple(shots[:_MOST_CLASSES]))


_LARGEST: dict[ErrorKind, tuple[str, str]] = {
    "false negative": (
        "Biggest false negatives (missed)",
        "The largest connected areas of a class that were taken for background, one per image.",
    ),
    "false positive": (
        "Biggest false positives (invented)",
        "The largest connected areas of background that were taken for a class, one per image.",
    ),
    "confused": (
        "Biggest confused",
        "The largest connected areas of one class that were taken for another, one per image.",
    ),
}


def _largest(diagnosis: Diagnosis, classes: ClassTable, kind: ErrorKind, show: int) -> Gallery:
    areas = [
        (case, observation.largest[kind])
        for case, observation in zip(diagnosis.cases, diagnosis.observations, strict=True)
        if kind in observation.largest
    ]
    areas.sort(key=lambda pair: (-pair[1].area_px, pair[0].sample_id))
    title, about = _LARGEST[kind]
    return Gallery(title, about, tuple(_framed_area(case, area, classes) for case, area in areas[:show]))


def _framed_area(case: Case, area: Area, classes: ClassTable) -> Shot:
    labelled, predicted = classes.names[area.labelled], classes.names[area.predicted]
    said = f"{thousands(area.area_px)} px of {labelled} taken for {predicted}, confidence {area.confidence:.2f}"
    return Shot(case, f"{_titled(case)}: {said}", area)


def _suspected(diagnosis: Diagnosis, split: str, show: int) -> Gallery:
    """Labels that the model contradicts; those that annotators have corrected are not suspected again."""
    suspects = [
        (case, observation)
        for case, observation in zip(diagnosis.cases, diagnosis.observations, strict=True)
        if observation.belief.reading == "label looks wrong" and not case.corrected
    ]
    suspects.sort(key=lambda pair: (-pair[1].belief.contradiction, pair[0].sample_id))
    shots = [
        Shot(case, f"{_titled(case)}: contradicts {percent(observation.belief.contradiction, 0)} of the objects")
        for case, observation in suspects[:show]
    ]
    about = (
        f"{thousands(len(suspects))} labels that the model contradicts surely, on more than"
        f" {percent(WRONG_FROM, 0)} of the objects, thin outlines aside. {_who_judges(diagnosis, split)}"
    )
    command = f"annoloop push --worst 20 --by contradiction --split {split}" if suspects else None
    return Gallery("Suspected label errors", about, tuple(shots), command)


def _who_judges(diagnosis: Diagnosis, split: str) -> str:
    unseen = sum(case.files.judge is not None for case in diagnosis.cases)
    if unseen:
        of_all = f"{thousands(unseen)} of {thousands(len(diagnosis.cases))} images"
        return f"Judged by models that have not seen the label (out-of-fold): {of_all}."
    if split in ("train", "pool"):
        return (
            "The model has seen these labels and may have learned their errors; annoloop retrain --folds 3 makes"
            " this sharper."
        )
    return "The model was not trained on these labels."


def _changed(pair: tuple[Case, Before]) -> Shot:
    case, before = pair
    return Shot(case, f"{case.sample_id}: Dice {before.dice:.3f} before, {case.dice:.3f} after", before=before)
