"""Masks that cannot be used as they are: why, and the command that makes index masks of them.

Refusals and words for ``start.py``; not here: the conversion (``colors.py``).  The fact to know: index masks go
into a folder beside that of the masks, with ``-index`` behind its name.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

from annoloop.data.folders import Folder
from annoloop.data.layouts.discovery import Choice
from annoloop.data.layouts.file_kinds import highest_value
from annoloop.data.mask_formats import JPEG_SUFFIXES, MASK_SUFFIXES
from annoloop.errors import DataError
from annoloop.masks.classes import NARROW_IGNORE


def refuse_unusable(
    files: Folder, choice: Choice, values: Mapping[int, int], section: Mapping[str, Any], named: int
) -> None:
    """Raise for masks that cannot be read as class indices, or not be written as what they are.

    Numbers beyond 8 bits are class indices where as many classes are ``named``, or where it is said what they mean;
    without that they may as well be instances or depth.
    """
    mask_set = choice.paired.pairing.mask_set
    suffix = PurePosixPath(mask_set).suffix.lower()
    where = files.at(next(iter(sorted(choice.pairs.values()))))
    highest = _highest(files, choice) if choice.kind == "wide" and not values else 0
    if highest >= max(named, NARROW_IGNORE):
        told = f"{named} classes are named" if named else "no file names that many classes"
        raise DataError(
            f"masks hold numbers up to {highest}, which 8 bits cannot: instances, depth, or more than 255 classes;"
            f" {told} ({mask_set})",
            where=where,
            hint="if they are classes, name all of them: classes.txt beside the data, a name a line, or --classes; or"
            " say which numbers are classes: --values 1000=1,2000=2; --masks takes another set, if there is one",
        )
    if (suffix in JPEG_SUFFIXES or choice.kind == "lossy") and not values:
        raise DataError(
            f"masks are JPEGs, which are lossy: their pixels lie about 0 and 255, or other levels, not at them"
            f" ({mask_set})",
            where=where,
            hint=f"annoloop init {shlex.quote(str(files.path))} --values 255=1 takes the nearest of 0 and 255, and"
            " makes white class 1",
        )
    if suffix not in (*MASK_SUFFIXES, *JPEG_SUFFIXES):
        raise DataError(
            f"masks are {suffix} files, which cannot be written with every pixel as it is ({mask_set})",
            where=where,
            hint=f"{conversion(files, section)} makes PNG masks beside them; then annoloop init again",
        )


def _highest(files: Folder, choice: Choice) -> int:
    names = sorted(choice.pairs.values())
    return max(highest_value(files.at(name)) for name in names[:: max(1, len(names) // 20)])


def refuse_colours(files: Folder, choice: Choice, section: Mapping[str, Any]) -> None:
    """Raise for masks in colours of which no file tells what they mean.

    Raises:
        DataError: says what tells it.
    """
    raise DataError(
        f"masks are colours ({choice.paired.pairing.mask_set}), and no file tells which class has which",
        where=files.at(min(choice.pairs.values())),
        hint=f"{conversion(files, section)} lists the colours; with labelmap.txt beside them (lines like"
        " cat:250,50,83::), or with --classes and --palette, it makes index masks",
    )


def index_section(section: Mapping[str, Any]) -> dict[str, Any]:
    """The section ``data`` with the folders and names that the index masks will have."""
    suffix = _each(section["mask_suffix"], _as_png)
    return {**section, "mask_dir": _each(section["mask_dir"], _beside), "mask_suffix": suffix}


def _as_png(suffix: str) -> str:
    return suffix[: len(suffix) - len(PurePosixPath(f"x{suffix}").suffix)] + ".png"


def conversion(files: Folder, section: Mapping[str, Any]) -> str:
    """The commands that convert the folders of masks."""
    folders, suffixes = (_listed(section[key]) for key in ("mask_dir", "mask_suffix"))
    suffix = suffixes[0]
    own = "" if suffix.count(".") == 1 and suffix.startswith(".") else f" --suffix {shlex.quote(suffix)}"
    return "; ".join(
        f"annoloop convert from-colors {shlex.quote(str(files.path if one == '.' else files.at(one)))}{own}"
        for one in folders
    )


def _listed(value: Any) -> list[str]:
    return sorted(set(value.values())) if isinstance(value, Mapping) else [value]


def _each(value: Any, change: Callable[[str], str]) -> Any:
    return {key: change(one) for key, one in value.items()} if isinstance(value, Mapping) else change(value)


def _beside(name: str) -> str:
    return f"{name}-index" if name != "." else "index"
