"""Images whose sides a network cannot take go on as their mirror image, and not in grey.

The fact to know: a network that was trained on crops has never seen a border of grey, and finds objects at it; the
mirror image looks like any other part of a picture (Ronneberger, Fischer, Brox, "U-Net", MICCAI 2015, do the same).
"""

from __future__ import annotations

from typing import Any, cast

import torch
from mmseg.models import SegDataPreProcessor
from mmseg.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class MirrorPadPreProcessor(SegDataPreProcessor):  # type: ignore[misc]
    """mmseg's own, but for what it puts at the right and at the bottom of images that are predicted."""

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """As ``SegDataPreProcessor.forward``."""
        rows, columns = data["inputs"][0].shape[-2:]
        packed: dict[str, Any] = super().forward(data, training)
        if not training:
            packed["inputs"] = mirrored(packed["inputs"], (rows, columns))
        return packed


def mirrored(images: Tensor, size_hw: tuple[Any, Any]) -> Tensor:
    """Images (B, C, H, W) whose part beyond ``size_hw`` is the mirror image of what is before it."""
    for axis, length in zip((2, 3), size_hw, strict=True):
        images = images.index_select(axis, _places(length, images.shape[axis]).to(images.device))
    return images


def _places(length: Any, wanted: Any) -> Tensor:
    """Which of ``length`` places stands at each of ``wanted``, to and fro: 0 1 2 1 0 1 ...; numbers of a trace, too."""
    period = (2 * (torch.as_tensor(length) - 1)).clamp(min=1)
    place = torch.arange(cast(int, wanted)) % period
    return torch.minimum(place, period - place)
