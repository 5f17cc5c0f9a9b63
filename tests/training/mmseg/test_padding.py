"""What a network gets beyond the border of an image: its mirror image, as numpy makes it; and older runs stay."""

from __future__ import annotations

import pytest
from small_job import in_child

CODE = """
import json, sys
from pathlib import Path
import numpy as np, torch
from annoloop.training.mmseg import worker
worker._import_framework()
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from annoloop.training.mmseg.padding import MirrorPadPreProcessor
from annoloop.training.mmseg.recipe import Machine, resolve
from annoloop.training.recipes import recipe_path
from annoloop.training.records import Job
init_default_scope("mmseg")
"""

SIZES = """
prepares = MODELS.build(dict(type="MirrorPadPreProcessor", mean=[1.0] * 3, std=[2.0] * 3, size=(64, 64),
                             test_cfg=dict(size_divisor=32)))
same, heard = True, []
for size_hw in [(1, 1), (2, 3), (5, 70), (17, 32), (64, 64), (200, 200), (31, 97)]:
    image = np.random.default_rng(0).integers(0, 256, (3, *size_hw), np.uint8)
    given = {"inputs": [torch.from_numpy(image)] * 2, "data_samples": [SegDataSample(), SegDataSample()]}
    found = prepares(given)["inputs"].numpy()
    after = tuple(-(-length // 32) * 32 for length in size_hw)
    expected = np.pad((image - 1.0) / 2, ((0, 0), *((0, b - a) for a, b in zip(size_hw, after))), mode="reflect")
    same &= found.shape == (2, 3, *after) and all(np.allclose(one, expected) for one in found)
print(json.dumps(bool(same)))
"""

TRAINING = """
plain, mirrors = (MODELS.build(dict(type=name, mean=[1.0] * 3, std=[2.0] * 3, size=(64, 64)))
                  for name in ("SegDataPreProcessor", "MirrorPadPreProcessor"))
def sample():
    one = SegDataSample()
    from mmengine.structures import PixelData
    one.gt_sem_seg = PixelData(data=torch.zeros(1, 40, 50, dtype=torch.uint8))
    return one
image = torch.randint(0, 256, (3, 40, 50), dtype=torch.uint8)
found = [one({"inputs": [image], "data_samples": [sample()]}, training=True) for one in (plain, mirrors)]
print(json.dumps(bool(torch.equal(found[0]["inputs"], found[1]["inputs"]))))
"""

KINDS = """
folder = Path(sys.argv[1])
def kind(of, recipe, checkpoint=None):
    files = ((Path("a.png"), Path("b.png")),)
    job = Job(of, folder, recipe, ("a", "b"), ((0, 0, 0), (9, 9, 9)), train=files, val=files, pretrained="none",
              init_checkpoint=checkpoint)
    config = resolve(job, Machine(), print)
    config.dump(folder / f"{of}.py")
    return config.model.data_preprocessor.type
new = kind("train", recipe_path("unet_tiny"))
again = kind("predict", folder / "train.py", Path("x"))
old = kind("predict", recipe_path("unet_tiny"), Path("x"))
print(json.dumps([new, again, old]))
"""


@pytest.mark.parametrize("code", [SIZES, TRAINING], ids=["sizes", "training"])
def test_only_what_is_predicted_goes_on_as_its_mirror_image(code: str) -> None:
    assert in_child(CODE + code) is True


def test_a_new_run_mirrors_and_an_older_one_predicts_as_it_did(tmp_path: object) -> None:
    found = in_child(CODE + KINDS, str(tmp_path))
    assert found == ["MirrorPadPreProcessor", "MirrorPadPreProcessor", "SegDataPreProcessor"]
