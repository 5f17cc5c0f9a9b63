"""``annoloop convert``: mask folders to COCO instances JSON and back, bit-identical (law 1)."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from annoloop.compute.workers import spread
from annoloop.data import coco, png
from annoloop.data.coco_file import Written, coco_writer, kept_texts, written_before
from annoloop.data.config import DataConfig
from annoloop.data.copies import on_disk_meanwhile
from annoloop.data.durable import flush_disk
from annoloop.data.folders import folder
from annoloop.data.images import (
    IndexImage,
    decode_index_png,
    encode_index_png,
    image_size_hw,
    read_bytes,
    remove,
    sha256,
    unwritable,
    write_atomic,
)
from annoloop.data.mmseg_folders import (
    Sample,
    check_label_map,
    decode_label_map,
    mask_name_of,
    shown_name,
    to_stored,
)
from annoloop.data.storage import Location
from annoloop.errors import ColourMaskError, DataError
from annoloop.masks.classes import ClassTable
from annoloop.progress import Track, silent

MOST_UNSEEN_PX = 1 << 28
"""Pixels of an image, a side of 16384 for one, that are taken from a COCO file without a look at the image."""


@dataclass(frozen=True, slots=True)
class ToCocoReport:
    """What was written; ``annotations`` counts regions, ``kept`` images whose mask was in the file before as it is."""

    file: Location
    images: int
    kept: int
    annotations: int
    without_mask: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FromCocoReport:
    """What was read; ``notes`` says what was ambiguous or missing, image by image."""

    folder: Location
    images: int
    annotations: int
    written: int
    unchanged: int
    classes: tuple[str, ...]
    notes: tuple[str, ...]


def to_coco(
    samples: Iterable[Sample],
    data: DataConfig,
    classes: ClassTable,
    out: Location,
    *,
    min_region_px: int = 0,
    track: Track = silent,
) -> ToCocoReport:
    """Write the masks of ``samples`` as one COCO file; ``file_name`` is the sample id with its suffix.

    Where ``out`` is there already, only masks that changed since are decoded.

    Raises:
        DataError: a mask cannot be used, or the file cannot be written.
    """
    listed = list(samples)
    labelled = [sample for sample in listed if sample.mask is not None]
    if not labelled:
        raise DataError("no image with a mask to convert", where=data.root)
    how: dict[str, Any] = {"min_region_px": min_region_px, "reduce_zero_label": data.reduce_zero_label}
    if data.values:
        how |= {"values": [list(pair) for pair in data.values.items()], "nearest": data.nearest}
    names = [shown_name(sample.id, sample.image, data) for sample in labelled]
    kept = 0
    with on_disk_meanwhile(out) as earlier:
        before = written_before(earlier, classes, how)
        items = [(sample, before.get(name)) for sample, name in zip(labelled, names, strict=True)]
        encode = partial(_encode, data=data, classes=classes, min_region_px=min_region_px)
        encoded = track(spread(encode, items), "converting masks", len(items))
        with coco_writer(out, classes, how) as file:
            for name, one in zip(names, encoded, strict=True):
                texts = kept_texts(earlier, before[name]) if one.annotations is None else one.annotations
                file.add(name, one.size_hw, texts, mask_sha256=one.mask_sha256)
                kept += one.annotations is None
    return ToCocoReport(out, file.image_count, kept, file.annotation_count, _without_mask(listed))


def from_coco(
    file: Location,
    out: Location,
    data: DataConfig | None = None,
    classes: ClassTable | None = None,
    *,
    images_dir: Location | None = None,
    track: Track = silent,
) -> FromCocoReport:
    """Write one index PNG per image of a COCO file below ``out``; classes default to the file's own.

    A PNG that is there already with other pixels is never overwritten (law 3); one that a power cut left empty or in
    part is no PNG, and is written anew.  What was written is on disk for good before this returns.

    Args:
        images_dir: the images of the file, to say which are missing, and of what size very large ones really are.

    Raises:
        DataError: not a COCO file, a segmentation that cannot be read, a file in the way.
    """
    document = _load(file)
    images = coco.read_images(document, file)
    _check_sizes(images, images_dir, file)
    table = classes or coco.read_classes(document)
    index_of = coco.class_index_of_category(document, table, file)
    items = [(image, _target(out, image.file_name, data, file)) for image in images]
    _clear_away(out, {target for _, target in items})
    paint = partial(_paint, data=data, classes=table, index_of=index_of, where=file)
    painted = list(track(spread(paint, items), "painting masks", len(items)))
    written = sum(one.written for one in painted)
    _flush(out)
    return FromCocoReport(
        out,
        len(images),
        sum(len(image.annotations) for image in images),
        written,
        len(images) - written,
        table.names,
        (*_missing_images(images, images_dir), *(note for one in painted for note in one.notes)),
    )


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A mask's size (height, width) and annotations as JSON, whose numbers are given later; None: as they were."""

    mask_sha256: str
    size_hw: tuple[int, int]
    annotations: list[str] | None


