"""Every shipped recipe is a plain mmseg config that builds, takes odd sizes and takes a job's classes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from annoloop.errors import ConfigError
from annoloop.training.recipes import recipe_path, shipped_recipes

NAMES = ["deeplabv3plus_r50", "segformer_b2", "unet", "unet_lite0", "unet_small", "unet_tiny"]

STOCK = "unet-s5-d16_fcn_4xb4-40k_hrf-256x256"

# One child builds them all: torch takes seconds to load and stays out of the test process.
CHILD = """
import json, sys
from dataclasses import replace
from pathlib import Path
import numpy as np, torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
import mmseg.models
from mmseg.registry import MODELS
from annoloop.training.mmseg.recipe import Machine, resolve
from annoloop.training.records import Job

init_default_scope("mmseg")
torch.manual_seed(0)
for recipe in sys.argv[2:]:
    pixels = ((900, 25, 25, 25, 25),)
    palette = ((0, 0, 0),) * 5
    run, pairs = Path(sys.argv[1]), ((Path("a.png"), Path("b.png")),)
    job = Job("train", run, Path(recipe), tuple("abcde"), palette, train_pixels=pixels, train=pairs)
    warnings = []
    bare = resolve(replace(job, pretrained="none"), Machine(), warnings.append)
    again = resolve(replace(job, pretrained="none", resume=True), Machine(), warnings.append)
    plain, config = Config.fromfile(recipe), resolve(job, Machine(), warnings.append)
    model = MODELS.build(config.model).eval()
    image = torch.randint(0, 255, (3, 45, 67), dtype=torch.uint8)
    with torch.no_grad():
        (sample,) = model.test_step({"inputs": [image], "data_samples": [sample_of(image)]})
    heads = [config.model.decode_head, config.model.get("auxiliary_head")]
    losses = [loss for head in heads if head for loss in
              (head.loss_decode if isinstance(head.loss_decode, list) else [head.loss_decode])]
    print(json.dumps({
        "name": Path(recipe).stem,
        "shape": list(sample.seg_logits.data.shape),
        "parameters": sum(p.numel() for p in model.parameters()),
        "iterations": config.train_cfg.max_iters,
        "dataset": config.train_dataloader.dataset.type,
        "own_iterations": plain.train_cfg.max_iters,
        "weights": {loss.type: loss.get("class_weight") for loss in losses},
        "weighted": [loss.type for loss in losses if loss.get("class_weight")],
        "losses": [loss.type for loss in losses],
        "warnings": warnings,
        "frozen": [one.model.backbone.get("frozen_blocks") for one in (config, bare, again)],
    }))
"""
SAMPLE = """
from mmseg.structures import SegDataSample
def sample_of(image):
    size = tuple(image.shape[1:])
    return SegDataSample(metainfo=dict(ori_shape=size, img_shape=size, pad_shape=size))
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    run = tmp_path_factory.mktemp("run")
    mmseg = find_spec("mmseg")
    assert mmseg is not None
    assert mmseg.origin is not None
    stock = Path(mmseg.origin).parent / ".mim/configs/unet" / f"{STOCK}.py"
    recipes = [str(shipped_recipes()[name]) for name in NAMES] + [str(stock)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SAMPLE + CHILD, str(run), *recipes],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin", "TORCH_HOME": str(run), "HOME": str(run)},
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {row["name"]: row for row in rows}


def test_the_shipped_recipes_are_these() -> None:
    assert list(shipped_recipes()) == NAMES


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_builds_and_takes_an_odd_size(built: dict[str, dict[str, object]], name: str) -> None:
    row = built[name]
    assert row["shape"] == [5, 45, 67]
    assert row["iterations"] == row["own_iterations"]
    assert {"LovaszSoftmax", "ClassDice"} & set(row["losses"])  # type: ignore[call-overload]
    assert row["dataset"] == ("JobDataset" if name in ("unet_tiny", "unet_lite0") else "ClassBalancedDataset")
    assert row["weighted"] == [kind for kind in row["losses"] if kind == "CrossEntropyLoss"]
    background, *rare = row["weights"]["CrossEntropyLoss"]  # type: ignore[index]
    assert background < 1 < min(rare)


@pytest.mark.slow
def test_a_stock_config_with_base_files_works_too(built: dict[str, dict[str, object]]) -> None:
    """It has SyncBN, sliding windows, no padding of its own, an auxiliary head and two classes."""
    row = built[STOCK]
    assert row["shape"] == [5, 45, 67]
    assert row["weighted"] == ["CrossEntropyLoss", "CrossEntropyLoss"]


@pytest.mark.slow
def test_pretrained_weights_that_are_not_here_are_warned_about(built: dict[str, dict[str, object]]) -> None:
    (warning,) = built["deeplabv3plus_r50"]["warnings"]
    assert "resnet50_v1c" in warning
    assert "put https://" in warning
    assert built["unet_small"]["warnings"] == []


@pytest.mark.slow
def test_only_what_was_trained_before_is_frozen(built: dict[str, dict[str, object]]) -> None:
    assert built["unet_lite0"]["frozen"] == [3, 0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_head_comment_tells_the_truth(built: dict[str, dict[str, object]], name: str) -> None:
    text = shipped_recipes()[name].read_text(encoding="utf-8")
    head = text.partition("crop_size =")[0]
    assert f"annoloop retrain --recipe {name}" in head
    stated = re.search(r"([\d.]+) million weights", head)
    assert stated is not None
    assert float(stated[1]) == pytest.approx(built[name]["parameters"] / 1e6, rel=0.05)
    assert "_base_" not in text


def test_a_recipe_is_a_name_or_a_path(tmp_path: Path) -> None:
    own = tmp_path / "mine.py"
    own.write_text("model = dict()", encoding="utf-8")
    assert recipe_path("unet_small") == shipped_recipes()["unet_small"]
    assert recipe_path(str(own)) == own


def test_an_unknown_recipe_lists_the_shipped_ones() -> None:
    with pytest.raises(ConfigError, match="unet_tinny") as caught:
        recipe_path("unet_tinny")
    assert all(name in str(caught.value) for name in NAMES)
