"""Panoptic COCO: PNGs whose colours number segments, and a JSON that says the category of each.

Read only.  The fact to know: a segment's number is red + 256 green + 65536 blue, and 0 is no segment.  Source of the
format: cocodataset.org/#format-data, "4. Panoptic Segmentation".
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from annoloop.data.coco.image_finder import ImageFinder
from annoloop.data.coco.json_values import Id, Json, points_outside, read_id, read_text, whole
from annoloop.data.coco.painting import ReadImage
from annoloop.data.coco.reading import CocoImage, refuse
from annoloop.data.folders import folder
from annoloop.data.images import read_bytes, unreadable
from annoloop.data.remarks import Remarks
from annoloop.data.storage import Location
from annoloop.errors import DataError
from annoloop.masks.classes import ClassTable

_UNREADABLE = (OSError, SyntaxError, ValueError, IndexError, Image.DecompressionBombError)

_TRIED = 100
"""Annotations that are looked at to tell a panoptic file from others; it has no other ones."""

Numbers = npt.NDArray[np.uint32]


def is_panoptic(document: Mapping[str, Any]) -> bool:
    """Whether the annotations name segments of PNGs."""
    first = document["annotations"][:_TRIED]
    return any(isinstance(one, dict) and isinstance(one.get("segments_info"), list) for one in first)


def segments_of(images: Sequence[CocoImage]) -> list[CocoImage]:
    """The images with the segments of their annotation, and the PNG that shows them."""
    found = []
    for image in images:
        told = [one for one in image.annotations if isinstance(one.get("segments_info"), list)]
        if told:
            name, _ = read_text(told[0].get("file_name"))
            segments = tuple(one for one in told[0]["segments_info"] if isinstance(one, dict))
            png_name = None if name is None else name.replace("\\", "/")
            found.append(CocoImage(image.id, image.file_name, image.size_hw, segments, png_name))
    return found


def segment_files(images: Sequence[CocoImage], file: Location, given: Location | None) -> dict[Id, Location]:
    """The PNG of every image: in a folder that is given, in one named as the JSON file, or beside that.

    Raises:
        DataError: PNGs that are not there; all of them at once.
    """
    stem = file.name.rpartition(".")[0] or file.name
    beside = file.parent if isinstance(file, Path) else type(file)(file.url.rpartition("/")[0])
    folders = [given] if given is not None else [beside / stem, beside]
    finders = [(place, folder(place), ImageFinder(folder(place))) for place in folders]
    found: dict[Id, Location] = {}
    faults = []
    for image in images:
        name = image.segments_file or ""
        for number, (place, files, finder) in enumerate(finders):
            # Beside the JSON file may lie anything: there only the path as it is written counts.
            loose = given is not None or number == 0
            hit = finder.find(name) if loose else (name if not points_outside(name) and files.has(name) else None)
            if isinstance(hit, str) and hit:
                found[image.id] = place / hit
                break
        else:
            faults.append(f"{image.file_name}: its segments are in {name or 'no file'}, which is not there")
    looked = " and ".join(map(str, folders))
    refuse(faults, file, f"a panoptic file: its masks are PNGs; looked in {looked}; --segments DIR says where they are")
    return found


def read_segments(image: CocoImage, png: Location, classes: ClassTable, index_of: Mapping[Id, int]) -> ReadImage:
    """The label map of an image's segments."""
    remarks = Remarks()
    try:
        numbers = read_numbers(png)
    except DataError as error:
        remarks.add("segment PNGs that cannot be read, left out", f"{error.where}: {error.message}", loss=True)
        return ReadImage(None, 0, remarks)
    if numbers.shape != image.size_hw:
        height, width = numbers.shape
        said = f"{png} has {width} x {height} px, {image.file_name} {image.size_hw[1]} x {image.size_hw[0]}"
        remarks.add("segment PNGs of another size than their image, left out", said, loss=True)
        return ReadImage(None, 0, remarks)
    class_of = _class_of(image, index_of, remarks)
    present, inverse, px = np.unique(numbers, return_inverse=True, return_counts=True)
    values = np.full(present.size, classes.fill_index, classes.dtype)
    for place, (number, count) in enumerate(zip(present.tolist(), px.tolist(), strict=True)):
        if number in class_of:
            values[place] = class_of[number]
        elif number:
            kind = "px of segments that the file does not list, left as what is not covered"
            remarks.add(kind, f"segment {number} of {image.file_name}", count=count, loss=True)
    missing = [number for number in class_of if number not in set(present.tolist())]
    if missing:
        remarks.add("segments without a pixel", f"segment {missing[0]} of {image.file_name}", count=len(missing))
    return ReadImage(values[inverse].reshape(numbers.shape), len(class_of) - len(missing), remarks)


def read_numbers(png: Location) -> Numbers:
    """The segment number of every pixel (H, W).

    Raises:
        DataError: the file is missing, is no image, or has no colours that are numbers.
    """
    try:
        with Image.open(io.BytesIO(read_bytes(png))) as image:
            if image.mode not in ("RGB", "RGBA", "L"):
                raise DataError(f"segments are numbered by 8-bit colours, this file has mode {image.mode}", where=png)
            levels = np.asarray(image, np.uint32)
    except _UNREADABLE as error:
        raise unreadable(png, error) from error
    if levels.ndim == 2:
        return levels
    numbers: Numbers = levels[..., 0] + (levels[..., 1] << 8) + (levels[..., 2] << 16)
    return numbers


def _class_of(image: CocoImage, index_of: Mapping[Id, int], remarks: Remarks) -> dict[int, int]:
    """Class index by segment number."""
    found: dict[int, int] = {}
    for segment in image.annotations:
        number, category = whole(segment.get("id")), read_id(segment.get("category_id"))
        said = _said(segment, image)
        if number is None:
            remarks.add("segments without a number, left out", said, loss=True)
        elif category is None or category not in index_of:
            remarks.add("segments with an unknown category_id, left out", said, loss=True)
        else:
            found[number] = index_of[category]
    return found


def _said(segment: Json, image: CocoImage) -> str:
    return f"segment {str(segment.get('id'))[:40]} of {image.file_name}"
