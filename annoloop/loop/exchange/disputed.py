"""Regions in which annotators of the same images differ, as proposals: somebody else decides.

Not here: how annotators' masks are read (``loop/quality.py``).  The fact to know: a region asks for what most of them
say in the place of the present label, so where the label is what most say there is nothing to ask.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from annoloop.data.mmseg_folders import Sample, read_label_map
from annoloop.masks.regions import LabelMap, tight
from annoloop.metrics.agreement import disagreements
from annoloop.project.project import Project
from annoloop.project.rows import ImageRow
from annoloop.selection.proposals import LEAST_PX, Answered, Proposal, was_answered


@dataclass(frozen=True, slots=True, eq=False)
class SeveralMasks:
    """The masks (H, W) that people drew of one image."""

    sample_id: str
    maps: Sequence[LabelMap]


def disputed(
    project: Project,
    pairs: Iterable[tuple[Sample, ImageRow]],
    drawn: Iterable[SeveralMasks],
    count: int,
    answered: Mapping[str, Sequence[Answered]],
) -> list[Proposal]:
    """The ``count`` largest disputed regions of images that may be asked about.

    Of these proposals ``weight`` is a region's pixels, and ``confidence`` the share of the annotators who say what is
    proposed.

    Args:
        answered: by sample id, what is not to be asked again.

    Raises:
        DataError: a mask cannot be read.
    """
    usable = {sample.id: (sample, row) for sample, row in pairs}
    found: list[Proposal] = []
    for one in drawn:
        if one.sample_id in usable:
            found += _of_image(project, *usable[one.sample_id], one.maps, answered.get(one.sample_id, ()))
    return sorted(found, key=lambda one: one.rank)[:count]


def _of_image(
    project: Project, sample: Sample, row: ImageRow, maps: Sequence[LabelMap], answered: Sequence[Answered]
) -> Iterator[Proposal]:
    assert sample.mask is not None
    label_map, ignored = read_label_map(sample.mask, project.config.data), project.classes.ignore_index
    if any(one.shape != label_map.shape for one in maps):
        return
    for area, said in disagreements(maps, ignored, least_px=LEAST_PX):
        here = label_map[area.window]
        for labelled in np.unique(here[area.bits]).tolist():
            becomes, votes = _most_said(said, labelled)
            region = tight(labelled, area.bits & (here == labelled), top_px=area.top_px, left_px=area.left_px)
            if becomes is None or region is None or labelled == ignored or region.area_px < LEAST_PX:
                continue
            if was_answered(region, becomes, answered, label_map):
                continue
            yield Proposal(sample, row, region, becomes, votes / len(maps), float(region.area_px))


def _most_said(said: Sequence[int], labelled: int) -> tuple[int | None, int]:
    """What most say in the place of a label, and how many; nothing where more say what the label says."""
    votes: Mapping[int, int] = Counter(said)
    others = {index: n for index, n in votes.items() if index != labelled}
    best = max(others, key=lambda index: (others[index], -index), default=None)
    if best is None or others[best] < votes.get(labelled, 0):
        return None, 0
    return best, others[best]