def _encode(item: tuple[Sample, Written | None], data: DataConfig, classes: ClassTable, min_region_px: int) -> _Encoded:
    sample, before = item
    assert sample.mask is not None
    stored, size_hw = read_bytes(sample.mask), image_size_hw(sample.image)
    digest = sha256(stored)
    if before is not None and (before.mask_sha256, before.size_hw) == (digest, size_hw):
        return _Encoded(digest, size_hw, None)
    label_map = decode_label_map(stored, data, sample.mask)
    check_label_map(label_map, size_hw, classes, sample.mask)
    return _Encoded(digest, size_hw, coco.annotation_texts(label_map, classes, min_region_px=min_region_px))


@dataclass(frozen=True, slots=True)
class _Painted:
    written: bool
    notes: tuple[str, ...]


def _paint(
    item: tuple[coco.CocoImage, Location],
    data: DataConfig | None,
    classes: ClassTable,
    index_of: Mapping[int, int],
    where: Location,
) -> _Painted:
    image, target = item
    read = coco.read_label_map(image, classes, index_of, where)
    return _Painted(_write(target, read, data), tuple(f"{image.file_name}: {note}" for note in read.notes))


def _without_mask(samples: Iterable[Sample]) -> tuple[str, ...]:
    return tuple(sample.id for sample in samples if sample.mask is None)


def _load(file: Location) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read ({error})", where=file) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"not valid JSON ({error})", where=file) from error
    if not isinstance(document, dict):
        raise DataError("not a COCO instances file: no object at the top", where=file)
    return document


def _missing_images(images: Iterable[coco.CocoImage], images_dir: Location | None) -> list[str]:
    if images_dir is None:
        return []
    files = folder(images_dir)
    return [f"{i.file_name}: no such image in {images_dir}" for i in images if not files.has(i.file_name)]


def _target(out: Location, file_name: str, data: DataConfig | None, where: Location) -> Location:
    """Where an image's mask goes; a name that would leave the folder is refused."""
    if not Path(file_name).name:
        raise DataError(f"file_name {file_name!r} names no file", where=where)
    below = Path(file_name).with_suffix(".png") if data is None else Path(mask_name_of(file_name, data))
    if below.is_absolute() or ".." in below.parts:
        raise DataError(f"file_name {file_name!r} points outside the folder", where=where)
    return out / below.as_posix()


def _write(target: Location, read: coco.ReadImage, data: DataConfig | None) -> bool:
    """True if the file was written, False if it was there with the same pixels."""
    stored = _stored(read, data)
    if target.exists() and _is_there(target, stored):
        return False
    write_atomic(target, encode_index_png(stored), durable=False)
    return True


def _is_there(target: Location, stored: IndexImage) -> bool:
    """Whether a file has these pixels; False for what is left of one that was not yet on disk when the power went."""
    held = read_bytes(target)
    with suppress(ColourMaskError):
        try:
            if np.array_equal(decode_index_png(held, target).values, stored.values):
                return True
        except ColourMaskError:
            raise
        except DataError:
            if held.startswith(png.SIGNATURE) or not held.strip(b"\0"):
                return False
    raise DataError("is there already with other pixels", where=target, hint="choose another --out folder")


def _clear_away(out: Location, targets: Collection[Location]) -> None:
    """What a killed command left of the files that this one writes; their names are those that ``mkstemp`` gave."""
    if isinstance(out, Path):
        for rest in list(out.rglob(".*.part")):
            if rest.with_name(rest.name[1:].rsplit(".", 2)[0]) in targets:
                remove(rest)


def _flush(out: Location) -> None:
    """All files at once: to flush each by itself takes longer than all the rest."""
    if not isinstance(out, Path) or not out.is_dir():
        return
    try:
        flush_disk(out)
    except OSError as error:
        raise unwritable(out, error) from error


def _check_sizes(images: Iterable[coco.CocoImage], images_dir: Location | None, where: Location) -> None:
    """A few bytes of JSON may claim any size: a very large one is believed where the image is there and has it."""
    for image in images:
        px = image.size_hw[0] * image.size_hw[1]
        if px <= MOST_UNSEEN_PX:
            continue
        seen = images_dir is not None and image_size_hw(images_dir / image.file_name) == image.size_hw
        if px > png.MOST_PX or not seen:
            raise DataError(
                f"{image.file_name} is said to have {image.size_hw[1]} x {image.size_hw[0]} px; more"
                f" than {MOST_UNSEEN_PX} are believed only where the image has them, more than {png.MOST_PX} never",
                where=where,
                hint="--images names the folder where an image of that name and size lies",
            )


def _stored(read: coco.ReadImage, data: DataConfig | None) -> IndexImage:
    return IndexImage(read.label_map) if data is None else to_stored(read.label_map, data, None)
