"""Names and colours of classes from the files that lie beside other people's data.

Text in, names out; not here: where such files are looked for, and whether the masks fit (``loop/setup``).  The fact
to know: the place in a list is the index, unless the file numbers its classes; where it begins with 1, the value 0
is no class.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from annoloop.errors import DataError
from annoloop.masks.classes import MAX_CLASSES, NARROW_IGNORE, WIDE_IGNORE

Rgb = tuple[int, int, int]

_RESERVED = ("ignore", "previous")
_NUMBERED = re.compile(r"^\s*(\d+)\s*[:;,\t =]\s*(\D.*)$")
_COLOURED = re.compile(r"^(.*?)[\s,;:]+(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})\s*$")
_HEX = re.compile(r"^#?([0-9a-fA-F]{6})$")
_NAME_COLUMNS = ("name", "class", "label", "class name", "class_name", "label_name", "readable")
_INDEX_COLUMNS = ("pixel value", "idx", "index", "id", "value", "class_id", "label_id", "class id")


@dataclass(frozen=True, slots=True)
class Names:
    """Class names in index order with their colours, None where a file tells none.

    ``first``: the number of the first class in the file, 0 or 1; ``notes``: what else the file tells; ``ignored``: the
    colours of what is no class.
    """

    names: tuple[str, ...]
    colors: tuple[str | None, ...] = ()
    first: int = 0
    notes: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


def read_names(name: str, text: str) -> Names | None:
    """The classes that a file tells; None where it tells none.

    Raises:
        DataError: it is not what its name says.
    """
    reader = _READERS.get(name.lower())
    if reader is None:
        return None
    try:
        found = reader(text.lstrip("\ufeff"))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise DataError(f"cannot be read ({error})", where=name, hint="mend it, or give --classes") from error
    return found if found is not None and found.names else None


def is_known(name: str) -> bool:
    """Whether a file of this name tells classes."""
    return name.lower() in _READERS


def rank(name: str) -> int:
    """Which of several files is believed: the lower one."""
    return list(_READERS).index(name.lower())


def hex_color(rgb: Iterable[Any]) -> str:
    """Three numbers as ``#rrggbb``.

    >>> hex_color((250, 50, 83))
    '#fa3253'
    """
    red, green, blue = (int(part) for part in list(rgb)[:3])
    if not all(0 <= part <= 255 for part in (red, green, blue)):
        raise ValueError(f"{(red, green, blue)} is no colour")
    return f"#{red:02x}{green:02x}{blue:02x}"


def by_index(rows: Iterable[tuple[int, str, str | None]], notes: tuple[str, ...] = ()) -> Names | None:
    """Names from (index, name, colour); gaps get names of their own, and 255 is no class.

    Where there are more than 8-bit masks can tell apart, it is 65535 that is none.
    """
    told = {index: (name, color) for index, name, color in rows if 0 <= index < WIDE_IGNORE}
    named = told if len(told) > MAX_CLASSES + 1 else {i: one for i, one in told.items() if i < NARROW_IGNORE}
    if not named:
        return None
    first = 1 if min(named) == 1 else 0
    every = [named.get(index, (f"class_{index}", None)) for index in range(first, max(named) + 1)]
    return Names(unique([name for name, _ in every]), tuple(color for _, color in every), first, notes)


def unique(names: Sequence[str]) -> tuple[str, ...]:
    """Names without blanks around them, none twice, none that means something else to annoloop."""
    found: dict[str, None] = {}
    for index, given in enumerate(names):
        name = given.strip() or f"class_{index}"
        name = f"{name}_class" if name in _RESERVED else name
        found[name if name not in found else f"{name}_{index}"] = None
    return tuple(found)


def _listed(names: Sequence[Any], colors: Sequence[str | None] = ()) -> Names:
    return Names(unique([str(name) for name in names]), tuple(colors))


def _meta(text: str) -> Names | None:
    meta = json.loads(text)
    if not isinstance(meta, dict) or not meta.get("classes"):
        return None
    return _listed(meta["classes"], [hex_color(rgb) for rgb in meta.get("palette", ())])


def _nnunet(text: str) -> Names | None:
    """https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md, and the format before it."""
    raw = json.loads(text)
    labels = raw.get("labels")
    if not isinstance(labels, Mapping):
        return None
    pairs = [(str(k), v) if isinstance(v, int) else (str(v), int(k)) for k, v in labels.items() if not _many(v)]
    channels = raw.get("channel_names") or raw.get("modality") or {}
    notes = []
    if len(channels) > 1:
        notes.append(
            f"{len(channels)} channels in files of their own ({', '.join(map(str, channels.values()))}): one is used"
        )
    if any(_many(v) for v in labels.values()):
        notes.append("labels that stand for several values are regions, and are left out")
    return by_index([(index, name, None) for name, index in pairs], tuple(notes))


def _many(value: object) -> bool:
    return isinstance(value, (list, tuple))


def _labelmap(text: str) -> Names | None:
    """CVAT's: ``label:r,g,b:parts:actions``, in the order of the indices."""
    rows = [line.split(":") for line in text.splitlines() if line.strip() and not line.startswith("#")]
    colored = [(row[0], hex_color(row[1].split(",")) if len(row) > 1 and row[1] else None) for row in rows]
    real = [(name, color) for name, color in colored if name.strip() != _RESERVED[0]]
    ignored = tuple(color for name, color in colored if name.strip() == _RESERVED[0] and color)
    return replace(_listed([name for name, _ in real], [color for _, color in real]), ignored=ignored)


