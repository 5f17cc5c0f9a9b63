"""Ways to compare predictions with labels, in memory and from files, and to make CVAT's masks.

Run by ``bench_way.py``.  In memory the prediction is the label moved by a few pixels, which has the long borders
and the wrong rims of a real one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from bench_child import Plan
from cvat_sdk.masks import decode_mask, encode_mask
from scipy import ndimage
from ways_convert import EIGHT, chosen, load_loops, read_mask

from annoloop.compute.workers import processes
from annoloop.data.config import FILE_NAME
from annoloop.masks.regions import LabelMap
from annoloop.masks.run_lengths import cvat_masks, paint_cvat_masks
from annoloop.metrics.scores import confusion, image_dice
from annoloop.project.project import Project
from annoloop.selection.scoring import score


def moved(truth: LabelMap) -> LabelMap:
    """A made prediction, beside its label by 3 rows and 5 columns."""
    return np.roll(truth, (3, 5), (0, 1))


def prediction_of(plan: Plan, number: int) -> Path:
    """Where the made prediction of an image lies, for those who read it from a file."""
    return Path(plan.project) / "predictions" / f"{number:06d}.png"


def link(made: Path, target: Path) -> None:
    """The same file under another name; equal images share their prediction."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        target.hardlink_to(made)


def maps(plan: Plan) -> list[tuple[LabelMap, LabelMap]]:
    """Truth and prediction of every image."""
    return [(truth, moved(truth)) for truth in (read_mask(mask) for _, mask in plan.pairs)]


def our_confusion(plan: Plan) -> Callable[[], object]:
    pairs, count = maps(plan), len(plan.names)
    return lambda: [confusion(t, p, count, 255) for t, p in pairs]


def our_dice(plan: Plan) -> Callable[[], object]:
    pairs, count, background = maps(plan), len(plan.names), max(plan.background, 0)
    return lambda: [image_dice(confusion(t, p, count, 255), background) for t, p in pairs]


def bincount(plan: Plan) -> Callable[[], object]:
    pairs, count = maps(plan), len(plan.names)
    return lambda: [np.bincount(count * t.astype(np.int64).ravel() + p.ravel(), minlength=count**2) for t, p in pairs]


def mmseg(plan: Plan) -> Callable[[], object]:
    """``IoUMetric`` as the Runner calls it, one image at a time."""
    import torch
    from mmseg.evaluation import IoUMetric

    metric = IoUMetric(iou_metrics=["mDice"])
    metric.dataset_meta = {"classes": plan.names}
    samples = [
        {name: {"data": torch.from_numpy(one[None].astype(np.int64))} for name, one in zip(_FIELDS, pair, strict=True)}
        for pair in maps(plan)
    ]

    def run() -> None:
        for sample in samples:
            metric.process({}, [sample])
        metric.results.clear()

    return run


_FIELDS = ("gt_sem_seg", "pred_sem_seg")


def our_files(plan: Plan) -> Callable[[], object]:
    """What ``annoloop evaluate`` does but the pictures: both PNGs, counts, Dice, ledger; predictions are there."""
    load_loops()
    project = Project(Path(plan.project) / FILE_NAME)
    run_id = project.ledger.add_run(
        kind_digest="made", recipe="unet_tiny", parent_id=None, class_digest=project.classes.digest
    )
    samples = chosen(project, plan)
    for row in project.scan(samples).values():
        pairs = (project.prediction_paths(number, row.image_sha256) for number in (0, run_id))
        for made, target in zip(*pairs, strict=True):
            link(made, target)
    run = project.ledger.run(run_id)

    def evaluate() -> None:
        with processes(plan.workers):
            score(project, run, samples)

    return evaluate


def fiftyone(plan: Plan) -> Callable[[], object]:
    """``evaluate_segmentations`` on a data set that is in its database already."""
    from annoloop.app.fiftyone_app import fiftyone as started

    fo = started()
    dataset = fo.Dataset()
    dataset.default_mask_targets = dict(enumerate(plan.names))
    for number, (image, mask) in enumerate(plan.pairs):
        prediction = fo.Segmentation(mask_path=str(prediction_of(plan, number)))
        dataset.add_sample(fo.Sample(image, truth=fo.Segmentation(mask_path=mask), prediction=prediction))
    return lambda: dataset.evaluate_segmentations("prediction", gt_field="truth", eval_key="e")


def our_cvat(plan: Plan) -> Callable[[], object]:
    skip = (max(plan.background, 0),)
    truths = [read_mask(mask) for _, mask in plan.pairs]
    return lambda: [cvat_masks(truth, skip=skip) for truth in truths]


def our_cvat_back(plan: Plan) -> Callable[[], object]:
    ground = max(plan.background, 0)
    truths = [read_mask(mask) for _, mask in plan.pairs]
    found = [(cvat_masks(truth, skip=(ground,)), np.full_like(truth, ground)) for truth in truths]
    return lambda: [paint_cvat_masks(masks, onto) for masks, onto in found]


def cvat_sdk(plan: Plan) -> Callable[[], object]:
    """cvat_sdk on the boxes of the objects: the way its own auto-annotation goes, at its best."""
    truths = [read_mask(mask) for _, mask in plan.pairs]

    def run() -> None:
        for truth in truths:
            for index in plan.foreground:
                components, _ = ndimage.label(truth == index, structure=EIGHT)
                for k, (rows, columns) in enumerate(ndimage.find_objects(components), 1):
                    encode_mask(components == k, [columns.start, rows.start, columns.stop, rows.stop])

    return run


def cvat_sdk_back(plan: Plan) -> Callable[[], object]:
    ground = max(plan.background, 0)
    truths = [read_mask(mask) for _, mask in plan.pairs]
    found = [(truth.shape, cvat_masks(truth, skip=(ground,))) for truth in truths]

    def run() -> None:
        for (height, width), masks in found:
            painted = np.full((height, width), ground, np.uint8)
            for mask in masks:
                painted[decode_mask(mask.points, image_width=width, image_height=height)] = mask.class_index

    return run


def decoding_both(plan: Plan) -> Callable[[], object]:
    """The floor of scoring: both PNGs, one process."""
    files = [str(prediction_of(plan, number)) for number in range(len(plan.pairs))]
    files += [mask for _, mask in plan.pairs]
    return lambda: [read_mask(file) for file in files]
