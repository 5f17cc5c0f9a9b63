"""A file of weights put into a backbone: under which names, how much of it fits, and whether that is enough.

Not here: which file, and where it comes from (``pretrained``).  The fact to know: files differ in what stands
before their names ("backbone.", "module.encoder.", nothing); the beginning with which most weights fit is taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from annoloop.errors import TrainingError, some_of
from annoloop.training.mmseg.checkpoint import load
from annoloop.training.mmseg.encoders import EfficientNetLite, fit_channels

_LEAST_SHARE = 0.5
"""Of the backbone's weights a file must fill, or else it is another network's."""

_HOLDERS = ("state_dict", "model", "model_state", "module")
"""Under which of these keys checkpoints of other tools hold their weights."""

_COUNTER = "num_batches_tracked"
_SHOWN = 3
_RGB = 3


def load_backbone(backbone: nn.Module, file: Path) -> str | None:
    """Fill a backbone from a file; what did not fit is said, None where all of it did.

    Raises:
        TrainingError: the file cannot be read, or less than half of the backbone's weights are in it.
    """
    own = {name: value for name, value in backbone.state_dict().items() if not name.endswith(_COUNTER)}
    theirs = _weights(load(file))
    if isinstance(backbone, EfficientNetLite):
        theirs |= backbone.renamed(theirs)
    start = _common_start(own, theirs)
    fitting = dict(_under(theirs, start, own))
    if len(fitting) < _LEAST_SHARE * len(own):
        raise TrainingError(
            f"only {len(fitting)} of the backbone's {len(own)} weights are in this file; the backbone has"
            f" {some_of(own, _SHOWN)}, the file {some_of(theirs, _SHOWN) or 'none'}",
            where=file,
            hint="take weights of the recipe's own backbone, or --pretrained auto, or none",
        )
    backbone.load_state_dict(fitting, strict=False)
    lacking = [name for name in own if name not in fitting]
    if not lacking:
        return None
    random = some_of(lacking, _SHOWN)
    return f"{file}: {len(fitting)} of the backbone's {len(own)} weights fit; these start at random: {random}"


def _weights(content: Mapping[str, Any]) -> dict[str, Tensor]:
    for holder in _HOLDERS:
        if isinstance(content.get(holder), Mapping):
            return _weights(content[holder])
    return {name: value for name, value in content.items() if isinstance(value, Tensor)}


def _common_start(own: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> str:
    """What stands before the backbone's names in the file: the beginning with which most weights fit."""
    by_ending: dict[str, list[str]] = {}
    for name in theirs:
        by_ending.setdefault(name.rpartition(".")[2], []).append(name)
    starts: Counter[str] = Counter()
    for name, value in own.items():
        for candidate in by_ending.get(name.rpartition(".")[2], ()):
            start = candidate.removesuffix(name)
            if candidate.endswith(name) and start[-1:] in ("", ".") and _fitted(theirs[candidate], value) is not None:
                starts[start] += 1
    # Of two that fit equally well the shorter one, which is the whole network's and not a copy's.
    return min(starts, key=lambda start: (-starts[start], len(start)), default="")


def _under(theirs: Mapping[str, Tensor], start: str, own: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
    found = [(name, _fitted(theirs[start + name], value)) for name, value in own.items() if start + name in theirs]
    return [(name, value) for name, value in found if value is not None]


def _fitted(theirs: Tensor, own: Tensor) -> Tensor | None:
    """Their weights in our shape: as they are, or, of a first convolution on RGB, for our channels; else None."""
    if theirs.shape == own.shape:
        return theirs
    on_rgb = theirs.dim() == own.dim() == 4 and theirs.shape[1] == _RGB
    if on_rgb and (theirs.shape[0], *theirs.shape[2:]) == (own.shape[0], *own.shape[2:]):
        return fit_channels(theirs, own.shape[1])
    return None
