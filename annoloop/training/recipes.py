"""Where recipes lie, and what they need: those that come with annoloop, by name, and the user's own, by path.

Not here: what becomes of one (``mmseg/recipe.py``).  The fact to know: a recipe is code, so what it needs is read from
its text, and nothing of it is run here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

from annoloop.errors import ConfigError, DataError, MissingPackageError, meant
from annoloop.masks.classes import MAX_CLASSES

_PACKAGES = {"mmdet": "onedl-mmdetection", "mmpretrain": "onedl-mmpretrain"}
"""What recipes name as ``mmdet.X`` or import, and what brings it."""

_COMPILED = "mmcv._ext"
_NEED_COMPILED = ("CCHead", "PSAHead", "PointHead", "SideAdapterCLIPHead")
"""Parts of mmseg that do not work without mmcv's compiled operators."""


def shipped_recipes() -> dict[str, Path]:
    """The recipes that come with annoloop, by name."""
    folder = Path(str(resources.files("annoloop.configs")))
    return {path.stem: path for path in sorted(folder.glob("*.py")) if path.stem != "__init__"}


def recipe_path(name_or_path: str) -> Path:
    """The mmseg config file of a shipped recipe's name, or of the user's own path.

    Raises:
        ConfigError: neither a shipped recipe nor a file.
    """
    shipped = shipped_recipes()
    if name_or_path in shipped:
        return shipped[name_or_path]
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path.resolve()
    names = ", ".join(shipped)
    raise ConfigError(
        f"{name_or_path!r} is neither a shipped recipe nor a file{meant(name_or_path, shipped)}",
        where="train.recipe",
        hint=f"auto, one of {names}, or the path of an mmseg config",
    )


def check_class_count(recipe: Path, classes: int, where: object) -> None:
    """Say what cannot be trained with many classes before anything is begun.

    Raises:
        DataError: more than 255 classes, and a recipe that is not annoloop's own.
    """
    if classes > MAX_CLASSES and recipe not in shipped_recipes().values():
        raise DataError(
            f"{classes} classes cannot be trained with {recipe.name}: mmseg's own steps and losses take class 255 for"
            " ignored pixels",
            where=where,
            hint=f"one of annoloop's recipes, which do not ({', '.join(shipped_recipes())}), or auto; or merge classes"
            f" to {MAX_CLASSES} at most",
        )


def check_packages(recipe: Path) -> None:
    """Say what a recipe needs and is not there before anything is begun.

    Raises:
        MissingPackageError: it, or a config that it is based on, names a package that is not installed.
    """
    for word in _words(recipe, set()):
        package = word.split(".")[0]
        if package in _PACKAGES and find_spec(package) is None:
            raise MissingPackageError(package, f"pip install {_PACKAGES[package]}", where=recipe)
        if word in _NEED_COMPILED and (find_spec("mmcv") is None or find_spec(_COMPILED) is None):
            raise MissingPackageError(
                f"mmcv with compiled operators (for {word})",
                "build onedl-mmcv with MMCV_WITH_OPS=1, or take a recipe without this part",
                where=recipe,
            )


def _words(recipe: Path, seen: set[Path]) -> Iterator[str]:
    """All texts in a recipe and the configs below it; none of a file that is no Python: whoever runs it says so."""
    if recipe in seen or not recipe.is_file():
        return
    seen.add(recipe)
    try:
        tree = ast.parse(recipe.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
            if node.value.endswith(".py"):
                yield from _words((recipe.parent / node.value).resolve(), seen)
