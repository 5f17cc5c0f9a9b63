"""Conversion and scoring of one large label map, against the peers, in the same run.

Machines are noisy, so what counts is the ratio: how many times faster than the peer, and how many times
the floor, which is decoding the PNG.  A row says so where its own repetitions differ too much to tell.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from cvat_sdk.masks import encode_mask
from pycocotools import mask as coco_mask
from rich.console import Console
from rich.table import Table
from scipy import ndimage

from annoloop import coco
from annoloop.classes import class_table
from annoloop.images import IndexImage, decode_index_png, encode_index_png
from annoloop.masks import LabelMap, paint
from annoloop.metrics import confusion
from annoloop.runs import cvat_masks, from_cvat_runs

CLASSES = class_table([f"class_{i}" for i in range(8)], background="class_0")
SIZE_HW = (1024, 2048)
NOISY = 1.5
"""Slowest by fastest repetition from which on a row is called noisy."""


@dataclass(frozen=True)
class Row:
    task: str
    ours_ms: float
    peer: str
    peer_ms: float
    times_faster: float
    times_png_decode: float
    noisy: bool


def made_map(seed: int = 0) -> LabelMap:
    """About 70 % background and 900 objects of 7 classes, like a street scene seen from above."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=SIZE_HW), 14)
    kinds = ndimage.gaussian_filter(rng.normal(size=SIZE_HW), 30)
    classes = np.digitize(kinds, np.quantile(kinds, np.linspace(0, 1, 8)[1:-1])) + 1
    return np.where(field > np.quantile(field, 0.7), classes, 0).astype(np.uint8)


def timed(action: Callable[[], object], repetitions: int) -> tuple[float, bool]:
    """Median time in milliseconds, and whether the repetitions differ too much to tell."""
    taken = []
    for _ in range(repetitions):
        began = time.perf_counter()
        action()
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken), max(taken) / min(taken) > NOISY


def coco_per_class(label_map: LabelMap) -> object:
    return [coco_mask.encode(np.asfortranarray(label_map == i)) for i in range(1, 8)]


def coco_per_object(label_map: LabelMap) -> object:
    found = []
    for i in range(1, 8):
        components, count = ndimage.label(label_map == i, structure=np.ones((3, 3)))
        found += [coco_mask.encode(np.asfortranarray(components == k)) for k in range(1, count + 1)]
    return found


def cvat_per_object(label_map: LabelMap) -> object:
    """cvat_sdk on the boxes of the objects: the way its own auto-annotation goes, at its best."""
    found = []
    for i in range(1, 8):
        components, _ = ndimage.label(label_map == i, structure=np.ones((3, 3)))
        for k, (rows, columns) in enumerate(ndimage.find_objects(components), 1):
            mask = components == k
            box = [columns.start, rows.start, columns.stop, rows.stop]
            found.append(encode_mask(mask, box))
    return found


def by_bincount(truth: LabelMap, prediction: LabelMap) -> object:
    return np.bincount(8 * truth.astype(np.int64).ravel() + prediction.ravel(), minlength=64)


def measure(repetitions: int) -> list[Row]:
    label_map, prediction = made_map(0), made_map(1)
    png = encode_index_png(IndexImage(label_map))
    found = cvat_masks(label_map, skip=(0,))
    floor, _ = timed(lambda: decode_index_png(png, "bench"), repetitions)
    rows = []

    def compare(task: str, ours: Callable[[], object], peer: str, theirs: Callable[[], object], slow: bool) -> None:
        ours_ms, noisy = timed(ours, repetitions)
        peer_ms, peer_noisy = timed(theirs, 1 if slow else repetitions)
        rows.append(Row(task, ours_ms, peer, peer_ms, peer_ms / ours_ms, ours_ms / floor, noisy or peer_noisy))

    title = f"{len(found)} objects"
    to_coco = lambda: coco.encode(label_map, CLASSES, image_id=1, first_id=1)  # noqa: E731
    to_cvat = lambda: cvat_masks(label_map, skip=(0,))  # noqa: E731
    back = lambda: paint(  # noqa: E731
        [p for p in (from_cvat_runs(m.points, m.class_index, SIZE_HW) for m in found) if p], SIZE_HW, fill=0
    )
    per_class = coco_per_class(label_map)
    compare(f"mask to COCO, {title}", to_coco, "pycocotools, per object", lambda: coco_per_object(label_map), True)
    compare(f"mask to COCO, {title}", to_coco, "pycocotools, 7 classes", lambda: coco_per_class(label_map), False)
    compare(f"mask to CVAT, {title}", to_cvat, "cvat_sdk, per object", lambda: cvat_per_object(label_map), True)
    compare("CVAT to mask", back, "pycocotools, 7 classes", lambda: coco_mask.decode(per_class), False)
    compare(
        "confusion", lambda: confusion(label_map, prediction, 8, 255), "np.bincount",
        lambda: by_bincount(label_map, prediction), False,
    )  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    parser.add_argument("--repetitions", type=int, default=7)
    options = parser.parse_args()
    rows = measure(options.repetitions)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return
    table = Table("task", "ms", "peer", "peer ms", "times faster", "x PNG decode", "", box=None)
    for row in rows:
        table.add_row(
            row.task, f"{row.ours_ms:.1f}", row.peer, f"{row.peer_ms:.1f}", f"{row.times_faster:.1f}",
            f"{row.times_png_decode:.1f}", "too noisy to tell" if row.noisy else "",
        )  # fmt: skip
    Console(width=140).print(f"one label map, {SIZE_HW[1]} x {SIZE_HW[0]} px, 8 classes", table)


if __name__ == "__main__":
    main()
