"""CVAT's export format "Segmentation mask 1.1": colour PNGs in a zip, and a text that says whose colour is whose.

Lossless, because every class has a colour of its own.  Not here: what is done with it (``cvat_masks.py``).  The fact
to know: black is what no shape covers.  Source of the format: docs.cvat.ai, "Segmentation Mask".
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt
from PIL import Image

from annoloop.data.coco.categories import BACKGROUND_NAMES
from annoloop.data.images import unreadable
from annoloop.errors import DataError
from annoloop.masks.classes import IGNORE_LABEL, ClassTable, default_color
from annoloop.masks.regions import LabelMap

LABEL_MAP, MASKS, LISTS = "labelmap.txt", "SegmentationClass", "ImageSets/Segmentation"
_HEAD = "# label:color_rgb:parts:actions"
_UNCOVERED, _BLACK = "background", (0, 0, 0)
_MOST_COLORS = 1000
_UNREADABLE = (OSError, SyntaxError, ValueError, IndexError, Image.DecompressionBombError)

Rgb = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Label:
    """A line of the label map."""

    name: str
    rgb: Rgb


def labels_of(classes: ClassTable) -> dict[int, Label]:
    """A label with a colour of its own for every class index and the ignore index, in the file's order.

    Where two classes have the same colour, or one is black, another colour is chosen.

    Raises:
        DataError: a name that the label map has no way to write.
    """
    wrong = [name for name in classes.names if ":" in name or name != name.strip() or name.startswith("#")]
    if wrong:
        raise DataError(
            f"{LABEL_MAP} cannot hold these names: {', '.join(map(repr, wrong))}",
            hint="a name there has no colon, no # before it and no space around it",
        )
    fill, ignored = classes.fill_index, classes.ignore_index
    own = {one.index: Label(one.name, one.rgb) for one in classes.classes}
    own[ignored] = Label(IGNORE_LABEL, (255, 255, 255))
    others = {label.name for index, label in own.items() if index != fill}
    if _UNCOVERED in others:  # every pixel then has a colour of its own, that class is black
        black = next(index for index, label in own.items() if label.name == _UNCOVERED)
    else:
        black, own[fill] = fill, Label(_UNCOVERED, _BLACK)
    found = {black: Label(own.pop(black).name, _BLACK)}
    taken = {_BLACK}
    for index, label in own.items():
        rgb = label.rgb if label.rgb not in taken else _free(taken)
        taken.add(rgb)
        found[index] = Label(label.name, rgb)
    return found


def write_label_map(labels: Iterable[Label]) -> str:
    """The text of ``labelmap.txt``."""
    return "\n".join([_HEAD, *(f"{one.name}:{','.join(map(str, one.rgb))}::" for one in labels)]) + "\n"


def read_label_map_text(text: str, where: object) -> list[Label]:
    """The labels of ``labelmap.txt``.

    Raises:
        DataError: a line that is none; two labels of one colour; all of them at once.
    """
    labels: list[Label] = []
    wrong = []
    for number, line in enumerate(text.lstrip("\ufeff").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = line.strip().rsplit(":", 3) if line.count(":") >= 3 else line.strip().rsplit(":", 1)
        try:
            red, green, blue = (int(level) for level in parts[1].split(","))
            if not parts[0] or not all(0 <= level <= 255 for level in (red, green, blue)):
                raise ValueError("no colour")
        except (IndexError, ValueError):
            wrong.append(f"line {number} is no label with a colour: {line[:60]!r}")
            continue
        same = [one.name for one in labels if one.rgb == (red, green, blue)]
        if same:
            wrong.append(f"line {number}: {parts[0]!r} has the same colour as {same[0]!r}")
        labels.append(Label(parts[0], (red, green, blue)))
    if wrong or not labels:
        raise DataError("; ".join(wrong[:5]) or "no label in it", where=where)
    return labels


def encode_mask(label_map: LabelMap, labels: dict[int, Label]) -> bytes:
    """A label map as a colour PNG."""
    colors = np.zeros((np.iinfo(label_map.dtype).max + 1, 3), np.uint8)
    for index, label in labels.items():
        colors[index] = label.rgb
    stream = io.BytesIO()
    Image.fromarray(colors[label_map]).save(stream, "PNG")
    return stream.getvalue()


def decode_mask(data: bytes, labels: Sequence[Label], where: object) -> npt.NDArray[np.int64]:
    """The number of the label of every pixel (H, W); a grey PNG holds the numbers themselves.

    Raises:
        DataError: no image, or colours that are no label's.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.mode in ("L", "1"):
                return _numbers(np.asarray(image.convert("L"), np.int64), len(labels), where)
            levels = np.asarray(image.convert("RGB"), np.int64)
    except _UNREADABLE as error:
        raise unreadable(where, error) from error
    codes = (levels[..., 0] << 16) + (levels[..., 1] << 8) + levels[..., 2]
    known = np.array([(red << 16) + (green << 8) + blue for red, green, blue in (one.rgb for one in labels)])
    order = np.argsort(known)
    place = np.minimum(np.searchsorted(known[order], codes), len(labels) - 1)
    found: npt.NDArray[np.int64] = order[place]
    wrong = known[found] != codes
    if wrong.any():
        strange, px = np.unique(codes[wrong], return_counts=True)
        shown = ", ".join(
            f"{(code >> 16, code >> 8 & 255, code & 255)} ({count} px)"
            for code, count in zip(strange[:5].tolist(), px[:5].tolist(), strict=True)
        )
        smooth = " (smoothed outlines?)" if strange.size > 5 else ""
        raise DataError(f"{strange.size} colours that {LABEL_MAP} does not have{smooth}: {shown}", where=where)
    return found


def mask_names(names: Iterable[str]) -> tuple[str, dict[str, str]]:
    """The folder in which ``labelmap.txt`` lies, with a slash behind it, and the masks by their images' names.

    Raises:
        DataError: there is no label map, or no mask.
    """
    listed = list(names)
    maps = sorted((name for name in listed if PurePosixPath(name).name == LABEL_MAP), key=len)
    if not maps:
        raise DataError(f'no {LABEL_MAP}: not CVAT\'s format "Segmentation mask 1.1"')
    root = maps[0].removesuffix(LABEL_MAP)
    start = f"{root}{MASKS}/"
    masks = {
        name.removeprefix(start).removesuffix(".png"): name
        for name in listed
        if name.startswith(start) and name.lower().endswith(".png")
    }
    if not masks:
        raise DataError(f"no PNG in {start}")
    return root, masks


def is_uncovered(label: Label) -> bool:
    """Whether a label stands for what no shape covers, if no class has its name."""
    return label.name.lower() in BACKGROUND_NAMES


def _free(taken: set[Rgb]) -> Rgb:
    for number in range(_MOST_COLORS):
        color = default_color(number)
        rgb = int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
        if rgb not in taken:
            return rgb
    raise AssertionError("there are more colours than classes")


def _numbers(values: npt.NDArray[np.int64], count: int, where: object) -> npt.NDArray[np.int64]:
    if values.size and values.max() >= count:
        raise DataError(f"a grey mask with the value {values.max()}, but there are {count} labels", where=where)
    return values
