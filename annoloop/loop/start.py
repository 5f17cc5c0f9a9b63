"""``annoloop init``: looks at an mmseg folder and writes annoloop.yaml from what it finds."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from annoloop.data.config import FILE_NAME, ClassConfig, Config, DataConfig, render
from annoloop.data.folders import Folder, folder, stems
from annoloop.data.images import IMAGE_SUFFIXES, read_index_png, write_atomic
from annoloop.data.mmseg_folders import Fault, Sample, list_samples
from annoloop.data.storage import Location, each
from annoloop.errors import ConfigError, DataError
from annoloop.masks.classes import default_color
from annoloop.progress import Track, silent

_LAYOUTS = (
    ("img_dir", "ann_dir"),
    ("images", "annotations"),
    ("images", "masks"),
    ("images", "labels"),
    ("JPEGImages", "SegmentationClass"),
    ("leftImg8bit", "gtFine"),
    ("image", "mask"),
)
_SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
    "pool": ("pool", "unlabelled", "unlabeled"),
}
_LIST_FOLDERS = ("splits", "ImageSets/Segmentation", "")
_BACKGROUND_NAMES = ("background", "bg", "_background_", "unlabeled", "void")
_MAX_MASKS_READ = 500


@dataclass(frozen=True, slots=True)
class InitReport:
    """The file that was written, what was found, and what looked odd."""

    file: Path
    config: Config
    images: dict[str, int]
    odd: tuple[str, ...]


def init(
    data_root: Location,
    project_dir: Path,
    *,
    classes: Sequence[str] = (),
    palette: Sequence[str] = (),
    background: str | None = None,
    force: bool = False,
    track: Track = silent,
) -> InitReport:
    """Write annoloop.yaml for a dataset folder.

    Raises:
        ConfigError: there is one already (``force`` replaces it), or classes and palette do not fit.
        DataError: no image and mask folders are found.
    """
    file = project_dir / FILE_NAME
    if file.exists() and not force:
        raise ConfigError("is there already", where=file, hint="--force replaces it; your edits would be lost")
    files = folder(data_root)
    if not files.exists():
        raise DataError("no such folder", where=data_root)
    data = _find_layout(files)
    listing = list_samples(data)
    odd = [str(f) for f in _brief(listing.faults)]
    values, unreadable = _values(data_root, listing.samples, track)
    odd += unreadable
    meta = _read_meta(files)
    names = list(classes) or [str(n) for n in meta.get("classes", ())] or _invented_names(values)
    odd += _odd_values(values, names, given=bool(classes or meta.get("classes")))
    relative = data.model_copy(update={"root": _relative(data_root, project_dir)})
    config = Config(
        project=_name(data_root) or "project",
        data=relative,
        classes=tuple(
            ClassConfig(name=name, color=color)
            for name, color in zip(names, _colors(names, palette, meta), strict=True)
        ),
        ignore_index=255,
        background=background if background is not None else _background(names),
    )
    write_atomic(file, render(config).encode())
    counts = Counter(sample.split for sample in listing.samples)
    return InitReport(file, config, {split: counts[split] for split in data.splits}, tuple(odd))


def _find_layout(root: Folder) -> DataConfig:
    for images, masks in _LAYOUTS:
        if root.below(images).exists() and root.below(masks).exists():
            splits = _find_splits(root, images)
            image_suffix = _common_suffix(root.below(images), IMAGE_SUFFIXES)
            mask_suffix = _mask_suffix(root.below(images), root.below(masks), image_suffix)
            return DataConfig(
                root=root.path,
                image_dir=images,
                mask_dir=masks,
                image_suffix=image_suffix,
                mask_suffix=mask_suffix,
                splits=splits,
            )
    pairs = "; ".join(f"{a} + {b}" for a, b in _LAYOUTS)
    raise DataError(
        "no image and mask folders",
        where=root.path,
        hint=f"expected one of: {pairs}; or write annoloop.yaml yourself",
    )


def _find_splits(root: Folder, images: str) -> Any:
    found: dict[str, str] = {}
    for split, names in _SPLIT_NAMES.items():
        folders = [name for name in names if root.below(f"{images}/{name}").exists()]
        places = ((Path(below) / f"{name}.txt").as_posix() for below in _LIST_FOLDERS for name in names)
        lists = [place for place in places if root.has(place)]
        if folders or lists:
            found[split] = (folders or lists)[0]
    return found or {"train": "."}


def _common_suffix(files: Folder, allowed: Iterable[str]) -> str:
    suffixes = (PurePosixPath(name).suffix for name in files.names())
    counts = Counter(suffix for suffix in suffixes if suffix.lower() in allowed)
    if not counts:
        raise DataError("no images", where=files.path, hint=f"looked for {', '.join(allowed)}")
    return counts.most_common(1)[0][0]


def _mask_suffix(images: Folder, masks: Folder, image_suffix: str) -> str:
    """What follows the image's stem in its mask's name: .png, _gtFine_labelTrainIds.png, …"""
    names = {name for name in masks.names() if name.endswith(".png")}
    if not names:
        raise DataError("no .png masks", where=masks.path)
    endings: Counter[str] = Counter()
    for stem in sorted(stems(images, image_suffix), key=len)[:50]:
        endings.update(name.removeprefix(stem) for name in names if name.startswith(stem))
    if not endings:
        raise DataError(
            "no mask has the name of an image", where=masks.path, hint="masks are found by the image's stem"
        )
    return endings.most_common(1)[0][0]


def _brief(faults: Sequence[Fault]) -> list[Fault]:
    """The first faults of each kind, and how many more there are."""
    shown = []
    for kind, count in Counter(f.kind for f in faults).items():
        first = [f for f in faults if f.kind == kind][:3]
        shown += first
        if count > len(first):
            shown.append(Fault(kind, f"{count - len(first)} more", kind))
    return shown


def _values(root: Location, samples: Sequence[Sample], track: Track) -> tuple[Counter[int], list[str]]:
    """Pixels per stored value over the masks (a sample of them if there are many), and unreadable files."""
    masks = [s.mask for s in samples if s.mask is not None]
    step = max(1, len(masks) // _MAX_MASKS_READ)
    counts = np.zeros(256, np.int64)
    odd = []
    chosen = masks[::step]
    for found in track(each(root, _values_of, chosen), "looking at masks", len(chosen)):
        if isinstance(found, str):
            odd.append(found)
        else:
            counts += found
    return Counter({int(v): int(counts[v]) for v in np.flatnonzero(counts)}), odd


def _values_of(mask: Location) -> npt.NDArray[np.int64] | str:
    """Pixels per stored value (256,), or why there are none."""
    try:
        return np.bincount(read_index_png(mask).values.ravel(), minlength=256).astype(np.int64)
    except DataError as error:
        return f"{error.where}: {error.message}"


def _invented_names(values: Counter[int]) -> list[str]:
    highest = max((v for v in values if v != 255), default=0)
    return ["background", *(f"class_{i}" for i in range(1, highest + 1))]


def _odd_values(values: Counter[int], names: Sequence[str], *, given: bool) -> list[str]:
    odd = []
    real = sorted(v for v in values if v != 255)
    beyond = [v for v in real if v >= len(names)]
    if beyond:
        odd.append(f"masks hold indices beyond the classes: {beyond[:10]}")
    if not given:
        odd.append("class names were not given: background, class_1, … were made up; edit annoloop.yaml")
    unused = [name for i, name in enumerate(names) if i not in values]
    if unused and values:
        odd.append(f"no pixel of {', '.join(unused[:10])}")
    if real == [0] and values:
        odd.append("every mask is all 0")
    total = sum(values.values())
    if total and values.get(0, 0) / total > 0.8:
        odd.append(f"index 0 covers {values[0] / total:.0%} of the pixels: the recipes' losses are made for that")
    return odd


def _read_meta(root: Folder) -> dict[str, Any]:
    """classes and palette from meta.json beside the data, if there is one."""
    file = root.at("meta.json")
    if not root.has("meta.json"):
        return {}
    try:
        meta = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be read ({error})", where=file) from error
    return meta if isinstance(meta, dict) else {}


def _colors(names: Sequence[str], palette: Sequence[str], meta: dict[str, Any]) -> list[str]:
    given = list(palette) or ["#{:02x}{:02x}{:02x}".format(*rgb) for rgb in meta.get("palette", ())]
    if given and len(given) != len(names):
        raise ConfigError(f"{len(given)} colours for {len(names)} classes", where="--palette")
    return given or ["#000000" if i == 0 else default_color(i - 1) for i in range(len(names))]


def _background(names: Sequence[str]) -> str | None:
    return names[0] if names[0].lower() in _BACKGROUND_NAMES else None


def _name(data_root: Location) -> str:
    return (data_root.resolve() if isinstance(data_root, Path) else data_root).name


def _relative(data_root: Location, project_dir: Path) -> Location:
    if not isinstance(data_root, Path):
        return data_root
    return Path(os.path.relpath(data_root.resolve(), project_dir.resolve()))
