"""Masks that are no plain 8-bit PNG: read where they can mean one thing only, and written as what they are.

Whole files as bytes, by Pillow; not here: the plain ones (``png.py``), files (``images.py``), what a value means.  The
fact to know: a ``Form`` travels with the values, so that what goes back into a .tif is a TIFF with the same place on
earth, and what goes back into grey saved as RGB is RGB.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, TiffImagePlugin

from annoloop.errors import ColourMaskError, DataError

Values = npt.NDArray[np.unsignedinteger[Any]]

MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")
"""Formats that masks are read from and written to, every pixel as it is."""

JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif")

_KINDS = {".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP"} | dict.fromkeys(JPEG_SUFFIXES, "JPEG")
_WIDE = ("I;16", "I;16B", "I;16L", "I")
WIDE_KINDS = frozenset({"PNG", "TIFF"})
"""Formats that hold numbers beyond 8 bits."""

_MOST = 65_535
"""The highest number of 16 bits."""
_LOSSLESS = ("raw", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits")
_KEPT_TAGS = (270, 282, 283, 296, 33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113)
"""Description, resolution, and what GeoTIFF and GDAL say of place and missing data."""
_JPEG_LEVELS = 8
"""So far may the channels of a grey JPEG lie apart, and a pixel from what was saved at quality 100."""


@dataclass(frozen=True, slots=True)
class Form:
    """How a mask is stored beside its values: format, Pillow's mode, and of a TIFF compression and tags."""

    kind: str = "PNG"
    mode: str = "L"
    compression: str | None = None
    tags: tuple[tuple[int, int, Any], ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether it is an 8-bit PNG, grey or with a palette."""
        return self.kind == "PNG" and self.mode == "L"


PLAIN = Form()


def form_of(suffix: str, *, is_wide: bool = False) -> Form:
    """The form of a new mask by how its name ends, of 8 bits or of 16."""
    kind = _KINDS.get("." + suffix.lower().rpartition(".")[2], "PNG")
    return Form(kind, "I;16" if is_wide else "L", "tiff_lzw" if kind == "TIFF" else None)


def decoded(image: Image.Image, where: object) -> tuple[Values, Form]:
    """Values (H, W) of an opened mask, uint8 or, where some are beyond 255, uint16; and its form.

    Raises:
        ColourMaskError: colours, transparency, or numbers beyond 16 bits.
        DataError: more than one page.
    """
    pages = getattr(image, "n_frames", 1)
    if pages > 1:
        raise DataError(f"holds {pages} pages; a mask is one", where=where)
    kind = str(image.format)
    mode = {"P": "L", "1": "L", "I;16B": "I;16", "I;16L": "I;16"}.get(image.mode, image.mode)
    tags: tuple[tuple[int, int, Any], ...] = ()
    compression = None
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        found = image.tag_v2
        tags = tuple((tag, found.tagtype[tag], found[tag]) for tag in _KEPT_TAGS if tag in found)
        used = str(image.info.get("compression", "raw"))
        compression = used if used in _LOSSLESS else "tiff_lzw"
    return _one_channel(image, kind, where), Form(kind, mode, compression, tags)


def encoded(values: Values, palette: bytes | None, form: Form) -> bytes:
    """The file of a mask; ``decoded`` of it gives the values, of a JPEG within a few levels."""
    image = _as_mode(values, palette, form.mode)
    stream = io.BytesIO()
    if form.kind == "TIFF":
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        for tag, kind, value in form.tags:
            tags.tagtype[tag] = kind
            tags[tag] = value
        image.save(stream, "TIFF", compression=form.compression, tiffinfo=tags)
    elif form.kind == "JPEG":
        image.save(stream, "JPEG", quality=100, subsampling=0)
    else:
        image.save(stream, form.kind)
    return stream.getvalue()


def _one_channel(image: Image.Image, kind: str, where: object) -> Values:
    if image.mode in ("L", "P", "1"):
        return np.asarray(image, np.uint8)
    if image.mode in _WIDE:
        return _narrow(np.asarray(image), where)
    if image.mode in ("RGB", "RGBA", "LA"):
        return _common(np.asarray(image), image.mode, _JPEG_LEVELS if kind == "JPEG" else 0, where)
    raise _colours(image.mode, where)


def _narrow(values: npt.NDArray[Any], where: object) -> Values:
    lowest, highest = int(values.min()), int(values.max())
    if lowest < 0 or highest > _MOST:
        raise ColourMaskError(
            f"a mask has one channel of class indices, 0 … {_MOST} at most; this one holds"
            f" {f'numbers up to {highest}' if highest > _MOST else lowest}",
            where=where,
            hint="check that these are not instances or depth",
        )
    return values.astype(np.uint8 if highest <= np.iinfo(np.uint8).max else np.uint16)


def beyond_8_bits(values: Values, where: object) -> ColourMaskError:
    """The error for a mask of 16 bits where 8 are expected."""
    return ColourMaskError(
        f"a mask has one 8-bit channel of class indices, 0 … 255; this one holds numbers up to {int(values.max())}",
        where=where,
        hint="if these are classes, ignore_index: 65535 in annoloop.yaml reads masks of 16 bits, with up to 65535"
        " classes; else check that these are not instances or depth",
    )


def widened(form: Form) -> Form:
    """The form in which a mask is written that has numbers beyond 8 bits, as far as its format can.

    Raises:
        DataError: it cannot.
    """
    if form.kind not in WIDE_KINDS:
        raise DataError(
            f"a class index beyond 255 does not fit into a {form.kind} mask",
            hint="save the masks as PNG or TIFF, and set data.mask_suffix",
        )
    return form if form.mode in _WIDE else replace(form, mode="I;16")


def _common(values: Values, mode: str, tolerance: int, where: object) -> Values:
    """What all channels say; an opaque alpha says nothing."""
    if mode in ("RGBA", "LA"):
        if values[..., -1].min() < 255:
            raise _colours(f"{mode} with transparent pixels", where)
        values = values[..., :-1]
    first: Values = values[..., 0]
    if values.shape[-1] == 3:
        green, blue = values[..., 1], values[..., 2]
        same = (first == green).all() and (green == blue).all()
        if not same and (not tolerance or np.ptp(values.astype(np.int16), axis=-1).max() > tolerance):
            raise _colours(mode, where)
        first = green
    return np.ascontiguousarray(first)


def _colours(mode: str, where: object) -> ColourMaskError:
    return ColourMaskError(
        f"a mask has one 8-bit channel of class indices, this one has mode {mode}",
        where=where,
        hint="annoloop convert from-colors FOLDER makes index masks of colours; or check that this is not an image",
    )


def _as_mode(values: Values, palette: bytes | None, mode: str) -> Image.Image:
    if mode in _WIDE:
        return Image.fromarray(values.astype(np.uint16))
    image = Image.fromarray(np.ascontiguousarray(values))
    if palette is not None:
        image.putpalette(palette.ljust(3 * (int(values.max(initial=0)) + 1), b"\0"))
        return image
    return image if mode == "L" else image.convert(mode)
