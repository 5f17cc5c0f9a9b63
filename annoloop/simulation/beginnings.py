"""What a full correction may begin with, and what it costs from there: the label, the prediction, or the label with
what the model would add.

The fact to know: a shape that is nearly right stays as it is, for nobody redraws an outline to move it by a pixel; so
these edits are fewer than those that ``costs.edits_between`` counts to the exact truth.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from annoloop.compute.workers import spread
from annoloop.data.mmseg_folders import Sample, read_label_map
from annoloop.masks.classes import ClassTable
from annoloop.masks.regions import LabelMap, Region, components, regions
from annoloop.metrics.error_regions import additions
from annoloop.progress import Track
from annoloop.project.files import ProjectFiles
from annoloop.selection.proposals import LEAST_PX
from annoloop.selection.scoring import Watch, predict
from annoloop.simulation.arms import Bench
from annoloop.simulation.costs import Edits, new_outline_px
from annoloop.simulation.trial_rows import Start
from annoloop.simulation.working_copy import true_map

SOURCES = ("label", "prediction", "both")

GOOD_IOU = 0.8
"""IoU with a true object of its class from which a shape is left as it is."""


def beginnings(bench: Bench, track: Track, watch: Watch) -> list[Start]:
    """The edits from each source to the truth, summed over all images that have a label.

    Raises:
        DataError: a file cannot be read.
        TrainingError: the predicting process failed.
    """
    samples = [one for one in bench.samples() if one.mask is not None]
    rows = bench.project.scan(samples, track)
    predict(bench.project, bench.run, [(one, rows[one.id]) for one in samples], track=track, watch=watch)
    work = partial(_edits, files=bench.project.files, folder=bench.folder, run_id=bench.run.id)
    images = [(one, rows[one.id].image_sha256) for one in samples]
    found = list(track(spread(work, images), "comparing beginnings", len(images)))
    return [Start(bench.seed, source, sum((one[i] for one in found), Edits())) for i, source in enumerate(SOURCES)]


def _edits(image: tuple[Sample, str], files: ProjectFiles, folder: Path, run_id: int) -> tuple[Edits, Edits, Edits]:
    sample, image_sha256 = image
    assert sample.mask is not None
    data, classes = files.config.data, files.classes
    truth, label = true_map(folder, sample.id, data), read_label_map(sample.mask, data)
    opinion = files.opinion(run_id, image_sha256)
    prediction = np.where(label == classes.ignore_index, label, opinion.prediction)
    with_more, looked_at = _after_looking(label, truth, prediction, opinion.confidence, classes)
    return (
        edits_to_good(label, truth, classes),
        edits_to_good(prediction, truth, classes),
        edits_to_good(with_more, truth, classes) + looked_at,
    )


def _after_looking(
    label: LabelMap, truth: LabelMap, prediction: LabelMap, confidence: LabelMap, classes: ClassTable
) -> tuple[LabelMap, Edits]:
    """The label with those additions that are right rather than wrong, and the looks and deletions that it took."""
    kept, looks, deleted = label.copy(), 0, 0
    for one in additions(label, prediction, confidence, classes, least_px=LEAST_PX):
        is_right = truth[one.region.window][one.region.bits] == one.predicted
        looks += 1
        if 2 * np.count_nonzero(is_right) > is_right.size:
            kept[one.region.window][one.region.bits] = one.predicted
        else:
            deleted += 1
    return kept, Edits(verdicts=looks, deleted=deleted)


def edits_to_good(begun: LabelMap, truth: LabelMap, classes: ClassTable) -> Edits:
    """What it takes from one map until every true object has a shape that is nearly it, and no others are there."""
    there = components(begun)
    good: set[int] = set()
    drawn, outline_px = 0, 0.0
    for region in regions(truth, skip=classes.undrawn_indices):
        numbers = there.numbers[region.window][region.bits]
        counts = np.bincount(numbers[there.class_of[numbers] == region.class_index])
        if counts.size:
            best = int(counts.argmax())
            if counts[best] >= GOOD_IOU * (region.area_px + there.sizes_px[best] - counts[best]):
                good.add(best)
                continue
        drawn += 1
        outline_px += _new_outline_px(region, begun)
    shapes = {i for i, index in enumerate(there.class_of.tolist()) if index not in classes.undrawn_indices}
    return Edits(images=1, deleted=len(shapes - good), drawn=drawn, outline_px=outline_px)


def _new_outline_px(region: Region, begun: LabelMap) -> float:
    """The length of a region's outline that is not one of its class already; as ``costs.new_outline_px``."""
    left, top, right, bottom = region.box_ltrb
    rows, columns = slice(max(0, top - 1), bottom + 1), slice(max(0, left - 1), right + 1)
    wanted = np.zeros(begun[rows, columns].shape, np.bool_)
    inside = wanted[top - rows.start :, left - columns.start :][: bottom - top, : right - left]
    inside[...] = region.bits
    is_there = begun[rows, columns] == region.class_index
    return new_outline_px(is_there, wanted)
