"""Rasters of many bands or of more than 8 bits, as RGB that people and networks look at; rasterio's only home.

Not here: which files need that (``tiff_header.py``), and writing: an image is never rewritten.  The fact to know: the
view of a raster is one and the same wherever it is shown, sent or trained on, and window by window as well as whole.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from annoloop.data.storage import Location
from annoloop.data.tiff_header import raster_header
from annoloop.errors import DataError, MissingExtraError

Rgb = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]

LOW_PERCENT, HIGH_PERCENT = 2.0, 98.0
"""Of the valid values of a band: these become black and white; what lies beyond is cut."""

_LOOKED_AT_PX = 1024
"""Longer side of the thinned raster whose percentiles count."""

_MOST_PX = 1 << 31


def is_installed() -> bool:
    """Whether the extra ``geo`` is there."""
    try:
        import rasterio  # noqa: F401
    except ImportError:
        return False
    return True


def require_for(images: Iterable[Location]) -> None:
    """Raise before hours go into work on images of which one needs a view that cannot be made.

    Raises:
        MissingExtraError: rasterio is not installed.
    """
    if is_installed():
        return
    if any(raster_header(image) is not None for image in images):
        raise MissingExtraError("rasterio", "geo")


@dataclass(frozen=True, slots=True, eq=False)
class RasterView:
    """An open raster as RGB: the numbers of the three bands, and the values that become 0 and 255, one for each."""

    source: Any
    where: object
    bands: tuple[int, int, int]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]

    @property
    def size_hw(self) -> tuple[int, int]:
        return int(self.source.height), int(self.source.width)

    def read(self, box_ltrb: Box | None = None) -> Rgb:
        """RGB uint8 (H, W, 3) of a window, or of all; pixels without data are black.

        Raises:
            DataError: the pixels cannot be read.
        """
        from rasterio.windows import Window

        left, top, right, bottom = box_ltrb or (0, 0, self.size_hw[1], self.size_hw[0])
        window = Window(left, top, right - left, bottom - top)
        wanted = sorted(set(self.bands))
        with _readable(self.where):
            values = self.source.read(wanted, window=window)
            valid = self.source.read_masks(wanted, window=window) if _has_gaps(self.source) else None
        shown = np.empty((bottom - top, right - left, 3), np.uint8)
        for channel, band in enumerate(self.bands):
            index = wanted.index(band)
            missing = None if valid is None else valid[index] == 0
            shown[..., channel] = _stretched(values[index], self.low[channel], self.high[channel], missing)
        return shown


@contextmanager
def open_view(path: Path | bytes, where: object) -> Iterator[RasterView]:
    """The RGB view of a raster, open as long as this lasts; ``where`` names it in an error.

    The bands that say that they are red, green and blue; else the first three, or the first one as grey.  Bands of
    8 bits are taken as they are, others stretched from their 2nd to their 98th percentile.

    Raises:
        MissingExtraError: rasterio is not installed.
        DataError: truncated, no bands, too large, or numbers that are no intensities.
    """
    if not is_installed():
        raise MissingExtraError("rasterio", "geo")
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with _readable(where):
            memory = rasterio.MemoryFile(path) if isinstance(path, bytes) else None
            source = rasterio.open(path) if memory is None else memory.open()
        try:
            _check(source, where)
            bands = _bands(source)
            low, high = _ends(source, bands, where)
            yield RasterView(source, where, bands, low, high)
        finally:
            source.close()
            if memory is not None:
                memory.close()


def read_view(path: Path | bytes, where: object) -> Rgb:
    """The whole view of a raster, RGB uint8 (H, W, 3); as ``open_view``."""
    with open_view(path, where) as view:
        return view.read()


@contextmanager
def _readable(where: object) -> Iterator[None]:
    from rasterio.errors import RasterioError

    try:
        yield
    except (RasterioError, OSError, ValueError) as error:
        hint = "the file may be truncated or no image; gdalinfo says more"
        raise DataError(f"cannot be read ({error})", where=where, hint=hint) from error


def _check(source: Any, where: object) -> None:
    if source.count == 0:
        raise DataError("the raster has no bands", where=where)
    if source.height * source.width > _MOST_PX:
        said = f"{source.width} x {source.height} px"
        raise DataError(f"claims to be {said}, more than can be an image here", where=where, hint="cut it with gdal")
    odd = [kind for kind in source.dtypes if np.dtype(kind).kind not in "uif"]
    if odd:
        hint = "write intensities into it, for example with gdal_calc"
        raise DataError(f"holds numbers of type {odd[0]}, which are no intensities", where=where, hint=hint)


def _bands(source: Any) -> tuple[int, int, int]:
    """Numbers of the bands to show, from 1."""
    named = {kind.name: number for number, kind in reversed(list(enumerate(source.colorinterp, 1)))}
    if {"red", "green", "blue"} <= named.keys():
        return named["red"], named["green"], named["blue"]
    return (1, 2, 3) if source.count > 2 else (1, 1, 1)


def _ends(
    source: Any, bands: tuple[int, int, int], where: object
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The values of each band that become 0 and 255."""
    low, high = np.zeros(3), np.full(3, 255.0)
    step = max(1, max(source.height, source.width) // _LOOKED_AT_PX)
    shape = max(1, source.height // step), max(1, source.width // step)
    for channel, band in enumerate(bands):
        if source.dtypes[band - 1] == "uint8":
            continue
        with _readable(where):
            values = source.read(band, out_shape=shape)
            valid = source.read_masks(band, out_shape=shape) != 0
        values = values[valid & np.isfinite(values)].astype(np.float64)
        if values.size:
            low[channel], high[channel] = np.percentile(values, [LOW_PERCENT, HIGH_PERCENT])
    return low, high


def _has_gaps(source: Any) -> bool:
    from rasterio.enums import MaskFlags

    return any(MaskFlags.all_valid not in flags for flags in source.mask_flag_enums)


def _stretched(
    values: npt.NDArray[Any], low: float, high: float, missing: npt.NDArray[np.bool_] | None
) -> npt.NDArray[np.uint8]:
    if values.dtype == np.uint8:
        shown = values.copy()
    else:
        scaled = (values.astype(np.float64) - low) * (255.0 / (high - low) if high > low else 0.0)
        shown = np.rint(np.clip(np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0), 0, 255)).astype(np.uint8)
    if missing is not None:
        shown[missing] = 0
    return shown
