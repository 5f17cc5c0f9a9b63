"""Bytes of any length over a pipe: eight bytes that say how many follow, and these.

Not here: what they mean.  The fact to know: an end in the middle of a frame is an end, for who wrote it is gone.
"""

from __future__ import annotations

import struct
from typing import IO

_LENGTH = struct.Struct(">Q")


def write_framed(stream: IO[bytes], data: bytes) -> None:
    """Send bytes so that the other side knows where they end.

    Raises:
        BrokenPipeError: nobody reads any more.
    """
    stream.write(_LENGTH.pack(len(data)))
    stream.write(data)
    stream.flush()


def read_framed(stream: IO[bytes]) -> bytes | None:
    """What ``write_framed`` sent; None where the stream has ended.

    >>> import io
    >>> pipe = io.BytesIO()
    >>> write_framed(pipe, b"an image")
    >>> _ = pipe.seek(0)
    >>> read_framed(pipe), read_framed(pipe)
    (b'an image', None)
    """
    header = stream.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(header)
    data = stream.read(length)
    return data if len(data) == length else None
