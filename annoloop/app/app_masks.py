"""Index PNGs that the App shows and that nothing else needs: drawn on all cores, and kept.

Two kinds: what a run gets wrong (``gallery.error_kinds``), and label maps in the App's values.  The fact to know: the
App never draws the value 0, so where that is a class and not the background, it is shown copies in which class i is
i + 1 and the background is 0; else it is shown the files themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from annoloop.compute.workers import spread
from annoloop.data.config import DataConfig
from annoloop.data.images import IndexImage, encode_index_png, read_index_png, write_atomic
from annoloop.data.mmseg_folders import Sample, read_label_map
from annoloop.data.storage import Location
from annoloop.errors import DataError
from annoloop.masks.classes import ClassTable
from annoloop.masks.regions import LabelMap
from annoloop.progress import Track, silent
from annoloop.project.project import Project
from annoloop.project.rows import ImageRow
from annoloop.reports.gallery import error_kinds

Pairs = Sequence[tuple[Sample, ImageRow]]


@dataclass(frozen=True, slots=True)
class _Drawing:
    """A file to draw from a mask, a prediction, or both."""

    target: Path
    mask: Location | None = None
    prediction: Path | None = None


def app_values(classes: ClassTable) -> LabelMap:
    """What a copy holds for each class index, (256,) or (65536,): i + 1, and 0, which is not drawn, for the background.

    >>> from annoloop.masks.classes import class_table
    >>> app_values(class_table(["road", "car", "sky"], background="sky"))[[0, 1, 2, 255]].tolist()
    [1, 2, 0, 255]
    """
    highest = classes.levels - 1
    shown: LabelMap = np.arange(1, classes.levels + 1).astype(classes.dtype)
    shown[classes.ignore_index] = highest if len(classes) < highest else 0
    if classes.background_index is not None:
        shown[classes.background_index] = 0
    return shown


def shows_files(project: Project) -> bool:
    """Whether the App is shown masks and predictions themselves, not copies in its own values."""
    return project.classes.background_index == 0 and not project.config.data.reduce_zero_label


def truths(project: Project, pairs: Pairs, track: Track = silent) -> Mapping[str, Location]:
    """The file to show of every sample that has a mask, by its id.

    Raises:
        DataError: a mask cannot be read, or the disk is full.
    """
    labelled = {s.id: (s.mask, row.mask_sha256) for s, row in pairs if s.mask is not None}
    if shows_files(project):
        return {name: mask for name, (mask, _) in labelled.items()}
    folder = project.state_dir / "predictions" / f"shown-{project.classes.digest[:8]}"
    drawings = {name: _Drawing(folder / f"{sha}.png", mask) for name, (mask, sha) in labelled.items()}
    return _drawn(drawings, partial(_copy, data=project.config.data, classes=project.classes), "copying masks", track)


def predictions(project: Project, run_id: int, pairs: Pairs, track: Track = silent) -> dict[str, Path]:
    """The same of a run's predictions, which must be there.

    Raises:
        DataError: a prediction cannot be read, or the disk is full.
    """
    files = {sample.id: project.prediction_paths(run_id, row.image_sha256)[0] for sample, row in pairs}
    if shows_files(project):
        return files
    drawings = {name: _Drawing(path.with_suffix(".shown.png"), prediction=path) for name, path in files.items()}
    copy = partial(_copy, data=project.config.data, classes=project.classes)
    return _drawn(drawings, copy, "copying predictions", track)


def error_maps(project: Project, run_id: int, pairs: Pairs, track: Track = silent) -> dict[str, Path]:
    """The error map of every sample that has a mask, by its id; predictions must be there.

    Raises:
        DataError: a prediction or a mask cannot be read, they differ in size, or the disk is full.
    """
    drawings = {}
    for sample, row in pairs:
        if sample.mask is not None and row.mask_sha256 is not None:
            prediction = project.prediction_paths(run_id, row.image_sha256)[0]
            target = prediction.with_suffix(f".errors-{row.mask_sha256[:12]}.png")
            drawings[sample.id] = _Drawing(target, sample.mask, prediction)
    draw = partial(_compare, data=project.config.data, classes=project.classes)
    return _drawn(drawings, draw, "drawing error maps", track)


def _drawn(
    drawings: Mapping[str, _Drawing], draw: Callable[[_Drawing], None], title: str, track: Track
) -> dict[str, Path]:
    """Draw what is missing; returns where everything lies."""
    missing = [drawing for drawing in drawings.values() if not drawing.target.is_file()]
    for _ in track(spread(draw, missing), title, len(missing)):
        pass
    return {name: drawing.target for name, drawing in drawings.items()}


def _copy(drawing: _Drawing, data: DataConfig, classes: ClassTable) -> None:
    if drawing.mask is not None:
        label_map = read_label_map(drawing.mask, data)
    else:
        assert drawing.prediction is not None
        label_map = read_index_png(drawing.prediction).values
    _write(drawing.target, app_values(classes)[label_map])


def _compare(drawing: _Drawing, data: DataConfig, classes: ClassTable) -> None:
    assert drawing.mask is not None
    assert drawing.prediction is not None
    truth, prediction = read_label_map(drawing.mask, data), read_index_png(drawing.prediction).values
    if truth.shape != prediction.shape:
        (height, width), (rows, columns) = truth.shape, prediction.shape
        raise DataError(f"mask is {width} x {height} px, the prediction {columns} x {rows} px", where=drawing.mask)
    _write(drawing.target, error_kinds(truth, prediction, classes))


def _write(path: Path, values: LabelMap) -> None:
    write_atomic(path, encode_index_png(IndexImage(values)), durable=False)
