"""The categories of a COCO file as classes: of its own, or matched by name with those of a project.

Not here: entries of images (``reading.py``).  The facts to know: a category that only groups others is no class,
one called background is what uncovered pixels are, and one called ignore is the ignore index; ours are read without
the keys that another tool has lost.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from annoloop.data.coco.json_values import Id, read_color, read_id, read_text, whole
from annoloop.data.coco.reading import is_ours, refuse
from annoloop.data.remarks import Remarks
from annoloop.errors import meant
from annoloop.masks.classes import (
    IGNORE_LABEL,
    MAX_CLASSES,
    NARROW_IGNORE,
    PREVIOUS,
    WIDE_IGNORE,
    ClassTable,
    class_table,
)

BACKGROUND_NAMES = ("background", "bg", "_background_", "__background__", "unlabeled", "unlabelled", "void")
"""What people call the class of pixels that are none of the others, in any case."""


@dataclass(frozen=True, slots=True)
class Category:
    """One category; ``color`` as ``#rrggbb`` or None, ``parent`` the name of what it is one of."""

    id: Id
    name: str
    parent: str
    color: str | None


@dataclass(frozen=True, slots=True)
class Matched:
    """The classes that masks are painted in, and the class index of every category id."""

    classes: ClassTable
    index_of: Mapping[Id, int]


def match_categories(
    document: Mapping[str, Any],
    used: Collection[Id],
    where: object,
    remarks: Remarks,
    classes: ClassTable | None = None,
    *,
    all_covered: bool = False,
) -> Matched:
    """The classes of a file, or of a project, for its categories.

    Args:
        used: the category ids that annotations have.
        classes: those of a project; None: the file's own.
        all_covered: every pixel belongs to a category, as in a panoptic file: no background is added.

    Raises:
        DataError: one id with two names, or annotations of categories that are no class; all of them at once.
        ConfigError: names that cannot be classes.
    """
    categories = _read(document, where, remarks)
    names = () if classes is None else classes.names
    if not is_ours(document):
        categories = _without_groups(categories, used, names, remarks)
    if classes is not None:
        return _matched(categories, used, classes, where, remarks)
    return _own(document, categories, used, all_covered)


def used_ids(annotations: Sequence[Any]) -> set[Id]:
    """The category ids that annotations or segments have."""
    try:
        told = {one.get("category_id") for one in annotations if isinstance(one, dict)}
    except TypeError:  # a list or an object is no id
        told = {read_id(one.get("category_id")) for one in annotations if isinstance(one, dict)}
    return {number for one in told if (number := read_id(one)) is not None}


def background_of(names: Sequence[str]) -> str | None:
    """The one of some names that means background, whatever its case; None for none.

    >>> background_of(["disc", "_Background_", "void"]), background_of(["disc"])
    ('_Background_', None)
    """
    called = [name for name in names if name.strip().lower() in BACKGROUND_NAMES]
    return min(called, key=lambda name: (name.strip().lower() != "background", names.index(name)), default=None)


def _read(document: Mapping[str, Any], where: object, remarks: Remarks) -> list[Category]:
    """The categories by id, whole numbers first."""
    found: dict[Id, Category] = {}
    faults = []
    for position, entry in enumerate(document["categories"]):
        number = read_id(entry.get("id")) if isinstance(entry, dict) else None
        name, why = read_text(entry.get("name")) if isinstance(entry, dict) else (None, "no object")
        if number is None or name is None:
            place = f"categories[{position}]: {'no id' if number is None else f'name: {why}'}"
            remarks.add("categories without an id or a name, left out", place, loss=True)
            continue
        one = Category(number, name, str(entry.get("supercategory") or ""), read_color(entry.get("color")))
        if found.setdefault(number, one).name != name:
            faults.append(f"categories {found[number].name!r} and {name!r} have the same id {number!r}")
    refuse(faults, where)
    return sorted(found.values(), key=lambda one: (isinstance(one.id, str), one.id))


