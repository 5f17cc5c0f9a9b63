"""Regions on which a model surely contradicts a label, heaviest first: what a person is asked a yes or no about.

Not here: how they travel (``loop/exchange/``), and what becomes of a verdict.  The facts to know: nothing of this is
ever applied by itself; and a region that was answered is not asked again while the label there is as it was then.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from annoloop.compute.workers import spread
from annoloop.data.mmseg_folders import Sample, check_label_map, read_label_map
from annoloop.errors import DataError
from annoloop.masks.regions import LabelMap, Region
from annoloop.metrics.error_regions import contradictions
from annoloop.progress import Track, silent
from annoloop.project.files import ProjectFiles
from annoloop.project.project import Project
from annoloop.project.rows import ImageRow

LEAST_PX = 16
"""Smaller regions are not asked about: looking at one costs more than it mends."""

_SAME_SHARE = 0.5
"""A region is one that was answered before if answered ones of the same two classes cover this share of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """A region that somebody answered without having it applied: its pixels, their class then, and the class
    proposed."""

    region: Region
    becomes: int


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """A region of one image: ``region.class_index`` is what the label says, ``becomes`` what the model says.

    ``confidence``: the model's mean over the region, 0 ... 1.  ``weight``: as in ``error_regions.contradictions``.
    """

    sample: Sample
    row: ImageRow
    region: Region
    becomes: int
    confidence: float
    weight: float

    @property
    def rank(self) -> tuple[float, str, int, int]:
        """Sorts proposals, heaviest first."""
        return -self.weight, self.sample.id, self.region.top_px, self.region.left_px


def find_proposals(
    project: Project,
    run_id: int,
    pairs: Sequence[tuple[Sample, ImageRow]],
    count: int,
    *,
    answered: Mapping[str, Sequence[Answered]] | None = None,
    track: Track = silent,
) -> list[Proposal]:
    """The ``count`` heaviest proposals for images with labels whose predictions are there; heaviest first.

    An out-of-fold prediction is heard where there is one, else the run's own.

    Args:
        answered: by sample id, what is not to be asked again.

    Raises:
        DataError: a prediction or a mask cannot be read, or they differ in size.
    """
    known = answered or {}
    questions = [(sample, row, tuple(known.get(sample.id, ()))) for sample, row in pairs if sample.mask is not None]
    found = track(
        spread(partial(_proposed, files=project.files, run_id=run_id), questions), "comparing", len(questions)
    )
    return heapq.nsmallest(count, _each(found), key=lambda one: one.rank)


def _each(found: Iterator[list[Proposal]]) -> Iterator[Proposal]:
    for some in found:
        yield from some


def _proposed(
    question: tuple[Sample, ImageRow, tuple[Answered, ...]], files: ProjectFiles, run_id: int
) -> list[Proposal]:
    sample, row, answered = question
    assert sample.mask is not None
    label_map = read_label_map(sample.mask, files.config.data)
    opinion = files.opinion(run_id, row.image_sha256)
    if not label_map.shape == opinion.prediction.shape == opinion.confidence.shape:
        (height, width), (rows, columns) = label_map.shape, opinion.prediction.shape
        raise DataError(f"mask is {width} x {height} px, the prediction {columns} x {rows} px", where=sample.mask)
    check_label_map(label_map, label_map.shape, files.classes, sample.mask)
    least_px = max(LEAST_PX, files.config.push.min_region_px)
    found = contradictions(label_map, opinion.prediction, opinion.confidence, files.classes, least_px=least_px)
    return [
        Proposal(sample, row, one.mistake.region, one.mistake.predicted, one.mistake.confidence, one.weight)
        for one in found
        if not was_answered(one.mistake.region, one.mistake.predicted, answered, label_map)
    ]


def _still_there(one: Answered, label_map: LabelMap) -> bool:
    """Whether the label says of an answered region what it said then."""
    part = label_map[one.region.window]
    return part.shape == one.region.bits.shape and bool((part[one.region.bits] == one.region.class_index).all())


def was_answered(region: Region, becomes: int, answered: Sequence[Answered], label_map: LabelMap) -> bool:
    """Whether somebody answered this question of an image already, and the label (H, W) is there as it was then."""
    same = (region.class_index, becomes)
    alike = [one for one in answered if (one.region.class_index, one.becomes) == same and _still_there(one, label_map)]
    if not alike:
        return False
    covered = np.zeros(label_map.shape, np.bool_)
    for other in alike:
        covered[other.region.window] |= other.region.bits
    inside = np.count_nonzero(covered[region.window] & region.bits)
    return bool(inside >= _SAME_SHARE * region.area_px)
