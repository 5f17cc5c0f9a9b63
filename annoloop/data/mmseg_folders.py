"""mmseg folders to samples: pairing images with masks, reading masks as label maps, and checking them.

The dataset folder is the working tree.  Not here: hashes and history (``ledger.py``), what stored values mean
(``stored_values.py``).  The fact to know: what is paired is decided by names alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath

import numpy as np

from annoloop.data.data_section import DataConfig, Place, prefixed
from annoloop.data.folders import Folder, folder, stems
from annoloop.data.images import IndexImage, decode_index_png, image_size_hw, read_index_png
from annoloop.data.mask_formats import Form, beyond_8_bits, form_of, widened
from annoloop.data.split_lists import listed_stems
from annoloop.data.storage import Location, each
from annoloop.data.stored_values import unnamed
from annoloop.errors import DataError
from annoloop.masks.classes import NARROW_IGNORE, ClassTable
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
        DataError: the image folder or a split's folder or list is missing, or two images have one mask.
    """
    samples: list[Sample] = []
    faults: list[Fault] = []
    opened = cache(folder)  # splits that are lists share their folders
    for split in data.splits:
        place = data.place(split)
        images, masks = opened(data.root / place.images), opened(data.root / place.masks)
        found = _images(data, split, images)
        if not found:
            faults.append(Fault("empty split", split, f"no {' or '.join(place.image_suffixes)} image"))
        has_mask = _mask_finder(place, masks)
        for stem, name in found.items():
            sample, fault = _pair(place, split, images, masks, (stem, name), has_mask(stem))
            samples.append(sample)
            faults.extend(fault)
        if strays and place.listed is None:
            faults.extend(_strays(place, split, images, masks, found))
    _refuse_shared_masks(data, samples)
    return Listing(tuple(samples), tuple(faults))


def count_samples(data: DataConfig, split: str) -> tuple[int, int]:
    """How many samples a split has, and how many of them a mask, as ``list_samples`` pairs them.

    Raises:
        DataError: its folder or list is missing.
    """
    place = data.place(split)
    images, masks = folder(data.root / place.images), folder(data.root / place.masks)
    if place.listed is None and is_plain(place):
        _require_folder(split, images)
        names: Iterable[str] = list(stems(images, place.image_suffixes[0]))
    else:
        names = _images(data, split, images)
    found = list(names)
    return len(found), sum(map(_mask_finder(place, masks), found))


def sources(data: DataConfig, split: str) -> tuple[Location, Location]:
    """Where it is written which samples a split has, its folder or its list, and the folder of their masks."""
    place = data.place(split)
    return data.root / (place.images if place.listed is None else place.listed), data.root / place.masks


def read_label_map(mask: Location, data: DataConfig) -> LabelMap:
    """The label map of a mask file.

    Raises:
        DataError: missing, truncated, colours, or numbers beyond 8 bits.
    """
    return to_label_map(read_index_png(mask), data, mask)


def decode_label_map(stored: bytes, data: DataConfig, where: object) -> LabelMap:
    """The label map of a mask file's bytes."""
    return to_label_map(decode_index_png(stored, where), data, where)


def to_label_map(stored: IndexImage, data: DataConfig, where: object = None) -> LabelMap:
    """Stored values to class indices; ``where`` names the mask in an error.

    Raises:
        ColourMaskError: numbers beyond 8 bits, where the classes need no more.
    """
    rule = data.rule()
    values = stored.values
    if values.dtype == np.uint16 and not data.is_wide:
        raise beyond_8_bits(values, where)
    if data.is_wide and rule is None:
        return values.astype(np.uint16, copy=False)
    return values if rule is None else rule.labels[values]


def to_stored(label_map: LabelMap, data: DataConfig, previous: IndexImage | None) -> IndexImage:
    """Class indices to stored values; the inverse of ``to_label_map``.

    Where the label did not change the previous stored value is kept: with ``reduce_zero_label`` both
    0 and 255 mean ignore, and a pixel that nobody touched must not turn from one into the other.
    A new mask is in the format that ``data.mask_suffix`` names.

    Raises:
        DataError: the label map holds something for which no stored value stands.
    """
    rule = data.rule()
    values = label_map if rule is None else rule.to_stored(label_map)
    if previous is None:
        return IndexImage(values, form=new_form(data))
    same = to_label_map(previous, data) == label_map
    if same.all():
        return previous
    if previous.form.kind == "JPEG":  # what lies between two values might fall to the other side
        return IndexImage(values, form=previous.form)
    values = np.where(same, previous.values, values)
    if values.dtype == np.uint16 and int(values.max()) > NARROW_IGNORE:
        return IndexImage(values, form=widened(previous.form))
    return IndexImage(values.astype(np.uint8, copy=False), previous.palette, previous.form)


