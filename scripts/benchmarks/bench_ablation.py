"""What each choice of `recipe: auto` brings: the plan, and the plan with one choice taken out or another one put in.

Every row trains as long, by the clock and on as many threads, from the same seeds, and is scored on the test split.
A killed run goes on with the rows that are missing; results are kept in a folder as JSON.  Threads of one row at a time
are counted as one CPU: nothing else should run beside it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import bench_table
import numpy as np
from bench_train import Pairs, pairs
from PIL import Image

from annoloop.data.images import image_size_hw
from annoloop.training.child import run_job
from annoloop.training.planning import BASE, DataFacts, Hardware, Length, Plan, plan
from annoloop.training.recipes import recipe_path
from annoloop.training.records import Job

CPU = Hardware("cpu", 8 << 30)

EMA = 'custom_hooks = [dict(type="EMAHook", momentum=0.02, update_buffers=True)]\n'
COLOURS = """dict(
        type="PhotoMetricDistortion", brightness_delta=24, contrast_range=(0.75, 1.25), saturation_range=(0.75, 1.25),
        hue_delta=9,
    ),
    dict(type="PackSegInputs"),
]
test_pipeline"""


@dataclass(frozen=True)
class Variant:
    """One row: other values in the plan, another text of the recipe, or another recipe."""

    values: Mapping[str, Any] | None = None
    text: Callable[[str], str] = str
    recipe: str = BASE
    pretrained: str = "auto"


VARIANTS = {
    "as planned": Variant(),
    "random start": Variant(pretrained="none"),
    "unet_small": Variant(recipe="unet_small"),
    "half the crop's sides": Variant({"crop_size": "half"}),
    "scale 0.75": Variant({"scale": 0.75}),
    "scale 0.5": Variant({"scale": 0.5}),
    "scaled by 0.5 to 1.5": Variant({"zoom": (0.5, 1.5)}),
    "colours changed": Variant(
        text=lambda text: text.replace('dict(type="PackSegInputs"),\n]\ntest_pipeline', COLOURS)
    ),
    "no class weights": Variant({"class_weight_power": 0.0}),
    "crops anywhere": Variant({"foreground_share": 0.0}),
    "averaged weights (EMA)": Variant(text=lambda text: text + EMA),
    "without mirror images": Variant(text=lambda text: text.replace("flip_predictions=True", "flip_predictions=False")),
}


@dataclass(frozen=True)
class Row:
    """A variant's scores over its seeds."""

    name: str
    mean_dice: list[float]
    foreground: list[float]
    iterations: list[int]


