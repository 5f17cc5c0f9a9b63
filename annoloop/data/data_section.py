"""The section ``data`` of annoloop.yaml: where images and masks lie, how their names are made, what is stored in them.

Not here: the other sections, reading and writing the file (``config.py``).  The fact to know: folders, prefixes and
suffixes may differ from split to split, so code asks for ``place(split)`` and never for a key itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    PrivateAttr,
    field_validator,
    model_validator,
)

from annoloop.data.mask_formats import JPEG_SUFFIXES, MASK_SUFFIXES, WIDE_KINDS, form_of
from annoloop.data.storage import Location, RemotePath, location
from annoloop.data.stored_values import NARROW, WIDE, StoredValues, ignored, stored_values, unnamed
from annoloop.errors import ConfigError, some_of
from annoloop.masks.classes import NARROW_IGNORE, WIDE_IGNORE

T = TypeVar("T")
Split = Literal["train", "val", "test", "pool"]
Suffix = Annotated[str, Field(min_length=2)]
Suffixes = Suffix | tuple[Suffix, ...]
Value = Annotated[int, Field(ge=0, le=WIDE_IGNORE)]

_LEAST_APART = 16
"""Grey levels between two values of a JPEG mask, whose pixels are some levels off."""


def _place(given: object) -> Location:
    if not isinstance(given, str | Path | RemotePath):
        raise ValueError("must be a path, or the URL of a folder in a store")
    try:
        return location(os.path.expandvars(given) if isinstance(given, str) else given)
    except ConfigError as error:
        raise ValueError(f"{error.message}; {error.hint}") from None


Root = Annotated[Location, PlainValidator(_place), PlainSerializer(str)]


class Section(BaseModel):
    """A part of annoloop.yaml: nothing in it is ignored, nothing is changed once it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Place:
    """Where one split's files lie below ``root`` and how they are named: folder/…/prefix + stem + suffix."""

    images: str
    masks: str
    image_prefix: str
    mask_prefix: str
    image_suffixes: tuple[str, ...]
    mask_suffix: str
    listed: str | None
    """The ``.txt`` list of the split's stems; None: all that lies in the folders."""

    @property
    def shares_folder(self) -> bool:
        """Whether images and masks lie in one folder."""
        return self.images == self.masks

    def image_names(self, stem: str) -> list[str]:
        """The names that the image of a stem may have, relative to ``images``."""
        begun = prefixed(stem, self.image_prefix)
        return [begun + suffix for suffix in self.image_suffixes]

    def mask_name(self, stem: str) -> str:
        """The name of a stem's mask, relative to ``masks``."""
        return prefixed(stem, self.mask_prefix) + self.mask_suffix

    def stem_of_image(self, name: str) -> str | None:
        """The stem of an image's name; None where it is none's."""
        return next((s for x in self.image_suffixes if (s := _between(name, self.image_prefix, x)) is not None), None)

    def stem_of_mask(self, name: str) -> str | None:
        """The stem of a mask's name; None where it is none's."""
        return _between(name, self.mask_prefix, self.mask_suffix)


def prefixed(stem: str, prefix: str) -> str:
    """A stem, which may have folders, with what its file's name begins with.

    >>> prefixed("aachen/0001", "mask_")
    'aachen/mask_0001'
    """
    if not prefix:
        return stem
    folder, slash, name = stem.rpartition("/")
    return f"{folder}{slash}{prefix}{name}"


def _between(name: str, prefix: str, suffix: str) -> str | None:
    if not name.endswith(suffix):
        return None
    stem = name[: -len(suffix)]
    if not prefix:
        return stem
    folder, slash, last = stem.rpartition("/")
    return f"{folder}{slash}{last.removeprefix(prefix)}" if last.startswith(prefix) else None


