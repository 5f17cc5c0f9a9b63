"""A trained model as one file for others: an ONNX graph or a TorchScript of all between pixels and probabilities.

Not here: what lies beside the file, and whether it scores as the run does (``loop/handover/export_model.py``).  The
fact to know: a trace follows one image, so what mmseg works out as Python numbers would be frozen at that image's size;
such modules are replaced, and what comes out is held against the network at other sizes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeGuard, cast

import numpy as np
import numpy.typing as npt
import torch
from mmengine.config import Config
from mmseg.models.utils import Upsample
from torch import Tensor, nn
from torch.nn import functional

from annoloop.errors import TrainingError
from annoloop.training.mmseg.predict import Network
from annoloop.training.mmseg.recipe import prediction_pipeline
from annoloop.training.records import FACTS_FILE, MODEL_FILES, ModelFormat

OPSET = 17

_TRACED_HW = (160, 224)
_OTHER_SIZES_HW = ((97, 131), (192, 75))
"""Sizes, in px at the working scale, that the trace did not see."""

_MOST_DIFFERENCE = 1e-3
"""Mean over all probabilities of how far a file may be from the network: rounding is a thousandth of it."""

_OPERATOR = re.compile(r"(?:aten|prim|torchvision|mmcv|mmdeploy|onnx)::[\w.]+|operator '?(\w[\w:.]+)'?")

Run = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
"""An image (1, 3, H, W) in, probabilities (1, K, H, W) out."""


def export_model(model: nn.Module, config: Config, form: ModelFormat, folder: Path) -> None:
    """Write a model's file to ``folder`` and ``FACTS_FILE`` beside it: what one has to know to use it.

    Raises:
        TrainingError: the recipe does what no such file can, or the file does not answer as the network.
    """
    model = model.eval().requires_grad_(False)
    network, graph = Network(model, config), Graph(model, config).eval()  # torch puts back the mode that it finds
    file = folder / MODEL_FILES[form]
    _make_traceable(model)
    image = torch.from_numpy(_noise(_at_scale(_TRACED_HW, network.scale)))
    try:
        run = (_write_onnx if form == "onnx" else _write_torchscript)(graph, image, file)
        _compare(network, run, form)
    except TrainingError:
        file.unlink(missing_ok=True)
        raise
    facts: dict[str, Any] = {
        "opset": OPSET if form == "onnx" else None,
        "torch": str(torch.__version__),
        "graph": graph.facts,
    }
    facts |= {"flips": network.flips, "scale": network.scale, "whole_px": network.whole_px}
    facts |= {"window_px": network.side_px, "margin_px": network.margin_px}
    (folder / FACTS_FILE).write_text(json.dumps(facts, indent=1), encoding="utf-8")


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
        self._filled_with = float(prepares.pad_val)

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
            "pad_value": self._filled_with,
        }

    def forward(self, image: Tensor) -> Tensor:
        """Probabilities float32 (1, K, H, W) of an RGB image (1, 3, H, W), 0 ... 255."""
        height, width = image.shape[2], image.shape[3]
        x, (rows, columns) = self._scale(image)
        if self._blue_first:
            x = x[:, [2, 1, 0]]
        if self._normalizes:
            x = (x - self.mean) / self.std
        x = functional.pad(x, (0, self._missing(columns, 1), 0, self._missing(rows, 0)), value=self._filled_with)
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


# what mmseg works out as Python numbers


class _Larger(nn.Module):
    """mmseg's ``Upsample`` by a whole factor, with a size that follows the image."""

    def __init__(self, old: Upsample) -> None:
        super().__init__()
        self._factor, self._mode, self._corners = int(old.scale_factor), old.mode, old.align_corners

    def forward(self, x: Tensor) -> Tensor:
        size = (x.shape[2] * self._factor, x.shape[3] * self._factor)
        return functional.interpolate(x, size=size, mode=self._mode, align_corners=self._corners)


class _Pool(nn.Module):
    """``AdaptiveAvgPool2d`` as two products of matrices, which are made of the image's size.

    Cell i of n averages the places from floor(i * length / n) to ceil((i + 1) * length / n), as torch's own does.
    """

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self._cells = rows, columns

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = (self._weights(x.shape[axis], n) for axis, n in zip((2, 3), self._cells, strict=True))
        return torch.matmul(torch.matmul(rows, x), columns.transpose(0, 1))

    @staticmethod
    def _weights(length: Any, cells: int) -> Tensor:
        length = torch.as_tensor(length)
        cell, place = torch.arange(cells).reshape(-1, 1), torch.arange(length).reshape(1, -1)
        first = torch.div(cell * length, cells, rounding_mode="floor")
        end = torch.div((cell + 1) * length + cells - 1, cells, rounding_mode="floor")
        inside = ((place >= first) & (place < end)).float()
        return inside / inside.sum(dim=1, keepdim=True)


class _Attention(nn.Module):
    """``MultiheadAttention`` of one image without masks: places (L, 1, C) to (L, 1, C).

    torch's own asks for the number of places, which ONNX takes for a constant behind mmseg's changes of shape.
    """

    def __init__(self, old: nn.MultiheadAttention) -> None:
        super().__init__()
        self._old = old

    def forward(self, query: Tensor, key: Tensor, value: Tensor, **others: Any) -> tuple[Tensor, None]:
        old = self._old
        if masks := [name for name in ("attn_mask", "key_padding_mask") if others.get(name) is not None]:
            raise ValueError(f"attention with {masks[0]}")
        weights = old.in_proj_weight.chunk(3)
        biases = (None,) * 3 if old.in_proj_bias is None else old.in_proj_bias.chunk(3)
        q, k, v = (
            functional.linear(x, weight, bias).reshape(-1, old.num_heads, old.head_dim).transpose(0, 1)
            for x, weight, bias in zip((query, key, value), weights, biases, strict=True)
        )
        shares = torch.matmul(q * old.head_dim**-0.5, k.transpose(1, 2)).softmax(dim=-1)
        seen = torch.matmul(shares, v).transpose(0, 1).reshape(-1, 1, old.embed_dim)
        return old.out_proj(seen), None


