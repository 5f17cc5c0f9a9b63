"""``annoloop convert to-yolo`` and ``from-yolo``: masks to YOLO segmentation text and back.

Lossy, and said so: px that would come back as another class are counted.  The fact to know: images are not copied; they
belong into ``images/`` beside ``labels/``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath

from annoloop.compute.workers import spread
from annoloop.data.coco.categories import Matched, match_categories
from annoloop.data.coco.coco_images import refuse_shared_masks
from annoloop.data.coco.painting import OverlapRule, ReadImage
from annoloop.data.coco.reading import CocoImage
from annoloop.data.config import DataConfig
from annoloop.data.folders import folder
from annoloop.data.formats.yolo import decode, encode, yolo_classes
from annoloop.data.formats.yolo_folders import Labelled, data_yaml, names_of, pair, read_names, text_of
from annoloop.data.images import image_size_hw, read_bytes, write_atomic
from annoloop.data.mmseg_folders import Sample, check_label_map, decode_label_map
from annoloop.data.remarks import Remarks
from annoloop.data.storage import Location
from annoloop.errors import DataError
from annoloop.loop.conversion.mask_folder import clear_away, flush, mask_place, write_mask
from annoloop.masks.classes import ClassTable
from annoloop.progress import Track, silent


@dataclass(frozen=True, slots=True)
class ToYoloReport:
    """What was written; ``loss_px`` are pixels that come back as another class, ``ignored_px`` ignored ones that do."""

    folder: Location
    images: int
    objects: int
    loss_px: int
    ignored_px: int
    px: int
    classes: tuple[str, ...]
    without_mask: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FromYoloReport:
    """What was read: masks, and the objects painted in them; ``notes`` by kind, ``counts`` the numbers of each."""

    folder: Location
    images: int
    objects: int
    written: int
    unchanged: int
    classes: tuple[str, ...]
    overlap_px: int
    notes: tuple[str, ...]
    counts: Mapping[str, int]


def to_yolo(
    samples: Iterable[Sample],
    data: DataConfig,
    classes: ClassTable,
    out: Location,
    *,
    tolerance_px: float = 1.0,
    track: Track = silent,
) -> ToYoloReport:
    """Write ``labels/`` with a text file for each mask, named as its image, and ``data.yaml`` below ``out``.

    Args:
        tolerance_px: how far outlines are simplified; at 0 all corners stay.

    Raises:
        DataError: a mask cannot be used, or a file with other lines is in the way.
    """
    listed = list(samples)
    labelled = [sample for sample in listed if sample.mask is not None]
    drawn = yolo_classes(classes)
    if not labelled or not drawn:
        raise DataError("no image with a mask to convert" if drawn else "no class that is drawn", where=data.root)
    splits = dict.fromkeys(sample.split for sample in labelled)
    _write_text(out / "data.yaml", data_yaml(names_of(classes, drawn), splits))
    write = partial(_write_labels, data=data, classes=classes, out=out, tolerance_px=tolerance_px)
    written = list(track(spread(write, labelled), "converting masks", len(labelled)))
    flush(out)
    return ToYoloReport(
        out,
        len(written),
        sum(one.objects for one in written),
        sum(one.loss_px for one in written),
        sum(one.ignored_px for one in written),
        sum(one.px for one in written),
        names_of(classes, drawn),
        tuple(sample.id for sample in listed if sample.mask is None),
    )


def from_yolo(
    source: Location,
    out: Location,
    data: DataConfig | None = None,
    classes: ClassTable | None = None,
    *,
    images_dir: Location | None = None,
    overlap: OverlapRule = "last",
    track: Track = silent,
) -> FromYoloReport:
    """Write one index PNG per label file of a YOLO folder below ``out``; classes default to those of ``data.yaml``.

    Args:
        images_dir: the images, whose sizes are needed; default: ``source``.
        overlap: which of two objects of different classes is seen where both are.

    Raises:
        DataError: no names, no label file with an image, nothing that can be used, or a file in the way.
    """
    remarks = Remarks()
    names = read_names(folder(source))
    texts, images = folder(source), folder(images_dir or source)
    found = pair(texts, images, remarks)
    if not found:
        raise remarks.error(source) if remarks.losses else DataError("no label files (*.txt)", where=source)
    document = {"categories": [{"id": number, "name": name} for number, name in names.items()]}
    matched = match_categories(document, set(names), source, remarks, classes)
    targets = [mask_place(out, f"{one.name}{_suffix(one.image)}", data) for one in found]
    refuse_shared_masks(zip((str(one.text) for one in found), targets, strict=True), source)
    clear_away(out, set(targets))
    paint = partial(_paint, data=data, matched=matched, overlap=overlap)
    painted = list(track(spread(paint, list(zip(found, targets, strict=True))), "painting masks", len(found)))
    flush(out)
    for _, read in painted:
        remarks.merge(read.remarks)
    masks = [(written, read) for written, read in painted if written is not None]
    if remarks.losses and not masks:
        raise remarks.error(source)
    overlap_px = sum(read.overlap_px for _, read in masks)
    rule = "later" if overlap == "last" else "smaller"
    said = [f"{overlap_px} px covered by objects of different classes, the {rule} one won"] if overlap_px else []
    new = sum(written is True for written, _ in masks)
    return FromYoloReport(
        out,
        len(masks),
        sum(read.painted for _, read in masks),
        new,
        len(masks) - new,
        matched.classes.names,
        overlap_px,
        (*remarks.notes(), *said),
        remarks.counts(),
    )


@dataclass(frozen=True, slots=True)
class _Written:
    objects: int
    loss_px: int
    ignored_px: int
    px: int


def _write_labels(
    sample: Sample, data: DataConfig, classes: ClassTable, out: Location, tolerance_px: float
) -> _Written:
    assert sample.mask is not None
    label_map = decode_label_map(read_bytes(sample.mask), data, sample.mask)
    check_label_map(label_map, image_size_hw(sample.image), classes, sample.mask)
    encoded = encode(label_map, classes, tolerance_px=tolerance_px)
    stem = PurePosixPath(sample.image.name).stem  # which is what YOLO looks for
    _write_text(
        out / f"labels/{PurePosixPath(sample.id).with_name(stem)}.txt", "".join(f"{line}\n" for line in encoded.lines)
    )
    return _Written(len(encoded.lines), encoded.loss_px, encoded.ignored_px, label_map.size)


def _write_text(target: Location, text: str) -> None:
    if target.exists():
        if read_bytes(target) == text.encode():
            return
        raise DataError("is there already with other lines", where=target, hint="choose another --out folder")
    write_atomic(target, text.encode(), durable=False)


def _paint(
    item: tuple[Labelled, Location], data: DataConfig | None, matched: Matched, overlap: OverlapRule
) -> tuple[bool | None, ReadImage]:
    one, target = item
    try:
        image = CocoImage(0, one.name, image_size_hw(one.image), ())
        text = text_of(one.text)
    except DataError as error:
        remarks = Remarks()
        remarks.add("images or label files that cannot be read, left out", f"{error.where}: {error.message}", loss=True)
        return None, ReadImage(None, 0, remarks)
    read = decode(image, text, matched.classes, matched.index_of, overlap=overlap)
    written = None if read.label_map is None else write_mask(target, read.label_map, data)
    return written, replace(read, label_map=None)


def _suffix(image: Location) -> str:
    return f".{image.name.rpartition('.')[2]}"
