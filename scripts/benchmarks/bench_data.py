"""What the benches measure on: made street-like maps, many small files, or the user's own folder, as projects.

The fact to know: maps differ by where they are cut from a few made fields that wrap around, so that two hundred
are made in seconds; small files are few masks under many names, each with bytes of its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bench_child import Plan
from PIL import Image
from scipy import ndimage
from ways_convert import chosen, read_mask
from ways_score import link, moved, prediction_of

from annoloop.data.config import FILE_NAME
from annoloop.loop.setup.start import init
from annoloop.masks.regions import LabelMap
from annoloop.project.project import Project

CLASSES = 8
FIELDS = 4
"""Made fields that all maps are cut from."""

SMALL = 8
"""Different masks among many small files."""


@dataclass(frozen=True, slots=True)
class Data:
    """A project folder, its data in words, and its labelled images: image and mask files, classes."""

    folder: Path
    title: str
    pairs: tuple[tuple[str, str], ...]
    names: tuple[str, ...]
    background: int

    def plan(self, out: Path, megapixels: float | None = None, *, most: int | None = None) -> Plan:
        """Work on all images, or on as many as have so many pixels and at most so many, writing below ``out``."""
        count = most or len(self.pairs)
        if megapixels is not None:
            count = min(count, max(1, round(megapixels * 1e6 / read_mask(self.pairs[0][1]).size)))
        return Plan(str(self.folder), self.pairs[:count], self.names, self.background, str(out))


def large_maps(folder: Path, count: int, size_hw: tuple[int, int] = (1024, 2048)) -> Data:
    """Made maps of 8 classes, about 70 % background and 1 000 objects in 2048 x 1024 px."""
    fields = [made_map(seed, size_hw) for seed in range(min(count, FIELDS))]
    rng = np.random.default_rng(0)
    for number, roll in enumerate(rng.integers(0, size_hw, (count, 2)).tolist()):
        _write(folder / "data", number, np.roll(fields[number % FIELDS], roll, (0, 1)))
    return _opened(folder, folder / "data", f"{count} made maps of {size_hw[1]} x {size_hw[0]} px")


def small_files(folder: Path, count: int, size_hw: tuple[int, int] = (256, 256)) -> Data:
    """Many files: the same few masks, told apart by bytes after their end, which decoders skip."""
    root = folder / "data"
    first = [_write(root, seed, made_map(seed, size_hw)) for seed in range(min(count, SMALL))]
    known = {file: file.read_bytes() for pair in first for file in pair}
    for number in range(len(first), count):
        for file in first[number % SMALL]:
            file.with_stem(f"{number:06d}").write_bytes(known[file] + number.to_bytes(4, "big"))
    return _opened(folder, root, f"{count} made masks of {size_hw[1]} x {size_hw[0]} px")


def own_data(folder: Path, root: Path) -> Data:
    """The user's own data in mmseg layout; nothing is written there."""
    return _opened(folder, root, str(root))


def made_map(seed: int, size_hw: tuple[int, int]) -> LabelMap:
    """Blobs of seven classes on background, like a street seen from above; its edges fit together."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=size_hw), 14, mode="wrap")
    kinds = ndimage.gaussian_filter(rng.normal(size=size_hw), 30, mode="wrap")
    classes = np.digitize(kinds, np.quantile(kinds, np.linspace(0, 1, CLASSES)[1:-1])) + 1
    return np.where(field > np.quantile(field, 0.7), classes, 0).astype(np.uint8)


def add_predictions(plan: Plan) -> None:
    """Predictions for the images of a plan, as files for the peers and as those of a run 0 for annoloop."""
    with Project(Path(plan.project) / FILE_NAME) as project:
        samples = chosen(project, plan)
        rows = project.scan(samples)
        row_of = {str(sample.mask): rows[sample.id] for sample in samples}
        for number, (_, mask) in enumerate(plan.pairs):
            file = prediction_of(plan, number)
            _save(file, moved(read_mask(mask)))
            for path in project.prediction_paths(0, row_of[mask].image_sha256):
                link(file, path)


def _opened(folder: Path, root: Path, title: str) -> Data:
    folder.mkdir(parents=True, exist_ok=True)
    with Project(init(root, folder).file) as project:
        pairs = [(str(sample.image), str(sample.mask)) for sample in project.samples() if sample.mask is not None]
        background = project.classes.background_index
        return Data(folder, title, tuple(pairs), project.classes.names, -1 if background is None else background)


def _write(root: Path, number: int, label_map: LabelMap) -> tuple[Path, Path]:
    """A map in mmseg layout, below a plain grey image that nobody looks at."""
    image, mask = root / f"img_dir/train/{number:06d}.png", root / f"ann_dir/train/{number:06d}.png"
    _save(image, np.full_like(label_map, 128))
    with image.open("ab") as stream:
        stream.write(number.to_bytes(4, "big"))  # no two are the same
    _save(mask, label_map)
    if not (root / "meta.json").exists():
        meta = {"classes": ["background", *(f"class_{i}" for i in range(1, CLASSES))]}
        (root / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    return image, mask


def _save(path: Path, values: LabelMap) -> None:
    """As Pillow writes it, which is how most masks were written; annoloop's own files are read faster by everyone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
