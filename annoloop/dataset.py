"""mmseg folders to samples: pairing images with masks, reading masks as label maps, and checking them.

The dataset folder is the working tree.  Not here: hashes and history (``ledger.py``).  The fact to
know: with ``reduce_zero_label`` the stored value 0 is ignore and v is class v - 1, as in mmseg.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from annoloop.classes import ClassTable
from annoloop.config import DataConfig
from annoloop.errors import AnnoloopError, DataError
from annoloop.images import IndexImage, decode_index_png, image_size_hw, read_index_png
from annoloop.masks import LabelMap

UNLABELLED = "pool"


@dataclass(frozen=True, slots=True)
class Sample:
    """One image: ``id`` is split + relative stem; ``mask`` is None where it has none yet."""

    id: str
    image: Path
    mask: Path | None
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
    for split, place in data.splits.items():
        stems = _stems(data, split, place)
        if not stems:
            faults.append(Fault("empty split", split, f"no {data.image_suffix} image"))
        folders, has_mask = _split_folders(data, place), _mask_finder(data, place)
        for stem in stems:
            sample, fault = _pair(data, split, place, folders, stem, has_mask(stem))
            samples.append(sample)
            faults.extend(fault)
        if strays:
            faults.extend(_strays(data, split, place, set(stems)))
    return Listing(tuple(samples), tuple(faults))


def count_samples(data: DataConfig, split: str, place: str) -> tuple[int, int]:
    """How many samples a split has, and how many of them a mask, as ``list_samples`` pairs them.

    Raises:
        DataError: its folder or list is missing.
    """
    stems = _stems(data, split, place)
    return len(stems), sum(map(_mask_finder(data, place), stems))


def sources(data: DataConfig, place: str) -> tuple[Path, Path]:
    """Where it is written which samples a split has, its folder or its list, and the folder of their masks."""
    images, masks = _split_folders(data, place)
    return (data.root / place if place.endswith(".txt") else images), masks


def read_label_map(mask: Path, data: DataConfig) -> LabelMap:
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
    for sample in samples:
        try:
            size_hw = image_size_hw(sample.image)
            if sample.mask is not None:
                check_label_map(read_label_map(sample.mask, data), size_hw, classes, sample.mask)
        except AnnoloopError as error:
            yield Fault("unusable", error.where or str(sample.image), error.message)


_REDUCE: LabelMap = np.roll(np.arange(256, dtype=np.uint8), 1)
_REDUCE[0] = 255
_REDUCE[255] = 255
_UNREDUCE: npt.NDArray[np.uint8] = np.roll(np.arange(256, dtype=np.uint8), -1)
_UNREDUCE[255] = 0


def _unknown_indices(label_map: LabelMap, classes: ClassTable) -> list[tuple[int, int]]:
    # To compare takes half the time that counting takes, and mostly there is nothing to count.
    unknown = (label_map >= len(classes)) & (label_map != classes.ignore_index)
    if not unknown.any():
        return []
    indices, counts = np.unique(label_map[unknown], return_counts=True)
    return list(zip(indices.tolist(), counts.tolist(), strict=True))


def _stems(data: DataConfig, split: str, place: str) -> list[str]:
    """Relative stems of a split's images, sorted."""
    if place.endswith(".txt"):
        return _listed_stems(data.root / place, split)
    folder = data.root / data.image_dir / place
    if not folder.is_dir():
        raise DataError("no such folder", where=folder, hint=f"see data.splits.{split} in annoloop.yaml")
    return sorted(_relative_stems(folder, data.image_suffix))


def _listed_stems(path: Path, split: str) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the list of split {split!r} cannot be read ({error})", where=path) from error
    stems = [line.strip() for line in lines if line.strip()]
    repeated = [stem for stem, count in Counter(stems).items() if count > 1]
    if repeated:
        raise DataError(f"duplicate stems in the list: {', '.join(repeated[:5])}", where=path)
    return sorted(stems)


def _relative_stems(folder: Path, suffix: str) -> Iterator[str]:
    for below, _, names in os.walk(folder):  # many times faster than rglob, which makes a Path of everything
        prefix = "" if below == str(folder) else f"{Path(below).relative_to(folder).as_posix()}/"
        yield from (f"{prefix}{name.removesuffix(suffix)}" for name in names if name.endswith(suffix))


def _split_folders(data: DataConfig, place: str) -> tuple[Path, Path]:
    below = "" if place.endswith(".txt") else place
    return data.root / data.image_dir / below, data.root / data.mask_dir / below


def _mask_finder(data: DataConfig, place: str) -> Callable[[str], bool]:
    """Whether there is a mask for a stem.

    The names of a whole folder are read at once, many times faster than a look at each file; only what is not
    among them, as in a folder that is a link, is looked for by itself.
    """
    _, masks = _split_folders(data, place)
    found = set() if place.endswith(".txt") else set(_stems_of_files(str(masks), data.mask_suffix))
    return lambda stem: stem in found or Path(f"{masks}/{stem}{data.mask_suffix}").is_file()


def _stems_of_files(folder: str, suffix: str, prefix: str = "") -> Iterator[str]:
    """Relative stems of the files below a folder that can be opened; of none if there is no such folder."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _stems_of_files(entry.path, suffix, f"{prefix}{entry.name}/")
            elif entry.name.endswith(suffix) and entry.is_file():
                yield prefix + entry.name.removesuffix(suffix)


def _pair(
    data: DataConfig, split: str, place: str, folders: tuple[Path, Path], stem: str, has_mask: bool
) -> tuple[Sample, list[Fault]]:
    # Joined as text: for a million files / would take seconds more.
    image, mask = Path(f"{folders[0]}/{stem}{data.image_suffix}"), Path(f"{folders[1]}/{stem}{data.mask_suffix}")
    faults = []
    if place.endswith(".txt") and not image.is_file():
        faults.append(Fault("missing image", str(image), f"listed in {place}, but there is no such file"))
    if not has_mask and split != UNLABELLED:
        faults.append(Fault("missing mask", str(image), f"no mask {mask}"))
    return Sample(f"{split}/{stem}", image, mask if has_mask else None, split), faults


def _strays(data: DataConfig, split: str, place: str, stems: set[str]) -> Iterator[Fault]:
    """Masks without an image, and images whose stem appears again under another suffix."""
    if place.endswith(".txt"):
        return
    images, masks = _split_folders(data, place)
    for stem in sorted(set(_relative_stems(masks, data.mask_suffix)) - stems) if masks.is_dir() else ():
        yield Fault("mask without image", str(masks / f"{stem}{data.mask_suffix}"), f"no image in split {split}")
    if data.image_dir == data.mask_dir:
        return
    for path in sorted(images.rglob("*")):
        if path.is_file() and not path.name.endswith(data.image_suffix):
            stem = path.relative_to(images).with_suffix("").as_posix()
            kind = "duplicate stem" if stem in stems else "other suffix"
            yield Fault(kind, str(path), f"does not end in {data.image_suffix}; not used")
