"""PNG with samples of 8 bits, as label maps are stored: samples to bytes and back, and what stands before them.

Not here: files, errors in words, and every PNG of another kind, which Pillow reads (``images.py``).
Source of the format: https://www.w3.org/TR/png-3/.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.uint8]

GREY, PALETTE = 0, 3
"""Colour types: a sample is a grey level, or an index into a palette."""

SIGNATURE = b"\x89PNG\r\n\x1a\n"

MOST_PX = 1 << 31
"""A damaged header may claim any size."""

_HEADER_AT = 16
_HEADER = struct.Struct(">IIBBxxx")
"""Width, height, bits of a sample, colour type; three zeros: deflated, filtered, in order."""
_UP = 2
"""The filter of a row that is stored as the difference to the row above; a row begins with its filter."""
_BAND_PX = 1 << 18
_END = b"IEND"
_TURNS = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")
"""What stands before an orientation: EXIF, as old writers put it into text, and XMP."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a PNG begins with: its size in px as it is stored, bits of a sample, colour type."""

    size_hw: tuple[int, int]
    bits: int
    colour_type: int


def read_header(data: bytes) -> Header | None:
    """The header of a PNG whose rows are stored in order, of up to ``MOST_PX``; None for anything else."""
    header = data[_HEADER_AT : _HEADER_AT + _HEADER.size]
    is_png = data.startswith(SIGNATURE) and len(header) == _HEADER.size
    if not is_png or not data.startswith(_chunk(b"IHDR", header), len(SIGNATURE)):
        return None
    width, height, bits, colour_type = _HEADER.unpack(header)
    return Header((height, width), bits, colour_type) if 0 < width * height <= MOST_PX else None


def plain_size_hw(data: bytes) -> tuple[int, int] | None:
    """Height and width in px of a PNG, all of whose bytes are given, that holds no orientation; else None."""
    header = read_header(data)
    may_be_turned = _END not in data or any(mark in data for mark in _TURNS)
    return None if header is None or may_be_turned else header.size_hw


def decode(data: bytes, size_hw: tuple[int, int]) -> Samples:
    """The samples (H, W), grey levels or indices, of a PNG with 8 bits; several times faster than by Pillow.

    Raises:
        OSError: damaged or truncated.
    """
    import kornia_rs

    try:
        samples: Samples = kornia_rs.io.decode_image_png_u8(data, size_hw, "mono")
    except Exception as error:  # it has no narrower class for its errors
        raise OSError(str(error)) from error
    return samples[:, :, 0]


def encode(samples: Samples, palette: bytes | None) -> bytes:
    """Samples (H, W) as a PNG; the inverse of ``decode``.

    Rows of a label map are mostly like the one above.  To take the difference to it, and to look for nothing but runs
    in that, takes a fifth of the time of Pillow, which tries every filter on every row; and no more room.
    """
    height, width = samples.shape
    header = _HEADER.pack(width, height, 8, GREY if palette is None else PALETTE)
    colours = b""
    if palette is not None:
        needed = 3 * (int(samples.max()) + 1)  # a sample without a colour would be an error
        colours = _chunk(b"PLTE", palette.ljust(needed, b"\0"))
    return b"".join((SIGNATURE, _chunk(b"IHDR", header), colours, _chunk(b"IDAT", _packed(samples)), _chunk(_END, b"")))


def _packed(samples: Samples) -> bytes:
    """The rows as differences, deflated; a few rows at a time, so that a large mask needs no more room than its own."""
    height, width = samples.shape
    rows = np.empty((min(height, 1 + _BAND_PX // width), 1 + width), np.uint8)
    rows[:, 0] = _UP
    runs, packed = zlib.compressobj(strategy=zlib.Z_RLE), []
    for top in range(0, height, len(rows)):
        band = samples[top : top + len(rows)]
        differences = rows[: len(band), 1:]
        differences[0] = band[0] - samples[top - 1] if top else band[0]
        np.subtract(band[1:], band[:-1], out=differences[1:])
        packed.append(runs.compress(rows[: len(band)].data))
    return b"".join((*packed, runs.flush()))


def _chunk(kind: bytes, data: bytes) -> bytes:
    """Length, kind, data and check sum, as in https://www.w3.org/TR/png-3/#5Chunk-layout."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
