"""The annotation guide: every label, the rule for what is left uncovered, and a mark that it is ours."""

from __future__ import annotations

import pytest

from annoloop.cvat.guide import MARK, annotation_guide
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
    assert "| a\\|b | 1 | `#ff0000` |" in text
    assert "| scratch | 2 |" in text
    assert ("| background | 0 |" in text) == (background != "background")
    assert "| ignore | 255 |" in text
    assert "completed" in text
