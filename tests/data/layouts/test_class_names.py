"""Names and colours of classes in the files that lie beside other people's data."""

from __future__ import annotations

import pytest

from annoloop.data.layouts.class_names import read_names
from annoloop.errors import DataError


@pytest.mark.parametrize(
    ("file", "text", "names"),
    [
        ("meta.json", '{"classes": ["a", "b"]}', ("a", "b")),
        ("dataset.json", '{"labels": {"background": 0, "b": 2, "a": 1}}', ("background", "a", "b")),
        ("dataset.json", '{"labels": {"0": "background", "1": "a"}}', ("background", "a")),
        ("_classes.csv", "Pixel Value, Class\n0, background\n1, cat\n", ("background", "cat")),
        ("labelmap.txt", "# label:color_rgb:parts:actions\ncat:250,50,83::\ndog:1,2,3::\n", ("cat", "dog")),
        ("codes.txt", "Animal\nArchway\n\n", ("Animal", "Archway")),
        ("classes.txt", "\ufeffroad\r\nmy car\r\n", ("road", "my car")),
        ("classes.txt", "0: road\n2: car\n", ("road", "class_1", "car")),
        ("classes.txt", "road 128 64 128\ncar 0 0 142\n", ("road", "car")),
        ("class_dict.csv", "name,r,g,b\nroad,128,64,128\ncar,0,0,142\n", ("road", "car")),
        ("classes.json", '["a", {"name": "b"}]', ("a", {"name": "b"})),
        ("id2label.json", '{"0": "a", "1": "b"}', ("a", "b")),
        ("classes.txt", "a\na\nignore\n", ("a", "a_1", "ignore_class")),
    ],
)
def test_the_names_are_read_in_index_order(file: str, text: str, names: tuple[object, ...]) -> None:
    told = read_names(file, text)
    assert told is not None
    assert told.names == tuple(one["name"] if isinstance(one, dict) else one for one in names)


def test_a_list_that_begins_with_1_says_so() -> None:
    told = read_names("objectInfo150.txt", "Idx\tRatio\tName\n1\t0.1\twall, x\n2\t0.1\tbuilding;edifice\n")
    assert told is not None
    assert (told.names, told.first) == (("wall", "building"), 1)


@pytest.mark.parametrize(
    ("file", "text", "colors"),
    [
        ("meta.json", '{"classes": ["a"], "palette": [[1, 2, 3]]}', ("#010203",)),
        ("labelmap.txt", "cat:250,50,83::\nignore:9,9,9::\n", ("#fa3253",)),
        ("class_dict.csv", "name,r,g,b\nroad,128,64,128\n", ("#804080",)),
        ("classes.txt", "road 128 64 128\n", ("#804080",)),
        ("config.json", '{"labels": [{"name": "x", "readable": "Bird", "color": [165, 42, 42]}]}', ("#a52a2a",)),
    ],
)
def test_the_colours_are_read(file: str, text: str, colors: tuple[str, ...]) -> None:
    told = read_names(file, text)
    assert told is not None
    assert told.colors == colors


def test_several_channels_are_said() -> None:
    told = read_names("dataset.json", '{"labels": {"a": 0}, "channel_names": {"0": "T1", "1": "T2"}}')
    assert told is not None
    assert "2 channels" in told.notes[0]


@pytest.mark.parametrize(
    ("file", "text"), [("meta.json", "{"), ("labelmap.txt", "cat:red::"), ("classes.json", "[1, {}]")]
)
def test_what_is_no_list_of_classes_is_named(file: str, text: str) -> None:
    with pytest.raises(DataError, match="cannot be read") as caught:
        read_names(file, text)
    assert caught.value.where == file


def test_other_files_tell_nothing() -> None:
    assert read_names("notes.txt", "a\nb\n") is None
    assert read_names("dataset.json", '{"images": []}') is None
