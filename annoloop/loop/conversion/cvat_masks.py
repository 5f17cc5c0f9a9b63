"""``annoloop convert to-cvat`` and ``from-cvat``: masks to CVAT's "Segmentation mask 1.1" zip and back, bit-identical.

Not here: a CVAT server (``push.py`` and ``pull.py`` know one, and what was changed there).  The fact to know: this is
for files that people send each other; a label that is no class leaves its mask out.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath

import numpy as np

from annoloop.compute.workers import spread
from annoloop.data.coco.categories import match_categories
from annoloop.data.coco.coco_images import refuse_shared_masks
from annoloop.data.coco.json_values import points_outside, unusable_name
from annoloop.data.config import DataConfig
from annoloop.data.copies import on_disk_meanwhile
from annoloop.data.formats.cvat_mask_zip import (
    LABEL_MAP,
    LISTS,
    MASKS,
    Label,
    decode_mask,
    encode_mask,
    is_uncovered,
    labels_of,
    mask_names,
    read_label_map_text,
    write_label_map,
)
from annoloop.data.images import image_size_hw, open_atomic, read_bytes, unreadable
from annoloop.data.mmseg_folders import Sample, check_label_map, decode_label_map, shown_name
from annoloop.data.remarks import Remarks
from annoloop.data.storage import Location
from annoloop.errors import DataError
from annoloop.loop.conversion.mask_folder import clear_away, flush, mask_place, write_mask
from annoloop.masks.classes import NARROW_IGNORE, ClassTable
from annoloop.progress import Track, silent

_MOST_BYTES = 1 << 30
"""Of one file in a zip, unpacked."""


@dataclass(frozen=True, slots=True)
class ToCvatReport:
    """What was written; ``recolored`` are classes whose colour another one has, or that is black."""

    file: Location
    images: int
    recolored: tuple[str, ...]
    without_mask: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FromCvatReport:
    """What was read; ``notes`` says by kind what was left out, ``counts`` the numbers of each kind."""

    folder: Location
    images: int
    written: int
    unchanged: int
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    counts: Mapping[str, int]


def to_cvat(
    samples: Iterable[Sample], data: DataConfig, classes: ClassTable, out: Location, *, track: Track = silent
) -> ToCvatReport:
    """Write the masks of ``samples`` as one zip, each named as its frame in CVAT.

    Raises:
        DataError: a mask cannot be used, a class name that the format cannot hold, or the file cannot be written.
    """
    listed = list(samples)
    labelled = [sample for sample in listed if sample.mask is not None]
    if not labelled:
        raise DataError("no image with a mask to convert", where=data.root)
    labels = labels_of(classes)
    encode = partial(_encode, data=data, classes=classes, labels=labels)
    encoded = track(spread(encode, labelled), "converting masks", len(labelled))
    with open_atomic(out) as stream, zipfile.ZipFile(stream, "w") as file:
        file.writestr(LABEL_MAP, write_label_map(labels.values()))
        names = [PurePosixPath(shown_name(one.id, one.image, data)).with_suffix("").as_posix() for one in labelled]
        file.writestr(f"{LISTS}/default.txt", "".join(f"{name}\n" for name in names))
        for name, png in zip(names, encoded, strict=True):
            file.writestr(f"{MASKS}/{name}.png", png)
    recolored = [one.name for one in classes.classes if labels[one.index].rgb != one.rgb]
    return ToCvatReport(
        out,
        len(labelled),
        tuple(name for name in recolored if name != classes.background),
        tuple(sample.id for sample in listed if sample.mask is None),
    )


def from_cvat(
    file: Location,
    out: Location,
    data: DataConfig | None = None,
    classes: ClassTable | None = None,
    *,
    track: Track = silent,
) -> FromCvatReport:
    """Write one index PNG per mask of the zip below ``out``; classes default to those of its label map.

    Raises:
        DataError: no such zip, nothing in it that can be used, or a file in the way.
    """
    remarks = Remarks()
    with on_disk_meanwhile(file) as zipped:
        root, masks, labels = _contents(zipped, file)
        table, index_of = _classes(labels, classes, file, remarks)
        names = [name for name in masks if _can_be(name, remarks)]
        targets = [mask_place(out, f"{name}.png", data) for name in names]
        refuse_shared_masks(zip(names, targets, strict=True), file)
        clear_away(out, set(targets))
        items = [(masks[name], target) for name, target in zip(names, targets, strict=True)]
        paint = partial(_paint, zipped=zipped, where=file, labels=labels, index_of=index_of, data=data)
        painted = list(track(spread(paint, items), "painting masks", len(items)))
        _tell_missing(zipped, root, masks, remarks)
        _opened_as_it_is.cache_clear()
    flush(out)
    for _, found in painted:
        remarks.merge(found)
    done = [written for written, _ in painted if written is not None]
    if remarks.losses and not done:
        raise remarks.error(file)
    return FromCvatReport(
        out, len(done), sum(done), len(done) - sum(done), table.names, remarks.notes(), remarks.counts()
    )


def _encode(sample: Sample, data: DataConfig, classes: ClassTable, labels: dict[int, Label]) -> bytes:
    assert sample.mask is not None
    label_map = decode_label_map(read_bytes(sample.mask), data, sample.mask)
    check_label_map(label_map, image_size_hw(sample.image), classes, sample.mask)
    return encode_mask(label_map, labels)


def _contents(zipped: Path, where: Location) -> tuple[str, dict[str, str], list[Label]]:
    """The folder of the label map, the masks by name, and the labels."""
    try:
        names = _opened(zipped).namelist()
        root, masks = mask_names(names)
    except DataError as error:
        raise DataError(error.message, where=where, hint="exported from CVAT as: Segmentation mask 1.1") from error
    text = _read(zipped, f"{root}{LABEL_MAP}", where)
    try:
        return root, masks, read_label_map_text(text.decode(), f"{where}: {LABEL_MAP}")
    except UnicodeDecodeError as error:
        raise unreadable(f"{where}: {LABEL_MAP}", error) from error


def _classes(
    labels: list[Label], classes: ClassTable | None, where: Location, remarks: Remarks
) -> tuple[ClassTable, dict[int, int]]:
    """The classes, and the class index by the number of a label; one that is no class is not in it."""
    document = {"categories": [
        {"id": number, "name": label.name, "color": [*label.rgb]} for number, label in enumerate(labels)
    ]}  # fmt: skip
    matched = match_categories(document, set(), where, remarks, classes, all_covered=True)
    index_of = {number: index for number, index in matched.index_of.items() if isinstance(number, int)}
    if classes is not None and not any(label.name == "background" and label.name in classes.names for label in labels):
        index_of |= {number: classes.fill_index for number, label in enumerate(labels) if is_uncovered(label)
                     and label.name not in classes.names}  # fmt: skip
    return matched.classes, index_of


def _can_be(name: str, remarks: Remarks) -> bool:
    if points_outside(name) or unusable_name(name):
        remarks.add("masks whose name points outside the folder, or is none, left out", name[:60], loss=True)
        return False
    return True


def _paint(
    item: tuple[str, Location],
    zipped: Path,
    where: Location,
    labels: list[Label],
    index_of: Mapping[int, int],
    data: DataConfig | None,
) -> tuple[bool | None, Remarks]:
    name, target = item
    remarks = Remarks()
    try:
        numbers = decode_mask(_read(zipped, name, where), labels, name)
    except DataError as error:
        remarks.add("masks that cannot be read, left out", f"{error.where}: {error.message}", loss=True)
        return None, remarks
    lookup = np.array([index_of.get(number, -1) for number in range(len(labels))], np.int64)
    dtype = np.uint8 if lookup.max(initial=0) <= NARROW_IGNORE else np.uint16
    label_map = lookup[numbers]
    if (label_map < 0).any():
        strange = [labels[number].name for number in np.unique(numbers[label_map < 0]).tolist()]
        hint = "add the classes to annoloop.yaml, or take those of the file: --own-classes"
        kind = "masks with labels that are no class, left out"
        remarks.add(kind, f"{name}: {', '.join(strange[:5])}", loss=True, hint=hint)
        return None, remarks
    return write_mask(target, label_map.astype(dtype), data), remarks


def _tell_missing(zipped: Path, root: str, masks: Mapping[str, str], remarks: Remarks) -> None:
    """Images that a list names, but that have no mask: nothing was drawn there, or they were not exported."""
    for name in _opened(zipped).namelist():
        if name.startswith(f"{root}{LISTS}/") and name.endswith(".txt"):
            with suppress(DataError, UnicodeDecodeError):
                for line in _read(zipped, name, zipped).decode().splitlines():
                    if line.strip() and line.strip() not in masks:
                        remarks.add("images that are listed, but have no mask", line.strip())


@lru_cache(maxsize=1)
def _opened_as_it_is(zipped: Path, stamp: tuple[int, int]) -> zipfile.ZipFile:  # noqa: ARG001 - tells an old file
    try:
        return zipfile.ZipFile(zipped)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot be read as a zip ({error})") from error


def _opened(zipped: Path) -> zipfile.ZipFile:
    """A zip, opened once in each process: its table of contents may be long."""
    try:
        about = zipped.stat()
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})") from error
    return _opened_as_it_is(zipped, (about.st_mtime_ns, about.st_size))


def _read(zipped: Path, name: str, where: object) -> bytes:
    file = _opened(zipped)
    if file.getinfo(name).file_size > _MOST_BYTES:
        raise DataError(f"{name} is larger than {_MOST_BYTES >> 20} MiB", where=where)
    try:
        return file.read(name)
    except (OSError, RuntimeError, zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise DataError(f"{name} cannot be read ({error})", where=where) from error
