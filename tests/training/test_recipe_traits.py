"""What a recipe's text tells without being run: of all shipped ones, and of a user's."""

from __future__ import annotations

from pathlib import Path

import pytest

from annoloop.training.recipe_traits import RecipeTraits, recipe_traits
from annoloop.training.recipes import shipped_recipes


@pytest.mark.parametrize("name", shipped_recipes())
def test_the_shipped_recipes_have_both(name: str) -> None:
    traits = recipe_traits(shipped_recipes()[name])
    assert traits.crops_foreground
    assert 0 < traits.class_weight_power <= 0.5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model = dict(type='X')", RecipeTraits(0.5, False, False)),
        ("_base_ = './x.py'", RecipeTraits(0.5, False, None)),
        ("annoloop = dict(class_weight_power=1 / 4)", RecipeTraits(0.25, False, False)),
        ("a = dict(class_weight=[1.0, 2.0])\np = [dict(type='ForegroundCrop')]", RecipeTraits(0.5, True, True)),
        ("power = 0.3\nannoloop = dict(class_weight_power=power)", RecipeTraits(0.3, False, False)),
        ("a = dict(class_weight=None)", RecipeTraits(0.5, False, False)),
        ("a = dict(", RecipeTraits()),
        ("raise SystemExit('never run')", RecipeTraits(0.5, False, False)),
    ],
)
def test_a_users_recipe(tmp_path: Path, text: str, expected: RecipeTraits) -> None:
    path = tmp_path / "own.py"
    path.write_text(text)
    assert recipe_traits(path) == expected


def test_a_recipe_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    assert recipe_traits(tmp_path / "none.py") == RecipeTraits()
