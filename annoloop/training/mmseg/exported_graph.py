"""Pixels to probabilities as one module: a recipe's resize, normalisation, padding, its network, softmax, and back.

Not here: how it becomes a file (``exporting.py``).  The fact to know: it is made to be traced, so sizes are numbers of
the trace, which follow the image, and never Python's own.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.nn import functional

from annoloop.errors import TrainingError
from annoloop.training.mmseg.padding import MirrorPadPreProcessor, mirrored
from annoloop.training.mmseg.recipe import prediction_pipeline


class Graph(nn.Module):
    """Pixels to probabilities: the recipe's resize, its normalisation and padding, the network, softmax, and back."""

    def __init__(self, model: Any, config: Config) -> None:
        """Of a model in evaluation mode.

        Raises:
            TrainingError: the recipe predicts in a way that is not to be put into one graph.
        """
        super().__init__()
        self._model = model
        self._scale = _Scale(_resize_step(config))
        prepares = model.data_preprocessor
        if model.test_cfg.get("mode", "whole") != "whole":
            raise _impossible("test_cfg.mode is 'slide': how many windows there are depends on the image")
        self._blue_first = not prepares._channel_conversion
        self._normalizes = bool(prepares._enable_normalize)
        if self._normalizes:
            self.register_buffer("mean", prepares.mean.detach().clone().reshape(1, -1, 1, 1))
            self.register_buffer("std", prepares.std.detach().clone().reshape(1, -1, 1, 1))
        padding = prepares.test_cfg or {}
        self._multiple, self._least_hw = padding.get("size_divisor") or 1, padding.get("size")
        self._filled_with = "mirror image" if isinstance(prepares, MirrorPadPreProcessor) else float(prepares.pad_val)

    @property
    def facts(self) -> dict[str, Any]:
        """What the graph does to an image."""
        numbers = {
            name: getattr(self, name).flatten().tolist() if self._normalizes else None for name in ("mean", "std")
        }
        return {
            "resize": self._scale.facts,
            "channels": "BGR" if self._blue_first else "RGB",
            **numbers,
            "pad_to_multiple_of": self._multiple,
            "pad_to_at_least": self._least_hw,
            "pad_with": self._filled_with,
        }

    def forward(self, image: Tensor) -> Tensor:
        """Probabilities float32 (1, K, H, W) of an RGB image (1, 3, H, W), 0 ... 255."""
        height, width = image.shape[2], image.shape[3]
        x, (rows, columns) = self._scale(image)
        if self._blue_first:
            x = x[:, [2, 1, 0]]
        if self._normalizes:
            x = (x - self.mean) / self.std
        x = self._padded(x, rows, columns)
        shape = (x.shape[2], x.shape[3])
        meta = {
            "img_shape": (rows, columns),
            "pad_shape": shape,
            "batch_input_shape": shape,
            "ori_shape": (height, width),
        }
        logits = self._model.encode_decode(x, [meta])[:, :, :rows, :columns]
        corners = self._model.align_corners
        logits = functional.interpolate(logits.float(), size=(height, width), mode="bilinear", align_corners=corners)
        return logits.softmax(dim=1)

    def _padded(self, x: Tensor, rows: Any, columns: Any) -> Tensor:
        padding = (0, self._missing(columns, 1), 0, self._missing(rows, 0))
        if isinstance(self._filled_with, float):
            return functional.pad(x, padding, value=self._filled_with)
        return mirrored(functional.pad(x, padding), (rows, columns))

    def _missing(self, length: Any, axis: int) -> Any:
        """How many px are added to a side; a number of the trace."""
        if self._least_hw is not None:
            return torch.clamp(self._least_hw[axis] - torch.as_tensor(length), min=0)
        return -length % self._multiple


