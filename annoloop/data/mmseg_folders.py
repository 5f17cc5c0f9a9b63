"""mmseg folders to samples: pairing images with masks, reading masks as label maps, and checking them.

The dataset folder is the working tree.  Not here: hashes and history (``ledger.py``).  The fact to
know: with ``reduce_zero_label`` the stored value 0 is ignore and v is class v - 1, as in mmseg.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from annoloop.data.config import DataConfig
from annoloop.data.folders import Folder, folder, stems
from annoloop.data.images import IndexImage, decode_index_png, image_size_hw, read_index_png
from annoloop.data.storage import Location, each
from annoloop.errors import DataError
from annoloop.masks.classes import ClassTable
from annoloop.masks.regions import LabelMap

UNLABELLED = "pool"


@dataclass(frozen=True, slots=True)
class Sample:
    """One image: ``id`` is split + relative stem; ``mask`` is None where it has none yet."""

    id: str
    image: Location
    mask: Location | None
    split: str


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong with the data: which file, and what."""

    kind: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


@dataclass(frozen=True, slots=True)
class Listing:
    """What the folders hold: samples split by split, then by stem, and what could not be paired."""

    samples: tuple[Sample, ...]
    faults: tuple[Fault, ...]


def list_samples(data: DataConfig, *, strays: bool = True) -> Listing:
    """Pair images and masks of all splits; looks at names only.

    Args:
        strays: also look for masks without an image and for images that are not used.

    Raises:
        DataError: the image folder or a split's folder or list is missing.
    """
    samples: list[Sample] = []
    faults: list[Fault] = []
    opened = cache(folder)  # splits that are lists share their folders
    for split, place in data.splits.items():
        images, masks = map(opened, _split_folders(data, place))
        found = _stems(data, split, place, images)
        if not found:
            faults.append(Fault("empty split", split, f"no {data.image_suffix} image"))
        has_mask = _mask_finder(data, place, masks)
        for stem in found:
            sample, fault = _pair(data, split, place, images, masks, stem, has_mask(stem))
            samples.append(sample)
            faults.extend(fault)
        if strays and not place.endswith(".txt"):
            faults.extend(_strays(data, split, images, masks, set(found)))
    return Listing(tuple(samples), tuple(faults))


def count_samples(data: DataConfig, split: str, place: str) -> tuple[int, int]:
    """How many samples a split has, and how many of them a mask, as ``list_samples`` pairs them.

    Raises:
        DataError: its folder or list is missing.
    """
    images, masks = map(folder, _split_folders(data, place))
    found = _stems(data, split, place, images)
    return len(found), sum(map(_mask_finder(data, place, masks), found))


def sources(data: DataConfig, place: str) -> tuple[Location, Location]:
    """Where it is written which samples a split has, its folder or its list, and the folder of their masks."""
    images, masks = _split_folders(data, place)
    return (data.root / place if place.endswith(".txt") else images), masks


def read_label_map(mask: Location, data: DataConfig) -> LabelMap:
    """The label map of a mask file.

    Raises:
        DataError: missing, truncated, RGB or 16-bit.
    """
    return to_label_map(read_index_png(mask), data)


def decode_label_map(stored: bytes, data: DataConfig, where: object) -> LabelMap:
    """The label map of a mask file's bytes."""
    return to_label_map(decode_index_png(stored, where), data)


def to_label_map(stored: IndexImage, data: DataConfig) -> LabelMap:
    """Stored values to class indices."""
    return _REDUCE[stored.values] if data.reduce_zero_label else stored.values


def to_stored(label_map: LabelMap, data: DataConfig, previous: IndexImage | None) -> IndexImage:
    """Class indices to stored values; the inverse of ``to_label_map``.

    Where the label did not change the previous stored value is kept: with ``reduce_zero_label`` both
    0 and 255 mean ignore, and a pixel that nobody touched must not turn from one into the other.
    """
    values = _UNREDUCE[label_map] if data.reduce_zero_label else label_map
    if previous is None:
        return IndexImage(values)
    same = to_label_map(previous, data) == label_map
    return IndexImage(np.where(same, previous.values, values), previous.palette)


def palette_of(samples: Iterable[Sample]) -> bytes | None:
    """The palette of the first mask among samples, so that a new one looks alike; None for grey ones, or for none.

    Raises:
        DataError: that mask cannot be read.
    """
    first = next((sample.mask for sample in samples if sample.mask is not None), None)
    return None if first is None else read_index_png(first).palette


def check_label_map(label_map: LabelMap, size_hw: tuple[int, int], classes: ClassTable, where: object) -> None:
    """Raise if a label map cannot belong to an image of ``size_hw`` or holds an unknown index.

    Raises:
        DataError: names both sizes, or the indices and how many pixels hold them.
    """
    if label_map.shape != size_hw:
        raise DataError(other_size(label_map.shape, size_hw), where=where)
    unknown = _unknown_indices(label_map, classes)
    if unknown:
        hint = "add the class to annoloop.yaml, or mend the mask"
        raise DataError(out_of_range(unknown, classes), where=where, hint=hint)


