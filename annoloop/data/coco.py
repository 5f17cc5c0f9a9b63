"""Regions to a COCO instances dictionary and back; RLE compressed, exact (law 1).

Ours: category id = class index + 1, so class 0 is category 1 and ignore (255) is category 256; one
annotation per region; ``iscrowd`` = 1 for regions that are a collection (specks that travel together,
ignored area), as COCO defines it.  Foreign files are read as the standard says; what it leaves open is
reported.  Source of the format: cocodataset.org/#format-data and pycocotools ``mask.py``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from annoloop.errors import AnnoloopError, DataError
from annoloop.masks.classes import ClassTable, class_table
from annoloop.masks.coco_counts import Ints, paint_coco_counts, unpack_coco_counts
from annoloop.masks.regions import LabelMap, polygon_counts
from annoloop.masks.run_lengths import coco_masks

Json = dict[str, Any]

_LONGEST_NAME, _LONGEST_PATH = 255, 3000
"""Bytes: of a part of a path, and of all of them with room for the folder that they go to, as Linux has it."""

_LONGEST_OUTLINE_PX = 1 << 23
"""Of a polygon; the most winding of a real image are a hundred times shorter."""


@dataclass(frozen=True, slots=True)
class CocoImage:
    """One image entry: id, file name as written, size in pixels, and its annotations."""

    id: int
    file_name: str
    size_hw: tuple[int, int]
    annotations: tuple[Json, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ReadImage:
    """A label map read from COCO, with what was ambiguous about it in words."""

    label_map: LabelMap
    notes: tuple[str, ...]


def category_id(class_index: int) -> int:
    """The COCO category id of a class index, or of the ignore index."""
    return class_index + 1


def header(classes: ClassTable, how: Mapping[str, object] | None = None) -> Json:
    """Everything of the file but its images and annotations.

    ``info.annoloop`` keeps what COCO has no place for, so that the way back needs no other file; and ``how`` the
    annotations were made.
    """
    ours = {"background": classes.background, "ignore_index": classes.ignore_index, **(how or {})}
    return {
        "info": {"description": "made by annoloop", "version": "1.0", "annoloop": ours},
        "licenses": [],
        "categories": [
            {
                "id": category_id(index),
                "name": classes.label_of(index),
                "supercategory": "",
                "color": [255, 255, 255] if index == classes.ignore_index else list(classes.classes[index].rgb),
            }
            for index in (*range(len(classes)), classes.ignore_index)
        ],
    }


def image_entry(image_id: int, file_name: str, size_hw: tuple[int, int]) -> Json:
    """The entry of one image."""
    return {"id": image_id, "file_name": file_name, "height": size_hw[0], "width": size_hw[1]}


def encode(
    label_map: LabelMap, classes: ClassTable, *, image_id: int, first_id: int, min_region_px: int = 0
) -> list[Json]:
    """One annotation per region; what an uncovered pixel means anyway (background or ignore) has none."""
    texts = annotation_texts(label_map, classes, min_region_px=min_region_px)
    return [json.loads(numbered(text, number, image_id)) for number, text in enumerate(texts, first_id)]


def annotation_texts(label_map: LabelMap, classes: ClassTable, *, min_region_px: int = 0) -> list[str]:
    """The same as JSON without ``id`` and ``image_id``, which ``numbered`` puts before."""
    found = coco_masks(label_map, skip=(classes.fill_index,), min_region_px=min_region_px)
    regions, ignored = found.regions, classes.ignore_index
    numbers = (regions.class_of, regions.sizes_px, regions.boxes_ltrb, regions.parts)
    counts = (text.replace("\\", "\\\\") for text in found.counts)  # of its 64 characters the only one JSON escapes
    begin = f'"segmentation": {{"size": {list(label_map.shape)}, "counts": "'
    # Written by hand: json.dumps takes as long as everything before it.
    return [
        f'"category_id": {category_id(index)}, "area": {area_px}, '
        f'"bbox": [{left}, {top}, {right - left}, {bottom - top}], '
        f'"iscrowd": {1 if parts > 1 or index == ignored else 0}, {begin}{text}"}}'
        for index, area_px, (left, top, right, bottom), parts, text in zip(
            *(column.tolist() for column in numbers), counts, strict=True
        )
    ]


def numbered(text: str, number: int, image_id: int) -> str:
    """One of ``annotation_texts`` as a JSON object."""
    return f'{{"id": {number}, "image_id": {image_id}, {text}}}'


def read_images(document: Mapping[str, Any], where: object) -> list[CocoImage]:
    """All image entries with their annotations, in file order.

    Raises:
        DataError: not a COCO instances file; names the entry and the key.
    """
    for key in ("images", "annotations", "categories"):
        if not isinstance(document.get(key), list):
            raise DataError(f"no list {key!r}: not a COCO instances file", where=where)
    _check_categories(document["categories"], where)
    by_image: dict[int, list[Json]] = {}
    for position, annotation in enumerate(document["annotations"]):
        by_image.setdefault(_key(annotation, "image_id", f"{where}: annotations[{position}]"), []).append(annotation)
    images = [
        _read_image_entry(entry, by_image, f"{where}: images[{position}]")
        for position, entry in enumerate(document["images"])
    ]
    _check_image_list(images, by_image, where)
    return images


def read_classes(document: Mapping[str, Any]) -> ClassTable:
    """The class table of a COCO file: ours as it was written; a foreign one by ascending category id,
    below a background class 0 unless it has one of that name."""
    info = document.get("info")
    ours = info.get("annoloop") if isinstance(info, dict) else None
    categories = sorted(document["categories"], key=lambda c: int(c["id"]))
    if ours is not None:
        return _our_classes(ours, categories)
    names = [str(c["name"]) for c in categories]
    if "background" not in names:
        names = ["background", *names]
    return class_table(names, background="background")


def _our_classes(ours: Any, categories: Sequence[Json]) -> ClassTable:
    try:
        ignore_index, background = _key(ours, "ignore_index", "info.annoloop"), ours["background"]
        real = [c for c in categories if c["id"] != category_id(ignore_index)]
        colors = [_hex(c.get("color")) for c in real]
        if not isinstance(background, str | None):
            raise TypeError(f"a background {background!r}")
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"info.annoloop, or a colour, is not as annoloop writes it ({error})",
            hint="without info.annoloop the file is read as anybody's",
        ) from error
    return class_table([c["name"] for c in real], colors, ignore_index=ignore_index, background=background)


def class_index_of_category(document: Mapping[str, Any], classes: ClassTable, where: object) -> dict[int, int]:
    """Class index of every category id, matched by name.

    Raises:
        DataError: a category that the class table does not have.
    """
    found: dict[int, int] = {}
    for position, category in enumerate(document["categories"]):
        name = category["name"]
        try:
            found[category["id"]] = classes.index_of(name)
        except KeyError:
            raise DataError(
                f"category {name!r} is no class",
                where=f"{where}: categories[{position}]",
                hint=f"the classes are: {', '.join(classes.names)}",
            ) from None
    return found


def read_label_map(image: CocoImage, classes: ClassTable, index_of: Mapping[int, int], where: object) -> ReadImage:
    """Paint an image's annotations in file order, the later over the earlier.

    Raises:
        DataError: a segmentation that cannot be read; names the annotation.
    """
    notes: Counter[str] = Counter()
    places, class_of, counts = [], [], []
    for annotation in image.annotations:
        place = f"{where}: annotation {annotation.get('id')} of {image.file_name}"
        if _key(annotation, "category_id", place) not in index_of:
            raise DataError(f"unknown category_id {annotation['category_id']}", where=place)
        if not annotation.get("segmentation"):
            notes["annotations without a segmentation (a box alone says nothing about pixels), left out"] += 1
            continue
        places.append(place)
        class_of.append(index_of[annotation["category_id"]])
        counts.append(_read_segmentation(annotation, image.size_hw, place))
    numbers, stops = _unpacked(counts, places)
    painted = paint_coco_counts(
        numbers, stops, np.array(class_of, np.uint8), image.size_hw, fill=classes.fill_index, where=places
    )
    notes["segmentations without a pixel, left out"] = painted.empty_count
    notes["px covered more than once, the later annotation won"] = painted.overlap_px
    return ReadImage(painted.label_map, tuple(f"{count} {text}" for text, count in notes.items() if count))


def _unpacked(counts: Sequence[str | Ints], places: Sequence[str]) -> tuple[Ints, Ints]:
    """The counts of all masks, one after another, and where those of each stop."""
    packed = [number for number, one in enumerate(counts) if isinstance(one, str)]
    texts, where = [str(counts[number]) for number in packed], [places[number] for number in packed]
    numbers, stops = unpack_coco_counts(texts, where)
    if len(packed) == len(counts):
        return numbers, stops
    unpacked = iter(np.split(numbers, stops[:-1]))
    plain = [next(unpacked) if isinstance(one, str) else one for one in counts]
    return np.concatenate(plain), np.cumsum([one.size for one in plain])


def _read_segmentation(annotation: Json, size_hw: tuple[int, int], where: str) -> str | Ints:
    """The counts of a mask, compressed or plain."""
    segmentation = annotation["segmentation"]
    try:
        if isinstance(segmentation, list):
            _check_length(segmentation)
            return polygon_counts(segmentation, size_hw)
        if tuple(segmentation["size"]) != size_hw:
            raise DataError(f"RLE size {segmentation['size']} is not the image's {list(size_hw)} (height, width)")
        counts = segmentation["counts"]
        if isinstance(counts, str):
            return counts
        plain: Ints = np.array([int(number) for number in counts], np.int64)
        return plain
    except AnnoloopError as error:
        raise DataError(error.message, where=where) from error
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"segmentation cannot be read ({error})", where=where) from error


def _check_length(polygons: Sequence[Sequence[float]]) -> None:
    """What draws an outline takes memory for each px of its length, and a few points may be far from one another."""
    for polygon in polygons:
        widest = max(polygon, default=0) - min(polygon, default=0)
        if not _LONGEST_OUTLINE_PX < len(polygon) * widest < np.inf:
            continue  # which all but the largest are, at once
        points = np.array(polygon, np.float64)
        if np.sum(np.abs(points - np.roll(points, 2))) > _LONGEST_OUTLINE_PX and widest < _LONGEST_OUTLINE_PX:
            raise DataError(f"a polygon's outline is longer than {_LONGEST_OUTLINE_PX} px")


def _read_image_entry(entry: Json, by_image: Mapping[int, list[Json]], where: str) -> CocoImage:
    image_id = _key(entry, "id", where)
    height, width = _key(entry, "height", where), _key(entry, "width", where)
    name = _text(entry, "file_name", where)
    if any(len(part.encode()) > _LONGEST_NAME for part in name.split("/")) or len(name.encode()) > _LONGEST_PATH:
        raise DataError(f"file_name is longer than a file's name can be: {name[:60]}…", where=where)
    if height < 1 or width < 1:
        raise DataError(f"size {width} x {height} px is not possible", where=where)
    return CocoImage(image_id, name, (height, width), tuple(by_image.get(image_id, ())))


def _check_categories(categories: Iterable[Json], where: object) -> None:
    seen: Counter[object] = Counter()
    for position, category in enumerate(categories):
        place = f"{where}: categories[{position}]"
        number, name = _key(category, "id", place), _text(category, "name", place)
        seen.update((number, name))
    repeated = [str(key) for key, count in seen.items() if count > 1]
    if repeated:
        raise DataError(f"category ids and names must be unique; repeated: {', '.join(repeated[:5])}", where=where)


def _check_image_list(images: Iterable[CocoImage], by_image: Mapping[int, list[Json]], where: object) -> None:
    ids = Counter(image.id for image in images)
    names = Counter(image.file_name for image in images)
    repeated = [str(key) for counter in (ids, names) for key, count in counter.items() if count > 1]
    if repeated:
        raise DataError(f"image ids and file names must be unique; repeated: {', '.join(repeated[:5])}", where=where)
    lost = sorted(set(by_image) - set(ids))
    if lost:
        raise DataError(f"annotations of images that the file does not list: image_id {lost[:5]}", where=where)


def _key(entry: object, key: str, where: str) -> int:
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, int) or isinstance(value, bool):
        raise DataError(f"{key!r} must be a whole number, not {value!r}", where=where)
    return value


def _text(entry: Json, key: str, where: str) -> str:
    """A text that can name a file or a class: one that can be written down, and without the NUL that ends a path."""
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise DataError(f"no {key}", where=where)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DataError(f"{key} {value!r} is no text: it holds half a character", where=where) from None
    if "\0" in value:
        raise DataError(f"{key} {value!r} holds a NUL", where=where)
    return value


def _hex(rgb: Sequence[int] | None) -> str | None:
    return None if rgb is None else "#{:02x}{:02x}{:02x}".format(*rgb)
