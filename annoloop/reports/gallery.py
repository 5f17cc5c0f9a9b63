"""Pictures for people: image, truth, prediction and error map side by side.

The fact to know: errors are told apart by colours that colour-blind people can tell apart too (Okabe &
Ito): false negatives are orange, false positives blue, confused classes purple; the legend is always there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from annoloop.masks.classes import IGNORE_LABEL, ClassTable
from annoloop.masks.regions import LabelMap
from annoloop.metrics.error_regions import wrong_pixels
from annoloop.metrics.scores import IN_PLAIN_WORDS, ErrorKind
from annoloop.progress import Track, silent
from annoloop.reports.plots import Color, Rgb, save_row

ERROR_COLORS: dict[ErrorKind, Color] = {
    "false negative": (230, 159, 0),
    "false positive": (86, 180, 233),
    "confused": (204, 121, 167),
}
"""Okabe & Ito, Color Universal Design, 2008."""

_IGNORE_RGB = (255, 255, 255)
_OVERLAY = 0.6
_CLOSE_PX = 16


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One row of pictures: image RGB uint8 (H, W, 3), truth and prediction (H, W)."""

    file_name: str
    title: str
    image: Rgb
    truth: LabelMap
    prediction: LabelMap


def colorize(label_map: LabelMap, classes: ClassTable) -> Rgb:
    """A label map in its classes' colours, RGB uint8 (H, W, 3); ignore is white."""
    lookup = np.zeros((classes.levels, 3), np.uint8)
    for label_class in classes.classes:
        lookup[label_class.index] = label_class.rgb
    lookup[classes.ignore_index] = _IGNORE_RGB
    return lookup[label_map]


def overlay(image: Rgb, label_map: LabelMap, classes: ClassTable) -> Rgb:
    """The image with everything but background tinted in its class colour."""
    tinted = image * (1 - _OVERLAY) + colorize(label_map, classes) * _OVERLAY
    shown = label_map != classes.fill_index
    return np.where(shown[..., None], tinted, image).astype(np.uint8)


def close_up(rgb: Rgb, box_ltrb: tuple[int, int, int, int]) -> Rgb:
    """What lies around a place in a picture, three times as wide and high as the place; a view."""
    left, top, right, bottom = box_ltrb
    px = max(right - left, bottom - top, _CLOSE_PX)
    return rgb[max(0, top - px) : bottom + px, max(0, left - px) : right + px]


def error_kinds(truth: LabelMap, prediction: LabelMap, classes: ClassTable) -> LabelMap:
    """What is wrong with each pixel, uint8 (H, W): 0 nothing, then 1 ... 3 in the order of ``ERROR_COLORS``.

    What the three mean: ``error_regions.wrong_pixels``.
    """
    kinds = np.zeros(truth.shape, np.uint8)
    for number, where in enumerate(wrong_pixels(truth, prediction, classes).values(), 1):
        kinds[where] = number
    return kinds


def error_map(truth: LabelMap, prediction: LabelMap, classes: ClassTable, image: Rgb) -> Rgb:
    """A dimmed grey image on which false negatives, false positives and confused pixels are coloured."""
    grey = (image[..., 0].astype(np.uint16) + image[..., 1] + image[..., 2]) // 6 + 20  # half of the channels' mean
    canvas = np.repeat(grey[..., None].astype(np.uint8), 3, axis=2)
    for kind, where in wrong_pixels(truth, prediction, classes).items():
        canvas[where] = ERROR_COLORS[kind]
    return canvas


def framed(picture: Rgb, box_ltrb: tuple[int, int, int, int]) -> Rgb:
    """A copy with a frame around a half-open box: white inside black, to be seen on anything."""
    left, top, right, bottom = box_ltrb
    width_px = max(1, max(picture.shape) // 240)
    canvas = picture.copy()
    for reach, tone in ((2 * width_px, 0), (width_px, 255)):
        canvas[max(0, top - reach) : bottom + reach, max(0, left - reach) : right + reach] = tone
    canvas[top:bottom, left:right] = picture[top:bottom, left:right]
    return canvas


def pictures_of(panel: Panel, classes: ClassTable) -> dict[str, Rgb]:
    """The four pictures of a panel by their names, each (H, W, 3)."""
    return {
        "image": panel.image,
        "truth": overlay(panel.image, panel.truth, classes),
        "prediction": overlay(panel.image, panel.prediction, classes),
        "errors": error_map(panel.truth, panel.prediction, classes, panel.image),
    }


def save_panels(folder: Path, panels: Sequence[Panel], classes: ClassTable, track: Track = silent) -> tuple[Path, ...]:
    """Write one PNG per panel; older panels of the same folder are removed."""
    for old in folder.glob("*.png"):
        old.unlink()
    return tuple(_save(folder / p.file_name, p, classes) for p in track(panels, "drawing panels", len(panels)))


def _save(path: Path, panel: Panel, classes: ClassTable) -> Path:
    return save_row(path, panel.title, pictures_of(panel, classes), _legend(panel, classes))


def _legend(panel: Panel, classes: ClassTable) -> list[tuple[str, Color]]:
    """The classes to be seen, the background not among them, and the kinds of error."""
    present = set(np.unique(panel.truth)) | set(np.unique(panel.prediction))
    entries = [(c.name, c.rgb) for c in classes.classes if c.index in present and c.index != classes.background_index]
    if classes.ignore_index in present:
        entries.append((IGNORE_LABEL, _IGNORE_RGB))
    return [*entries, *((IN_PLAIN_WORDS[kind], color) for kind, color in ERROR_COLORS.items())]
