"""The annotation guide: every label, the rule for what is left uncovered, and a mark that it is ours."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from annoloop.cvat.guide import (
    MARK,
    annotation_guide,
    colors_of,
    swatch_png,
    with_pictures,
    without_addresses,
)
from annoloop.masks.classes import class_table


@pytest.mark.parametrize(
    ("background", "rule"),
    [
        ("background", "are **background**: it has no label"),
        (None, "are ignored: draw every class"),
        ("previous", "keep the class that they had before"),
    ],
)
def test_labels_and_the_rule_for_uncovered_pixels(background: str | None, rule: str) -> None:
    text = annotation_guide(
        class_table(["background", "a|b", "scratch"], ["#000000", "#ff0000"], background=background)
    )
    assert text.startswith(MARK)
    assert rule in text
    assert "| a\\|b | 1 | ![#ff0000](swatch) `#ff0000` |" in text
    assert "| scratch | 2 |" in text
    assert ("| background | 0 |" in text) == (background != "background")
    assert "| ignore | 255 |" in text
    assert "completed" in text


def test_pictures_get_their_addresses_and_the_text_can_be_compared_without_them() -> None:
    text = annotation_guide(class_table(["a", "b"], ["#102030", "#ff0000"]))
    colors = colors_of(text)
    assert colors == ["#102030", "#ff0000", "#ffffff"]
    placed = with_pictures(text, {"#102030": "/api/assets/1", "#ff0000": "/api/assets/2"}.get)
    assert "![#102030](/api/assets/1)" in placed
    assert "![#ffffff]" not in placed
    assert "`#ffffff`" in placed, "in words it is always there"
    assert without_addresses(with_pictures(text, lambda color: f"/api/assets/{color[1:]}")) == text


def test_a_swatch_is_a_picture_of_its_colour() -> None:
    with Image.open(io.BytesIO(swatch_png("#102030"))) as picture:
        assert picture.convert("RGB").getcolors() == [(18 * 36, (0x10, 0x20, 0x30))]
