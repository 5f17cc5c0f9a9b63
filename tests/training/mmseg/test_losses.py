"""Our Lovász-Softmax gives mmseg's value and gradient, and takes what mmseg's does not."""

from __future__ import annotations

import pytest
from small_job import in_child

CHILD = """
import json, sys
import torch
from mmseg.models.losses import LovaszLoss
from annoloop.training.mmseg.losses import LovaszSoftmax

torch.manual_seed(0)
stock, ours = LovaszLoss(per_image=False, classes="present", reduction="none"), LovaszSoftmax()

def both(shape, classes, ignored):
    logits = 3 * torch.randn(shape)
    label = torch.randint(0, classes, (shape[0], *shape[2:]))
    label[:, :ignored] = 255
    found = []
    for loss in (stock, ours):
        given = logits.clone().requires_grad_()
        value = loss(given, label, ignore_index=255)
        value.backward()
        found += [value.item(), given.grad]
    away = (found[3] - found[1]).norm() / found[1].norm()
    return [found[0], found[2], away.item()]

rows = {
    "many pixels": both((4, 4, 64, 64), 4, 0),
    "ignored pixels": both((2, 3, 17, 9), 3, 5),
    "an absent class": both((2, 5, 16, 16), 3, 2),
    "two classes": both((1, 2, 8, 8), 2, 0),
}
logits = torch.randn(2, 3, 8, 8, requires_grad=True)
nothing = ours(logits, torch.full((2, 8, 8), 255), ignore_index=255)
nothing.backward()
perfect = torch.zeros(1, 2, 4, 4)
perfect[:, 1] = 100.0
rows["all ignored"] = [nothing.item(), logits.grad.abs().max().item(), 0]
rows["perfect"] = [ours(perfect, torch.ones(1, 4, 4, dtype=torch.long)).item(), 0, 0]
print(json.dumps(rows))
"""


@pytest.fixture(scope="module")
def rows() -> dict[str, list[float]]:
    found: dict[str, list[float]] = in_child(CHILD)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("case", ["many pixels", "ignored pixels", "an absent class", "two classes"])
def test_value_and_gradient_are_mmsegs(rows: dict[str, list[float]], case: str) -> None:
    stock, ours, gradient_away = rows[case]
    assert ours == pytest.approx(stock, abs=1e-5)
    assert gradient_away < 0.02


@pytest.mark.slow
def test_no_pixel_to_count_is_no_loss_and_a_perfect_prediction_neither(rows: dict[str, list[float]]) -> None:
    assert rows["all ignored"] == [0, 0, 0]
    assert rows["perfect"][0] == pytest.approx(0, abs=1e-6)
