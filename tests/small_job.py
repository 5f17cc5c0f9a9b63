"""A training job of seconds: noise with one red square in each image, unet_tiny with a small crop."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from annoloop.training.recipes import recipe_path
from annoloop.training.records import Event, Job

PALETTE = ((0, 0, 0), (220, 30, 30))


def pairs(folder: Path, count: int) -> tuple[tuple[Path, Path], ...]:
    """Image and mask files."""
    folder.mkdir()
    found = []
    for seed in range(count):
        random = np.random.default_rng(seed)
        image, mask = random.integers(60, 100, (48, 64, 3), dtype=np.uint8), np.zeros((48, 64), np.uint8)
        top, left = random.integers(0, 30), random.integers(0, 46)
        image[top : top + 16, left : left + 16], mask[top : top + 16, left : left + 16] = PALETTE[1], 1
        files = folder / f"{seed}.png", folder / f"{seed}_mask.png"
        Image.fromarray(image).save(files[0])
        Image.fromarray(mask).save(files[1])
        found.append(files)
    return tuple(found)


def make_job(folder: Path, *, replaced: dict[str, str] | None = None, **details: Any) -> Job:
    """12 training and 6 validation images, batch 4; ``replaced`` changes the recipe's text."""
    text = recipe_path("unet_tiny").read_text(encoding="utf-8")
    for old, new in {"crop_size = (64, 64)": "crop_size = (32, 64)", **(replaced or {})}.items():
        assert old in text
        text = text.replace(old, new)
    recipe = folder / "tiny_crop.py"
    recipe.write_text(text, encoding="utf-8")
    val = pairs(folder / "val", 6)
    settled: dict[str, Any] = {
        "train": pairs(folder / "train", 12),
        "val": val,
        "batch_size": 4,
        "train_pixels": ((900, 100),) * 12,
        "predictions": tuple((i, folder / f"{i.stem}.p.png", folder / f"{i.stem}.c.png") for i, _ in val),
    }
    return Job("train", folder / "run", recipe, ("background", "red"), PALETTE, **(settled | details))


def of(events: list[Event], kind: str) -> list[Event]:
    """The events of one kind."""
    return [event for event in events if event.kind == kind]


def in_child(code: str, *arguments: str) -> Any:
    """What Python code prints as JSON, run in a process of its own: torch stays out of the test process."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
