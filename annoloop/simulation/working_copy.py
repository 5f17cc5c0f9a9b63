"""The projects that a simulation works in: the user's own data with damaged labels, the true ones kept beside.

Nothing of the user's project is changed.  The fact to know: images are linked, not copied, and so is all that a project
never changes in place; a folder gets its name only when all is done in it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from annoloop.data.config import FILE_NAME, CvatConfig, DataConfig, render
from annoloop.data.images import IndexImage, encode_index_png, write_atomic
from annoloop.data.mmseg_folders import UNLABELLED, Sample, read_label_map
from annoloop.errors import DataError
from annoloop.masks.regions import LabelMap
from annoloop.progress import Track
from annoloop.project.project import Project
from annoloop.simulation.damage import Kind, damage_share

DATA, TRUTH = "data", "truth"
IMAGES, MASKS = "img_dir", "ann_dir"

LEAST_PX = 16
"""Smaller components are not damaged: nobody would find them, nor mind."""


@dataclass(frozen=True, slots=True)
class Harm:
    """What is done to the labels of the training split: the share of masks that are damaged, how, and the share that
    is taken away altogether."""

    damaged: float
    kinds: tuple[Kind, ...]
    missing: float


def begin(project: Project, folder: Path, harm: Harm, seed: int, track: Track) -> None:
    """Make a project in ``folder`` on the labelled images of another, damaged by ``seed``.

    Raises:
        ConfigError: no class is the background.
        DataError: a file cannot be read, or too few masks have an object to damage.
    """
    labelled = [sample for sample in project.samples() if sample.mask is not None and sample.split != UNLABELLED]
    here = project.on_disk(labelled, track)
    gone = _drawn([one.id for one in here if one.split == "train"], harm.missing, seed)
    truths: dict[str, Path] = {}
    for sample in track(here, "linking images", len(here)):
        assert sample.mask is not None
        stem = sample.id.partition("/")[2]
        split = UNLABELLED if sample.id in gone else sample.split
        _link(sample, folder / DATA / IMAGES / split, stem, project)
        mask = encode_index_png(IndexImage(read_label_map(sample.mask, project.config.data)))
        truths[f"{split}/{stem}"] = folder / TRUTH / split / f"{stem}.png"
        write_atomic(truths[f"{split}/{stem}"], mask, durable=False)
        if split != UNLABELLED:
            write_atomic(folder / DATA / MASKS / split / f"{stem}.png", mask, durable=False)
    data = _layout(project, here, bool(gone))
    config = project.config.model_copy(update={"data": data, "cvat": CvatConfig()})
    train = project.config.train.model_copy(update={"seed": seed, "track": "none"})  # trials are nobody's runs
    write_atomic(folder / FILE_NAME, render(config.model_copy(update={"train": train})).encode())
    names = sorted(name for name in truths if name.startswith("train/"))
    wrong = damage_share(
        names, lambda name: read_label_map(truths[name], data), project.classes,
        share=harm.damaged, seed=seed, least_px=LEAST_PX, kinds=harm.kinds,
    )  # fmt: skip
    for name, one in track(wrong, "damaging labels", round(harm.damaged * len(names))):
        write_mask(folder, name, one.label_map)


def _layout(project: Project, samples: Sequence[Sample], pool: bool) -> DataConfig:
    splits = dict.fromkeys(one.split for one in samples) | ({UNLABELLED: None} if pool else {})
    suffixes = {
        suffix for split in project.config.data.splits for suffix in project.config.data.place(split).image_suffixes
    }
    return DataConfig(
        root=Path(DATA), image_dir=IMAGES, mask_dir=MASKS, image_suffix=tuple(sorted(suffixes)), mask_suffix=".png",
        splits={name: name for name in splits},  # type: ignore[misc]
    )  # fmt: skip


def _link(sample: Sample, folder: Path, stem: str, project: Project) -> None:
    """The image of a sample under its stem, with its own suffix."""
    name = str(sample.image)
    place = project.config.data.place(sample.split)
    suffix = max((one for one in place.image_suffixes if name.endswith(one)), key=len)
    link = folder / f"{stem}{suffix}"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(Path(name).resolve())


def _drawn(names: Sequence[str], share: float, seed: int) -> frozenset[str]:
    count = round(share * len(names))
    return frozenset(names[i] for i in np.random.default_rng((seed, 1)).permutation(len(names))[:count])


def write_mask(folder: Path, name: str, label_map: LabelMap | None) -> None:
    """The label of a sample of a working project; None: the true one."""
    if label_map is None:
        mask = (folder / TRUTH / f"{name}.png").read_bytes()
    else:
        mask = encode_index_png(IndexImage(label_map))
    write_atomic(folder / DATA / MASKS / f"{name}.png", mask, durable=False)


def true_map(folder: Path, name: str, data: DataConfig) -> LabelMap:
    """The undamaged label of a sample of a working project."""
    path = folder / TRUTH / f"{name}.png"
    if not path.is_file():
        raise DataError("a working project has lost a true mask", where=path, hint="--anew begins from the beginning")
    return read_label_map(path, data)


def branch(before: Path, after: Path) -> None:
    """A copy of a working project that shares with it whatever is never changed in place."""
    shutil.copytree(before, after, symlinks=True, copy_function=_shared)


def _shared(source: str, target: str) -> None:
    """A hard link; a copy of what SQLite changes, and where links cannot be."""
    if Path(source).name.startswith("ledger.db"):
        shutil.copy2(source, target)
        return
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


@contextmanager
def in_the_making(folder: Path) -> Iterator[Path]:
    """A folder under another name until all is done in it; what a killed run left of it goes."""
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.parent.mkdir(parents=True, exist_ok=True)
    yield part
    part.rename(folder)
