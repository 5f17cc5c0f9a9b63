"""The pictures that CVAT shows beside a frame while somebody corrects it: labels, prediction, errors.

Not here: figures for reports (``gallery.py``) and how they travel to CVAT.  The fact to know: a pane is
about 300 x 230 px on the annotator's screen, so text and outlines are sized for a picture shrunk to that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from io import BytesIO
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from annoloop.errors import DataError
from annoloop.masks.classes import IGNORE_LABEL, ClassTable
from annoloop.masks.regions import LabelMap
from annoloop.metrics.scores import confusion, dice, map_dice
from annoloop.reports.gallery import ERROR_COLORS, colorize, error_map
from annoloop.reports.plots import Rgb, font_path

CONTEXT_FOLDER = "related_images"
"""CVAT takes images below it for context of the frame beside it."""

LONGEST_PX = 1024
NARROWEST_PX = 400

_NEAREST = Image.Resampling.NEAREST
_FILL = 90  # of 255: the image stays readable under a class; its outline is opaque
_HATCH = 190
_PAPER = (24, 24, 24)
_INK = (240, 240, 240)
_SMALLEST_TEXT_PX = 11
_QUALITY = 90
_ROW = 1.4  # height of a legend row in text sizes
_LONGEST_NAME = 0.5  # of the picture's width
_GAP_PX = 8  # between two pictures side by side
_LEAST_MARGIN_PX = 24  # around a region that is shown from near
_BLOCK_PX = 1 << 20
"""Pixels compared at a time: counting takes some 25 bytes for each."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A JPEG file: its name, whose stem is the pane's title and sorts, and its bytes.

    Not PNG: of a photo that takes ten times as long and three times the bytes, and CVAT shows JPEG anyway.
    """

    name: str
    jpeg: bytes


@dataclass(frozen=True, slots=True)
class _Entry:
    """One legend entry; ``rgb`` fills its swatch, None has no swatch."""

    text: str
    rgb: tuple[int, int, int] | None
    value: str = ""
    starts_row: bool = False


_Placed: TypeAlias = tuple[float, _Entry]
"""A legend entry with its left edge in pixels."""


def context_pictures(
    image: Rgb, truth: LabelMap | None, prediction: LabelMap, classes: ClassTable
) -> tuple[Picture, ...]:
    """Current labels, prediction and errors over the image RGB uint8 (H, W, 3), each with its legend.

    Without labels there is the prediction alone.  The image is shrunk to 1024 px on its longer side, or
    enlarged in whole steps to 400 px of width as long as it stays within that; Dice per class, the worst
    first, is counted on the full maps (H, W).

    Raises:
        DataError: the three differ in size, or a map holds an index that is no class.
    """
    given = prediction if truth is None else truth
    if image.shape[:2] != given.shape:
        (height, width), (rows, columns) = image.shape[:2], given.shape
        raise DataError(f"the image is {width} x {height} px, its label map {columns} x {rows} px")
    size_wh = _shown_size(*given.shape)
    shown, predicted = np.asarray(_resized(image, size_wh)), _nearest(prediction, size_wh)
    drawn = _picture("2 prediction", _outlined(shown, predicted, classes), _class_entries(predicted, classes))
    if truth is None:
        return (drawn,)
    scored, labels = _dice_entries(truth, prediction, classes), _nearest(truth, size_wh)
    wrong = Image.fromarray(error_map(labels, predicted, classes, shown))
    errors = [_Entry(name, rgb) for name, rgb in ERROR_COLORS.items()]
    return (
        _picture("1 labels", _outlined(shown, labels, classes), _class_entries(labels, classes)),
        drawn,
        _picture("3 errors", wrong, [*errors, *scored]),
    )


def change_picture(
    title: str,
    image: Rgb,
    before: LabelMap,
    after: LabelMap,
    box_ltrb: tuple[int, int, int, int],
    classes: ClassTable,
    *,
    sides: str = "now | accepted",
) -> Picture:
    """A region from near, before and after a change, side by side over the image RGB uint8 (H, W, 3).

    Args:
        box_ltrb: of the region, px, half-open; as much again is shown around it.
        sides: what the left and the right one are, in words.
    """
    rows, columns = _around(box_ltrb, before.shape)
    height, width = before[rows, columns].shape
    size_wh = _shown_size(height, width)
    shown = np.asarray(_resized(image[rows, columns], size_wh))
    maps = [_nearest(one[rows, columns], size_wh) for one in (before, after)]
    both = Image.new("RGB", (2 * size_wh[0] + _GAP_PX, size_wh[1]), _PAPER)
    for number, one in enumerate(maps):
        both.paste(_outlined(shown, one, classes), (number * (size_wh[0] + _GAP_PX), 0))
    entries = _class_entries(np.concatenate(maps, axis=1), classes)
    return _picture(title, both, [_Entry(sides, None), *entries])


def _around(box_ltrb: tuple[int, int, int, int], size_hw: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns of a box with its surroundings, inside the image."""
    left, top, right, bottom = box_ltrb
    margin = max(_LEAST_MARGIN_PX, (right - left) // 2, (bottom - top) // 2)
    return (
        slice(max(0, top - margin), min(size_hw[0], bottom + margin)),
        slice(max(0, left - margin), min(size_hw[1], right + margin)),
    )


def _shown_size(height: int, width: int) -> tuple[int, int]:
    """Width and height in pixels that a picture of (height, width) is drawn in."""
    longest = max(height, width)
    if longest > LONGEST_PX:
        return max(1, width * LONGEST_PX // longest), max(1, height * LONGEST_PX // longest)
    times = max(1, min(math.ceil(NARROWEST_PX / width), LONGEST_PX // longest))
    return width * times, height * times


def _resized(image: Rgb, size_wh: tuple[int, int]) -> Image.Image:
    """Averages where it shrinks; a huge image is thinned out first, to twice the size."""
    step = max(1, max(image.shape) // (2 * LONGEST_PX))
    thinned = Image.fromarray(np.ascontiguousarray(image[::step, ::step]))
    shrinks = image.shape[1] > size_wh[0]
    return thinned.resize(size_wh, Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR)


def _nearest(label_map: LabelMap, size_wh: tuple[int, int]) -> LabelMap:
    return np.asarray(Image.fromarray(label_map).resize(size_wh, _NEAREST))


def _outlined(image: Rgb, label_map: LabelMap, classes: ClassTable) -> Image.Image:
    """Classes with a light fill and an opaque outline, the background bare, ignored area hatched in white."""
    height, width = label_map.shape
    opacity = np.full(label_map.shape, _FILL, np.uint8)
    ignored = label_map == classes.ignore_index
    if ignored.any():
        period = max(4, max(height, width) // 40)
        stripes = (np.arange(width) + np.arange(height)[:, None]) % period < period // 4
        opacity[ignored] = stripes[ignored] * np.uint8(_HATCH)
    opacity[_borders(label_map, max(1, round(max(height, width) / 250)))] = 255
    if classes.background_index is not None:
        opacity[label_map == classes.background_index] = 0
    return Image.composite(_painted(label_map, classes), Image.fromarray(image), Image.fromarray(opacity))


def _painted(label_map: LabelMap, classes: ClassTable) -> Image.Image:
    """The classes in their colours; by a palette, where there can be one, it takes half the time."""
    if classes.is_wide:
        return Image.fromarray(colorize(label_map, classes))
    painted = Image.fromarray(label_map)
    painted.putpalette(colorize(np.arange(classes.levels, dtype=np.uint8), classes).tobytes())
    return painted.convert("RGB")


def _borders(label_map: LabelMap, thickness_px: int) -> npt.NDArray[np.bool_]:
    """Pixels that have another class within ``thickness_px`` in their row or column."""
    found = np.zeros(label_map.shape, np.bool_)
    for step in range(1, thickness_px + 1):
        beside = label_map[:, step:] != label_map[:, :-step]
        found[:, step:] |= beside
        found[:, :-step] |= beside
        below = label_map[step:] != label_map[:-step]
        found[step:] |= below
        found[:-step] |= below
    return found


def _class_entries(label_map: LabelMap, classes: ClassTable) -> list[_Entry]:
    """The classes to be seen, the background not among them."""
    present = np.flatnonzero(np.bincount(label_map.ravel()))
    drawn = [classes.classes[i] for i in present if i < len(classes) and i != classes.background_index]
    entries = [_Entry(c.name, c.rgb) for c in drawn]
    if classes.ignore_index in present:
        entries.append(_Entry(IGNORE_LABEL, (255, 255, 255)))
    return entries or [_Entry("background only", None)]


def _dice_entries(truth: LabelMap, prediction: LabelMap, classes: ClassTable) -> list[_Entry]:
    """Dice of every class in truth or prediction but the background, the worst first."""
    if classes.is_wide:
        values = map_dice(truth, prediction, len(classes), classes.ignore_index)
    else:
        rows = max(1, _BLOCK_PX // truth.shape[1])
        counts = sum(
            confusion(truth[top : top + rows], prediction[top : top + rows], len(classes), classes.ignore_index)
            for top in range(0, truth.shape[0], rows)
        )
        values = dice(np.asarray(counts))
    scored = [c for c in classes.classes if c.index != classes.background_index and not np.isnan(values[c.index])]
    scored.sort(key=lambda c: (values[c.index], c.index))
    title = [_Entry("Dice", None, starts_row=True)] if scored else []
    return [*title, *(_Entry(c.name, c.rgb, f" {values[c.index]:.2f}") for c in scored)]


def _picture(title: str, drawn: Image.Image, entries: Sequence[_Entry]) -> Picture:
    """The drawing on paper, its legend below; paper stands out beside narrow ones, so that text has room."""
    width = max(drawn.width, NARROWEST_PX, drawn.height * 3 // 4)
    text_px = max(_SMALLEST_TEXT_PX, width // 22, drawn.height // 20)
    font, rows = _legend(entries, text_px, width, drawn.height // 3)
    row_px = _row_px(font)
    page = Image.new("RGB", (width, drawn.height + row_px * len(rows) + row_px // 3), _PAPER)
    page.paste(drawn, ((width - drawn.width) // 2, 0))
    pen = ImageDraw.Draw(page)
    for number, row in enumerate(rows):
        _write(pen, row, font, drawn.height + row_px // 6 + number * row_px)
    buffer = BytesIO()
    page.save(buffer, "JPEG", quality=_QUALITY, subsampling=0)  # at full colour resolution outlines stay sharp
    return Picture(f"{title}.jpg", buffer.getvalue())


def _legend(
    entries: Sequence[_Entry], text_px: int, width_px: int, height_px: int
) -> tuple[ImageFont.FreeTypeFont, list[list[_Placed]]]:
    """Entries in rows that fit into the height, but two rows at least; in smaller text before any is left out."""
    for size_px in (text_px, max(_SMALLEST_TEXT_PX, text_px * 3 // 4)):
        font = _font(size_px)
        most = max(2, height_px // _row_px(font))
        short = [_cut_short(entry, font, width_px) for entry in entries]
        rows = _wrapped(short, font, width_px)
        if len(rows) <= most:
            return font, rows
    return font, _fitting(short, font, width_px, most)


def _row_px(font: ImageFont.FreeTypeFont) -> int:
    return round(_ROW * font.size)


@lru_cache(maxsize=16)
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(font_path()), size_px)


def _fitting(entries: Sequence[_Entry], font: ImageFont.FreeTypeFont, width_px: int, most: int) -> list[list[_Placed]]:
    """At most ``most`` rows; the entries that have no room are counted as "+12 more"."""
    for kept in range(len(entries) - 1, 0, -1):
        left_out = sum(entry.rgb is not None for entry in entries[kept:])
        rows = _wrapped([*entries[:kept], _Entry(f"+{left_out} more", None)], font, width_px)
        if len(rows) <= most:
            break
    return rows


def _wrapped(entries: Iterable[_Entry], font: ImageFont.FreeTypeFont, width_px: int) -> list[list[_Placed]]:
    margin = font.size / 2
    rows: list[list[_Placed]] = [[]]
    left = margin
    for entry in entries:
        needed = _swatch_px(entry, font) + font.getlength(f"{entry.text}{entry.value}")
        if rows[-1] and (entry.starts_row or left + needed > width_px - margin):
            rows.append([])
            left = margin
        rows[-1].append((left, entry))
        left += needed + font.size * 0.8
    return rows


def _cut_short(entry: _Entry, font: ImageFont.FreeTypeFont, width_px: int) -> _Entry:
    """The entry with its name in less than half a row, an ellipsis at its end where it was longer."""
    text = entry.text
    while font.getlength(text) > width_px * _LONGEST_NAME:
        text = text[:-2].rstrip() + "…"
    return replace(entry, text=text)


def _write(pen: ImageDraw.ImageDraw, row: Iterable[_Placed], font: ImageFont.FreeTypeFont, top_px: int) -> None:
    size = font.size
    for left, entry in row:
        if entry.rgb is not None:
            box = (left, top_px + 0.2 * size, left + 0.8 * size, top_px + size)
            pen.rectangle(box, fill=entry.rgb, outline=_INK, width=max(1, round(size / 20)))
        pen.text((left + _swatch_px(entry, font), top_px), f"{entry.text}{entry.value}", _INK, font)


def _swatch_px(entry: _Entry, font: ImageFont.FreeTypeFont) -> float:
    """How far right of the swatch's left edge the text begins."""
    return 0.0 if entry.rgb is None else 1.1 * font.size