def new_form(data: DataConfig) -> Form:
    """The format of a mask that is new, by its name's end, which is of one format in all splits."""
    suffix = next(iter(data.mask_suffix.values())) if isinstance(data.mask_suffix, dict) else data.mask_suffix
    return form_of(suffix, is_wide=data.is_wide)


def is_mask(name: str, places: Iterable[Place]) -> bool:
    """Whether a file is a mask, or lies among masks where no images are, by its path below the data set's root.

    ``places`` are those of all splits.
    """
    path = PurePosixPath(name)
    for place in places:
        if place.shares_folder:
            if path.is_relative_to(place.images) and _is_a_mask(place, str(path.relative_to(place.images))):
                return True
        elif path.is_relative_to(place.masks):
            images_within = PurePosixPath(place.images).is_relative_to(place.masks)
            if not (images_within and path.is_relative_to(place.images)):
                return True
    return False


def shown_name(sample_id: str, image: Location, data: DataConfig) -> str:
    """A sample's name as CVAT and COCO files have it: its id, and how its image's name ends."""
    suffixes = data.place(sample_id.partition("/")[0]).image_suffixes
    return sample_id + next((suffix for suffix in suffixes if image.name.endswith(suffix)), suffixes[0])


def mask_name_of(shown: str, data: DataConfig) -> str:
    """The name of the mask of an image by its ``shown_name``, split first; of any other by the first split's rules."""
    split = shown.partition("/")[0]
    place = data.place(split if split in data.splits else next(iter(data.splits)))
    ends = [suffix for suffix in place.image_suffixes if shown.endswith(suffix)]
    stem = shown[: -len(ends[0])] if ends else PurePosixPath(shown).with_suffix("").as_posix()
    return place.mask_name(stem)


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
    if classes.values and unknown[0][0] == unnamed(classes.levels):
        return f"{unknown[0][1]} px hold stored values that data.values does not name"
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


def _unknown_indices(label_map: LabelMap, classes: ClassTable) -> list[tuple[int, int]]:
    if label_map.max(initial=0) < len(classes):  # mostly; it takes a tenth of the time of what follows
        return []
    unknown = (label_map >= len(classes)) & (label_map != classes.ignore_index)
    indices, counts = np.unique(label_map[unknown], return_counts=True)
    return list(zip(indices.tolist(), counts.tolist(), strict=True))


def is_plain(place: Place) -> bool:
    """Whether a name that ends in the one suffix is an image, and nothing else needs to be looked at."""
    return len(place.image_suffixes) == 1 and not place.image_prefix and not _may_hold_masks(place)


def _may_hold_masks(place: Place) -> bool:
    return place.shares_folder or place.images == "." or place.masks.startswith(f"{place.images}/")


def _images(data: DataConfig, split: str, images: Folder) -> dict[str, str]:
    """The names of a split's images by their stems, sorted by stem."""
    place = data.place(split)
    if place.listed is not None:
        return _listed_images(data, split, images)
    _require_folder(split, images)
    if is_plain(place):
        suffix = place.image_suffixes[0]
        return {stem: stem + suffix for stem in sorted(stems(images, suffix))}
    found: dict[str, str] = {}
    for name in sorted(images.names()):
        stem = place.stem_of_image(name)
        if stem is None or _is_a_mask(place, name):
            continue
        if stem in found:
            raise _one_mask_for_two(data, images.at(found[stem]), images.at(name), place.mask_name(stem))
        found[stem] = name
    return dict(sorted(found.items()))


def _is_a_mask(place: Place, name: str) -> bool:
    """Whether a file among the images is a mask: in the same folder by its longer name, or in the folder of masks."""
    if place.shares_folder:
        as_mask = place.stem_of_mask(name)
        as_image = place.stem_of_image(name)
        return as_mask is not None and (as_image is None or len(as_mask) < len(as_image))
    inside = PurePosixPath(place.masks)
    return _may_hold_masks(place) and PurePosixPath(place.images, name).is_relative_to(inside)


