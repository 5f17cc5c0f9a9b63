"""The ways of peers that live in an environment of their own: datumaro, supervision, torchmetrics.

Run by ``bench_way.py`` with that environment's Python; nothing of annoloop is there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable

import numpy as np
from bench_child import Plan
from PIL import Image


def datumaro(plan: Plan) -> Callable[[], object]:
    """One mask for each class of an image, as datumaro's own readers of segmentation masks make them."""
    from datumaro import Dataset, DatasetItem
    from datumaro.components.annotation import ExtractedMask
    from datumaro.components.media import Image as Picture
    from datumaro.util.mask_tools import lazy_mask

    def run() -> None:
        items = []
        for number, (image, mask) in enumerate(plan.pairs):
            values = lazy_mask(mask)
            present = [int(index) for index in np.unique(values()) if index in plan.foreground]
            masks = [ExtractedMask(index_mask=values, index=index, label=index) for index in present]
            items.append(DatasetItem(id=str(number), media=Picture.from_file(image), annotations=masks))
        found = Dataset.from_iterable(items, categories=list(plan.names))
        found.export(tempfile.mkdtemp(dir=plan.out), "coco_instances", save_media=False)

    return run


def supervision(plan: Plan) -> Callable[[], object]:
    """One RLE mask for each class of an image; as polygons it would lose pixels."""
    import supervision as sv

    def run() -> None:
        annotations = {image: _detections(sv, mask, plan) for image, mask in plan.pairs}
        found = sv.DetectionDataset(list(plan.names), [image for image, _ in plan.pairs], annotations)
        found.as_coco(annotations_path=f"{plan.out}/supervision.json")

    return run


def _detections(sv: object, path: str, plan: Plan) -> object:
    label_map = np.asarray(Image.open(path))
    present = np.array([index for index in plan.foreground if (label_map == index).any()])
    masks = np.stack([label_map == index for index in present])
    boxes = sv.mask_to_xyxy(masks)  # type: ignore[attr-defined]
    crowd = {"iscrowd": np.ones(len(present), int)}
    return sv.Detections(xyxy=boxes, mask=masks, class_id=present, data=crowd)  # type: ignore[attr-defined]


def torchmetrics(plan: Plan) -> Callable[[], object]:
    """Its confusion matrix, one image at a time; the prediction as in ``ways_score``."""
    import torch
    from torchmetrics.classification import MulticlassConfusionMatrix

    metric = MulticlassConfusionMatrix(len(plan.names), ignore_index=255)
    truths = [np.asarray(Image.open(mask)).astype(np.int64) for _, mask in plan.pairs]
    pairs = [(torch.from_numpy(np.roll(truth, (3, 5), (0, 1))), torch.from_numpy(truth)) for truth in truths]
    return lambda: [metric(prediction, truth) for prediction, truth in pairs]
