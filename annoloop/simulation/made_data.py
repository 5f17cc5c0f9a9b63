"""Made data for the demo and the tests: coloured shapes on textured ground, with labels partly wrong.

Five classes, about 91 % background.  The true masks are kept apart, so that a stand-in annotator can
correct what a person would.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from annoloop.data.images import IndexImage, encode_index_png, write_atomic
from annoloop.masks.regions import LabelMap

NAMES = ("background", "disc", "square", "ring", "cross")
COLORS = ("#000000", "#e6194b", "#3cb44b", "#ffe119", "#4363d8")

_TINTS = np.array([[0, 0, 0], [70, -20, -20], [-20, 60, -10], [55, 45, -30], [-25, -15, 70]], np.float64)

Bits = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class MadeData:
    """Where the data lies; ``truth`` holds split/stem.png of every image, ``damaged`` the sample ids
    whose label in ``root`` is wrong."""

    root: Path
    truth: Path
    damaged: tuple[str, ...]
    background_share: float


@dataclass(frozen=True, slots=True, eq=False)
class _Object:
    class_index: int
    bits: Bits


def make_data(
    folder: Path,
    counts: Mapping[str, int],
    *,
    size_hw: tuple[int, int] = (96, 96),
    damaged_share: float = 0.6,
    seed: int = 0,
) -> MadeData:
    """Write ``folder/data`` in mmseg layout and ``folder/truth``; only labels of ``train`` are damaged."""
    rng = np.random.default_rng(seed)
    root, truth_dir = folder / "data", folder / "truth"
    damaged, background = [], []
    for split, count in counts.items():
        for number in range(count):
            name = f"{split}/{number:04d}"
            image, objects = _scene(rng, size_hw)
            truth = _draw(objects, size_hw)
            label = truth
            if split == "train" and rng.random() < damaged_share:
                label = _draw(_damage(rng, objects), size_hw)
            if not np.array_equal(label, truth):
                damaged.append(name)
            background.append(np.mean(truth == 0))
            _save(root / "img_dir" / f"{name}.png", image)
            write_atomic(root / "ann_dir" / f"{name}.png", encode_index_png(IndexImage(label)))
            write_atomic(truth_dir / f"{name}.png", encode_index_png(IndexImage(truth)))
    return MadeData(root, truth_dir, tuple(damaged), float(np.mean(background)))


def _scene(rng: np.random.Generator, size_hw: tuple[int, int]) -> tuple[npt.NDArray[np.uint8], list[_Object]]:
    objects: list[_Object] = []
    taken = np.zeros(size_hw, np.bool_)
    for _ in range(int(rng.integers(4, 7))):
        one = _object(rng, size_hw)
        if not (one.bits & taken).any():
            objects.append(one)
            taken |= one.bits
    picture = _ground(rng, size_hw)
    for one in objects:
        picture[one.bits] += _TINTS[one.class_index] * rng.uniform(0.55, 1.1)
    picture += rng.normal(0, 13, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8), objects


def _ground(rng: np.random.Generator, size_hw: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Slow waves of grey with a tint."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    waves = sum(
        np.sin(x * rng.uniform(-0.12, 0.12) + y * rng.uniform(-0.12, 0.12) + rng.uniform(0, 6)) for _ in range(3)
    )
    ground = 115 + 14 * np.asarray(waves, np.float64) + rng.uniform(-20, 20)
    return ground[..., None] + rng.normal(0, 8, 3)


def _object(rng: np.random.Generator, size_hw: tuple[int, int]) -> _Object:
    class_index = int(rng.integers(1, len(NAMES)))
    radius = rng.uniform(6, 10.5)
    centre_y, centre_x = (rng.uniform(radius + 2, side - radius - 2) for side in size_hw)
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    dy, dx = np.abs(y - centre_y), np.abs(x - centre_x)
    far = np.hypot(dy, dx)
    bits = {
        1: far <= radius,
        2: np.maximum(dy, dx) <= radius * 0.85,
        3: (far <= radius * 1.1) & (far >= radius * 0.5),
        4: (np.minimum(dy, dx) <= radius * 0.35) & (np.maximum(dy, dx) <= radius * 1.1),
    }[class_index]
    return _Object(class_index, bits)


def _damage(rng: np.random.Generator, objects: list[_Object]) -> list[_Object]:
    """What careless labelling does: objects forgotten, shifted, given the wrong class."""
    kept = []
    for one in objects:
        fate = rng.random()
        if fate < 0.35:
            continue
        if fate < 0.6:
            shift = rng.integers(4, 8, 2) * rng.choice([-1, 1], 2)
            kept.append(_Object(one.class_index, np.roll(one.bits, tuple(shift), (0, 1))))
        elif fate < 0.85:
            other = (one.class_index + int(rng.integers(0, 3))) % 4 + 1
            kept.append(_Object(other, one.bits))
        else:
            kept.append(one)
    return kept


def _draw(objects: list[_Object], size_hw: tuple[int, int]) -> LabelMap:
    label_map = np.zeros(size_hw, np.uint8)
    for one in objects:
        label_map[one.bits] = one.class_index
    return label_map


def _save(path: Path, picture: npt.NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)
