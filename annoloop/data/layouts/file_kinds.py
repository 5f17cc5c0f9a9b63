"""What a file's pixels look like: a photograph, class indices, colours that stand for classes, something lossy.

One file at a time; not here: which files are looked at, and what that means (``discovery.py``).  The fact to know:
label maps are flat, neighbours being mostly equal, and hold few values; photographs are neither.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from annoloop.data.images import needs_view, read_bytes, unreadable
from annoloop.data.mask_formats import JPEG_SUFFIXES
from annoloop.data.storage import Location
from annoloop.errors import DataError
from annoloop.masks.classes import WIDE_IGNORE

Kind = Literal["index", "lossy", "wide", "colour", "photo", "unreadable"]

_FEW = 64
_FLAT = 0.5
_NEAR = 24
_MOSTLY = 0.9
_LINES = 512


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at a file told: its kind, and how much it is like a mask, 0 ... 1.3."""

    kind: Kind
    like_a_mask: float


def look_at(path: Location) -> Seen:
    """Decode a file and tell what it looks like; one that cannot be read is told, not raised."""
    if needs_view(path):
        return Seen("photo", 0.0)
    try:
        with Image.open(io.BytesIO(read_bytes(path))) as image:
            # A mask in colours may have been saved with any of these; what is left is never one.
            mode, is_jpeg = image.mode, image.format == "JPEG" or str(path).lower().endswith(JPEG_SUFFIXES)
            pixels = np.asarray(image if mode != "CMYK" else image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, IndexError, DataError, Image.DecompressionBombError):
        return Seen("unreadable", 0.0)
    pixels = pixels[:: max(1, len(pixels) // _LINES)]
    values, in_colour = _one_channel(pixels)
    flat = float((values[:, 1:] == values[:, :-1]).mean()) if values.shape[1] > 1 else 1.0
    distinct = len(np.unique(values))
    like = flat * (1 - min(1.0, distinct / 512)) + (0.3 if mode == "P" else 0.1 * (not in_colour and pixels.ndim == 2))
    return Seen(_kind(values, flat, distinct, in_colour, is_jpeg), like)


def highest_value(path: Location) -> int:
    """The highest number in a file of one channel, also beyond 8 bits; but for 65535, which means ignored there.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with Image.open(io.BytesIO(read_bytes(path))) as image:
            values = np.asarray(image)
            return int(values.max(initial=0, where=values != WIDE_IGNORE))
    except (OSError, SyntaxError, ValueError, IndexError, Image.DecompressionBombError) as error:
        raise unreadable(path, error) from error


def _one_channel(pixels: npt.NDArray[np.generic]) -> tuple[npt.NDArray[np.int64], bool]:
    """Values (H, W), colours as one number each, and whether these are colours."""
    if pixels.ndim == 2:
        return pixels.astype(np.int64), False
    wide = pixels[..., :3].astype(np.int64)
    if pixels.shape[-1] < 3 or int(np.ptp(wide, axis=-1).max(initial=0)) <= 8:
        return wide[..., 0], False
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2], True


def _kind(values: npt.NDArray[np.int64], flat: float, distinct: int, in_colour: bool, is_jpeg: bool) -> Kind:
    if in_colour:
        return "colour" if distinct <= 256 and (flat >= _FLAT or distinct <= _FEW) and not is_jpeg else "photo"
    if int(values.max(initial=0)) > 255:
        return "wide" if flat >= _FLAT or distinct <= _FEW else "photo"
    if is_jpeg:
        return "lossy" if _near_few_levels(values) else "photo"
    return "index" if flat >= _FLAT or distinct <= _FEW else "photo"


def _near_few_levels(values: npt.NDArray[np.int64]) -> bool:
    """Whether nearly all pixels lie near one of a few levels, as those of a mask do that was saved as JPEG."""
    counts = np.bincount(np.clip(values, 0, 255).ravel(), minlength=256)
    left, total = counts.astype(np.int64), int(counts.sum())
    for _ in range(4):
        level = int(left.argmax())
        left[max(0, level - _NEAR // 2) : level + _NEAR // 2 + 1] = 0
    return int(left.sum()) <= (1 - _MOSTLY) * total