def _without_groups(
    categories: list[Category], used: Collection[Id], wanted: Sequence[str], remarks: Remarks
) -> list[Category]:
    """Without those that only group others and that no annotation has, as Roboflow writes one."""
    parents = {one.parent for one in categories if one.parent != one.name}
    groups = [one for one in categories if one.name in parents and one.id not in used and one.name not in wanted]
    if len(groups) == len(categories):
        return categories
    for one in groups:
        remarks.add("categories that only group others, left out", one.name)
    return [one for one in categories if one not in groups]


def _matched(
    categories: Sequence[Category], used: Collection[Id], classes: ClassTable, where: object, remarks: Remarks
) -> Matched:
    index_of: dict[Id, int] = {}
    faults = []
    for one in categories:
        index = _class_index(one.name, classes)
        if index is not None:
            index_of[one.id] = index
        elif one.id in used:
            faults.append(f"category {one.name!r} is no class{meant(one.name, classes.names)}")
        else:
            remarks.add("categories that are no class and that no annotation has, left out", one.name)
    refuse(faults, where, f"the classes are: {', '.join(classes.names)}; --own-classes takes those of the file")
    return Matched(classes, index_of)


def _class_index(name: str, classes: ClassTable) -> int | None:
    """The class of that name, also in another case where only one is meant; None for none."""
    try:
        return classes.index_of(name)
    except KeyError:
        alike = [one.index for one in classes.classes if one.name.strip().lower() == name.strip().lower()]
    if len(alike) == 1:
        return alike[0]
    if name.strip().lower() == IGNORE_LABEL:
        return classes.ignore_index
    return classes.fill_index if background_of([name]) else None


def _own(
    document: Mapping[str, Any], categories: Sequence[Category], used: Collection[Id], all_covered: bool
) -> Matched:
    ignored = [one for one in categories if one.name.strip().lower() == IGNORE_LABEL]
    real = [one for one in categories if one not in ignored]
    names = list(dict.fromkeys(one.name for one in real))
    told = _told(document)
    ignore_index = told.get("ignore_index", _ignore_index(ignored, real))
    is_own = is_ours(document) or _looks_like_ours(ignored, real)
    if "background" in told:
        background = told["background"]
    else:
        background = background_of(names)
        drawn = background is not None and any(one.name == background and one.id in used for one in real)
        if is_own and drawn:
            background = None  # we draw it only where uncovered pixels are ignored
        if not is_own and background is None and not all_covered:
            background = "background"
            names = [background, *names]
    colors: dict[str, str | None] = {}
    for one in real:
        colors.setdefault(one.name, one.color)
    table = class_table(names, [colors.get(name) for name in names], ignore_index=ignore_index, background=background)
    index_of = {one.id: table.ignore_index if one in ignored else table.index_of(one.name) for one in categories}
    return Matched(table, index_of)


def _told(document: Mapping[str, Any]) -> dict[str, Any]:
    """What is left of ``info.annoloop`` and can be."""
    info = document.get("info")
    ours = info.get("annoloop") if isinstance(info, dict) else None
    if not isinstance(ours, dict):
        return {}
    told: dict[str, Any] = {}
    index = whole(ours.get("ignore_index"))
    if index is not None and 0 <= index <= WIDE_IGNORE:
        told["ignore_index"] = index
    names = [one.get("name") for one in document["categories"] if isinstance(one, dict)]
    if "background" in ours and ours["background"] in (None, PREVIOUS, *names):
        told["background"] = ours["background"]
    return told


def _looks_like_ours(ignored: Sequence[Category], real: Sequence[Category]) -> bool:
    """Whether the ids are class index + 1 and that of ignore is apart from them, as only we write them."""
    last = len(real)
    return (
        [one.id for one in real] == list(range(1, last + 1))
        and len(ignored) == 1
        and isinstance(ignored[0].id, int)
        and last + 1 < ignored[0].id <= _widest(last) + 1
    )


def _ignore_index(ignored: Sequence[Category], real: Sequence[Category]) -> int:
    return int(ignored[0].id) - 1 if _looks_like_ours(ignored, real) else _widest(len(real) + 1)


def _widest(count: int) -> int:
    """The ignore index of so many classes: that of 8-bit masks as long as they fit."""
    return NARROW_IGNORE if count <= MAX_CLASSES else WIDE_IGNORE
