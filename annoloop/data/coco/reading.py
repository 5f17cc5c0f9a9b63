"""A COCO file as it comes from any tool: its images, each with its annotations.

Not here: categories (``categories.py``), what annotations draw (``painting.py``), the images on disk
(``coco_images.py``).  The fact to know: a bad entry is left out and told, and only what makes others ambiguous, as an
id that two images have, refuses the file.
"""

from __future__ import annotations

import gc
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from annoloop.data.coco.json_values import Id, Json, read_id, read_text, unusable_name, whole
from annoloop.data.coco.segmentation import rle_size
from annoloop.data.remarks import MOST_PLACES, Remarks
from annoloop.data.storage import Location
from annoloop.errors import DataError

_LISTS = ("images", "annotations", "categories")
_MOST_SHOWN = 10


@dataclass(frozen=True, slots=True)
class CocoImage:
    """One image entry: id, file name with ``/`` between its parts, size in px or (0, 0) where none is told, and its
    annotations; of a panoptic file they are its segments, and ``segments_file`` is the PNG that shows them."""

    id: Id
    file_name: str
    size_hw: tuple[int, int]
    annotations: tuple[Json, ...]
    segments_file: str | None = None


def load(file: Location) -> Json:
    """The JSON object of a file, with or without a byte order mark.

    Raises:
        DataError: it cannot be read, is no JSON, or no COCO file.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        with _no_garbage():
            document = json.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read ({error})", where=file) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"not valid JSON ({error})", where=file) from error
    if not isinstance(document, dict):
        raise DataError("not a COCO instances file: no object at the top", where=file)
    missing = [key for key in _LISTS if not isinstance(document.get(key), list)]
    if missing:
        lists = "no lists" if len(missing) > 1 else "no list"
        raise DataError(f"{lists} {', '.join(map(repr, missing))}: not a COCO instances file", where=file)
    return document


def is_ours(document: Mapping[str, Any]) -> bool:
    """Whether annoloop wrote the file, as far as what is left of it tells."""
    info = document.get("info")
    return isinstance(info, dict) and "annoloop" in info


def read_images(document: Mapping[str, Any], where: object, remarks: Remarks) -> list[CocoImage]:
    """All image entries with their annotations, in file order.

    Raises:
        DataError: two images have the same id, or one file name and different sizes; all of these at once.
    """
    by_image = _annotations(document["annotations"], remarks)
    entries: dict[Id, CocoImage] = {}
    faults: list[str] = []
    for position, entry in enumerate(document["images"]):
        image = _image(entry, f"images[{position}]", by_image, is_ours(document), remarks)
        if image is None:
            continue
        first = entries.setdefault(image.id, image)
        if first is not image and first.file_name != image.file_name:
            faults.append(f"images {first.file_name} and {image.file_name} have the same id {image.id!r}")
    orphans = {image_id: len(found) for image_id, found in by_image.items() if image_id not in entries}
    if orphans:
        kind = "annotations of {} that the file does not list, left out"
        images = "1 image" if len(orphans) == 1 else f"{len(orphans)} images"
        shown = ", ".join(f"image_id {one!r}" for one in list(orphans)[:MOST_PLACES])
        remarks.add(kind.format(images), shown, count=sum(orphans.values()))
    found = _merged(list(entries.values()), faults, remarks)
    refuse(faults, where)
    return found


def refuse(faults: list[str], where: object, hint: str | None = None) -> None:
    """Raise one error for all faults of a file, if there are any.

    Raises:
        DataError: names the first of them and how many there are.
    """
    if len(faults) == 1:
        raise DataError(faults[0], where=where, hint=hint)
    if faults:
        rest = [f"{len(faults) - _MOST_SHOWN} more"] if len(faults) > _MOST_SHOWN else []
        lines = "".join(f"\n  {fault}" for fault in [*faults[:_MOST_SHOWN], *rest])
        raise DataError(f"{len(faults)} faults:{lines}", where=where, hint=hint)


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Python looks through a million new objects again and again for what is garbage: half of the time, for none."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _annotations(entries: list[Any], remarks: Remarks) -> dict[Id, list[Json]]:
    by_image: dict[Id, list[Json]] = defaultdict(list)
    for position, annotation in enumerate(entries):
        image_id: Any = annotation.get("image_id") if isinstance(annotation, dict) else None
        image_id = image_id if type(image_id) is int else read_id(image_id)
        if image_id is None:
            remarks.add("annotations that name no image, left out", f"annotations[{position}]", loss=True)
        else:
            by_image[image_id].append(annotation)
    return by_image


def _image(entry: Any, place: str, by_image: Mapping[Id, list[Json]], ours: bool, remarks: Remarks) -> CocoImage | None:
    """An image entry, or None for one that is left out."""
    image_id = read_id(entry.get("id")) if isinstance(entry, dict) else None
    if image_id is None:
        remarks.add("image entries without an id, left out", place, loss=True)
        return None
    name, why = read_text(entry.get("file_name"))
    if name is None:
        remarks.add("image entries without a file_name, left out", f"{place}: {why}", loss=True)
        return None
    # On Linux a name may hold a backslash, and then our own file does; others have it from Windows.
    name = name if ours else name.replace("\\", "/").removeprefix("./")
    unusable = unusable_name(name)
    if unusable is not None:
        remarks.add("image entries with a file_name that no file can have, left out", f"{place}: {unusable}", loss=True)
        return None
    annotations = tuple(by_image.get(image_id, ()))
    return CocoImage(image_id, name, _size_hw(entry, name, annotations, remarks), annotations)


def _size_hw(entry: Json, name: str, annotations: tuple[Json, ...], remarks: Remarks) -> tuple[int, int]:
    """The size that an entry tells, or that the run lengths of its annotations do; (0, 0) for none."""
    told = entry.get("height"), entry.get("width")
    height, width = whole(told[0]), whole(told[1])
    if height is not None and width is not None and height > 0 and width > 0:
        return height, width
    sizes = {size for size in (rle_size(one.get("segmentation")) for one in annotations) if size is not None}
    if len(sizes) == 1 and min(min(size) for size in sizes) > 0:
        remarks.add("images without a size, taken from their run lengths", name)
        return sizes.pop()
    return 0, 0


def _merged(images: list[CocoImage], faults: list[str], remarks: Remarks) -> list[CocoImage]:
    """Entries of one file as one, with the annotations of all of them."""
    by_name: dict[str, list[CocoImage]] = defaultdict(list)
    for image in images:
        by_name[image.file_name].append(image)
    if len(by_name) == len(images):
        return images
    found = []
    for name, same in by_name.items():
        sizes = {image.size_hw for image in same}
        if len(sizes) > 1:
            shown = " and ".join(f"{width} x {height}" for height, width in sorted(sizes))
            faults.append(f"{name} is listed {len(same)} times, of {shown} px")
            continue
        if len(same) > 1:
            remarks.add("images that are listed more than once, taken together", name)
        every = tuple(annotation for image in same for annotation in image.annotations)
        found.append(CocoImage(same[0].id, name, same[0].size_hw, every))
    return found