class _Scale(nn.Module):
    """mmcv's ``Resize`` in the graph, level by level as OpenCV has it: networks make much of one level more or less.

    Source of the sizes, which are rounded twice: ``mmcv.transforms.Resize`` and ``mmcv.imrescale``; of the levels:
    ``HResizeLinear`` and ``VResizeLinear`` in OpenCV's ``modules/imgproc/src/resize.cpp``, whose weights are whole
    numbers of 2048ths.
    """

    _ONE = 2048

    def __init__(self, step: dict[str, Any] | None) -> None:
        super().__init__()
        step = step or {}
        factors = step.get("scale_factor") or 1.0
        self._factors_wh = tuple(factors) if isinstance(factors, (tuple, list)) else (factors, factors)
        scale = step.get("scale")
        self._fixed_wh = (scale, scale) if isinstance(scale, int) else scale
        self._keeps_ratio = bool(step.get("keep_ratio"))
        self._is_idle = self._fixed_wh is None and self._factors_wh == (1.0, 1.0)

    @property
    def facts(self) -> dict[str, Any] | None:
        """What it does, for people; None where it does nothing."""
        if self._is_idle:
            return None
        asked = {"scale_factor": self._factors_wh[0]} if self._fixed_wh is None else {"scale_wh": list(self._fixed_wh)}
        return {**asked, "keep_ratio": self._keeps_ratio, "interpolation": "bilinear, as OpenCV's"}

    def forward(self, image: Tensor) -> tuple[Tensor, tuple[Any, Any]]:
        """The image float32 in its working size, and that size."""
        if self._is_idle:
            return image.float(), (image.shape[2], image.shape[3])
        rows, columns = self._size_hw(image.shape[2], image.shape[3])
        first, second, of_first, of_second = self._weights(image.shape[3], columns)
        x = image.index_select(3, first).int() * of_first + image.index_select(3, second).int() * of_second
        x = _halved(x, 4)
        first, second, of_first, of_second = (one.reshape(-1, 1) for one in self._weights(image.shape[2], rows))
        above = _halved(x.index_select(2, first.flatten()) * of_first, 16)
        below = _halved(x.index_select(2, second.flatten()) * of_second, 16)
        return _halved(above + below + 2, 2).float(), (rows, columns)

    def _size_hw(self, height: Any, width: Any) -> tuple[Tensor, Tensor]:
        sides = torch.stack([torch.as_tensor(height), torch.as_tensor(width)]).to(torch.float64)
        if self._fixed_wh is None:
            wanted = torch.floor(sides * torch.tensor(self._factors_wh[::-1], dtype=torch.float64) + 0.5)
        else:
            wanted = torch.tensor(self._fixed_wh[::-1], dtype=torch.float64)
        if self._keeps_ratio:
            wanted = torch.floor(sides * torch.min(wanted.max() / sides.max(), wanted.min() / sides.min()) + 0.5)
        rows, columns = wanted.to(torch.int64).unbind()
        return rows, columns

    def _weights(self, before: Any, after: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """For each place after it the two places before it, and their weights."""
        step = torch.as_tensor(before).to(torch.float64) / after.to(torch.float64)
        at = ((torch.arange(cast(int, after)).to(torch.float64) + 0.5) * step - 0.5).float()
        first, last = at.floor(), torch.as_tensor(before) - 1
        is_inside = (first >= 0) & (first < last)
        share = torch.where(is_inside, at - first, torch.zeros_like(at))
        first = torch.minimum(first.long().clamp(min=0), last)
        weights = ((1 - share) * self._ONE).round().int(), (share * self._ONE).round().int()
        return first, torch.minimum(first + 1, last), *weights


def _halved(numbers: Tensor, times: int) -> Tensor:
    """Whole numbers that are not negative, halved so often and rounded down."""
    return torch.div(numbers, 1 << times, rounding_mode="floor")


def _resize_step(config: Config) -> dict[str, Any] | None:
    """The step of the recipe's pipeline that scales, if there is one.

    Raises:
        TrainingError: a step that is not in the graph.
    """
    loading, *others = prediction_pipeline(config)
    if _name(loading) != "LoadImageFromFile" or loading.get("color_type", "color") not in ("color", "unchanged"):
        raise _impossible(f"its pipeline loads images with {loading['type']} of another kind")
    steps = [step for step in others if _name(step) != "PackSegInputs"]
    if unknown := [step for step in steps if _name(step) != "Resize"]:
        raise _impossible(f"its pipeline has the step {unknown[0]['type']}, which the graph has not")
    if len(steps) > 1:
        raise _impossible("its pipeline scales images more than once")
    if steps and steps[0].get("interpolation", "bilinear") != "bilinear":
        raise _impossible(f"its pipeline scales images with interpolation {steps[0]['interpolation']!r}")
    return steps[0] if steps else None


def _name(step: dict[str, Any]) -> str:
    return str(step["type"]).rpartition(".")[2]


def _impossible(why: str) -> TrainingError:
    return TrainingError(
        f"this recipe cannot be exported: {why}", hint="annoloop predict and annoloop serve use it as it is"
    )
