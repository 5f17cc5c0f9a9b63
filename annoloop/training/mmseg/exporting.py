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
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from mmengine.config import Config
from torch import Tensor, nn

from annoloop.errors import TrainingError
from annoloop.training.mmseg.exported_graph import Graph
from annoloop.training.mmseg.predict import Network
from annoloop.training.mmseg.traceable import make_traceable
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
    pictures = [_noise(_at_scale(size_hw, network.scale)) for size_hw in _OTHER_SIZES_HW]
    expected = [network.probabilities(one[0].transpose(1, 2, 0)[..., ::-1]).cpu().numpy() for one in pictures]
    make_traceable(model)
    image = torch.from_numpy(_noise(_at_scale(_TRACED_HW, network.scale)))
    try:
        run = (_write_onnx if form == "onnx" else _write_torchscript)(graph, image, file)
        for pixels, answer in zip(pictures, expected, strict=True):
            _compare(pixels, answer, run, form, flips=network.flips)
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


def _compare(
    pixels: npt.NDArray[np.uint8], expected: npt.NDArray[np.float32], run: Run, form: ModelFormat, *, flips: bool
) -> None:
    """Raise unless the file answers as the network did, at a size that the trace has not seen."""
    where = f"of {pixels.shape[3]} x {pixels.shape[2]} px"
    try:
        found = run(pixels)[0]
        if flips:
            found = (found + run(np.ascontiguousarray(pixels[..., ::-1]))[0][..., ::-1]) / 2
    except Exception as error:  # as above
        raise _frozen(f"does not take images {where}: {str(error).splitlines()[0][:300]}", form) from error
    off = float(np.abs(found - expected).mean()) if found.shape == expected.shape else float("inf")
    if not off <= _MOST_DIFFERENCE:
        raise _frozen(f"answers otherwise than the network for images {where}: probabilities differ by {off:.2g}", form)


def _frozen(what: str, form: ModelFormat) -> TrainingError:
    other = "" if form == "torchscript" else " or --format torchscript"
    return TrainingError(
        f"the exported model {what}",
        hint=f"some part of the recipe fixes the size of images, or draws numbers: another recipe{other}",
    )


def _at_scale(size_hw: tuple[int, int], scale: float) -> tuple[int, int]:
    return round(size_hw[0] / scale), round(size_hw[1] / scale)


def _noise(size_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """A picture (1, 3, H, W) of blots, the same in every run: white noise is nothing that networks agree on."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (1, 3, -(-size_hw[0] // 16), -(-size_hw[1] // 16)), dtype=np.uint8)
    return np.ascontiguousarray(coarse.repeat(16, axis=2).repeat(16, axis=3)[:, :, : size_hw[0], : size_hw[1]])
