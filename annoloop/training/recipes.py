"""Where recipes lie: those that come with annoloop, by name, and the user's own, by path.

Not here: what becomes of one (``mmseg/recipe.py``).
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from annoloop.errors import ConfigError, meant


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
        hint=f"one of {names}, or the path of an mmseg config",
    )
