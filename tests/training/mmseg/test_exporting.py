"""Models as files for others: every recipe, parts whose sizes a trace would freeze, and what cannot be exported."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_job import in_child

from annoloop.training.recipes import shipped_recipes

BUILD = """
import json, sys, warnings
from pathlib import Path
warnings.filterwarnings("ignore")
import numpy as np, torch
from annoloop.training.mmseg import worker
worker._import_framework()
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from annoloop.errors import TrainingError
from annoloop.training.mmseg.exporting import export_model
from annoloop.training.mmseg.recipe import Machine, resolve
from annoloop.training.recipes import recipe_path
from annoloop.training.records import Job
out = Path(sys.argv[1])
init_default_scope("mmseg")
torch.manual_seed(0)

def built(name):
    job = Job("export", out, recipe_path(name), tuple("abcde"), ((0, 0, 0),) * 5, init_checkpoint=Path("x"))
    config = resolve(job, Machine(), print)
    model = MODELS.build(config.model)
    for part in model.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 2)
    return model, config

def said(model, config, form="onnx"):
    try:
        export_model(model, config, form, out)
    except TrainingError as error:
        return str(error)
    return ""
"""

RECIPES = """
found = {}
for name in sys.argv[2:]:
    found[name] = [said(*built(name)), sorted(path.name for path in out.glob("model.*"))]
    (out / "model.onnx").unlink(missing_ok=True)
print(json.dumps(found))
"""

STAND_INS = """
from mmseg.models.utils import Upsample
from annoloop.training.mmseg.traceable import make_traceable
from annoloop.training.mmseg.exported_graph import _Scale
from mmseg.datasets.transforms import Resize

class Attends(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = torch.nn.MultiheadAttention(12, 3)
        torch.nn.init.normal_(self.attention.in_proj_bias)

    def forward(self, x):
        places = x.reshape(1, 12, -1).permute(2, 0, 1)
        return self.attention(places, places[:7], places[:7])[0]

parts = [torch.nn.AdaptiveAvgPool2d(6), torch.nn.AdaptiveAvgPool2d((3, 5)), Upsample(scale_factor=2, mode="bilinear"),
         Attends()]
off = []
with torch.no_grad():
    for part in parts:
        model = torch.nn.Sequential(part).eval()
        images = [torch.randn(1, 12, *size_hw) for size_hw in ((8, 9), (13, 31), (5, 4))]
        expected = [model(image) for image in images]
        make_traceable(model)
        traced = torch.jit.trace(model, images[0], check_trace=False)
        off += [float((traced(image) - one).abs().max()) for image, one in zip(images, expected)]
scaled = {}
for step in ({"scale_factor": 0.75, "keep_ratio": True}, {"scale_factor": 0.5, "keep_ratio": True},
             {"scale": (200, 64), "keep_ratio": True}, {"scale": (200, 333)}):
    scale, resize = _Scale(step), Resize(**step)
    traced = torch.jit.trace(scale, torch.zeros(1, 3, 30, 40, dtype=torch.uint8), check_trace=False)
    for size_hw in ((97, 131), (200, 77)):
        image = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
        own = traced(torch.from_numpy(image.transpose(2, 0, 1)[None]))[0][0].numpy().transpose(1, 2, 0)
        expected = resize({"img": image})["img"]
        same = own.shape == expected.shape
        levels = np.abs(own - expected.astype(np.float32)) if same else np.ones(1) * 255
        scaled[f"{step} {size_hw}"] = [float(levels.max()), float((levels > 0).mean())]
print(json.dumps([off, scaled]))
"""

REFUSED = """
found = {}
model, config = built("unet_tiny")
model.test_cfg.mode = "slide"
found["slide"] = said(model, config)

class Odd(type(model.decode_head)):
    def forward(self, inputs):
        return torch.special.i0(super().forward(inputs))

class Frozen(type(model.decode_head)):
    def forward(self, inputs):
        logits = super().forward(inputs)
        return logits[:, :, : int(logits.shape[2]) // 2].repeat(1, 1, 2, 1) + torch.zeros(1, 1, int(logits.shape[2]), 1)

for name, head in (("operator", Odd), ("frozen", Frozen)):
    model, config = built("unet_tiny")
    model.decode_head.__class__ = head
    found[name] = said(model, config)
found["frozen too"] = said(model, config, "torchscript")
model, config = built("unet_tiny")
config.test_dataloader.dataset.pipeline.insert(1, dict(type="RandomRotate", prob=1.0, degree=5))
found["step"] = said(model, config)
print(json.dumps([found, sorted(path.name for path in out.iterdir())]))
"""


def test_every_recipe_can_be_exported(tmp_path: Path) -> None:
    found = in_child(BUILD + RECIPES, str(tmp_path), *shipped_recipes())
    assert found == {name: ["", ["model.onnx"]] for name in shipped_recipes()}


def test_stand_ins_answer_as_what_they_stand_for_at_any_size(tmp_path: Path) -> None:
    off, scaled = in_child(BUILD + STAND_INS, str(tmp_path))
    assert max(off) < 1e-5
    for largest, share in scaled.values():
        assert largest <= 1
        assert share < 0.005
    assert [both for name, both in scaled.items() if "'scale_factor'" in name] == [[0, 0]] * 4


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], list[str]]:
    found, left = in_child(BUILD + REFUSED, str(tmp_path_factory.mktemp("refused")))
    return found, left


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("slide", "test_cfg.mode is 'slide'"),
        ("operator", "cannot be exported to ONNX for the operator aten::i0"),
        ("frozen", "the exported model "),
        ("frozen too", "the exported model "),
        ("step", "its pipeline has the step RandomRotate"),
    ],
)
def test_what_cannot_be_exported_is_named(refused: tuple[dict[str, str], list[str]], what: str, said: str) -> None:
    assert said in refused[0][what]


def test_nothing_of_it_is_left(refused: tuple[dict[str, str], list[str]]) -> None:
    assert refused[1] == []
