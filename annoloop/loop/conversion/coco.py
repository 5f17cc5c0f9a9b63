"""``annoloop convert``: mask folders to COCO instances JSON and back, bit-identical (law 1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from annoloop.compute.workers import spread
from annoloop.data.coco import instances
from annoloop.data.coco.categories import Matched, match_categories, used_ids
from annoloop.data.coco.coco_images import place_images, refuse_shared_masks
from annoloop.data.coco.drawn import all_in_shares
from annoloop.data.coco.painting import Overlap, OverlapRule, ReadImage, read_label_map
from annoloop.data.coco.panoptic import is_panoptic, read_segments, segment_files, segments_of
from annoloop.data.coco.reading import CocoImage, load, read_images
from annoloop.data.coco.writing import Written, coco_writer, kept_texts, written_before
from annoloop.data.config import DataConfig
from annoloop.data.copies import on_disk_meanwhile
from annoloop.data.images import image_size_hw, read_bytes, sha256
from annoloop.data.mmseg_folders import Sample, check_label_map, decode_label_map, shown_name
from annoloop.data.remarks import MOST_PLACES, Remarks
from annoloop.data.storage import Location
from annoloop.errors import DataError
from annoloop.loop.conversion.mask_folder import clear_away, flush, mask_place, write_mask
from annoloop.masks.classes import ClassTable
from annoloop.progress import Track, silent

MOST_UNSEEN_PX = 1 << 28
"""Pixels of an image, a side of 16384 for one, that are taken from a COCO file without a look at the image."""

MOST_OVERLAPS = 1000
"""So many overlaps are listed in a report, the largest of each image; all are counted."""


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
    """What was read: masks, and the annotations painted in them.

    ``notes`` says by kind what was left out, odd or missing, and what overlaps; ``counts`` has the numbers of each
    kind.  ``overlap_px`` are pixels for which annotations of different classes vie, ``overlaps`` the largest.
    """

    folder: Location
    images: int
    annotations: int
    written: int
    unchanged: int
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    counts: Mapping[str, int] = field(default_factory=dict)
    overlap_px: int = 0
    overlaps: tuple[Overlap, ...] = ()


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
    segments_dir: Location | None = None,
    overlap: OverlapRule = "last",
    strip_folders: bool = False,
    track: Track = silent,
) -> FromCocoReport:
    """Write one index PNG per image of a COCO file below ``out``; classes default to the file's own.

    What is unambiguous is read, whoever wrote the file; what is left out is counted and told.  An image of which
    nothing can be read gets no mask.  A PNG that is there already with other pixels is never overwritten (law 3).
    What was written is on disk for good before this returns.

    Args:
        images_dir: the images of the file: a file name means the one with the longest tail of it, and its size is
            compared with the file's.
        segments_dir: the PNGs of a panoptic file; default: a folder named as the file, or beside it.
        overlap: which of two annotations of different classes is seen where both are.
        strip_folders: only the last part of a file name counts.

    Raises:
        DataError: not a COCO file, nothing in it that can be used, categories that are no class, a file in the way.
    """
    remarks = Remarks()
    document = load(file)
    images = read_images(document, file, remarks)
    is_segments = is_panoptic(document)
    images = segments_of(images) if is_segments else images
    used = used_ids([one for image in images for one in image.annotations])
    matched = match_categories(document, used, file, remarks, classes, all_covered=is_segments)
    files = segment_files(images, file, segments_dir) if is_segments else {}
    placed = place_images(images, images_dir, remarks, strip_folders=strip_folders, most_unseen_px=MOST_UNSEEN_PX)
    targets = [mask_place(out, one.name, data) for one in placed]
    refuse_shared_masks(zip((one.image.file_name for one in placed), targets, strict=True), file)
    clear_away(out, set(targets))
    in_shares = not is_segments and all_in_shares([one.image for one in placed])
    paint = partial(_paint, data=data, matched=matched, overlap=overlap, in_shares=in_shares)
    items = [(one.image, target, files.get(one.image.id)) for one, target in zip(placed, targets, strict=True)]
    drawn, bare = [one for one in items if one[0].annotations], [one for one in items if not one[0].annotations]
    painted = list(track(spread(paint, drawn), "painting masks", len(drawn)))
    _tell(painted, remarks)
    nothing = not items or (document["annotations"] and all(one.written is None for one in painted))
    if remarks.losses and nothing:
        raise remarks.error(file)  # before masks are written that say background everywhere
    painted += track(spread(paint, bare), "writing masks without objects", len(bare))
    flush(out)
    return _from_coco_report(out, matched.classes, painted, overlap, remarks)


def _tell(painted: Sequence[_Painted], remarks: Remarks) -> None:
    for one in painted:
        remarks.merge(one.read.remarks)
    for one in painted:
        if one.written is None:
            remarks.add("images of which nothing can be read, left out", one.file_name)


def _from_coco_report(
    out: Location, classes: ClassTable, painted: Sequence[_Painted], overlap: OverlapRule, remarks: Remarks
) -> FromCocoReport:
    masks = [one for one in painted if one.written is not None]
    written = sum(one.written is True for one in masks)
    return FromCocoReport(
        out,
        len(masks),
        sum(one.read.painted for one in masks),
        written,
        len(masks) - written,
        classes.names,
        (*remarks.notes(), *_overlap_notes(masks, overlap)),
        remarks.counts(),
        overlap_px=sum(one.read.overlap_px for one in masks),
        overlaps=tuple(one for mask in masks for one in mask.read.overlaps)[:MOST_OVERLAPS],
    )


def _overlap_notes(masks: Iterable[_Painted], rule: OverlapRule) -> Iterator[str]:
    """Annotations of two classes on the same pixels, in words: the largest, and what nothing is left of."""
    some = [one for one in masks if one.read.overlap_count]
    if not some:
        return
    found = sorted((one for mask in some for one in mask.read.overlaps), key=lambda one: -one.px)
    count, px = sum(one.read.overlap_count for one in some), sum(one.read.overlap_px for one in some)
    won, other = ("later", "small-over-large") if rule == "last" else ("smaller", "last")
    first = [
        f"{one.image}: {one.above} ({one.above_class}) over {one.below} ({one.below_class}), {one.px} px"
        for one in found
    ]
    yield (
        f"{count} overlaps between classes in {len(some)} images, {px} px, the {won} annotation won (or --overlap"
        f" {other}): {_first(first)}"
    )
    hidden = {(one.image, one.below): one for one in found if one.hidden}
    under = [
        f"{one.image}: {one.below} ({one.below_class}) under {one.above} ({one.above_class})" for one in hidden.values()
    ]
    if under:
        yield f"{len(under)} annotations are left without a pixel by that: {_first(under)}"


def _first(places: Sequence[str]) -> str:
    return "; ".join([*places[:MOST_PLACES], *(["…"] if len(places) > MOST_PLACES else [])])


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
    return _Encoded(digest, size_hw, instances.annotation_texts(label_map, classes, min_region_px=min_region_px))


@dataclass(frozen=True, slots=True)
class _Painted:
    """What came of an image, without its label map; ``written``: None if there was none."""

    file_name: str
    written: bool | None
    read: ReadImage


def _paint(
    item: tuple[CocoImage, Location, Location | None],
    data: DataConfig | None,
    matched: Matched,
    overlap: OverlapRule,
    in_shares: bool,
) -> _Painted:
    image, target, segments = item
    if segments is not None:
        read = read_segments(image, segments, matched.classes, matched.index_of)
    else:
        read = read_label_map(image, matched.classes, matched.index_of, overlap=overlap, in_shares=in_shares)
    written = None if read.label_map is None else write_mask(target, read.label_map, data)
    return _Painted(image.file_name, written, replace(read, label_map=None))


def _without_mask(samples: Iterable[Sample]) -> tuple[str, ...]:
    return tuple(sample.id for sample in samples if sample.mask is None)
