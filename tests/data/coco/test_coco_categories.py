"""The categories of COCO files as classes, whatever tool wrote them."""

from __future__ import annotations

import doctest
from typing import Any

import pytest

from annoloop.data.coco import categories
from annoloop.data.coco.categories import Matched, match_categories, used_ids
from annoloop.data.remarks import Remarks
from annoloop.errors import DataError
from annoloop.masks.classes import ClassTable, class_table

PROJECT = class_table(["background", "disc", "block"], background="background")


def _match(
    *categories: Any, used: tuple[Any, ...] = (), classes: ClassTable | None = None, **more: Any
) -> tuple[Matched, tuple[str, ...]]:
    remarks = Remarks()
    document = {"categories": list(categories), **more}
    ids = used_ids([{"category_id": one} for one in used])
    return match_categories(document, ids, "coco.json", remarks, classes), remarks.notes()


def test_foreign_categories_come_in_order_of_their_ids_below_a_background() -> None:
    matched, notes = _match({"id": 8, "name": "tree"}, {"id": "3", "name": "car"}, {"id": "x", "name": "hut"})
    assert matched.classes.names == ("background", "car", "tree", "hut")
    assert matched.index_of == {3: 1, 8: 2, "x": 3}
    assert notes == ()


@pytest.mark.parametrize("name", ["Background", "_background_", "BG", "void"])
def test_a_category_that_is_called_background_is_the_background(name: str) -> None:
    matched, _ = _match({"id": 0, "name": name}, {"id": 1, "name": "disc"})
    assert (matched.classes.names, matched.classes.background) == ((name, "disc"), name)
    matched, _ = _match({"id": 0, "name": name}, {"id": 1, "name": "disc"}, used=(0, 1), classes=PROJECT)
    assert matched.index_of == {0: 0, 1: 1}


ROOT = [{"id": 0, "name": "parts", "supercategory": "none"}, {"id": 1, "name": "disc", "supercategory": "parts"}]


def test_a_category_that_only_groups_others_is_no_class() -> None:
    for classes in (None, PROJECT):
        matched, notes = _match(*ROOT, used=(1,), classes=classes)
        assert matched.classes.index_of("disc") == matched.index_of[1] == 1
        assert notes == ("1 categories that only group others, left out: parts",)


def test_a_group_that_annotations_have_and_one_of_itself_are_classes() -> None:
    assert _match(*ROOT, used=(0,))[0].classes.names == ("background", "parts", "disc")
    alone = {"id": 1, "name": "disc", "supercategory": "disc"}
    assert _match(alone)[0].classes.names == ("background", "disc")
    with_parts = class_table(["background", "parts", "disc"], background="background")
    assert _match(*ROOT, used=(1,), classes=with_parts)[0].index_of == {0: 1, 1: 2}


def test_a_category_called_ignore_is_the_ignore_index() -> None:
    matched, _ = _match({"id": 1, "name": "disc"}, {"id": 2, "name": "Ignore"})
    assert (matched.classes.names, matched.index_of) == (("background", "disc"), {1: 1, 2: 255})


def test_a_class_of_a_project_is_found_in_another_case_and_one_that_is_not_used_is_told() -> None:
    matched, notes = _match({"id": 1, "name": "Disc"}, {"id": 2, "name": "crack"}, used=(1,), classes=PROJECT)
    assert matched.index_of == {1: 1}
    assert notes == ("1 categories that are no class and that no annotation has, left out: crack",)


def test_all_categories_that_are_no_class_are_told_at_once() -> None:
    with pytest.raises(DataError) as caught:
        _match({"id": 1, "name": "blok"}, {"id": 2, "name": "crack"}, used=(1, 2), classes=PROJECT)
    assert "category 'blok' is no class; did you mean 'block'?" in caught.value.message
    assert "category 'crack' is no class" in caught.value.message
    assert caught.value.where == "coco.json"
    assert str(caught.value.hint).startswith("the classes are: background, disc, block; --own-classes")


def test_one_id_of_two_categories_refuses_the_file_and_one_name_of_two_ids_is_one_class() -> None:
    with pytest.raises(DataError, match="categories 'a' and 'b' have the same id 1"):
        _match({"id": 1, "name": "a"}, {"id": "1", "name": "b"})
    matched, _ = _match({"id": 1, "name": "a"}, {"id": 2, "name": "a"})
    assert matched.index_of == {1: 1, 2: 1}


@pytest.mark.parametrize("entry", [7, {"name": "car"}, {"id": 1}, {"id": 1, "name": ["car"]}, {"id": 1, "name": "\0"}])
def test_a_bad_category_is_left_out_and_told(entry: Any) -> None:
    matched, notes = _match({"id": 3, "name": "disc"}, entry)
    assert matched.index_of == {3: 1}
    assert notes[0].startswith("1 categories without an id or a name, left out: categories[1]")


def test_colours_are_taken_where_they_can_be_read() -> None:
    given = [[230, 25, 75], "#3CB44B", "rgb(0, 0, 255)", 7, None]
    named = [{"id": i, "name": f"c{i}", "color": color} for i, color in enumerate(given, 1)]
    classes = _match(*named)[0].classes.classes
    assert [one.color for one in classes[1:4]] == ["#e6194b", "#3cb44b", "#0000ff"]


def test_the_examples_in_the_docstrings_are_true() -> None:
    assert doctest.testmod(categories).failed == 0
