"""What a JPEG says of itself before its pixels; those are Pillow's (``images.py``).

Source of the format: https://www.w3.org/Graphics/JPEG/itu-t81.pdf, annex B.
"""

from __future__ import annotations

import struct

_START = b"\xff\xd8"
_SEGMENT = struct.Struct(">BBH")
"""0xFF, kind and length of a segment; the length counts itself."""
_MARK = 0xFF
_FRAME = struct.Struct(">BHHB")
"""Bits of a sample, height, width, components."""
_FRAMES = range(0xC0, 0xC3)
"""Baseline, extended and progressive."""
_SCAN = 0xDA
_PLAIN = frozenset({*_FRAMES, 0xC4, 0xDB, 0xDD, 0xE0, *range(0xE2, 0xF0), 0xFE})
"""Tables, comments, and what applications add, but for EXIF and XMP (0xE1), which may hold an orientation."""


def plain_size_hw(data: bytes) -> tuple[int, int] | None:
    """Height and width in px of a JPEG that holds no orientation, from its first bytes.

    None for any other file, for what is unusual, and where its first scan does not begin in ``data``.
    """
    if not data.startswith(_START):
        return None
    size_hw, at = None, len(_START)
    while at + _SEGMENT.size + _FRAME.size <= len(data):
        mark, kind, length = _SEGMENT.unpack_from(data, at)
        at += _SEGMENT.size
        if mark != _MARK or kind == _SCAN:
            return size_hw if kind == _SCAN else None
        if kind in _FRAMES:
            bits, height, width, components = _FRAME.unpack_from(data, at)
            size_hw = (height, width)
            if bits != 8 or components not in (1, 3, 4) or not height * width:
                return None
        elif kind not in _PLAIN:
            return None
        at += length - 2
    return None
