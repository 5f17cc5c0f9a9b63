"""Pictures of what a run gets wrong about the present masks, as index PNGs, drawn on all cores and kept.

What the values mean is ``gallery.error_kinds``.  The fact to know: they can be made again at any time, so they are
kept per version of a mask and not flushed to disk one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from annoloop.classes import ClassTable
from annoloop.config import DataConfig
from annoloop.dataset import Sample, read_label_map
from annoloop.errors import DataError
from annoloop.gallery import error_kinds
from annoloop.images import IndexImage, encode_index_png, read_index_png, write_atomic
from annoloop.progress import Track, silent
from annoloop.project import Project
from annoloop.schema import ImageRow
from annoloop.workers import spread


@dataclass(frozen=True, slots=True)
class _Drawing:
    mask: Path
    prediction: Path
    target: Path


def error_maps(
    project: Project, run_id: int, pairs: Sequence[tuple[Sample, ImageRow]], track: Track = silent
) -> dict[str, Path]:
    """The error map of every sample that has a mask, by its id; predictions must be there. Draws what is missing.

    Raises:
        DataError: a prediction or a mask cannot be read, they differ in size, or the disk is full.
    """
    found, missing = {}, []
    for sample, row in pairs:
        if sample.mask is None or row.mask_sha256 is None:
            continue
        found[sample.id] = target = project.error_map_path(run_id, row.image_sha256, row.mask_sha256)
        if not target.is_file():
            missing.append(_Drawing(sample.mask, project.prediction_paths(run_id, row.image_sha256)[0], target))
    draw = partial(_draw, data=project.config.data, classes=project.classes)
    for _ in track(spread(draw, missing), "drawing error maps", len(missing)):
        pass
    return found


def _draw(drawing: _Drawing, data: DataConfig, classes: ClassTable) -> None:
    truth, prediction = read_label_map(drawing.mask, data), read_index_png(drawing.prediction).values
    if truth.shape != prediction.shape:
        (height, width), (rows, columns) = truth.shape, prediction.shape
        raise DataError(f"mask is {width} x {height} px, the prediction {columns} x {rows} px", where=drawing.mask)
    write_atomic(drawing.target, encode_index_png(IndexImage(error_kinds(truth, prediction, classes))), durable=False)
