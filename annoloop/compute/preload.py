"""What worker processes all need, loaded once, by the server that they are forked from.

Not here: the processes (``workers.py``, which names this module to that server).  The fact to know: to load numba and
its first compiled loop takes most of the time that a process takes to be of use; the others are loaded beside it.
"""

from __future__ import annotations

import numpy as np

from annoloop.data.coco import instances
from annoloop.data.coco.painting import read_label_map
from annoloop.data.coco.reading import CocoImage
from annoloop.data.images import IndexImage, decode_index_png, encode_index_png
from annoloop.masks import regions, run_lengths
from annoloop.masks.classes import class_table
from annoloop.metrics import scores


def _load_loops() -> None:
    """Take a small map through every loop: to a PNG, to COCO, to CVAT and back, to components, and against itself."""
    made, classes = np.eye(8, dtype=np.uint8), class_table(["a", "b"], background="a")
    label_map = decode_index_png(encode_index_png(IndexImage(made)), "made").values
    annotations = instances.encode(label_map, classes, image_id=1, first_id=1)
    image = CocoImage(1, "made", label_map.shape, tuple(annotations))
    read_label_map(image, classes, {instances.category_id(index): index for index in range(2)})
    run_lengths.paint_cvat_masks(run_lengths.cvat_masks(label_map, skip=[0]), np.zeros_like(label_map))
    regions.components(label_map)
    scores.confusion(label_map, label_map, 2, 255)


_load_loops()