def _lines(text: str) -> Names | None:
    """A name a line; with a number before it, or a colour behind it."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    numbered = [found for line in lines if (found := _NUMBERED.match(line))]
    if lines and len(numbered) == len(lines):
        return by_index([(int(one[1]), *_named(one[2])) for one in numbered])
    named = [_named(line) for line in lines]
    return _listed([name for name, _ in named], [color for _, color in named])


def _named(line: str) -> tuple[str, str | None]:
    if found := _COLOURED.match(line):
        return found[1].strip(), hex_color(found.groups()[1:])
    return line.strip(), None


def _table(text: str) -> Names | None:
    """Comma or tab separated, with a line of titles that names a column of names."""
    lines = [line for line in text.splitlines() if line.strip()]
    delimiter = "\t" if "\t" in lines[0] else ";" if ";" in lines[0] else ","
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)]
    titles = [title.lower() for title in rows[0]]
    names = next((titles.index(title) for title in _NAME_COLUMNS if title in titles), None)
    if names is None:
        return None
    numbers = next((titles.index(title) for title in _INDEX_COLUMNS if title in titles), None)
    found = [
        (i if numbers is None else int(row[numbers]), row[names].split(";")[0].split(",")[0], _row_color(titles, row))
        for i, row in enumerate(rows[1:])
        if len(row) > max(names, numbers or 0)
    ]
    return by_index(found)


def _row_color(titles: Sequence[str], row: Sequence[str]) -> str | None:
    for keys in (("r", "g", "b"), ("red", "green", "blue")):
        if all(key in titles for key in keys):
            return hex_color(row[titles.index(key)] for key in keys)
    for key in ("color", "colour", "hex"):
        if key in titles and (found := _HEX.match(row[titles.index(key)])):
            return f"#{found[1].lower()}"
    return None


def _mapillary(text: str) -> Names | None:
    labels = json.loads(text).get("labels")
    if not isinstance(labels, list):
        return None
    return _listed(
        [one.get("readable") or one["name"] for one in labels],
        [hex_color(one["color"]) if "color" in one else None for one in labels],
    )


def _json_list(text: str) -> Names | None:
    raw = json.loads(text)
    if isinstance(raw, Mapping) and all(isinstance(value, int) for value in raw.values()):
        return by_index([(value, str(key), None) for key, value in raw.items()])
    if isinstance(raw, Mapping) and all(str(key).isdecimal() for key in raw):
        return by_index([(int(key), str(value), None) for key, value in raw.items()])
    rows = raw if isinstance(raw, list) else []
    return _listed([one["name"] if isinstance(one, Mapping) else one for one in rows])


_READERS: dict[str, Callable[[str], Names | None]] = {
    "meta.json": _meta,
    "dataset.json": _nnunet,
    "labelmap.txt": _labelmap,
    "_classes.csv": _table,
    "objectinfo150.txt": _table,
    "config_v2.0.json": _mapillary,
    "config_v1.2.json": _mapillary,
    "config.json": _mapillary,
    "class_dict.csv": _table,
    "classes.csv": _table,
    "labels.csv": _table,
    "classes.json": _json_list,
    "id2label.json": _json_list,
    "label2id.json": _json_list,
    "classes.txt": _lines,
    "class_names.txt": _lines,
    "codes.txt": _lines,
    "labels.txt": _lines,
    "names.txt": _lines,
    "obj.names": _lines,
}
"""By the file's name in lower case, the most telling first."""
