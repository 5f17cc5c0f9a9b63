"""What the header of a TIFF says: its size, and whether its bands can be shown as they are.

Not here: its pixels (``images.py``, ``geotiff.py``).  The fact to know: only 8-bit pictures of one to four bands, and
single bands of any depth, are left to Pillow, which would read others wrongly, or as nothing at all.
"""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from PIL import TiffImagePlugin

from annoloop.data.durable import open_regular
from annoloop.data.storage import Location, RemotePath

TIFF_SUFFIXES = (".tif", ".tiff")

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _ORIENTATION, _SAMPLES, _FORMAT = 256, 257, 258, 262, 274, 277, 339
_BRIGHT = (1, 2, 6)
"""Grey with 0 black, RGB, and the YCbCr of JPEG, which comes out as RGB."""
_BIG = 43


@dataclass(frozen=True, slots=True)
class TiffHeader:
    """Of the first page: its size in px as stored, bits of each band, and whether it lies as it is shown.

    ``is_bright``: whether its numbers are intensities, 0 black: no palette, no white 0, no ink.
    """

    size_hw: tuple[int, int]
    bits: tuple[int, ...]
    is_upright: bool
    is_bright: bool

    @property
    def needs_view(self) -> bool:
        """Whether an RGB view has to be made of its bands: there are more than four, or several that are not 8-bit."""
        return len(self.bits) > 4 or (len(self.bits) > 1 and set(self.bits) != {8})


def tiff_header(source: Location | bytes) -> TiffHeader | None:
    """The header of a file, or of bytes; None for what is no TIFF, or a damaged one: whoever reads that will say so."""
    try:
        if isinstance(source, bytes):
            return _read(io.BytesIO(source)) if source.startswith(_MAGIC) else None
        if not source.name.lower().endswith(TIFF_SUFFIXES):
            return None
        if isinstance(source, RemotePath):
            return _read(io.BytesIO(source.read_bytes()))
        with open_regular(Path(source)) as stream:
            return _read(stream)
    except (
        OSError,
        struct.error,
        SyntaxError,
        ValueError,
        TypeError,
        KeyError,
        OverflowError,
        IndexError,
        AttributeError,
    ):
        return None


def raster_header(source: Location | bytes) -> TiffHeader | None:
    """The header of a TIFF of which an RGB view has to be made; None for every other image."""
    header = tiff_header(source)
    return header if header is not None and header.needs_view else None


def _read(stream: IO[bytes]) -> TiffHeader | None:
    head = stream.read(8)
    if not head.startswith(_MAGIC):
        return None
    if _BIG in head[2:4]:
        head += stream.read(8)
    tags = TiffImagePlugin.ImageFileDirectory_v2(head)
    stream.seek(tags.next)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a damaged one; whoever reads its pixels will say so
        tags.load(stream)
    bands = int(_first(tags.get(_SAMPLES, 1)))
    bits = tags.get(_BITS, (1,))
    bits = bits if isinstance(bits, tuple) else (bits,)
    bits = (*bits, *[bits[0]] * (bands - len(bits)))
    return TiffHeader(
        (int(_first(tags[_HEIGHT])), int(_first(tags[_WIDTH]))),
        tuple(int(one) for one in bits),
        int(_first(tags.get(_ORIENTATION, 1))) == 1,
        int(_first(tags.get(_PHOTOMETRIC, 1))) in _BRIGHT,
    )


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) else value
