"""The samples of a project as a page of pictures in a folder, for people without FiftyOne.

The fact to know: one picture per sample, its image, truth, prediction and errors in a row, so that a page of
thousands loads what is looked at and nothing else; sorting and filtering happen in the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from annoloop.app.fiftyone_dataset import Entry
from annoloop.compute.workers import spread
from annoloop.data.config import DataConfig
from annoloop.data.images import read_image, read_index_png, write_atomic
from annoloop.data.mmseg_folders import read_label_map
from annoloop.errors import ConfigError
from annoloop.masks.classes import IGNORE_LABEL, ClassTable
from annoloop.metrics.scores import IN_PLAIN_WORDS
from annoloop.progress import Track, silent
from annoloop.reports.gallery import ERROR_COLORS, Panel, overlay, pictures_of
from annoloop.reports.page import is_ours, render
from annoloop.reports.plots import Rgb

_TILE_PX = 320
_GAP_PX = 4
_QUALITY = 85
_PICTURES = "pictures"
_PAGE = "index.html"
_MARK = ".annoloop-gallery"


@dataclass(frozen=True, slots=True)
class _Strip:
    entry: Entry
    target: Path


def export_gallery(
    entries: Sequence[Entry], classes: ClassTable, data: DataConfig, folder: Path, title: str, track: Track = silent
) -> Path:
    """Write ``folder/index.html`` and its pictures; an earlier gallery there, also a half-made one, is replaced.

    Raises:
        ConfigError: the folder holds something else.
        DataError: a file cannot be read or written.
    """
    _claim(folder)
    ranked = sorted(entries, key=lambda e: (e.dice is None, e.dice, e.sample_id))
    strips = [_Strip(entry, folder / _PICTURES / f"{entry.sample_id}.jpg") for entry in ranked]
    draw = partial(_draw, classes=classes, data=data)
    for _ in track(spread(draw, strips), "drawing pictures", len(strips)):
        pass
    pictures = [strip.target.relative_to(folder).as_posix() for strip in strips]
    page = folder / _PAGE
    html = render(
        "gallery.html",
        title=title,
        subtitle=f"{len(ranked)} images, worst Dice first",
        samples=list(zip(ranked, pictures, strict=True)),
        splits=sorted({entry.split for entry in ranked}),
        readings=sorted({entry.looks_like for entry in ranked if entry.looks_like}),
        legend=_legend(classes),
    )
    write_atomic(page, html.encode())
    return page


def _claim(folder: Path) -> None:
    """Mark a folder as ours before anything else is in it: the page comes last, and may never come."""
    page, mark = folder / _PAGE, folder / _MARK
    is_begun = mark.is_file() and not page.exists()
    if folder.exists() and any(folder.iterdir()) and not is_begun and not is_ours(page):
        raise ConfigError("the folder is not empty, and holds no gallery", where=folder, hint="name a new folder")
    write_atomic(mark, b"annoloop browse --export writes here, and replaces what it wrote.\n")


def _legend(classes: ClassTable) -> list[tuple[str, str]]:
    """Names and colours of everything that a picture shows."""
    drawn = [(c.name, c.color) for c in classes.classes if c.index != classes.background_index]
    errors = [(IN_PLAIN_WORDS[kind], "#{:02x}{:02x}{:02x}".format(*rgb)) for kind, rgb in ERROR_COLORS.items()]
    return [*drawn, (IGNORE_LABEL, "#ffffff"), *errors]


def _draw(strip: _Strip, classes: ClassTable, data: DataConfig) -> None:
    tiles = [_shrunk(picture) for picture in _pictures(strip.entry, classes, data)]
    height, width = tiles[0].shape[:2]
    row = np.full((height, len(tiles) * (width + _GAP_PX) - _GAP_PX, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        row[:, number * (width + _GAP_PX) :][:, :width] = tile
    stream = BytesIO()
    Image.fromarray(row).save(stream, "JPEG", quality=_QUALITY, subsampling=0)
    write_atomic(strip.target, stream.getvalue(), durable=False)


def _pictures(entry: Entry, classes: ClassTable, data: DataConfig) -> list[Rgb]:
    """The image, and what there is of truth, prediction and errors."""
    image = read_image(entry.image)
    truth = None if entry.truth is None else read_label_map(entry.truth, data)
    prediction = None if entry.prediction is None else read_index_png(entry.prediction).values
    if truth is not None and prediction is not None:
        return list(pictures_of(Panel("", "", image, truth, prediction), classes).values())
    return [image, *(overlay(image, one, classes) for one in (truth, prediction) if one is not None)]


def _shrunk(picture: Rgb) -> Rgb:
    image = Image.fromarray(picture)
    scale = _TILE_PX / max(image.size)
    size_wh = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return np.asarray(image.resize(size_wh, Image.Resampling.BOX if scale < 1 else Image.Resampling.NEAREST))
