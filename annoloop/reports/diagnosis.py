"""Many images looked into: their files are read on all cores, their tallies added up, their observations kept.

Knows files, not the project: which run and which judge is settled by whoever makes the cases.  The fact to
know: pictures are let go as soon as they are counted, so memory stays flat however many images there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from annoloop.compute.workers import spread
from annoloop.data.config import DataConfig
from annoloop.data.images import read_index_png
from annoloop.data.mmseg_folders import read_label_map
from annoloop.data.storage import Location
from annoloop.masks.classes import ClassTable
from annoloop.metrics.examination import ErrorTally, Examination, Observation, examine, no_tally
from annoloop.metrics.scores import Confusion, wrong_px
from annoloop.progress import Track, silent


@dataclass(frozen=True, slots=True)
class Files:
    """Where an image, its mask and a run's word on it lie.

    ``judge``: prediction and confidence of a model that has not seen the label; None: the run's own are asked.
    """

    image: Location
    mask: Location
    prediction: Path
    confidence: Path
    judge: tuple[Path, Path] | None


@dataclass(frozen=True, slots=True, eq=False)
class Before:
    """What an older run says of the same image on the same label."""

    dice: float
    counts: Confusion
    prediction: Path


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One image as a run sees it; ``corrected``: its mask is as annotators left it; ``before``: an older run."""

    sample_id: str
    files: Files
    dice: float
    counts: Confusion
    corrected: bool
    before: Before | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Diagnosis:
    """The cases of a split, what was found in each, and the tally of all."""

    cases: tuple[Case, ...]
    observations: tuple[Observation, ...]
    tally: ErrorTally

    @property
    def counts(self) -> Confusion:
        """The confusions of all images (N, K, K)."""
        return np.stack([case.counts for case in self.cases])

    @property
    def compared(self) -> tuple[tuple[Case, Before], ...]:
        """The cases that an older run has predicted, too."""
        return tuple((case, case.before) for case in self.cases if case.before is not None)


def diagnose(cases: Sequence[Case], data: DataConfig, classes: ClassTable, track: Track = silent) -> Diagnosis:
    """Look into every case.

    Raises:
        DataError: a mask or a prediction cannot be read.
    """
    look = partial(examine_files, data=data, classes=classes)
    found = spread(look, [case.files for case in cases])
    tally, observations = no_tally(len(classes)), []
    for one in track(found, "looking into errors", len(cases)):
        tally += one.tally
        observations.append(one.observation)
    return Diagnosis(tuple(cases), tuple(observations), tally)


def examine_files(files: Files, *, data: DataConfig, classes: ClassTable) -> Examination:
    """Read one image's label and predictions, and look into them.

    Raises:
        DataError: one of them cannot be read.
    """
    truth = read_label_map(files.mask, data)
    prediction, confidence = read_index_png(files.prediction).values, read_index_png(files.confidence).values
    judge = None
    if files.judge is not None:
        judge = read_index_png(files.judge[0]).values, read_index_png(files.judge[1]).values
    return examine(truth, prediction, confidence, classes, judge)


def images_with_half_of_the_errors(cases: Sequence[Case]) -> int:
    """The fewest images that together hold at least half of all wrong pixels; 0 where none is wrong."""
    wrong = np.sort([wrong_px(case.counts) for case in cases])[::-1]
    if wrong.sum() == 0:
        return 0
    return int(np.searchsorted(np.cumsum(wrong), wrong.sum() / 2)) + 1
