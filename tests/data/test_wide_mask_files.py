"""Masks of 16 bits as files: written and read exactly, kept in their form, and refused where 8 bits are expected."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from annoloop.data.config import Config, DataConfig, load, render
from annoloop.data.images import IndexImage, decode_index_png, encode_index_png
from annoloop.data.mask_formats import form_of
from annoloop.data.mmseg_folders import check_label_map, decode_label_map, to_label_map, to_stored
from annoloop.data.stored_values import WIDE, stored_values, unnamed
from annoloop.errors import ColourMaskError, ConfigError, DataError
from annoloop.masks.classes import WIDE_IGNORE, class_table
from annoloop.masks.regions import LabelMap

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))
MASKS = hnp.arrays(np.uint16, SHAPES, elements=st.integers(0, 65_535))
VALUES = st.dictionaries(st.integers(0, 65_535), st.sampled_from([0, 1, 255, 299, WIDE_IGNORE]), min_size=1, max_size=9)


def _data(suffix: str = ".png", **details: object) -> DataConfig:
    section = {"root": ".", "splits": {"train": "."}, "mask_suffix": suffix, **details}
    return DataConfig(**section).for_ignore_index(WIDE_IGNORE)  # type: ignore[arg-type]


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".tif", b"II*\0")])
@given(label_map=MASKS)
def test_a_new_mask_is_written_and_read_exactly(suffix: str, magic: bytes, label_map: LabelMap) -> None:
    data = _data(suffix)
    file = encode_index_png(to_stored(label_map, data, None))
    assert file.startswith(magic)
    with Image.open(io.BytesIO(file)) as image:
        assert image.mode == "I;16"
    read = decode_label_map(file, data, "mask")
    assert read.dtype == np.uint16
    assert np.array_equal(read, label_map)


@given(MASKS, st.data())
def test_what_nobody_changed_keeps_its_bytes(before: LabelMap, draw: st.DataObject) -> None:
    data = _data()
    stored = decode_index_png(encode_index_png(IndexImage(before, form=form_of(".png", is_wide=True))), "mask")
    label_map = to_label_map(stored, data)
    assert to_stored(label_map, data, stored) is stored
    after = draw.draw(hnp.arrays(np.uint16, before.shape, elements=st.integers(0, 65_535)))
    written = encode_index_png(to_stored(after, data, stored))
    with Image.open(io.BytesIO(written)) as image:
        assert image.mode == "I;16"
    assert np.array_equal(decode_label_map(written, data, "mask"), after)


@given(VALUES, MASKS)
def test_every_wide_class_that_can_be_stored_is_read_again(values: dict[int, int], stored: LabelMap) -> None:
    rule = stored_values(tuple(values.items()), False, False, WIDE)
    assert rule is not None
    kept = rule.storable.copy()
    kept[unnamed(WIDE)] = False
    labels = np.flatnonzero(kept)
    assert np.array_equal(rule.labels[rule.stored[labels]], labels)
    data = _data(values=values)
    before = IndexImage(stored)
    label_map = to_label_map(before, data)
    assert np.array_equal(to_stored(label_map, data, before).values, stored)


def test_an_8_bit_mask_becomes_one_of_16_only_where_it_has_to() -> None:
    data = _data()
    image = Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8))
    image.putpalette(bytes(range(12)))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    before = decode_index_png(stream.getvalue(), "mask")
    few = np.array([[0, 1], [2, 4]], np.uint16)
    kept = to_stored(few, data, before)
    assert kept.values.dtype == np.uint8
    assert kept.palette == before.palette
    many = np.array([[0, 1], [2, 300]], np.uint16)
    widened = decode_index_png(encode_index_png(to_stored(many, data, before)), "mask")
    assert widened.form.mode == "I;16"
    assert np.array_equal(widened.values, many)


def test_numbers_beyond_8_bits_are_refused_where_classes_have_8() -> None:
    file = encode_index_png(IndexImage(np.array([[0, 300]], np.uint16)))
    narrow = DataConfig(root=Path(), splits={"train": "."})
    with pytest.raises(ColourMaskError, match="numbers up to 300") as caught:
        decode_label_map(file, narrow, "mask.png")
    assert "ignore_index: 65535" in str(caught.value.hint)
    assert caught.value.where == "mask.png"


def test_an_unknown_wide_index_is_named() -> None:
    table = class_table([f"c{i}" for i in range(300)], ignore_index=WIDE_IGNORE)
    with pytest.raises(DataError, match=r"301 \(1 px\); classes are 0 … 299, ignore 65535"):
        check_label_map(np.array([[299, 301, WIDE_IGNORE]], np.uint16), (1, 3), table, "mask")


def test_a_bmp_cannot_hold_16_bits() -> None:
    with pytest.raises(DataError, match="does not fit into a BMP mask"):
        encode_index_png(to_stored(np.array([[300]], np.uint16), _data(".bmp"), None))


def _config(**details: object) -> Config:
    section = {"root": ".", "splits": {"train": "."}, **details.pop("data", {})}  # type: ignore[dict-item]
    return Config(project="p", data=section, **details)  # type: ignore[arg-type]


def test_the_file_says_how_wide_masks_are(tmp_path: Path) -> None:
    classes = [{"name": f"c{i}", "color": "#102030"} for i in range(300)]
    config = _config(classes=classes, ignore_index=WIDE_IGNORE, background="c0")
    assert config.data.is_wide
    file = tmp_path / "annoloop.yaml"
    file.write_text(render(config), encoding="utf-8")
    again = load(file)
    assert again.data.is_wide
    assert again.table().digest == config.table().digest
    assert not _config(classes=classes[:3]).data.is_wide


@pytest.mark.parametrize(
    ("details", "message"),
    [
        ({"ignore_index": 65_535, "data": {"mask_suffix": ".bmp"}}, "masks of 16 bits are PNG or TIFF, not BMP"),
        ({"ignore_index": 65_536}, "less than or equal to 65535"),
        ({"data": {"values": {300: 1}}}, "needs masks of 16 bits: ignore_index 65535"),
        ({"ignore_index": 65_535, "data": {"reduce_zero_label": True}}, "reduce_zero_label needs ignore_index 255"),
    ],
)
def test_what_cannot_be_wide_is_refused(tmp_path: Path, details: dict[str, object], message: str) -> None:
    classes = [{"name": "a", "color": "#102030"}, {"name": "b", "color": "#302010"}]
    with pytest.raises((ConfigError, ValueError), match=message):
        _config(classes=classes, **details)