def facts(classes: list[str], train: Pairs, val: int) -> DataFacts:
    """What a plan asks of the data, but for objects and flips, which the sets here do not decide by."""
    masks = [np.asarray(Image.open(mask)) for _, mask in train]
    pixels = np.sum([np.bincount(mask.ravel(), minlength=256)[: len(classes)] for mask in masks], axis=0)
    halves = np.sum(
        [np.bincount(mask[: len(mask) // 2].ravel(), minlength=256)[: len(classes)] for mask in masks], axis=0
    )
    return DataFacts(
        tuple(classes), 0, len(train), val, image_size_hw(train[0][0]), tuple((pixels / pixels.sum()).tolist()),
        (float("nan"),) * len(classes), tuple((halves / np.maximum(1, pixels)).tolist()),
    )  # fmt: skip


def recipe_of(variant: Variant, chosen: Plan, folder: Path) -> Path:
    """The recipe of a row as a file."""
    if variant.recipe != BASE:
        return recipe_path(variant.recipe)
    values = {**chosen.values, **(variant.values or {})}
    if values["crop_size"] == "half":
        values["crop_size"] = tuple(side // 2 for side in chosen.values["crop_size"])
    text = replace(chosen, values=values).recipe(recipe_path(BASE).read_text(encoding="utf-8"))
    changed = variant.text(text)
    assert variant.text is str or changed != text, "the variant changes nothing"
    file = folder / "recipe.py"
    file.write_text(changed, encoding="utf-8")
    return file


def train_and_score(root: Path, classes: list[str], variant: Variant, seed: int, options: argparse.Namespace) -> dict:
    """Test scores of one training."""
    folder = options.out / "running"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    train, val, test = (pairs(root, split) for split in ("train", "val", "test"))
    chosen = plan(facts(classes, train, len(val)), CPU, Length(budget_s=options.seconds))
    counted = [
        tuple(np.bincount(np.asarray(Image.open(m)).ravel(), minlength=256)[: len(classes)].tolist()) for _, m in train
    ]
    shown = tuple((image, folder / "p" / f"{image.stem}.png", folder / "c" / f"{image.stem}.png") for image, _ in test)
    job = Job(
        "train", folder / "run", recipe_of(variant, chosen, folder), tuple(classes), ((0, 0, 0),) * len(classes),
        train=train, train_pixels=tuple(counted), predictions=shown, seed=seed, device="cpu", threads=options.threads,
        pretrained=variant.pretrained, budget_s=options.seconds, began_at=time.time(),
    )  # fmt: skip
    result = run_job(job, lambda _: None)
    summed = sum(_confusion(mask, png, len(classes)) for (_, mask), (_, png, _) in zip(test, shown, strict=True))
    dice = 2 * np.diag(summed) / np.maximum(1, summed.sum(axis=0) + summed.sum(axis=1))
    return {"mean_dice": dice.mean(), "foreground": dice[1:].mean(), "iterations": result.iterations}


def _confusion(mask: Path, prediction: Path, classes: int) -> Any:
    truth, found = np.asarray(Image.open(mask)), np.asarray(Image.open(prediction))
    counted = truth != 255
    pairs_of = classes * truth[counted].astype(int) + found[counted]
    return np.bincount(pairs_of, minlength=classes**2).reshape(classes, classes)


def rows(root: Path, classes: list[str], options: argparse.Namespace) -> Iterator[Row]:
    kept = options.out / f"{root.name}.json"
    known = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    for seed in range(options.seeds):
        for name in options.rows:
            key = f"{name} {options.seconds:g} {options.threads} {seed}"
            if key not in known:
                known[key] = train_and_score(root, classes, VARIANTS[name], seed, options)
                kept.write_text(json.dumps(known, indent=1), encoding="utf-8")
                print(root.name, key, known[key], flush=True)
    for name in options.rows:
        found = [known[f"{name} {options.seconds:g} {options.threads} {seed}"] for seed in range(options.seeds)]
        columns = {key: [one[key] for one in found] for key in ("mean_dice", "foreground", "iterations")}
        yield Row(name, **columns)


def _spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


COLUMNS: dict[str, Callable[[Row], str]] = {
    "variant": lambda row: row.name,
    "test mDice": lambda row: _spread(row.mean_dice),
    "foreground Dice": lambda row: _spread(row.foreground),
    "iterations": lambda row: f"{statistics.mean(row.iterations):.0f}",
}


def main() -> None:
    parser = bench_table.parser(__doc__)
    parser.add_argument("roots", nargs="+", type=Path, help="mmseg folders with train, val and test, and a meta.json")
    parser.add_argument("--seconds", type=float, default=240.0, help="of each training, loading and scoring included")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("ablation"), help="where results are kept")
    parser.add_argument(
        "--row", dest="rows", action="append", choices=list(VARIANTS), help="may be repeated; default: all"
    )
    options = parser.parse_args()
    options.rows = options.rows or list(VARIANTS)
    options.out.mkdir(parents=True, exist_ok=True)
    for root in options.roots:
        classes = json.loads((root / "meta.json").read_text(encoding="utf-8"))["classes"]
        found = list(rows(root, classes, options))
        bench_table.show(
            f"{root.name}: {options.seconds:g} s a training, {options.seeds} seeds", found, COLUMNS, options.json
        )


if __name__ == "__main__":
    main()
