"""Ways from mask files to a COCO file and back: annoloop, pycocotools, FiftyOne, and the floors.

Run by ``bench_way.py``.  Every way reads the same PNGs and writes one JSON, or the other way round; peers write
no class that annoloop does not draw.
"""

from __future__ import annotations

import importlib
import io
import json
import multiprocessing
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from bench_child import Plan
from PIL import Image
from pycocotools import mask as coco_mask
from scipy import ndimage

from annoloop.compute.launch import usable_cores
from annoloop.compute.workers import processes
from annoloop.data.config import FILE_NAME
from annoloop.data.images import read_index_png
from annoloop.data.mmseg_folders import Sample
from annoloop.loop.conversion.coco import from_coco, to_coco
from annoloop.masks.regions import LabelMap
from annoloop.masks.run_lengths import coco_masks
from annoloop.project.project import Project

EIGHT = np.ones((3, 3))
"""Neighbours across corners belong to one object."""


def chosen(project: Project, plan: Plan) -> list[Sample]:
    """The samples of a plan's masks."""
    wanted = {mask for _, mask in plan.pairs}
    return [sample for sample in project.samples() if str(sample.mask) in wanted]


def read_mask(path: str) -> LabelMap:
    """The values of an index PNG, (H, W), as Pillow reads them."""
    with Image.open(path) as image:
        return np.asarray(image, np.uint8)


def load_loops() -> None:
    """What our processes load once, at their first mask; like the imports of all ways it is not counted."""
    importlib.import_module("annoloop.compute.preload")  # not above: peers would carry its memory


def our_masks_to_coco(plan: Plan) -> Callable[[], object]:
    load_loops()
    with Project(Path(plan.project) / FILE_NAME) as project:
        samples = chosen(project, plan)
        data, classes = project.config.data, project.classes

    def run() -> None:
        with processes(plan.workers):
            to_coco(samples, data, classes, _fresh(plan))

    return run


def our_coco_to_masks(plan: Plan) -> Callable[[], object]:
    load_loops()
    with Project(Path(plan.project) / FILE_NAME) as project:
        data, classes = project.config.data, project.classes
    return lambda: from_coco(Path(plan.coco), _fresh(plan), data, classes)


def our_coco_masks(plan: Plan) -> Callable[[], object]:
    maps, skip = _held(plan), set(range(256)) - set(plan.foreground)
    return lambda: [coco_masks(label_map, skip=skip) for label_map in maps]


def pycocotools_masks_per_class(plan: Plan) -> Callable[[], object]:
    maps = _held(plan)
    return lambda: [_encoded(label_map == index) for label_map in maps for index in plan.foreground]


def pycocotools_per_class(plan: Plan) -> Callable[[], object]:
    return lambda: _write(plan, lambda label_map: ((i, label_map == i) for i in plan.foreground))


def pycocotools_per_object(plan: Plan) -> Callable[[], object]:
    return lambda: _write(plan, lambda label_map: _objects(label_map, plan.foreground))


def fiftyone_per_class(plan: Plan) -> Callable[[], object]:
    """FiftyOne at its best: its exporter alone, without its database."""
    from annoloop.app.fiftyone_app import fiftyone

    fo = fiftyone()
    from fiftyone.utils.coco import COCODetectionDatasetExporter

    targets = {index: plan.names[index] for index in plan.foreground}

    def run() -> None:
        exporter = COCODetectionDatasetExporter(
            data_path=f"{plan.out}/images", labels_path=str(_fresh(plan)), export_media=False,
            classes=list(targets.values()),
        )  # fmt: skip
        with exporter:
            for image, mask in plan.pairs:
                found = fo.Segmentation(mask=read_mask(mask).copy()).to_detections(mask_targets=targets)
                exporter.export_sample(image, found, metadata=fo.ImageMetadata.build_for(image))

    return run


def pycocotools_to_masks(plan: Plan) -> Callable[[], object]:
    """Decode every annotation, paint it, write a PNG, as one would by hand."""

    def run() -> None:
        folder = _fresh(plan)
        folder.mkdir(parents=True)
        document = json.loads(Path(plan.coco).read_text(encoding="utf-8"))
        by_image: dict[int, list[dict[str, Any]]] = {}
        for one in document["annotations"]:
            by_image.setdefault(one["image_id"], []).append(one)
        for image in document["images"]:
            label_map = np.full((image["height"], image["width"]), max(plan.background, 0), np.uint8)
            for one in by_image.get(image["id"], []):
                label_map[coco_mask.decode(one["segmentation"]) > 0] = one["category_id"] - 1
            Image.fromarray(label_map).save(folder / f"{image['id']}.png")

    return run


def decoding(plan: Plan) -> Callable[[], object]:
    """By Pillow, as all the peers do it."""
    return _on(plan.workers, _read_away, [mask for _, mask in plan.pairs])


def our_decoding(plan: Plan) -> Callable[[], object]:
    """As annoloop does it: the floor of all that reads masks."""
    load_loops()
    return lambda: [read_index_png(Path(mask)) for _, mask in plan.pairs]


def encoding(plan: Plan) -> Callable[[], object]:
    return _on(plan.workers, _encode, _held(plan))


def _on(workers: int | None, function: Callable[[Any], object], items: list[Any]) -> Callable[[], object]:
    """The same work in this process, or on all cores in processes that are there already and have the items."""
    if workers == 1:
        return lambda: [function(item) for item in items]
    _SHARED.update(function=function, items=items)
    pool = multiprocessing.get_context("fork").Pool(usable_cores())
    return lambda: pool.map(_shared, range(len(items)), chunksize=1)


_SHARED: dict[str, Any] = {}


def _shared(number: int) -> None:
    _SHARED["function"](_SHARED["items"][number])


def _held(plan: Plan) -> list[LabelMap]:
    return [read_mask(mask) for _, mask in plan.pairs]


def _encoded(bits: Any) -> Any:
    return coco_mask.encode(np.asfortranarray(bits, np.uint8))


def _read_away(path: str) -> None:
    read_mask(path)


def _encode(label_map: LabelMap) -> None:
    Image.fromarray(label_map).save(io.BytesIO(), "PNG")


def _fresh(plan: Plan) -> Path:
    return Path(plan.out) / uuid.uuid4().hex


def _objects(label_map: LabelMap, classes: Iterable[int]) -> Iterator[tuple[int, Any]]:
    for index in classes:
        components, count = ndimage.label(label_map == index, structure=EIGHT)
        yield from ((index, components == k) for k in range(1, count + 1))


def _write(plan: Plan, masks_of: Callable[[LabelMap], Iterable[tuple[int, Any]]]) -> None:
    """Encode every mask with pycocotools and write the file."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (image, mask) in enumerate(plan.pairs, 1):
        label_map = read_mask(mask)
        height, width = label_map.shape
        images.append({"id": number, "file_name": Path(image).name, "height": height, "width": width})
        for index, bits in masks_of(label_map):
            runs = _encoded(bits)
            area = int(coco_mask.area(runs))
            if area == 0:
                continue
            annotations.append({
                "id": len(annotations) + 1, "image_id": number, "category_id": index + 1, "area": area,
                "bbox": coco_mask.toBbox(runs).tolist(), "iscrowd": 0,
                "segmentation": {"size": runs["size"], "counts": runs["counts"].decode()},
            })  # fmt: skip
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(plan.names)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    _fresh(plan).write_text(json.dumps(document), encoding="utf-8")