def _is_plain(one: nn.Module) -> TypeGuard[nn.MultiheadAttention]:
    """Whether it is an attention as transformers have it as a rule."""
    return (
        type(one) is nn.MultiheadAttention
        and one._qkv_same_embed_dim
        and one.bias_k is None
        and not one.add_zero_attn
        and not one.batch_first
    )


def _make_traceable(model: nn.Module) -> None:
    """Put modules whose sizes follow the image in the place of those whose sizes a trace would freeze."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is Upsample and _grows_by_whole(child):
                setattr(parent, name, _Larger(child))
            elif _is_plain(child):
                setattr(parent, name, _Attention(child))
            elif type(child) is nn.AdaptiveAvgPool2d and (cells := _pair(child.output_size)) not in ((1, 1), None):
                setattr(parent, name, _Pool(*cells))


def _grows_by_whole(one: Any) -> bool:
    return not one.size and one.scale_factor is not None and float(one.scale_factor).is_integer()


def _pair(size: Any) -> tuple[int, int] | None:
    both = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    return None if None in both else (int(both[0]), int(both[1]))


# the two formats


def _write_onnx(graph: nn.Module, image: Tensor, file: Path) -> Run:
    import onnx
    import onnxruntime

    axes = {2: "height", 3: "width"}
    try:
        torch.onnx.export(
            graph, (image,), str(file), dynamo=False, opset_version=OPSET, input_names=["image"],
            output_names=["probabilities"], dynamic_axes={"image": axes, "probabilities": axes},
        )  # fmt: skip
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        made = onnx.load(str(file))
        _name_sides(made.graph.output[0], session.run(None, {"image": image.numpy()})[0].shape[1])
        onnx.checker.check_model(made, full_check=True)
        onnx.save(made, str(file))
    except Exception as error:  # the errors of torch, ONNX and onnxruntime have no common class
        raise _not_exported("ONNX", error) from error

    def run(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return np.asarray(session.run(None, {"image": pixels})[0], np.float32)

    return run


def _name_sides(output: Any, classes: int) -> None:
    """Say of the output what the exporter cannot tell: the number of classes, and that it is as large as the image."""
    del output.type.tensor_type.shape.dim[:]
    for side in (1, classes, "height", "width"):
        dim = output.type.tensor_type.shape.dim.add()
        if isinstance(side, int):
            dim.dim_value = side
        else:
            dim.dim_param = side


def _write_torchscript(graph: nn.Module, image: Tensor, file: Path) -> Run:
    try:
        with torch.no_grad():
            torch.jit.trace(graph, (image,), check_trace=False).save(str(file))  # type: ignore[no-untyped-call]
        loaded = torch.jit.load(str(file), map_location="cpu")  # type: ignore[no-untyped-call]
    except Exception as error:  # as above
        raise _not_exported("TorchScript", error) from error

    def run(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        with torch.no_grad():
            return np.asarray(loaded(torch.from_numpy(pixels)).numpy(), np.float32)

    return run


def _not_exported(form: str, error: Exception) -> TrainingError:
    said = str(error).strip() or type(error).__name__
    found = _OPERATOR.search(said)
    operator = f" for the operator {found.group(1) or found.group(0)}" if found else ""
    other = " or --format torchscript" if form == "ONNX" else ""
    return TrainingError(
        f"the model cannot be exported to {form}{operator}: {said.splitlines()[0][:300]}",
        hint=f"another recipe{other}; annoloop predict and annoloop serve use the model as it is",
    )


def _compare(network: Network, run: Run, form: ModelFormat) -> None:
    """Raise unless the file answers as the network at sizes that the trace has not seen."""
    for size_hw in _OTHER_SIZES_HW:
        pixels = _noise(_at_scale(size_hw, network.scale))
        expected = network.probabilities(pixels[0].transpose(1, 2, 0)[..., ::-1]).cpu().numpy()
        where = f"of {pixels.shape[3]} x {pixels.shape[2]} px"
        try:
            found = run(pixels)[0]
            if network.flips:
                found = (found + run(np.ascontiguousarray(pixels[..., ::-1]))[0][..., ::-1]) / 2
        except Exception as error:  # as above
            raise _frozen(f"does not take images {where}: {str(error).splitlines()[0][:300]}", form) from error
        off = float(np.abs(found - expected).mean()) if found.shape == expected.shape else float("inf")
        if not off <= _MOST_DIFFERENCE:
            raise _frozen(
                f"answers otherwise than the network for images {where}: probabilities differ by {off:.2g}", form
            )


def _frozen(what: str, form: ModelFormat) -> TrainingError:
    other = "" if form == "torchscript" else " or --format torchscript"
    return TrainingError(
        f"the exported model {what}",
        hint=f"some part of the recipe fixes the size of images: another recipe{other}",
    )


def _at_scale(size_hw: tuple[int, int], scale: float) -> tuple[int, int]:
    return round(size_hw[0] / scale), round(size_hw[1] / scale)


def _noise(size_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """A picture (1, 3, H, W) of blots, the same in every run: white noise is nothing that networks agree on."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (1, 3, -(-size_hw[0] // 16), -(-size_hw[1] // 16)), dtype=np.uint8)
    return np.ascontiguousarray(coarse.repeat(16, axis=2).repeat(16, axis=3)[:, :, : size_hw[0], : size_hw[1]])