def _require_folder(split: str, images: Folder) -> None:
    if not images.exists():
        raise DataError("no such folder", where=images.path, hint=f"see data.splits.{split} in annoloop.yaml")


def _listed_images(data: DataConfig, split: str, images: Folder) -> dict[str, str]:
    place = data.place(split)
    path = data.root / str(place.listed)
    try:
        listed = listed_stems(path.read_text(encoding="utf-8-sig"), place)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the list of split {split!r} cannot be read ({error})", where=path) from error
    repeated = [stem for stem, count in Counter(listed).items() if count > 1]
    if repeated:
        raise DataError(f"duplicate stems in the list: {', '.join(repeated[:5])}", where=path)
    return {stem: _image_of(data, place, images, stem) for stem in sorted(listed)}


def _image_of(data: DataConfig, place: Place, images: Folder, stem: str) -> str:
    """The name of a listed image: of several suffixes the one that is there, or the first."""
    names = place.image_names(stem)
    there = [name for name in names if images.has(name)] if len(names) > 1 else []
    if len(there) > 1:
        raise _one_mask_for_two(data, images.at(there[0]), images.at(there[1]), place.mask_name(stem))
    return there[0] if there else names[0]


def _mask_finder(place: Place, masks: Folder) -> Callable[[str], bool]:
    has = masks.finder(place.mask_suffix, few=place.listed is not None)
    return has if not place.mask_prefix else lambda stem: has(prefixed(stem, place.mask_prefix))


def _pair(
    place: Place, split: str, images: Folder, masks: Folder, named: tuple[str, str], has_mask: bool
) -> tuple[Sample, list[Fault]]:
    stem, name = named
    image, mask = images.at(name), masks.at(place.mask_name(stem))
    faults = []
    if place.listed is not None and not images.has(name):
        faults.append(Fault("missing image", str(image), f"listed in {place.listed}, but there is no such file"))
    if not has_mask and split != UNLABELLED:
        faults.append(Fault("missing mask", str(image), f"no mask {mask}"))
    return Sample(f"{split}/{stem}", image, mask if has_mask else None, split), faults


def _strays(place: Place, split: str, images: Folder, masks: Folder, known: Mapping[str, str]) -> Iterator[Fault]:
    """Masks without an image, and images whose stem appears again under another suffix."""
    used = set(known.values())
    found = (place.stem_of_mask(name) for name in masks.names())
    for stem in sorted({stem for stem in found if stem is not None} - known.keys()):
        if not place.shares_folder or place.mask_name(stem) not in used:
            yield Fault("mask without image", str(masks.at(place.mask_name(stem))), f"no image in split {split}")
    if _may_hold_masks(place):
        return
    suffixes = " or ".join(place.image_suffixes)
    for name in sorted(map(PurePosixPath, (name for name in images.names() if name not in used))):
        if images.has(str(name)):
            kind = "duplicate stem" if str(name.with_suffix("")) in known else "other suffix"
            yield Fault(kind, str(images.at(str(name))), f"does not end in {suffixes}; not used")


def _refuse_shared_masks(data: DataConfig, samples: Sequence[Sample]) -> None:
    """Raise where splits share a folder of masks, but not of images, and a mask would belong to two images."""
    places = {str(split): data.place(split) for split in data.splits}
    by_masks = Counter(place.masks for place in places.values())
    shared = {split for split, place in places.items() if by_masks[place.masks] > 1}
    if len({places[split].images for split in shared}) < 2:
        return
    image_of: dict[Location, Location] = {}
    for sample in samples:
        if sample.split in shared and sample.mask is not None:
            first = image_of.setdefault(sample.mask, sample.image)
            if first != sample.image:
                raise _one_mask_for_two(data, first, sample.image, str(sample.mask))


def _one_mask_for_two(data: DataConfig, one: Location, other: Location, mask: str) -> DataError:
    return DataError(
        f"two images have one mask: {one} and {other} would both have {mask}",
        where=data.root,
        hint="rename or remove one of the two, or name the suffix and folders of one kind in annoloop.yaml",
    )
