"""Windows of an image, one after another, without all of it in memory where its format allows that.

Not here: which windows (``masks/tiling.py``).  The fact to know: a TIFF is read window by window where rasterio is
installed (extra ``geo``); every other format, and every TIFF without it, is decoded whole, once.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from annoloop.data import geotiff
from annoloop.data.images import read_image
from annoloop.data.tiff_header import TiffHeader, tiff_header

ReadWindow: TypeAlias = Callable[[tuple[int, int, int, int]], npt.NDArray[np.uint8]]
"""RGB uint8 (H, W, 3) of a box left, top, right, bottom in px, half-open, inside the image."""

_JPEG_QUALITY = 95


@contextmanager
def open_windows(path: Path) -> Iterator[ReadWindow]:
    """What reads windows of an image as it is shown.

    Raises:
        DataError: missing, truncated, or not an image; from a window, too.
    """
    header = tiff_header(path)
    if header is not None and header.is_upright and _is_bands(header):
        with geotiff.open_view(path, path) as view:
            yield view.read
        return
    whole = read_image(path)

    def window(box_ltrb: tuple[int, int, int, int]) -> npt.NDArray[np.uint8]:
        left, top, right, bottom = box_ltrb
        return whole[top:bottom, left:right]

    yield window


def _is_bands(header: TiffHeader) -> bool:
    """Whether rasterio reads a TIFF as Pillow would: 8 bits, or a view that only rasterio makes."""
    return header.needs_view or (geotiff.is_installed() and header.is_bright and set(header.bits) == {8})


def encode_picture(rgb: npt.NDArray[np.uint8], name: str) -> bytes:
    """RGB (H, W, 3) as a file: a fine JPEG where the name says so, else a PNG, which loses nothing."""
    stream = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(rgb))
    if name.lower().endswith((".jpg", ".jpeg")):
        picture.save(stream, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    else:
        picture.save(stream, "PNG", compress_level=1)
    return stream.getvalue()
