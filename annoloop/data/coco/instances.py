"""Regions to a COCO instances dictionary; RLE compressed, exact (law 1).

Ours: category id = class index + 1, so class 0 is category 1 and ignore (255) is category 256, 65535 in masks of 16
bits 65536; one annotation per region; ``iscrowd`` = 1 for regions that are a collection (specks that travel together,
ignored area), as COCO defines it.  Not here: how files are read, ours and others (``reading.py``).
Source of the format: cocodataset.org/#format-data and pycocotools ``mask.py``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from annoloop.masks.classes import ClassTable
from annoloop.masks.regions import LabelMap
from annoloop.masks.run_lengths import coco_masks

Json = dict[str, Any]


def category_id(class_index: int) -> int:
    """The COCO category id of a class index, or of the ignore index."""
    return class_index + 1


def header(classes: ClassTable, how: Mapping[str, object] | None = None) -> Json:
    """Everything of the file but its images and annotations.

    ``info.annoloop`` keeps what COCO has no place for, so that the way back needs no other file; and ``how`` the
    annotations were made.
    """
    ours = {"background": classes.background, "ignore_index": classes.ignore_index, **(how or {})}
    return {
        "info": {"description": "made by annoloop", "version": "1.0", "annoloop": ours},
        "licenses": [],
        "categories": [
            {
                "id": category_id(index),
                "name": classes.label_of(index),
                "supercategory": "",
                "color": [255, 255, 255] if index == classes.ignore_index else list(classes.classes[index].rgb),
            }
            for index in (*range(len(classes)), classes.ignore_index)
        ],
    }


def image_entry(image_id: int, file_name: str, size_hw: tuple[int, int]) -> Json:
    """The entry of one image."""
    return {"id": image_id, "file_name": file_name, "height": size_hw[0], "width": size_hw[1]}


def encode(
    label_map: LabelMap, classes: ClassTable, *, image_id: int, first_id: int, min_region_px: int = 0
) -> list[Json]:
    """One annotation per region; what an uncovered pixel means anyway (background or ignore) has none."""
    texts = annotation_texts(label_map, classes, min_region_px=min_region_px)
    return [json.loads(numbered(text, number, image_id)) for number, text in enumerate(texts, first_id)]


def annotation_texts(label_map: LabelMap, classes: ClassTable, *, min_region_px: int = 0) -> list[str]:
    """The same as JSON without ``id`` and ``image_id``, which ``numbered`` puts before."""
    found = coco_masks(label_map, skip=(classes.fill_index,), min_region_px=min_region_px)
    regions, ignored = found.regions, classes.ignore_index
    numbers = (regions.class_of, regions.sizes_px, regions.boxes_ltrb, regions.parts)
    counts = (text.replace("\\", "\\\\") for text in found.counts)  # of its 64 characters the only one JSON escapes
    begin = f'"segmentation": {{"size": {list(label_map.shape)}, "counts": "'
    # Written by hand: json.dumps takes as long as everything before it.
    return [
        f'"category_id": {category_id(index)}, "area": {area_px}, '
        f'"bbox": [{left}, {top}, {right - left}, {bottom - top}], '
        f'"iscrowd": {1 if parts > 1 or index == ignored else 0}, {begin}{text}"}}'
        for index, area_px, (left, top, right, bottom), parts, text in zip(
            *(column.tolist() for column in numbers), counts, strict=True
        )
    ]


def numbered(text: str, number: int, image_id: int) -> str:
    """One of ``annotation_texts`` as a JSON object."""
    return f'{{"id": {number}, "image_id": {image_id}, {text}}}'
