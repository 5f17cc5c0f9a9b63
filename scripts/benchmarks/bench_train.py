"""Images a second in training, annoloop's worker beside the stock mmseg Runner: same model, data and batch.

The two take turns in blocks, because machines are noisy; what counts is the ratio.  The stock side is what an
mmseg user runs: the same recipe with mmseg's own Lovász loss and crop, two loading processes, float32.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import bench_table
import numpy as np
from PIL import Image

from annoloop.simulation.made_data import NAMES, make_data
from annoloop.training.child import run_job
from annoloop.training.recipes import recipe_path
from annoloop.training.records import Event, Job

BATCH = 8
"""The batch of every shipped recipe."""

SKIPPED = 5
"""Iterations at the start of a block that only warm up."""

Pairs = tuple[tuple[Path, Path], ...]

STOCK = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
import mmseg.datasets, mmseg.models, mmseg.evaluation

recipe, root, suffix, classes, iterations, seed, scored, folder = json.loads(sys.argv[1])
config = Config.fromfile(recipe)
config.work_dir, config.randomness = folder, dict(seed=seed)
heads = [head for head in (config.model.decode_head, config.model.get("auxiliary_head")) if head]
for head in heads:
    head.num_classes = len(classes)
    for loss in head.loss_decode if isinstance(head.loss_decode, list) else [head.loss_decode]:
        if loss["type"] == "LovaszSoftmax":
            loss.update(type="LovaszLoss", per_image=False, classes="present", reduction="none")
for part in config.model.backbone, config.model:
    part.pop("init_cfg", None)
for loader in config.train_dataloader, config.val_dataloader:
    loader.update(num_workers=2, persistent_workers=True)
    loader.dataset.update(data_root=root, img_suffix=suffix, metainfo=dict(classes=classes))
for step in config.train_dataloader.dataset.pipeline:
    if step["type"] == "ForegroundCrop":
        step.update(type="RandomCrop", cat_max_ratio=0.9)
        step.pop("share", None)
config.train_cfg.update(max_iters=iterations, val_interval=10**9)
for scheduler in config.param_scheduler:
    scheduler["end"] = min(scheduler["end"], iterations) if scheduler["begin"] else iterations
if not scored:
    config.val_cfg = config.val_dataloader = config.val_evaluator = None
config.test_cfg = config.test_dataloader = config.test_evaluator = None

class Clock(Hook):
    priority = "LOWEST"
    def __init__(self):
        self.marks = []
    def after_train_iter(self, *_, **__):
        self.marks.append(time.perf_counter())

runner = Runner.from_cfg(config)
clock = Clock()
runner.register_hook(clock)
runner.train()
score = runner.val()["mDice"] / 100 if scored else None
print("\\n" + json.dumps({"marks": clock.marks, "mdice": score}))
"""


@dataclass(frozen=True)
class Side:
    way: str
    images_per_second: float
    precision: str
    mdice: float | None


def pairs(root: Path, split: str) -> Pairs:
    masks = {mask.stem: mask for mask in (root / "ann_dir" / split).glob("*.png")}
    images = sorted((root / "img_dir" / split).iterdir())
    return tuple((image, masks[image.stem]) for image in images if image.stem in masks)


def ours(job: Job) -> tuple[list[float], float | None, str]:
    """Seconds an iteration, the score, and the precision."""
    events: list[Event] = []
    result = run_job(job, events.append)
    seconds = [event.fields["seconds"] for event in events if event.kind == "iteration"]
    (started,) = (event for event in events if event.kind == "started")
    return seconds[SKIPPED:], result.mdice, started.fields["precision"]


def stock(job: Job, root: Path) -> tuple[list[float], float | None]:
    """The same from mmseg's Runner, its config made from the same recipe."""
    suffix, folder = job.train[0][0].suffix, f"{job.run_dir}-stock"
    asked = [str(job.recipe), str(root), suffix, job.class_names, job.iterations, job.seed, bool(job.val), folder]
    done = subprocess.run([sys.executable, "-c", STOCK, json.dumps(asked)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    answer = json.loads(done.stdout.splitlines()[-1])
    return np.diff(answer["marks"])[SKIPPED - 1 :].tolist(), answer["mdice"]


def measure(root: Path, classes: Sequence[str], options: argparse.Namespace) -> list[Side]:
    train, val = pairs(root, "train"), pairs(root, "val")
    counts = [np.bincount(np.asarray(Image.open(mask)).ravel(), minlength=256)[: len(classes)] for _, mask in train]
    times: dict[str, list[float]] = {"annoloop": [], "mmseg Runner": []}
    scores: dict[str, float | None] = {}
    blocks = [options.iterations] * options.blocks + [options.score] * (options.score > 0)
    with tempfile.TemporaryDirectory(prefix="annoloop-bench-") as name:
        for block, iterations in enumerate(blocks):
            job = Job(
                "train", Path(name) / str(block), recipe_path(options.recipe), tuple(classes),
                ((0, 0, 0),) * len(classes), train=train, val=val if iterations == options.score else (),
                train_pixels=tuple(tuple(one.tolist()) for one in counts), device=options.device,
                iterations=iterations, batch_size=BATCH, pretrained="none",
            )  # fmt: skip
            seconds, scores["annoloop"], precision = ours(job)
            times["annoloop"] += seconds
            seconds, scores["mmseg Runner"] = stock(job, root)
            times["mmseg Runner"] += seconds
    return [
        Side(way, BATCH / statistics.median(seconds), precision if way == "annoloop" else "float32", scores[way])
        for way, seconds in times.items()
    ]


COLUMNS: dict[str, Callable[[Side], str]] = {
    "way": lambda side: side.way,
    "images/s": lambda side: f"{side.images_per_second:.1f}",
    "precision": lambda side: side.precision,
    "val mDice": lambda side: "" if side.mdice is None else f"{side.mdice:.3f}",
}


def main() -> None:
    parser = bench_table.parser(__doc__)
    parser.add_argument("--root", type=Path, help="an mmseg folder (img_dir, ann_dir); default: made images")
    parser.add_argument("--classes", default=",".join(NAMES), help="of that folder, in index order")
    parser.add_argument("--recipe", default="unet_small")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--blocks", type=int, default=3, help="how often each side has its turn")
    parser.add_argument("--iterations", type=int, default=40, help="in each block")
    parser.add_argument("--score", type=int, default=0, help="iterations of a last block that is scored on val")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="annoloop-bench-") as name:
        root = options.root or make_data(Path(name), {"train": 64, "val": 16}, size_hw=(200, 200)).root
        sides = measure(root, options.classes.split(","), options)
    ratio = sides[0].images_per_second / sides[1].images_per_second
    title = f"{options.recipe}: annoloop trains {ratio:.2f} times as fast"
    bench_table.show(title, sides, COLUMNS, options.json)


if __name__ == "__main__":
    main()
