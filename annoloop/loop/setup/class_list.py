"""The classes of a data set: as given, from a file beside the data, or made up; and whether 0 is one of them.

Not here: how such files are read (``data/layouts``).  The fact to know: a file nearer to the root goes before
one below, and a name that no file tells is made up and said to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from annoloop.data.coco.categories import BACKGROUND_NAMES
from annoloop.data.folders import Folder
from annoloop.data.images import read_bytes
from annoloop.data.layouts.class_names import Names, hex_color, is_known, rank, read_names
from annoloop.data.layouts.pairings import in_order
from annoloop.errors import ConfigError, DataError
from annoloop.masks.classes import MAX_CLASSES, MAX_WIDE_CLASSES, default_color

_MOST_BYTES = 1 << 22
_DEEPEST = 4


@dataclass(frozen=True, slots=True)
class ClassList:
    """Names in index order, their colours or None, and where they come from; ``source`` is empty where made up.

    ``first``: the number of the first class in its file, 0 or 1.
    """

    names: tuple[str, ...]
    colors: tuple[str | None, ...] = ()
    first: int = 0
    source: str = ""
    notes: tuple[str, ...] = ()


def told_classes(
    files: Folder, names: Sequence[str], given: Sequence[str], mask_set: str, most: int = MAX_CLASSES
) -> ClassList:
    """The classes that are given, or that the most telling file names; without names where there is none.

    Of files that name more classes than ``most``, which masks can hold, none is believed.

    Raises:
        DataError: meta.json, which is annoloop's own, cannot be read.
    """
    if given:
        found, _ = _from_files(files, names, mask_set, most)
        same = found is not None and found.names == tuple(given)
        return ClassList(tuple(given), found.colors if found is not None and same else (), source="--classes")
    found, notes = _from_files(files, names, mask_set, most)
    if found is None:
        return ClassList((), notes=notes)
    return replace(found, notes=(*notes, *found.notes))


def completed(told: ClassList, highest: int, palette: bytes | None) -> ClassList:
    """With names and colours for all values up to ``highest``, which are counted from 0 as the masks have them.

    A list of names that a person gave stays as it is; one that a file begins is continued.
    """
    names, notes = list(told.names), list(told.notes)
    count = highest + 1 - told.first
    if not names:
        names = ["background", *(f"class_{i}" for i in range(1, max(2, count)))]
    elif told.source != "--classes" and told.first and len(names) < count <= MAX_WIDE_CLASSES - 1:
        notes.append(f"{told.source} names {len(names)} of {count} classes: the others are class_{len(names) + 1}, …")
        names += [f"class_{i}" for i in range(len(names) + 1, count + 1)]
    colors = list(told.colors) + [None] * (len(names) - len(told.colors))
    if not any(colors) and palette is not None:
        colors = list(_of_palette(palette, len(names), told.first)) or colors
    return replace(told, names=tuple(names), colors=tuple(colors), notes=tuple(notes))


def chosen_colors(classes: ClassList, palette: Sequence[str]) -> list[str]:
    """A colour for each class.

    Raises:
        ConfigError: there are not as many as classes.
    """
    names = classes.names
    if palette:
        if len(palette) != len(names):
            raise ConfigError(f"{len(palette)} colours for {len(names)} classes", where="--palette")
        return list(palette)
    if not any(classes.colors):
        return ["#000000" if i == 0 else default_color(i - 1) for i in range(len(names))]
    given = list(classes.colors)
    if len(given) != len(names):
        raise ConfigError(f"{len(given)} colours for {len(names)} classes", where=classes.source or "--palette")
    return [color or default_color(i) for i, color in enumerate(given)]


def zero_is_no_class(classes: ClassList, real: Sequence[int]) -> str | None:
    """Why a stored 0 is no class and a stored 1 the first one, of the values in masks; None: nothing speaks for it."""
    if not classes.names or not real:
        return None
    count = len(classes.names)
    if classes.first:
        return f"{classes.source} begins with 1 ({classes.names[0]})"
    if 0 in real and max(real) == count and classes.names[0].lower() not in BACKGROUND_NAMES:
        return f"masks hold 0 … {count}, and the list has {count} names, from {classes.names[0]} on"
    return None


def _from_files(
    files: Folder, names: Sequence[str], mask_set: str, most: int
) -> tuple[ClassList | None, tuple[str, ...]]:
    notes: list[str] = []
    found: list[tuple[str, Names]] = []
    for name in _known(names, mask_set):
        try:
            told = read_names(name.rpartition("/")[2], _text(files, name))
        except DataError as error:
            if name == "meta.json":
                raise DataError(error.message, where=files.at(name)) from error
            notes.append(f"{name} tells no classes: {error.message}")
            continue
        if told is not None and len(told.names) <= most:
            found.append((name, told))
            break
    if not found:
        return None, tuple(notes)
    name, told = found[0]
    return ClassList(told.names, told.colors, told.first, name, told.notes), (*notes, f"classes from {name}")


def _known(names: Sequence[str], mask_set: str) -> list[str]:
    """Files that tell classes: the most telling first, of one version that of the masks, then the nearest."""
    known = [name for name in names if is_known(name.rpartition("/")[2]) and name.count("/") < _DEEPEST]

    def order(name: str) -> tuple[object, ...]:
        last = name.rpartition("/")[2]
        version = last.lower().removeprefix("config_").removesuffix(".json")
        of_masks = last.lower().startswith("config_") and version in mask_set.lower()
        return (not of_masks, rank(last), name.count("/"), name)

    return sorted(in_order(known), key=order)


def _text(files: Folder, name: str) -> str:
    path = files.at(name)
    try:
        data = read_bytes(path)
        if len(data) > _MOST_BYTES:
            raise DataError(f"{len(data)} bytes are too many for a list of classes", where=path)
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"cannot be read ({error})", where=path) from error


def _of_palette(palette: bytes, count: int, first: int) -> tuple[str, ...]:
    """The colours of a mask's palette, where each class has one of its own and they are no mere grey levels."""
    entries = [palette[3 * i : 3 * i + 3] for i in range(first, first + count)]
    told = all(len(entry) == 3 for entry in entries) and len(set(entries)) == count
    if not told or all(len(set(entry)) == 1 for entry in entries):
        return ()
    return tuple(hex_color(entry) for entry in entries)
