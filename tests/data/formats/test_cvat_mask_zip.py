"""CVAT's label map and colour masks: bit-identical with any table, and what is wrong with those of others."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from annoloop.data.formats.cvat_mask_zip import (
    Label,
    decode_mask,
    encode_mask,
    labels_of,
    mask_names,
    read_label_map_text,
    write_label_map,
)
from annoloop.errors import DataError
from annoloop.masks.classes import PREVIOUS, ClassTable, class_table
from annoloop.masks.regions import LabelMap

colors = st.sampled_from(["#000000", "#ffffff", "#e6194b", "#3cb44b"])
tables = st.builds(
    lambda names, given, background: class_table(names, given, background=background),
    st.just(["background", "bg", "disc"]),
    st.lists(colors, min_size=3, max_size=3),
    st.sampled_from([None, "background", "bg", "disc", PREVIOUS]),
)
maps = hnp.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 7)), elements=st.sampled_from([0, 1, 2, 255]))


@given(tables, maps)
def test_the_way_to_a_colour_mask_and_back_loses_nothing(classes: ClassTable, label_map: LabelMap) -> None:
    labels = labels_of(classes)
    told = read_label_map_text(write_label_map(labels.values()), "x")
    assert told == list(labels.values())
    assert len({label.rgb for label in told}) == 4
    numbers = decode_mask(encode_mask(label_map, labels), told, "x")
    assert np.array_equal(np.array(list(labels))[numbers], label_map)


def test_what_no_shape_covers_is_black_background() -> None:
    labels = labels_of(class_table(["bg", "disc"], ["#ffffff", "#000000"], background="bg"))
    assert labels[0] == Label("background", (0, 0, 0))
    assert labels[1].rgb != (0, 0, 0)
    assert labels[255] == Label("ignore", (255, 255, 255))
    assert labels_of(class_table(["road"]))[255] == Label("background", (0, 0, 0))


def test_a_name_that_the_format_cannot_hold_is_refused() -> None:
    with pytest.raises(DataError, match="cannot hold these names: 'a:b', '#c'"):
        labels_of(class_table(["a:b", "ok", "#c"]))


def test_a_label_map_is_read_as_people_have_it() -> None:
    text = (
        "\ufeff# label:color_rgb:parts:actions\r\nbackground:0,0,0::\r\nroad mark: 10, 20, 30\nbus:1,2,3:wheel,door:\n"
    )
    labels = read_label_map_text(text, "x")
    assert labels == [Label("background", (0, 0, 0)), Label("road mark", (10, 20, 30)), Label("bus", (1, 2, 3))]


def test_all_that_is_wrong_with_a_label_map_is_told_at_once() -> None:
    with pytest.raises(DataError) as caught:
        read_label_map_text("a:1,2,3::\nb:1,2,3::\nc::\nd:1,2,300::\n", "labelmap.txt")
    assert "line 2: 'b' has the same colour as 'a'" in caught.value.message
    assert "line 3 is no label" in caught.value.message
    assert "line 4 is no label" in caught.value.message
    with pytest.raises(DataError, match="no label in it"):
        read_label_map_text("# nothing\n", "labelmap.txt")


def _png(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    return stream.getvalue()


LABELS = [Label("background", (0, 0, 0)), Label("disc", (9, 8, 7))]


def test_grey_and_palette_masks_are_read() -> None:
    values = np.array([[0, 1]], np.uint8)
    assert decode_mask(_png(values), LABELS, "x").tolist() == [[0, 1]]
    image, stream = Image.fromarray(values), io.BytesIO()
    image.putpalette([9, 8, 7, 0, 0, 0])
    image.save(stream, "PNG")
    assert decode_mask(stream.getvalue(), LABELS, "x").tolist() == [[1, 0]]


def test_colours_that_are_no_label_are_named() -> None:
    with pytest.raises(DataError, match=r"1 colours that labelmap.txt does not have: \(1, 2, 3\) \(2 px\)"):
        decode_mask(_png(np.array([[[1, 2, 3], [1, 2, 3], [9, 8, 7]]], np.uint8)), LABELS, "x")
    smooth = np.stack([np.arange(10, 250, dtype=np.uint8)] * 3, axis=-1)[None]
    with pytest.raises(DataError, match=r"240 colours .* \(smoothed outlines\?\)"):
        decode_mask(_png(smooth), LABELS, "x")
    with pytest.raises(DataError, match="a grey mask with the value 2, but there are 2 labels"):
        decode_mask(_png(np.array([[2]], np.uint8)), LABELS, "x")
    with pytest.raises(DataError, match="cannot be read"):
        decode_mask(b"\x89PNG", LABELS, "x")


def test_a_zip_may_have_a_folder_around_it() -> None:
    names = ["x/labelmap.txt", "x/SegmentationClass/a/1.png", "x/SegmentationObject/a/1.png", "x/ImageSets/a.txt"]
    assert mask_names(names) == ("x/", {"a/1": "x/SegmentationClass/a/1.png"})
    with pytest.raises(DataError, match=r"no labelmap\.txt"):
        mask_names(["a.png"])
    with pytest.raises(DataError, match=r"no PNG in SegmentationClass/"):
        mask_names(["labelmap.txt"])
