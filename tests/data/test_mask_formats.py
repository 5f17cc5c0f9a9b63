"""Masks that are no plain PNG: read where they mean one thing, and written as what they are."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, TiffImagePlugin

from annoloop.data.config import DataConfig
from annoloop.data.images import IndexImage, decode_index_png, encode_index_png
from annoloop.data.mask_formats import form_of
from annoloop.data.mmseg_folders import to_label_map, to_stored
from annoloop.errors import ColourMaskError, DataError

MASKS = hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)))
MAGIC = {"PNG": b"\x89PNG", "TIFF": b"II*\0", "BMP": b"BM"}


def _file(values: np.ndarray, kind: str, mode: str, **how: Any) -> bytes:
    wide = values.astype(np.uint16) if mode == "I;16" else values
    image = Image.fromarray(wide)
    stream = io.BytesIO()
    (image if mode in ("L", "I;16") else image.convert(mode)).save(stream, kind, **how)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "LA"), ("PNG", "I;16"), ("TIFF", "L"), ("TIFF", "RGB"),
        ("TIFF", "I;16"), ("BMP", "L"), ("BMP", "RGB"),
    ],
)  # fmt: skip
@given(before=MASKS, draw=st.data())
def test_a_mask_is_written_back_in_its_own_form(kind: str, mode: str, before: np.ndarray, draw: st.DataObject) -> None:
    read = decode_index_png(_file(before, kind, mode), "mask")
    assert np.array_equal(read.values, before)
    after = draw.draw(hnp.arrays(np.uint8, before.shape))
    written = encode_index_png(IndexImage(after, read.palette, read.form))
    assert written.startswith(MAGIC[kind])
    with Image.open(io.BytesIO(written)) as image:
        assert image.mode == mode
    assert np.array_equal(decode_index_png(written, "mask").values, after)


@pytest.mark.parametrize("kind", ["TIFF", "BMP"])
@given(values=MASKS)
def test_a_palette_stays(kind: str, values: np.ndarray) -> None:
    image = Image.fromarray(values)
    image.putpalette(bytes(range(256)) * 3)
    stream = io.BytesIO()
    image.save(stream, kind)
    read = decode_index_png(stream.getvalue(), "mask")
    again = decode_index_png(encode_index_png(read), "mask")
    assert np.array_equal(read.values, values)
    assert np.array_equal(again.values, values)
    assert again.palette == read.palette


def test_a_geotiff_keeps_its_place_and_its_compression() -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[33550] = (0.5, 0.5, 0.0)
    tags.tagtype[33550] = 12
    tags[34737] = "WGS 84|"
    data = _file(np.arange(12, dtype=np.uint8).reshape(3, 4), "TIFF", "L", tiffinfo=tags, compression="tiff_deflate")
    read = decode_index_png(data, "mask")
    with Image.open(io.BytesIO(encode_index_png(read))) as image:
        assert image.tag_v2[33550] == (0.5, 0.5, 0.0)
        assert image.tag_v2[34737] == "WGS 84|"
        assert image.info["compression"] == "tiff_adobe_deflate"


def test_a_tiff_of_two_pages_is_no_mask() -> None:
    page, stream = Image.new("L", (3, 2)), io.BytesIO()
    page.save(stream, "TIFF", save_all=True, append_images=[page])
    with pytest.raises(DataError, match="holds 2 pages"):
        decode_index_png(stream.getvalue(), "mask.tif")


def test_numbers_beyond_8_bits_are_named() -> None:
    read = decode_index_png(_wide(900), "mask.png")
    assert read.values.dtype == np.uint16
    with pytest.raises(ColourMaskError, match="numbers up to 900") as caught:
        to_label_map(read, DataConfig(root=".", splits={"train": "."}), "mask.png")
    assert "ignore_index: 65535" in (caught.value.hint or "")


def test_numbers_beyond_16_bits_are_no_classes() -> None:
    stream = io.BytesIO()
    Image.fromarray(np.full((2, 3), 70_000, np.int32)).save(stream, "TIFF")
    with pytest.raises(ColourMaskError, match="numbers up to 70000"):
        decode_index_png(stream.getvalue(), "mask.tif")


def _wide(value: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((2, 3), value, np.uint16)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("suffix", "kind"), [(".tif", "TIFF"), ("_mask.TIFF", "TIFF"), (".bmp", "BMP"), (".PNG", "PNG")]
)
def test_a_new_mask_is_of_the_format_that_its_name_says(suffix: str, kind: str) -> None:
    assert form_of(suffix).kind == kind
    data = DataConfig(root=".", splits={"train": "."}, mask_suffix=suffix)
    label_map = np.array([[0, 1], [2, 255]], np.uint8)
    written = encode_index_png(to_stored(label_map, data, None))
    assert written.startswith(MAGIC[kind])
    assert np.array_equal(decode_index_png(written, "mask").values, label_map)