def other_size(mask_hw: tuple[int, ...], image_hw: tuple[int, int]) -> str:
    """What is wrong with a mask of one size for an image of another, in words."""
    return f"mask is {mask_hw[1]} x {mask_hw[0]} px, its image {image_hw[1]} x {image_hw[0]}"


def out_of_range(unknown: Sequence[tuple[int, int]], classes: ClassTable) -> str:
    """What is wrong with a mask that holds (index, px) which are no classes, in words."""
    shown = ", ".join(f"{index} ({count} px)" for index, count in unknown[:5])
    return f"index out of range: {shown}; classes are 0 … {len(classes) - 1}, ignore {classes.ignore_index}"


def check_samples(samples: Iterable[Sample], data: DataConfig, classes: ClassTable) -> Iterator[Fault]:
    """Open every image and mask and tell what is wrong with them, one fault per file at most."""

    def check(sample: Sample) -> Fault | None:
        try:
            size_hw = image_size_hw(sample.image)
            if sample.mask is not None:
                check_label_map(read_label_map(sample.mask, data), size_hw, classes, sample.mask)
        except DataError as error:
            return Fault("unusable", error.where or str(sample.image), error.message)
        return None

    yield from filter(None, each(data.root, check, samples))


_REDUCE: LabelMap = np.roll(np.arange(256, dtype=np.uint8), 1)
_REDUCE[0] = 255
_REDUCE[255] = 255
_UNREDUCE: npt.NDArray[np.uint8] = np.roll(np.arange(256, dtype=np.uint8), -1)
_UNREDUCE[255] = 0


def _unknown_indices(label_map: LabelMap, classes: ClassTable) -> list[tuple[int, int]]:
    if label_map.max(initial=0) < len(classes):  # mostly; it takes a tenth of the time of what follows
        return []
    unknown = (label_map >= len(classes)) & (label_map != classes.ignore_index)
    indices, counts = np.unique(label_map[unknown], return_counts=True)
    return list(zip(indices.tolist(), counts.tolist(), strict=True))


def _stems(data: DataConfig, split: str, place: str, images: Folder) -> list[str]:
    """Relative stems of a split's images, sorted."""
    if place.endswith(".txt"):
        return _listed_stems(data.root / place, split)
    if not images.exists():
        where = data.root / data.image_dir / place
        raise DataError("no such folder", where=where, hint=f"see data.splits.{split} in annoloop.yaml")
    return sorted(stems(images, data.image_suffix))


def _listed_stems(path: Location, split: str) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the list of split {split!r} cannot be read ({error})", where=path) from error
    listed = [line.strip() for line in lines if line.strip()]
    repeated = [stem for stem, count in Counter(listed).items() if count > 1]
    if repeated:
        raise DataError(f"duplicate stems in the list: {', '.join(repeated[:5])}", where=path)
    return sorted(listed)


def _split_folders(data: DataConfig, place: str) -> tuple[Location, Location]:
    below = "" if place.endswith(".txt") else place
    return data.root / data.image_dir / below, data.root / data.mask_dir / below


def _mask_finder(data: DataConfig, place: str, masks: Folder) -> Callable[[str], bool]:
    return masks.finder(data.mask_suffix, few=place.endswith(".txt"))


def _pair(
    data: DataConfig, split: str, place: str, images: Folder, masks: Folder, stem: str, has_mask: bool
) -> tuple[Sample, list[Fault]]:
    image, mask = images.at(f"{stem}{data.image_suffix}"), masks.at(f"{stem}{data.mask_suffix}")
    faults = []
    if place.endswith(".txt") and not images.has(f"{stem}{data.image_suffix}"):
        faults.append(Fault("missing image", str(image), f"listed in {place}, but there is no such file"))
    if not has_mask and split != UNLABELLED:
        faults.append(Fault("missing mask", str(image), f"no mask {mask}"))
    return Sample(f"{split}/{stem}", image, mask if has_mask else None, split), faults


def _strays(data: DataConfig, split: str, images: Folder, masks: Folder, known: set[str]) -> Iterator[Fault]:
    """Masks without an image, and images whose stem appears again under another suffix."""
    for stem in sorted(set(stems(masks, data.mask_suffix)) - known):
        yield Fault("mask without image", str(masks.at(f"{stem}{data.mask_suffix}")), f"no image in split {split}")
    if data.image_dir == data.mask_dir:
        return
    others = (name for name in images.names() if not name.endswith(data.image_suffix))
    for name in sorted(map(PurePosixPath, others)):
        if images.has(str(name)):
            kind = "duplicate stem" if str(name.with_suffix("")) in known else "other suffix"
            yield Fault(kind, str(images.at(str(name))), f"does not end in {data.image_suffix}; not used")
