"""Sizes of JPEGs from their first bytes: Pillow's, or left to Pillow."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, UnidentifiedImageError

from annoloop.data.jpeg import plain_size_hw


def jpeg(mode: str = "RGB", size: tuple[int, int] = (30, 20), **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def pillow_size_hw(data: bytes) -> tuple[int, int] | None:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.height, image.width
    except (UnidentifiedImageError, OSError, SyntaxError):
        return None


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"comment": b"\xff\xda" * 9}, {"dpi": (300, 300)}, {"restart_marker_blocks": 2}],
    ids=str,
)
@given(size=st.tuples(st.integers(1, 700), st.integers(1, 700)))
def test_a_size_is_that_of_the_picture(mode: str, options: dict[str, Any], size: tuple[int, int]) -> None:
    assert plain_size_hw(jpeg(mode, size, **options)) == size[::-1]


def test_a_colour_profile_of_several_segments_is_passed_by() -> None:
    data = jpeg(icc_profile=bytes(200_000))
    assert plain_size_hw(data) == (20, 30)
    assert plain_size_hw(data[:100_000]) is None


@pytest.mark.parametrize("options", [{"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}, {"xmp": b"<x:xmpmeta/>"}], ids=str)
def test_what_may_hold_an_orientation_is_left_to_pillow(options: dict[str, bytes]) -> None:
    assert plain_size_hw(jpeg(**options)) is None


PLAIN = jpeg()
SCAN = PLAIN.index(b"\xff\xda")


def test_a_header_that_is_cut_off_says_nothing() -> None:
    assert {plain_size_hw(PLAIN[:length]) for length in range(SCAN)} == {None}
    assert plain_size_hw(PLAIN[: SCAN + 20]) == (20, 30)


@given(st.integers(0, 8 * SCAN - 1), st.integers(0, 8 * SCAN - 1))
def test_a_damaged_header_says_what_pillow_reads_in_it(one: int, other: int) -> None:
    damaged = bytearray(PLAIN)
    damaged[one // 8] ^= 1 << one % 8
    damaged[other // 8] ^= 1 << other % 8
    found, expected = plain_size_hw(bytes(damaged)), pillow_size_hw(bytes(damaged))
    assert found is None or expected in (None, found)


@pytest.mark.parametrize("data", [b"", b"\xff", b"\xff\xd8", b"\xff\xd8" + bytes(40), b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_what_is_no_jpeg_says_nothing(data: bytes) -> None:
    assert plain_size_hw(data) is None
