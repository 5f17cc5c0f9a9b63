"""The losses that show every class to a network, however small: Lovász-Softmax and a Dice loss class by class.

Named in a recipe as ``LovaszSoftmax`` and ``ClassDice``; ``recipe`` imports them.  The fact to know: mmseg's own
``LovaszLoss`` gives the same value, but sorts each class on one core and asks the device once per class, and its
``DiceLoss`` takes all classes together, so that the background hides the others.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmseg.registry import MODELS
from torch import Tensor, nn

_LEVELS = 65_535
"""Errors are ordered on a CPU by so many levels: 16 bits, for which numpy has a radix sort."""


@MODELS.register_module()
class LovaszSoftmax(nn.Module):
    """A convex surrogate of the mean IoU, the mean over the classes that occur in the batch.

    Source: Berman, Triki, Blaschko, "The Lovász-Softmax loss", CVPR 2018.  The loss is continuous where
    two errors are equal, so an order that is right to 1/65535 gives its value to about that.
    """

    def __init__(self, loss_weight: float = 1.0, loss_name: str = "loss_lovasz") -> None:
        super().__init__()
        self._loss_weight, self.loss_name = loss_weight, loss_name

    def forward(self, logits: Tensor, label: Tensor, ignore_index: int = 255, **_: Any) -> Tensor:
        """The loss of logits (B, K, H, W) and class indices (B, H, W); pixels of ``ignore_index`` do not count."""
        classes = logits.shape[1]
        probabilities = logits.float().softmax(dim=1).movedim(1, 0).reshape(classes, -1)
        label = label.reshape(-1)
        counted = label != ignore_index
        truth = (label == torch.arange(classes, device=label.device)[:, None]).float()
        # An ignored pixel has no error; with an error of 0 it comes last and weighs nothing.
        errors = (truth - probabilities).abs() * counted
        order = _descending(errors.detach())
        weights = torch.empty_like(truth).scatter_(1, order, _jaccard_steps(truth.gather(1, order)))
        per_class = (errors * weights).sum(dim=1)
        present = truth.any(dim=1)
        return self._loss_weight * (per_class * present).sum() / present.sum().clamp(min=1)


@MODELS.register_module()
class ClassDice(nn.Module):
    """1 - soft Dice of each class over all pixels of the batch, the mean over the classes.

    A class that is not in the batch counts, too: there the loss is what is wrongly taken for it.

    Source: Milletari, Navab, Ahmadi, "V-Net", 3DV 2016, with sums over the batch and 1 added above and below.
    """

    def __init__(self, loss_weight: float = 1.0, loss_name: str = "loss_dice") -> None:
        super().__init__()
        self._loss_weight, self.loss_name = loss_weight, loss_name

    def forward(self, logits: Tensor, label: Tensor, ignore_index: int = 255, **_: Any) -> Tensor:
        """The loss of logits (B, K, H, W) and class indices (B, H, W); pixels of ``ignore_index`` do not count."""
        counted = (label != ignore_index)[:, None]
        probabilities = logits.float().softmax(dim=1) * counted
        truth = torch.zeros_like(probabilities).scatter_(1, label.where(counted[:, 0], 0)[:, None], 1) * counted
        common = (probabilities * truth).sum(dim=(0, 2, 3))
        both = (probabilities + truth).sum(dim=(0, 2, 3))
        return self._loss_weight * (1 - (2 * common + 1) / (both + 1)).mean()


def _descending(errors: Tensor) -> Tensor:
    """The order of each row (K, P) from the largest error to the smallest."""
    if errors.device.type != "cpu":
        return errors.argsort(dim=1, descending=True)
    levels = (_LEVELS * (1 - errors)).numpy().astype(np.uint16)
    return torch.from_numpy(np.argsort(levels, axis=1, kind="stable"))


def _jaccard_steps(truth: Tensor) -> Tensor:
    """By how much each pixel (K, P), in order of its error, lowers the Jaccard index: the loss's gradient."""
    total = truth.sum(dim=1, keepdim=True)
    found = truth.cumsum(dim=1)
    ranks = torch.arange(1, truth.shape[1] + 1, device=truth.device)
    jaccard_loss = 1 - (total - found) / (total + ranks - found).clamp(min=1)
    return jaccard_loss.diff(dim=1, prepend=jaccard_loss.new_zeros(len(truth), 1))