class DataConfig(Section):
    """Where images and masks lie; a split is a folder below both, or a ``.txt`` list of stems."""

    root: Root
    """Folder of the data set, relative to this file, or a URL in an object store, as ``s3://bucket/steel``."""
    image_dir: str | dict[Split, str] = "img_dir"
    """Folder of the images, below ``root``; one, or one for each split: ``{train: train/images, val: val/images}``."""
    mask_dir: str | dict[Split, str] = "ann_dir"
    """Folder of the masks, below ``root``; one, or one for each split."""
    image_prefix: str | dict[Split, str] = ""
    """How the file names of images begin, before what they share with their masks; one, or one for each split."""
    mask_prefix: str | dict[Split, str] = ""
    """How the file names of masks begin, before what they share with their images; one, or one for each split."""
    image_suffix: Suffixes | dict[Split, Suffixes] = ".jpg"
    """How the file names of images end; one, a list as ``[.jpg, .png]``, or either for each split."""
    mask_suffix: Suffix | dict[Split, Suffix] = ".png"
    """How the file names of masks end, as ``.png`` or ``_gtFine_labelTrainIds.png``; one, or one for each split.

    The end is the format, in which corrections are written, too: .png, .tif, .tiff, .bmp; .jpg only with ``nearest``.
    """
    splits: dict[Split, str] = Field(min_length=1)
    """For each split its folder below ``image_dir`` and ``mask_dir``, or a ``.txt`` list of stems below ``root``."""
    values: dict[Value, Value] = {}
    """What stored values mean, as ``{255: 1}``: a stored 255 is class 1, and class 1 is written as 255. Others mean
    themselves. Several may mean one class, or ``ignore_index``; the first of them is written."""
    nearest: bool = False
    """A stored value that ``values`` does not name means what the nearest one means that it names, 0 always counted:
    for masks with smoothed outlines or from JPEG files."""
    reduce_zero_label: bool = False
    """As in mmseg: a stored 0 is ignored, a stored 1 is class 0, and so on."""
    _is_wide: bool = PrivateAttr(default=False)

    @field_validator("image_suffix")
    @classmethod
    def _some_suffix(cls, given: Any) -> Any:
        for suffixes in given.values() if isinstance(given, dict) else (given,):
            if not suffixes:
                raise ValueError("must name a suffix")
        return given

    @model_validator(mode="after")
    def _every_split_has_its_own(self) -> DataConfig:
        keys = ("image_dir", "mask_dir", "image_prefix", "mask_prefix", "image_suffix", "mask_suffix")
        for key in keys:
            given = getattr(self, key)
            if isinstance(given, dict):
                missing = [split for split in self.splits if split not in given]
                extra = [split for split in given if split not in self.splits]
                if missing and not key.endswith("prefix"):
                    raise ValueError(f"{key} says nothing of the split {', '.join(missing)}")
                if extra:
                    raise ValueError(f"{key} names {', '.join(extra)}, which splits does not")
        return self

    @model_validator(mode="after")
    def _masks_can_be_written(self) -> DataConfig:
        given = self.mask_suffix.values() if isinstance(self.mask_suffix, dict) else (self.mask_suffix,)
        if len({form_of(suffix).kind for suffix in given}) > 1:
            raise ValueError("mask_suffix: the masks of all splits must be of one format")
        named = sorted({0, *self.values})
        near = [b for a, b in pairwise(named) if b - a < _LEAST_APART]
        for suffix in given:
            end = PurePosixPath(f"x{suffix}").suffix.lower()
            if end not in (*MASK_SUFFIXES, *JPEG_SUFFIXES):
                raise ValueError(
                    f"mask_suffix: masks named {suffix} cannot be written, only {', '.join(MASK_SUFFIXES)};"
                    " annoloop convert from-colors FOLDER makes index PNGs beside them"
                )
            if end in JPEG_SUFFIXES and not self.nearest:
                raise ValueError(
                    f"mask_suffix: masks named {suffix} are JPEGs, which store values only about; `values` with all"
                    " values that are meant, as {0: 0, 255: 1}, and `nearest: true` take the nearest of them"
                )
            if end in JPEG_SUFFIXES and near:
                raise ValueError(f"values: in JPEGs they must be {_LEAST_APART} apart or more, {near[0]} is nearer")
        return self

    @model_validator(mode="after")
    def _one_rule_for_values(self) -> DataConfig:
        if self.values and self.reduce_zero_label:
            raise ValueError("values or reduce_zero_label, not both: values can say what reduce_zero_label says")
        if self.nearest and not self.values:
            raise ValueError("nearest needs values")
        return self

    @property
    def is_wide(self) -> bool:
        """Whether masks may have 16 bits, as the ignore index of the classes says; see ``ClassTable.is_wide``."""
        return self._is_wide

    def for_ignore_index(self, ignore_index: int) -> DataConfig:
        """The same section for masks whose ignored pixels are ``ignore_index``."""
        section = self.model_copy()
        section._is_wide = ignore_index > NARROW_IGNORE
        return section

    def check_labels(self, count: int, ignore_index: int) -> None:
        """Raise ValueError where masks cannot hold so many classes, or ``values`` names one that is none."""
        suffixes = self.mask_suffix.values() if isinstance(self.mask_suffix, dict) else (self.mask_suffix,)
        forms = {form_of(suffix).kind for suffix in suffixes}
        if self.is_wide and not forms <= WIDE_KINDS:
            raise ValueError(f"mask_suffix: masks of 16 bits are PNG or TIFF, not {', '.join(sorted(forms))}")
        levels = WIDE if self.is_wide else NARROW
        beyond = sorted({one for pair in self.values.items() for one in pair if one >= levels})
        if beyond:
            named = some_of(map(str, beyond), 5)
            raise ValueError(f"data.values: {named} needs masks of 16 bits: ignore_index {WIDE_IGNORE}")
        if self.values and count > unnamed(levels):
            raise ValueError(f"data.values leaves room for {unnamed(levels)} classes")
        labels = set(self.values.values())
        unknown = sorted(label for label in labels if label >= count and label != ignore_index)
        if unknown:
            raise ValueError(
                f"data.values: {some_of(map(str, unknown), 5)} is no class; classes are 0 … {count - 1},"
                f" ignored pixels are {ignore_index}"
            )
        if ignore_index != ignored(levels) and ignore_index in self.values and ignore_index not in labels:
            raise ValueError(f"data.values: no stored value is left for ignored pixels, {ignore_index}")

    def place(self, split: str) -> Place:
        """Where a split's files lie, and how they are named."""
        where = self.splits[split]  # type: ignore[index]
        listed = where if where.endswith(".txt") else None
        below = "." if listed else where
        suffixes = _of(self.image_suffix, split, ".jpg")
        return Place(
            _joined(_of(self.image_dir, split, ""), below),
            _joined(_of(self.mask_dir, split, ""), below),
            _of(self.image_prefix, split, ""),
            _of(self.mask_prefix, split, ""),
            (suffixes,) if isinstance(suffixes, str) else tuple(suffixes),
            _of(self.mask_suffix, split, ".png"),
            listed,
        )

    def local_folders(self) -> Iterator[tuple[str, str, Path]]:
        """Of every split on the local disk its name, a folder of images or of masks below the root, and where that is.

        Whatever else is written there would be taken for an image or a mask.
        """
        if isinstance(self.root, RemotePath):
            return
        for split in map(str, self.splits):
            place = self.place(split)
            for below in (place.images, place.masks):
                yield split, below, (self.root / below).resolve()

    def rule(self) -> StoredValues | None:
        """What stored values mean; None where every value means itself."""
        levels = WIDE if self.is_wide else NARROW
        return stored_values(tuple(self.values.items()), self.nearest, self.reduce_zero_label, levels)


def _of(given: T | Mapping[Any, T], split: str, default: T) -> T:
    return given.get(split, default) if isinstance(given, Mapping) else given


def _joined(folder: str, below: str) -> str:
    return (PurePosixPath(folder) / below).as_posix()
