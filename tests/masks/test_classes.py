"""The class contract: order, names, colours, ignore and background, and the digest that guards them (law 6)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annoloop.cvat.wire import class_labels
from annoloop.errors import ConfigError
from annoloop.masks.classes import IGNORE_LABEL, ClassTable, LabelClass, class_table, default_color

ROAD = class_table(["background", "car", "tree"], ["#000000", "#FF0080"], background="background")


def test_indices_names_and_colours_in_order() -> None:
    assert len(ROAD) == 3
    assert ROAD.names == ("background", "car", "tree")
    assert ROAD.classes[1].rgb == (255, 0, 128)
    assert ROAD.classes[2].color == default_color(2)


def test_background_is_what_no_shape_covers() -> None:
    assert ROAD.background_index == ROAD.fill_index == 0
    assert ROAD.drawn_indices == (1, 2, 255)


def test_without_background_class_0_is_drawn_and_the_rest_is_ignored() -> None:
    table = class_table(["road", "car"])
    assert table.background_index is None
    assert table.fill_index == 255
    assert table.drawn_indices == (0, 1, 255)


@pytest.mark.parametrize("background", [None, "background", "tree"])
def test_label_of_and_index_of_are_inverse(background: str | None) -> None:
    table = class_table(["background", "car", "tree"], ignore_index=200, background=background)
    for index in (*range(3), 200):
        assert table.index_of(table.label_of(index)) == index
    assert table.label_of(200) == IGNORE_LABEL


def test_an_unknown_label_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="bicycle"):
        ROAD.index_of("bicycle")


@pytest.mark.parametrize(
    "other",
    [
        class_table(["background", "tree", "car"], ["#000000", "#FF0080"], background="background"),
        class_table(["background", "car", "bush"], ["#000000", "#FF0080"], background="background"),
        class_table(["background", "car", "tree"], ["#000000", "#FF0081"], background="background"),
        class_table(["background", "car", "tree"], ["#000000", "#FF0080"]),
        class_table(["background", "car", "tree"], ["#000000", "#FF0080"], background="car"),
        class_table(["background", "car", "tree"], ["#000000", "#FF0080"], ignore_index=254, background="background"),
        class_table(["background", "car", "tree", "x"], ["#000000", "#FF0080"], background="background"),
    ],
    ids=["order", "name", "colour", "no background", "other background", "ignore index", "one more"],
)
def test_any_change_of_the_contract_changes_the_digest(other: ClassTable) -> None:
    assert other.digest != ROAD.digest


def test_the_digest_is_stable_and_blind_to_the_case_of_colours() -> None:
    lower = class_table(["background", "car", "tree"], ["#000000", "#ff0080"], background="background")
    assert lower.digest == ROAD.digest
    # Digests lie in ledgers: another value for the same contract would orphan every open task.
    assert class_table(["a"], ["#010203"]).digest.startswith("8c3d13f21bbe9783")


@pytest.mark.parametrize(
    ("names", "colors", "details", "where", "message"),
    [
        ([], [], {}, "classes", "between 1 and 65535 classes"),
        ([f"c{i}" for i in range(256)], [], {}, "ignore_index", "65535 for masks of 16 bits"),
        (["a", "b", "a"], [], {}, "classes", "repeated: a"),
        (["a", "ignore"], [], {}, "classes", "'ignore' is the name of the ignore index"),
        (["a"], [], {"background": "b"}, "background", "no class is named 'b'"),
        (["a", "b"], [], {"ignore_index": 1}, "ignore_index", "must lie in 2 ... 65535"),
        (["a"], [], {"ignore_index": 65_536}, "ignore_index", "must lie in 1 ... 65535"),
        (["a"], ["red"], {}, "classes.a.color", "'red' is not a colour"),
        (["a"], ["#12345"], {}, "classes.a.color", "'#12345' is not a colour"),
        (["a"], ["#12345g"], {}, "classes.a.color", "'#12345g' is not a colour"),
    ],
)
def test_a_table_that_cannot_be_is_refused_with_its_key(
    names: list[str], colors: list[str], details: dict[str, object], where: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message.replace("...", r"\.\.\.")) as caught:
        class_table(names, colors, **details)  # type: ignore[arg-type]
    assert caught.value.where == where


def test_indices_out_of_order_are_refused() -> None:
    with pytest.raises(ConfigError, match="in order"):
        ClassTable((LabelClass(1, "a", "#112233"), LabelClass(0, "b", "#112233")))


def test_255_classes_fit_below_the_ignore_index() -> None:
    assert class_table(f"c{i}" for i in range(255)).drawn_indices[-2:] == (254, 255)


def test_default_colours_differ_and_none_is_black() -> None:
    colors = [default_color(i) for i in range(255)]
    assert len(set(colors)) == 255
    assert "#000000" not in colors


@given(st.integers(0, 10**6))
def test_default_colours_are_colours(index: int) -> None:
    assert class_table(["a"], [default_color(index)]).classes[0].color == default_color(index)


def test_no_cvat_label_is_black() -> None:
    table = class_table(["black", "white"], ["#000000", "#ffffff"])
    specs = {spec.name: spec.color for spec in class_labels(table)}
    assert set(specs) == {"black", "white", IGNORE_LABEL}
    assert "#000000" not in specs.values()
