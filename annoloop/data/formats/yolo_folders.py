"""Folders of YOLO segmentation data: which text file belongs to which image, and what the classes are called.

Not here: what stands in a text file (``yolo.py``).  The fact to know: an image and its text file have the same path but
for the suffix and a folder called images in one and labels in the other, wherever in the path that is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from annoloop.data.folders import Folder
from annoloop.data.images import IMAGE_SUFFIXES, read_bytes
from annoloop.data.remarks import Remarks
from annoloop.data.storage import Location
from annoloop.errors import DataError
from annoloop.masks.classes import ClassTable

_LABELS = "labels"
_BETWEEN = ("images", _LABELS)
_NAME_LISTS = ("classes.txt", "obj.names", "labels.txt", "class_names.txt")
_OTHER_TEXTS = (
    *_NAME_LISTS, "readme.txt", "readme.roboflow.txt", "readme.dataset.txt", "train.txt", "val.txt", "test.txt",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text file, its image, and their common name: the path without suffix and without images or labels."""

    name: str
    text: Location
    image: Location


def read_names(root: Folder) -> dict[int, str]:
    """The names of the classes: of the YAML file with ``names`` that lies in the folder, or of a list of names.

    Raises:
        DataError: there is neither, or it cannot be read.
    """
    here = sorted(name for name in root.names() if "/" not in name)
    for name in here:
        if name.lower().endswith((".yaml", ".yml")):
            found = _yaml_names(root.at(name))
            if found:
                return found
    for name in here:
        if name.lower() in _NAME_LISTS:
            lines = _text(root.at(name)).splitlines()
            return {number: line.strip() for number, line in enumerate(lines) if line.strip()}
    raise DataError(
        "no names of classes",
        where=root.path,
        hint=f"data.yaml with names, as YOLO has it, or {_NAME_LISTS[0]} with a name in each line",
    )


def data_yaml(names: Sequence[str], splits: Iterable[str]) -> str:
    """What YOLO reads beside the folders images and labels."""
    import json

    lines = ["path: .", *(f"{split}: images/{split}" for split in splits), "names:"]
    return "\n".join([*lines, *(f"  {number}: {json.dumps(name)}" for number, name in enumerate(names))]) + "\n"


def pair(texts: Folder, images: Folder, remarks: Remarks) -> list[Labelled]:
    """Every text file of labels with its image; what has no other is told."""
    by_name, by_stem = _images(images)
    in_labels = [name for name in texts.names() if name.endswith(".txt") and _LABELS in PurePosixPath(name).parts[:-1]]
    found, paired = [], set()
    for name in sorted(in_labels or (name for name in texts.names() if name.endswith(".txt"))):
        common = _common(name)
        if PurePosixPath(name).name.lower() in _OTHER_TEXTS and common not in by_name:
            continue
        alike = [by_name[common]] if common in by_name else by_stem.get(PurePosixPath(common).name, [])
        if len(alike) == 1:
            found.append(Labelled(common, texts.at(name), images.at(alike[0])))
            paired.add(alike[0])
        elif alike:
            said = f"{name} may be that of {' or '.join(alike[:3])}"
            remarks.add("label files that may belong to several images, left out", said, loss=True)
        else:
            remarks.add("label files without an image, left out", name, loss=True, hint="--images names their folder")
    for name in sorted(set(by_name.values()) - paired):
        remarks.add("images without a label file, which get no mask", name)
    return found


def text_of(path: Location) -> str:
    """The text of a label file.

    Raises:
        DataError: it cannot be read.
    """
    return _text(path)


def names_of(classes: ClassTable, indices: Sequence[int]) -> tuple[str, ...]:
    """The names of YOLO's classes."""
    return tuple(classes.names[index] for index in indices)


def _images(images: Folder) -> tuple[dict[str, str], Mapping[str, list[str]]]:
    """The images by their names without suffix and ``images``, and by the last part of these."""
    by_name: dict[str, str] = {}
    by_stem: dict[str, list[str]] = defaultdict(list)
    for name in sorted(images.names()):
        if name.lower().endswith(IMAGE_SUFFIXES):
            common = _common(name)
            by_name.setdefault(common, name)
            by_stem[PurePosixPath(common).name].append(name)
    return by_name, by_stem


def _common(name: str) -> str:
    path = PurePosixPath(name).with_suffix("")
    return "/".join([*(part for part in path.parts[:-1] if part not in _BETWEEN), path.name])


def _yaml_names(path: Location) -> dict[int, str]:
    import yaml

    try:
        document: Any = yaml.safe_load(_text(path))
    except yaml.YAMLError as error:
        raise DataError(f"cannot be read ({str(error).splitlines()[0]})", where=path) from error
    names = document.get("names") if isinstance(document, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict):
        return {}
    try:
        return {int(number): str(name) for number, name in names.items()}
    except (TypeError, ValueError) as error:
        raise DataError(f"names are no list of names ({error})", where=path) from error


def _text(path: Location) -> str:
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"cannot be read ({error})", where=path) from error
