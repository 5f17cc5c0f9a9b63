"""What a recipe does against a large background, as far as its text tells without mmseg: class weights, and crops.

Read, never run: a recipe is code, and a report must not run it.  The fact to know: what stands in a config that a
recipe is based on is not seen here, so where nothing is found it is not known.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

CLASS_WEIGHT_POWER = 0.5
"""Where a recipe says nothing: class weights are the square root of inverse frequency."""

_CROP = "ForegroundCrop"


@dataclass(frozen=True, slots=True)
class RecipeTraits:
    """How steep class weights are (a power of inverse frequency), and whether crops are drawn around foreground.

    None: the recipe's text does not say.
    """

    class_weight_power: float = CLASS_WEIGHT_POWER
    has_own_weights: bool = False
    crops_foreground: bool | None = None


def recipe_traits(recipe: Path) -> RecipeTraits:
    """The traits of an mmseg config; those of one that says nothing where it cannot be read."""
    try:
        tree = ast.parse(recipe.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return RecipeTraits()
    named = {one.targets[0].id: one.value for one in tree.body
             if isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name)}  # fmt: skip
    power, crops, weights = CLASS_WEIGHT_POWER, False, False
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "class_weight_power":
            value = node.value
            power = _number(named.get(value.id, value) if isinstance(value, ast.Name) else value, power)
        if isinstance(node, ast.keyword) and node.arg == "class_weight":
            weights |= not (isinstance(node.value, ast.Constant) and node.value.value is None)
        crops |= isinstance(node, ast.Constant) and node.value == _CROP
    return RecipeTraits(power, weights, crops or (None if "_base_" in named else False))


def _number(node: ast.expr, otherwise: float) -> float:
    """A number that is written out, or a fraction of two."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        below = _number(node.right, 0.0)
        return _number(node.left, otherwise) / below if below else otherwise
    return otherwise
