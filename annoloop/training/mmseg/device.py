"""The hardware of a run: which device, how many threads, in which precision and memory layout.

The fact to know: nothing here changes what is computed beyond rounding; it only makes it faster.
"""

from __future__ import annotations

from collections.abc import Callable

import mmengine.device.utils
import torch
from mmengine.runner import Runner
from torch import Tensor, nn

from annoloop.compute.launch import usable_cores
from annoloop.errors import TrainingError
from annoloop.training.mmseg.ranks import LOCAL_WORLD
from annoloop.training.records import Job


def choose_device(job: Job) -> str:
    """The device by name; tells mmengine, and gives a CPU run the cores that it may use and no more.

    Raises:
        TrainingError: CUDA was asked for and there is none, or there are fewer GPUs than processes.
    """
    found = torch.cuda.device_count()
    if job.device == "cuda" and not found:
        hint = f"use device cpu, or install a CUDA build of torch (this one is {torch.__version__})"
        raise TrainingError("no CUDA device was found", hint=hint)
    device = "cuda" if found and job.device != "cpu" else "cpu"
    mmengine.device.utils.DEVICE = device
    if device == "cpu":
        torch.set_num_threads(job.threads or max(1, usable_cores() // LOCAL_WORLD))
        return device
    if found < LOCAL_WORLD:
        raise TrainingError(f"{LOCAL_WORLD} GPUs were asked for, this machine has {found}", hint=f"--gpus {found}")
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    return device


def precision(device: str, job: Job) -> str:
    """ "bfloat16" where it was asked for, or where the hardware multiplies it faster; else "float32"."""
    if job.precision != "auto":
        return job.precision
    if device == "cuda":
        faster = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Older versions of torch do not tell; they stay with float32.
        found: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        faster = found.get("avx512_bf16", False) or found.get("amx_bf16", False)
    return "bfloat16" if faster else "float32"


def placed(model: nn.Module, device: str, precision: str) -> nn.Module:
    """The model on its device, in the given precision and the memory layout that is fastest for convolutions."""
    if precision == "bfloat16":
        # Training, validation and prediction alike, so that what is scored is what was trained.
        model.forward = torch.autocast(device, torch.bfloat16)(model.forward)
        if device == "cpu":
            _keep_depthwise_whole(model)
    return model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _keep_depthwise_whole(model: nn.Module) -> None:
    """Depthwise convolutions stay with float32: on a CPU their gradients in bfloat16 take 3 to 8 times as long.

    Those that are frozen have none, and answer sooner in bfloat16.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1 and module.weight.requires_grad:
            module.forward = _in_float32(module.forward)  # type: ignore[method-assign, assignment]


def _in_float32(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def whole(features: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return forward(features.float())

    return whole


class PlacedRunner(Runner):  # type: ignore[misc]
    """mmengine's Runner with its model placed before processes begin to share it."""

    def wrap_model(self, model_wrapper_cfg: object, model: nn.Module) -> nn.Module:
        model = placed(model, mmengine.device.get_device(), self.cfg.precision)
        wrapped: nn.Module = super().wrap_model(model_wrapper_cfg, model)
        return wrapped
