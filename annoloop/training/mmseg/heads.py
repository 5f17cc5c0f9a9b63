"""The decode heads of a recipe fitted to a data set: as many outputs as it has classes, and weights for its losses.

Not here: the rest of a recipe (``recipe``).  The fact to know: what counts classes is found by its name wherever it
stands, since heads hold heads (K-Net), and a head that answers another question (a boundary) keeps its own number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from annoloop.training.mmseg.pretrained import each_dict

IGNORE = 255
"""mmseg's ignore index: the one that its losses, padding and metrics agree on as they come."""

_OTHER_QUESTIONS = ("STDCHead",)
"""Heads whose outputs are not the classes."""

_SOFTMAX = {"use_sigmoid": False, "loss_type": "multi_class"}
"""The options by which mmseg's losses expect one channel per class."""


def fit_heads(
    model: Any, classes: int, weights: Sequence[float] | None, warn: Callable[[str], None], ignored: int = IGNORE
) -> None:
    """Fit ``decode_head`` and ``auxiliary_head`` of a model's config.

    ``weights`` of the classes go into cross entropies that have none of their own; ``warn`` hears of weights that
    do not fit.  ``ignored``: the index that is trained with as that of ignored pixels.
    """
    for head in [*listed(model["decode_head"]), *listed(model.get("auxiliary_head"))]:
        if head["type"] not in _OTHER_QUESTIONS:
            _fit(head, classes, weights, warn)
        for part in each_dict(head):
            if "ignore_index" in part:
                part["ignore_index"] = ignored
        if ignored != IGNORE:
            head["ignore_index"] = ignored


def _fit(head: Any, classes: int, weights: Sequence[float] | None, warn: Callable[[str], None]) -> None:
    counting = [part for part in each_dict(head) if "num_classes" in part] or [head]
    before = counting[0].get("num_classes")
    for part in each_dict(head):
        _fit_lists(part, before, classes)
    for part in counting:
        part["num_classes"] = classes
        # One channel for two classes becomes a softmax over two; another number has to do with features.
        outputs = part.get("out_channels")
        if outputs is not None and outputs in (1, before):
            del part["out_channels"]
        part.pop("threshold", None)
        default = {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 1.0}
        losses = listed(part.setdefault("loss_decode", default) if part is head else part.get("loss_decode"))
        for loss in losses:
            if outputs == 1:
                loss.update({key: _SOFTMAX[key] for key in _SOFTMAX if key in loss})
            _fit_weights(loss, classes, weights, warn)


def _fit_lists(part: Any, before: int | None, classes: int) -> None:
    """Weights of every class and of "no object", as heads of masks have them, for another number of classes."""
    given = part.get("class_weight")
    if isinstance(given, (list, tuple)) and before is not None and len(given) == before + 1 != classes:
        part["class_weight"] = [given[0]] * classes + [given[-1]] if len(set(given[:-1])) == 1 else None


def _fit_weights(loss: Any, classes: int, weights: Sequence[float] | None, warn: Callable[[str], None]) -> None:
    """What the recipe itself gives goes first, as long as it fits."""
    given = loss.get("class_weight")
    if isinstance(given, (list, tuple)) and len(given) not in (classes, classes + 1):
        warn(f"{loss['type']} has {len(given)} class weights for {classes} classes: not used")
        given = None
    # mmseg takes weights of a sigmoid loss for weights of pixels.
    if given is None and "CrossEntropy" in str(loss["type"]) and not loss.get("use_sigmoid"):
        given = None if weights is None else list(weights)
    if given is not None or "class_weight" in loss:
        loss["class_weight"] = given


def listed(value: Any) -> list[Any]:
    """One or many as a list; None as an empty one."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
