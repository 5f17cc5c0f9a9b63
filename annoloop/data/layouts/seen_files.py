"""What a tree holds where no layout was found: folders, suffixes and how many of each, and the command that helps.

Names in, an error out; only JSON files are looked into, to tell COCO from labelme.  The fact to know: the arguments of
a command are filled in, so that it can be copied.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from annoloop.data.folders import Folder
from annoloop.data.images import IMAGE_SUFFIXES, read_bytes
from annoloop.data.storage import Location
from annoloop.errors import DataError

_SHOWN = 8
_JSON_FILES = 20
_ENDS = 1 << 16


def nothing_found(files: Folder, names: Sequence[str], *, sets: Sequence[str] = (), wanted: str = "") -> DataError:
    """The refusal of a tree in which no image has a mask; or none of the sets that were asked for (``wanted``)."""
    if wanted and sets:
        listed = "".join(f"\n  {one}" for one in sets[:_SHOWN]) + _rest(sets)
        return DataError(f"no image and mask sets fit {wanted}; there are:{listed}", where=files.path)
    if not names:
        return DataError("the folder is empty", where=files.path, hint="give the folder of images and masks")
    pictures = [name for name in names if name.lower().endswith(IMAGE_SUFFIXES)]
    message = "no image has a mask" if pictures else "no images"
    return DataError(f"{message}; {seen(names)}", where=files.path, hint=_help(files, names, pictures))


def scattered(files: Folder, image_set: str, mask_set: str, others: Sequence[str]) -> DataError:
    """The refusal of a tree with images and masks in many folders of their own, which no one pattern names."""
    listed = "".join(f"\n  {one}" for one in others[:_SHOWN]) + _rest(others)
    return DataError(
        f"images and masks lie in folders of their own: {image_set} with {mask_set}, and {len(others)} more:{listed}",
        where=files.path,
        hint=f"move them into one folder of images and one of masks; --images {shlex.quote(image_set)} takes one alone",
    )


def seen(names: Sequence[str]) -> str:
    """Folders with the suffixes in them and how many of each, the fullest first.

    >>> seen(["images/a.jpg", "images/b.jpg", "notes.txt"])
    'seen: images/*.jpg 2, *.txt 1'
    """
    counts = Counter(_group(name) for name in names)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return "seen: " + ", ".join(f"{group} {count}" for group, count in ranked[:_SHOWN]) + _rest(ranked)


def _rest(ranked: Sequence[object]) -> str:
    return f", and {len(ranked) - _SHOWN} more" if len(ranked) > _SHOWN else ""


def _group(name: str) -> str:
    path = PurePosixPath(name)
    folder = "" if str(path.parent) == "." else f"{path.parent}/"
    return f"{folder}*{path.suffix or ' (no suffix)'}"


def _help(files: Folder, names: Sequence[str], pictures: Sequence[str]) -> str:
    kinds = {name: _json_kind(files.at(name)) for name in _jsons(names)}
    coco = [name for name, kind in kinds.items() if kind == "coco"]
    if coco:
        return "COCO annotations: " + "; ".join(_from_coco(files.path, name, pictures) for name in coco[:4])
    if "labelme" in kinds.values():
        folder, root = _fullest(pictures), files.path
        file = shlex.quote(f"{root}/coco.json")
        return (
            "labelme files: labelme's own examples/instance_segmentation/labelme2coco.py, or pip's labelme2coco, makes"
            f" {file} of them; then: annoloop convert from-coco {file} --out {shlex.quote(f'{root}/masks')}"
            f" --own-classes --images {shlex.quote(_joined(root, folder))}"
        )
    if not pictures:
        return f"looked for {', '.join(IMAGE_SUFFIXES)}"
    return (
        "masks are found by what their names share with the images' names, as images/a1.jpg with masks/a1.png or"
        " a1_mask.png; annoloop.yaml can be written by hand, too"
    )


def _jsons(names: Sequence[str]) -> list[str]:
    found = [name for name in names if name.lower().endswith(".json")]
    step = max(1, len(found) // _JSON_FILES)
    return found[::step]


def _json_kind(path: Location) -> str:
    try:
        data = read_bytes(path)
    except DataError:
        return ""
    ends = data[:_ENDS] + data[-_ENDS:]
    if b'"shapes"' in ends and b'"imagePath"' in ends:
        return "labelme"
    return "coco" if sum(key in ends for key in (b'"images"', b'"annotations"', b'"categories"')) >= 2 else ""


def _from_coco(root: Location, name: str, pictures: Sequence[str]) -> str:
    """The command for one file: its images lie where its name says, or else where most do."""
    stem = PurePosixPath(name).stem.lower()
    folders = Counter(str(PurePosixPath(one).parent) for one in pictures)
    named = [one for one in folders if PurePosixPath(one).name.lower() in stem and one != "."]
    beside = [one for one in folders if one == str(PurePosixPath(name).parent)]
    folder = max(named or beside or [_fullest(pictures)], key=lambda one: (folders[one], one))
    out = _joined(root, "masks" if not named or len(folders) == 1 else f"masks/{PurePosixPath(folder).name}")
    parts = (_joined(root, name), "--out", out, "--own-classes", "--images", _joined(root, folder))
    return f"annoloop convert from-coco {shlex.join(parts)}"


def _fullest(pictures: Sequence[str]) -> str:
    folders = Counter(str(PurePosixPath(one).parent) for one in pictures)
    return max(sorted(folders), key=lambda one: folders[one], default=".")


def _joined(root: Location, name: str) -> str:
    return str(root) if name == "." else f"{root}/{name}"
