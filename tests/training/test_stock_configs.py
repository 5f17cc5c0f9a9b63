"""The configs that come with mmsegmentation, as recipes: each resolves and learns, or what it lacks is said."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from small_job import in_child

from annoloop.errors import MissingPackageError
from annoloop.training.recipes import check_packages

LONG = os.environ.get("ANNOLOOP_LONG_TESTS") == "1"

LEARN = ("fastscnn", "stdc", "knet", "segformer", "pidnet")
"""Families with sigmoid losses, a head for boundaries, heads in heads, another encoder, weights of its own classes."""

EVERY = 12
"""Of the configs so many-th resolves in the short form; in the long form each."""

RESOLVE = """
import json, sys, warnings
from pathlib import Path
warnings.filterwarnings("ignore")
from annoloop.training.mmseg.pretrained import each_dict
from annoloop.training.mmseg.recipe import Machine, resolve
from annoloop.training.records import Job

def job_of(recipe):
    pixels, pairs = ((900, 90, 5, 5),), ((Path("a.png"), Path("b.png")),)
    return Job("train", Path(sys.argv[1]), Path(recipe), tuple("abcd"), ((0, 0, 0),) * 4,
               train_pixels=pixels, train=pairs, pretrained="none")
"""

ALL = """
found = {}
for recipe in json.loads(sys.argv[2]):
    try:
        config = resolve(job_of(recipe), Machine(), lambda message: None)
    except Exception as error:
        found[recipe] = f"{type(error).__name__}: {error}"
        continue
    parts = [part for key in ("decode_head", "auxiliary_head") for part in each_dict(config.model.get(key))]
    counts = {part["num_classes"] for part in parts if "num_classes" in part and part.get("type") != "STDCHead"}
    lengths = {len(part["class_weight"]) for part in parts if isinstance(part.get("class_weight"), (list, tuple))}
    found[recipe] = "" if counts == {4} and lengths <= {4, 5} else f"counts {counts}, weights {lengths}"
print(json.dumps(found))
"""

STEP = """
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmengine.structures import PixelData

init_default_scope("mmseg")
found = {}
for recipe in json.loads(sys.argv[2]):
    torch.manual_seed(0)
    try:
        config = resolve(job_of(recipe), Machine(), lambda message: None)
        size = config.get("crop_size") or config.model.data_preprocessor.get("size") or (128, 128)
        side = 128 if min(size) >= 128 and "ViT" not in str(config.model) else min(size)
        config.model.data_preprocessor.size = (side, side)
        model = MODELS.build(config.model).train()
        labels = torch.randint(0, 4, (2, 1, side, side))
        meta = dict(img_shape=(side, side))
        samples = [SegDataSample(gt_sem_seg=PixelData(data=one), metainfo=meta) for one in labels]
        for sample in samples:  # which PIDNet's pipeline makes
            sample.gt_edge_map = PixelData(data=(sample.gt_sem_seg.data > 1).to(torch.uint8))
        images = [torch.randint(0, 255, (3, side, side), dtype=torch.uint8) for _ in range(2)]
        packed = model.data_preprocessor({"inputs": images, "data_samples": samples}, training=True)
        losses = model.loss(**packed)
        total, _ = model.parse_losses(losses)
        total.backward()
        found[recipe] = "" if torch.isfinite(total) else "the loss is no number"
    except Exception as error:
        found[recipe] = f"{type(error).__name__}: {error}"
print(json.dumps(found))
"""


def _stock() -> Path:
    mmseg = find_spec("mmseg")
    assert mmseg is not None
    assert mmseg.origin is not None
    return Path(mmseg.origin).parent / ".mim" / "configs"


def _size(recipe: str) -> tuple[bool, int]:
    """Small networks first, as far as names tell."""
    return any(word in recipe for word in ("-l_", "-l-", "r101", "vit-l", "hr48")), len(recipe)


def _sorted_out() -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Configs that can run here, by family, and the others by what they lack."""
    runs, lacks = defaultdict(list), defaultdict(list)
    for recipe in sorted(_stock().rglob("*.py")):
        if "_base_" in recipe.parts or recipe.parent.name == "vpd":  # which estimates depth
            continue
        try:
            check_packages(recipe)
        except MissingPackageError as error:
            lacks[error.message].append(str(recipe))
        else:
            runs[recipe.parent.name].append(str(recipe))
    return runs, lacks


@pytest.fixture(scope="module")
def sorted_out() -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    return _sorted_out()


def test_what_a_config_lacks_is_named_before_anything_runs(sorted_out: Any) -> None:
    runs, lacks = sorted_out
    assert sum(map(len, runs.values())) > 550
    for message, recipes in lacks.items():
        families = {Path(recipe).parent.name for recipe in recipes}
        assert message.endswith("is not installed")
        assert families <= {
            "mmdet is not installed": {"mask2former", "maskformer"},
            "mmpretrain is not installed": {"convnext", "poolformer"},
        }.get(message, {"ccnet", "psanet", "point_rend", "san"}), message


@pytest.mark.slow
def test_every_config_gets_the_classes_of_the_project(sorted_out: Any, tmp_path: Path) -> None:
    runs, _ = sorted_out
    wanted = [one for recipes in runs.values() for one in (recipes if LONG else recipes[::EVERY])]
    found = in_child(RESOLVE + ALL, str(tmp_path), json.dumps(wanted))
    assert {Path(recipe).stem: said for recipe, said in found.items() if said} == {}


@pytest.mark.slow
def test_a_config_of_every_family_learns(sorted_out: Any, tmp_path: Path) -> None:
    runs, _ = sorted_out
    wanted = [min(recipes, key=_size) for family, recipes in sorted(runs.items()) if LONG or family in LEARN]
    found = in_child(RESOLVE + STEP, str(tmp_path), json.dumps(wanted))
    assert {Path(recipe).stem: said for recipe, said in found.items() if said} == {}
