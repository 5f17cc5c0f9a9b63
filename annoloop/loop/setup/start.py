"""``annoloop init``: looks at a folder of images and masks and writes annoloop.yaml from what it finds.

Not here: how a layout is recognised (``data/layouts/discovery.py`` and its neighbours), where names come from
(``class_list.py``).  The fact to know: nothing is written before everything is settled, and every choice is a line.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from annoloop.data.coco.categories import BACKGROUND_NAMES
from annoloop.data.config import FILE_NAME, ClassConfig, Config, DataConfig, checked, composed, render
from annoloop.data.folders import Folder, folder, tree
from annoloop.data.images import IMAGE_SUFFIXES, read_bytes, write_atomic
from annoloop.data.layouts.discovery import Choice, choose, mask_sets
from annoloop.data.layouts.file_kinds import look_at
from annoloop.data.layouts.layout_splits import may_be_list, splits_of
from annoloop.data.layouts.pairings import Pictures
from annoloop.data.layouts.seen_files import nothing_found, scattered
from annoloop.data.mmseg_folders import Fault, Listing, list_samples, palette_of
from annoloop.data.storage import Location
from annoloop.data.stored_values import WIDE, ignored, unnamed
from annoloop.eda.findings import KINDS
from annoloop.errors import ConfigError, DataError, check_argument, meant
from annoloop.loop.setup.class_list import (
    ClassList,
    chosen_colors,
    completed,
    told_classes,
    zero_is_no_class,
)
from annoloop.loop.setup.mask_values import (
    MaskValues,
    look_at_values,
    odd_values,
    of_another_kind,
    on_label_ids,
)
from annoloop.loop.setup.unusable_masks import conversion, index_section, refuse_colours, refuse_unusable
from annoloop.loop.setup.val_share import LISTS, with_val
from annoloop.masks.classes import MAX_CLASSES, MAX_WIDE_CLASSES, NARROW_IGNORE, WIDE_IGNORE
from annoloop.progress import Track, silent

_PICTURE_SUFFIXES = (*IMAGE_SUFFIXES, ".gif", ".jpe", ".jfif")
_MOST_LIST_BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class InitReport:
    """The file that was written, what was found, what was chosen and why, and what looked odd."""

    file: Path
    config: Config
    images: dict[str, int]
    odd: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Wishes:
    """What a person says beforehand of a data set; as the arguments of ``init``."""

    classes: tuple[str, ...]
    palette: tuple[str, ...]
    images: str
    masks: str
    values: Mapping[int, int | str] | None
    reduce_zero_label: bool | None


def init(
    data_root: Location,
    project_dir: Path,
    *,
    classes: Sequence[str] = (),
    palette: Sequence[str] = (),
    background: str | None = None,
    images: str = "",
    masks: str = "",
    values: Mapping[int, int | str] | None = None,
    val_share: float | None = None,
    reduce_zero_label: bool | None = None,
    force: bool = False,
    track: Track = silent,
) -> InitReport:
    """Write annoloop.yaml for a dataset folder.

    Args:
        images: part of the name of the image set to take, where there are several; ``masks`` the same.
        values: what stored values mean, by index or by name.
        val_share: share of train, 0 ... 1, drawn for val where there is no val split.
        reduce_zero_label: None: by what is found.

    Raises:
        ConfigError: there is one already (``force`` replaces it), or what is wished does not fit.
        DataError: no image has a mask, or the masks cannot be used as they are; says what is there, and what helps.
    """
    wishes = _Wishes(tuple(classes), tuple(palette), images, masks, values, reduce_zero_label)
    share = val_share
    check_argument("--val-share", share, share is None or 0 < share < 1, "a share between 0 and 1")
    file = project_dir / FILE_NAME
    if file.exists() and not force:
        raise ConfigError("is there already", where=file, hint="--force replaces it; your edits would be lost")
    files = folder(data_root)
    if not files.exists():
        raise DataError("no such folder", where=data_root)
    found = _found(files, wishes, track)
    if share is not None and "val" not in found.data.splits and "train" in found.data.splits:
        split, lists = with_val(found.data, found.listing.samples, share, track)
        note = f"val was drawn from train: the lists are {' and '.join(lists)}"
        found = replace(found, data=split, lists={**found.lists, **lists}, notes=(*found.notes, note))
    data = found.data
    config = composed(
        project=_name(data_root) or "project",
        data=data.model_copy(update={"root": _relative(data_root, project_dir)}),
        classes=tuple(
            ClassConfig(name=name, color=color)
            for name, color in zip(found.classes.names, chosen_colors(found.classes, wishes.palette), strict=True)
        ),
        ignore_index=found.ignore_index,
        background=background if background is not None else _background(found.classes.names),
    )
    for name, text in found.lists.items():
        write_atomic(files.at(name), text.encode())
    listing = list_samples(data) if found.lists else found.listing
    write_atomic(file, render(config).encode())
    counts = Counter(sample.split for sample in listing.samples)
    found_in = {str(split): counts[split] for split in data.splits}
    return InitReport(file, config, found_in, tuple(found.odd), (*found.notes, *_on_splits(data, share)))


def values_of(parts: Sequence[str]) -> dict[int, int | str]:
    """What stored values mean, from parts like ``255=1`` and ``128=ignore``.

    Raises:
        ConfigError: a part is no such thing.
    """
    found: dict[int, int | str] = {}
    for part in parts:
        value, equals, label = (piece.strip() for piece in part.partition("="))
        if not equals or not label or not value.isdecimal() or int(value) >= WIDE:
            raise ConfigError(f"{part!r} is not like 255=1 or 128=ignore", where="--values")
        found[int(value)] = int(label) if label.isdecimal() else label
    return found


@dataclass(frozen=True, slots=True)
class _Found:
    """Everything that will stand in the file, and what is told of it."""

    data: DataConfig
    listing: Listing
    classes: ClassList
    notes: tuple[str, ...]
    odd: tuple[str, ...]
    lists: Mapping[str, str] = field(default_factory=dict)
    """Text of lists of splits that are not there yet, by their names."""
    ignore_index: int = NARROW_IGNORE


def _found(files: Folder, wishes: _Wishes, track: Track) -> _Found:
    names = tree(files)
    pictures = Pictures(names, _PICTURE_SUFFIXES)
    look = cache(lambda name: look_at(files.at(name)))
    choice = choose(pictures, look, images=wishes.images, masks=wishes.masks)
    if choice is None:
        wanted = " ".join(f"--{k} {v}" for k, v in (("images", wishes.images), ("masks", wishes.masks)) if v)
        raise nothing_found(files, names, sets=mask_sets(pictures, look) if wanted else (), wanted=wanted)
    if choice.scattered:
        raise scattered(files, choice.paired.pairing.image_set, choice.paired.pairing.mask_set, choice.scattered)
    splits = splits_of(choice, _lists(files, names))
    most = MAX_WIDE_CLASSES if choice.kind == "wide" else MAX_CLASSES
    told = told_classes(files, names, wishes.classes, choice.paired.pairing.mask_set, most)
    notes = (_on_choice(choice), *choice.notes, *splits.notes)
    section = {"root": files.path, **splits.section}
    if choice.kind == "colour":
        found = _of_colours(files, choice, section, told)
    else:
        ignore_index = _ignore_index(choice, told, wishes)
        values = _resolved(wishes.values, told.names, ignore_index)
        refuse_unusable(files, choice, values, section, len(told.names) + told.first)
        found = _of_indices(choice, section | splits.every, values, told, wishes, ignore_index, track)
        if not any(sample.mask for sample in found.listing.samples):
            raise nothing_found(files, names)
        kept = {key: getattr(found.data, key) for key in ("values", "nearest", "reduce_zero_label")}
        found = replace(found, data=checked(section | kept))
    return replace(found, notes=(*notes, *found.notes), lists=splits.rest)


def _of_indices(
    choice: Choice,
    section: dict[str, Any],
    values: Mapping[int, int],
    told: ClassList,
    wishes: _Wishes,
    ignore_index: int,
    track: Track,
) -> _Found:
    """Masks that hold numbers: what they are read as, and what is odd about them."""
    data = checked(section | {"values": values, "nearest": bool(values) and choice.kind == "lossy"})
    data = data.for_ignore_index(ignore_index)
    listing = list_samples(data)
    seen = look_at_values(data.root, listing.samples, track, ignore_index)
    notes = [] if ignore_index == NARROW_IGNORE else [f"masks of 16 bits: ignore_index is {ignore_index}"]
    if values and (data.nearest or seen.rim):
        data = checked(section | {"values": {0: 0, **values}, "nearest": True})
        why = "masks are JPEGs, which are lossy" if choice.kind == "lossy" else "outlines are smoothed"
        notes.append(
            f"{why}: each value means the nearest of {', '.join(map(str, sorted(data.values)))} (data.nearest)"
        )
    data, reason = _reduced(data, told, seen, wishes)
    told = replace(told, first=int(bool(reason)))
    labels, unnamed = _labels(data, seen)
    another_kind = [] if values else list(of_another_kind(seen))
    highest = 1 if another_kind else max(labels, default=0) + told.first
    classes = completed(told, highest, palette_of(listing.samples))
    odd = [
        *(f"{fault} ({KINDS[fault.kind].severity})" for fault in _brief(listing.faults)),
        *seen.unreadable,
        *unnamed,
        *another_kind,
    ]
    odd += odd_values(seen, labels, classes.names, given=bool(told.names))
    odd += [] if values else on_label_ids(choice.paired.pairing.mask_set)
    return _Found(data, listing, classes, (*notes, *classes.notes, *reason), tuple(odd), ignore_index=ignore_index)


# masks


def _of_colours(files: Folder, choice: Choice, section: dict[str, Any], told: ClassList) -> _Found:
    """Masks in colours: the file names the folder of index masks that are to be made of them."""
    if not any(told.colors):
        refuse_colours(files, choice, section)
    data = checked(index_section(section))
    listing = list_samples(data, strays=False)
    without = sum(sample.mask is None and sample.split != "pool" for sample in listing.samples)
    command = conversion(files, section)
    odd = (f"masks are colours: {command} makes the index masks that annoloop.yaml names",) if without else ()
    classes = completed(told, len(told.names) - 1, None)
    ignore_index = NARROW_IGNORE if len(classes.names) <= MAX_CLASSES else WIDE_IGNORE
    return _Found(data, listing, replace(classes, first=0), classes.notes, odd, ignore_index=ignore_index)


def _ignore_index(choice: Choice, told: ClassList, wishes: _Wishes) -> int:
    """What ignored pixels have: 255, or 65535 where there are numbers or classes for which 8 bits are too few."""
    mentioned = [one for pair in (wishes.values or {}).items() for one in pair if isinstance(one, int)]
    few = choice.kind != "wide" and len(told.names) <= MAX_CLASSES and max(mentioned, default=0) <= NARROW_IGNORE
    return NARROW_IGNORE if few else WIDE_IGNORE


def _resolved(values: Mapping[int, int | str] | None, names: Sequence[str], ignore_index: int) -> dict[int, int]:
    """Values with class indices for names."""
    found = {}
    for value, label in (values or {}).items():
        if isinstance(label, str) and label not in (*names, "ignore"):
            raise ConfigError(
                f"no class is named {label!r}{meant(label, names)}",
                where="--values",
                hint="a class's index or its name",
            )
        found[value] = (
            label if isinstance(label, int) else ignore_index if label == "ignore" else list(names).index(label)
        )
    return found


def _reduced(data: DataConfig, told: ClassList, seen: MaskValues, wishes: _Wishes) -> tuple[DataConfig, list[str]]:
    """With ``reduce_zero_label`` where that is wished, or where 0 is no class of the list; and why."""
    if data.values or wishes.reduce_zero_label is False:
        return data, []
    reason = "as wished" if wishes.reduce_zero_label else zero_is_no_class(told, seen.real)
    if reason is None:
        return data, []
    if data.is_wide:  # mmseg's reduce_zero_label is a rule for 8 bits
        values = {0: seen.ignore_index, **{i + 1: i for i in range(max(len(told.names), max(seen.real, default=1)))}}
        read = data.model_copy(update={"values": values})
        return read, [f"data.values: a stored 0 is ignored and 1 is the first class: {reason}"]
    note = f"reduce_zero_label: true, so a stored 0 is ignored and 1 is the first class: {reason}"
    hint = "" if wishes.reduce_zero_label else "; --no-reduce-zero-label if 0 is a class"
    return data.model_copy(update={"reduce_zero_label": True}), [note + hint]


def _labels(data: DataConfig, seen: MaskValues) -> tuple[dict[int, int], list[str]]:
    """Pixels per class index, ignored ones left out, and a line on stored values that mean nothing."""
    rule, levels = data.rule(), seen.ignore_index + 1
    labels: Counter[int] = Counter()
    nameless = []
    for value, count in seen.counts.items():
        label = value if rule is None else int(rule.labels[value])
        if data.values and label == unnamed(levels):
            nameless.append(f"{value} ({count} px)")
        elif label != ignored(levels):
            labels[label] += count
    said = f"masks hold stored values that data.values does not name: {', '.join(nameless[:10])}"
    return dict(labels), [said] if nameless else []


# splits


def _lists(files: Folder, names: Sequence[str]) -> dict[str, str]:
    texts = {}
    for name in names:
        if may_be_list(name):
            data = read_bytes(files.at(name))
            if len(data) <= _MOST_LIST_BYTES:
                texts[name] = data.decode("utf-8-sig", errors="replace")
    return texts


def _on_splits(data: DataConfig, share: float | None) -> list[str]:
    if "val" not in data.splits:
        return ["there is no val split; --val-share 0.2 draws one from train"]
    drawn = data.splits["val"] == f"{LISTS}/val.txt"
    return ["there is a val split: --val-share draws none"] if share is not None and not drawn else []


# words


def _on_choice(choice: Choice) -> str:
    pairing = choice.paired.pairing
    images = [one.pairing.image_set for one in (choice.paired, *choice.more)]
    count = f"{len(choice.pairs)} of {len(choice.images)} images have one"
    return f"images {' and '.join(images)}, masks {pairing.mask_set}: {count}"


def _brief(faults: Sequence[Fault]) -> list[Fault]:
    """The first faults of each kind, and how many more there are."""
    shown = []
    for kind, count in Counter(f.kind for f in faults).items():
        first = [f for f in faults if f.kind == kind][:3]
        shown += first
        if count > len(first):
            shown.append(Fault(kind, f"{count - len(first)} more", kind))
    return shown


def _background(names: Sequence[str]) -> str | None:
    return names[0] if names[0].lower() in BACKGROUND_NAMES else None


def _name(data_root: Location) -> str:
    return (data_root.resolve() if isinstance(data_root, Path) else data_root).name


def _relative(data_root: Location, project_dir: Path) -> Location:
    if not isinstance(data_root, Path):
        return data_root
    return Path(os.path.relpath(data_root.resolve(), project_dir.resolve()))
