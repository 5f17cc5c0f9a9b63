"""What the child process plugs into mmengine's Runner: exact scores and the hooks of a run.

The hooks tell the parent what happens and end a run whose loss is no number.  Not here: what a run keeps
on disk (``resume``), and the clock (``budget``).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import mmengine
import mmseg
import torch
from mmengine.hooks import Hook, RuntimeInfoHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS

from annoloop import __version__
from annoloop.training.mmseg.ranks import any_rank, from_first

MEASURED_ITERATIONS = 6
"""After so many it is said how long a training will take; the first one warms up."""

_LOOK_EVERY_S = 0.5
_LOG_EVERY = 50

Emit = Callable[..., None]


class StopRequested(Exception):
    """The run was asked to stop and has saved what it had, up to ``iteration``."""

    def __init__(self, iteration: int) -> None:
        super().__init__(f"asked to stop at {iteration}")
        self.iteration = iteration


class Diverged(Exception):
    """The loss of ``iteration`` was no number."""

    def __init__(self, iteration: int, loss: float) -> None:
        super().__init__(f"the loss of iteration {iteration} is {loss}")
        self.iteration = iteration


@dataclass(slots=True)
class Progress:
    """How far the run is; shared by the hooks.

    ``looked``: whether the losses up to ``iteration`` are known, which is where a run may stop; ``spent_s``
    counts all time of a run with a budget.
    """

    iteration: int = 0
    validated_at: int = 0
    best: dict[str, Any] | None = None
    looked: bool = True
    durations: list[float] = field(default_factory=list)
    trained_s: float = 0.0
    spent_s: float = 0.0

    @property
    def seconds_per_iteration(self) -> float | None:
        """The mean without the first iteration, which also warms up, unless it is the only one."""
        return fmean(self.durations[1:] or self.durations) if self.durations else None


@METRICS.register_module()
class ExactIoUMetric(IoUMetric):  # type: ignore[misc]
    """mmseg's scores before it rounds them to percent with two digits; fractions of 1."""

    def __init__(self, **options: Any) -> None:
        super().__init__(iou_metrics=["mIoU", "mDice"], **options)

    def compute_metrics(self, results: list[Any]) -> dict[str, Any]:
        """mdice, miou and dice_per_class; None for what occurs neither in truth nor prediction.

        ``never_predicted`` names the classes that are there and have not a single pixel of the prediction.
        """
        super().compute_metrics(results)  # mmseg's table, for train.log
        areas = [sum(area.double() for area in column) for column in zip(*results, strict=True)]
        scores = self.total_area_to_metrics(*areas, metrics=self.metrics)
        dice, iou = ([_number(value) for value in scores[name]] for name in ("Dice", "IoU"))
        _, _, predicted, labelled = areas
        lost = ((labelled > 0) & (predicted == 0)).tolist()
        never = [name for name, is_lost in zip(self.dataset_meta["classes"], lost, strict=True) if is_lost]
        return {"mdice": _mean(dice), "miou": _mean(iou), "dice_per_class": dice, "never_predicted": never}


class ReportHook(Hook):  # type: ignore[misc]
    """One event per iteration, or a few per second on a GPU; the run ends where the loss is no number.

    A GPU works off a queue, and every look at a loss makes it wait until the queue is empty: losses are
    collected and looked at together.
    """

    priority = "LOW"  # after the optimizer and the schedule, before anything is saved

    def __init__(self, progress: Progress, emit: Emit, facts: Mapping[str, Any]) -> None:
        self._progress, self._emit, self._facts = progress, emit, facts
        self._look_every = 1
        self._losses: list[torch.Tensor] = []
        self._since = 0.0

    def before_train_epoch(self, _: Runner) -> None:
        self._emit("started", **self._facts, resumed_from=self._progress.iteration)
        self._since = time.perf_counter()

    def after_train_iter(self, runner: Runner, batch_idx: int, **given: Any) -> None:
        self._progress.iteration = batch_idx + 1
        self._losses.append(given["outputs"]["loss"].detach())
        ends = self._progress.iteration == runner.max_iters
        self._progress.looked = ends or len(self._losses) >= self._look_every
        if self._progress.looked:
            self._look(runner)

    def after_val_epoch(self, *_: Any, **__: Any) -> None:
        self._since = time.perf_counter()

    def _look(self, runner: Runner) -> None:
        losses = torch.stack(self._losses).tolist()
        each = (time.perf_counter() - self._since) / len(losses)
        self._losses.clear()
        iteration, durations = self._progress.iteration, self._progress.durations
        if any_rank(not all(map(math.isfinite, losses))):
            raise Diverged(iteration, next((loss for loss in losses if not math.isfinite(loss)), math.nan))
        durations += [each] * len(losses)
        rate = runner.optim_wrapper.get_lr()["lr"][-1]
        self._emit("iteration", iteration=iteration, loss=losses[-1], lr=rate, seconds=round(each, 4))
        if len(durations) == MEASURED_ITERATIONS:
            self._measured()
        self._since = time.perf_counter()

    def _measured(self) -> None:
        """The speed is known: how long all of it will take, and how often to look from now on."""
        each, total = self._progress.seconds_per_iteration or 0.0, self._facts["iterations"]
        if total:
            self._emit("planned", iterations=total, seconds_per_iteration=each, seconds=each * total)
        if self._facts["device"] == "cuda":
            # Every process has to look at the same iterations.
            (each,) = from_first([each])
            self._look_every = max(1, min(_LOG_EVERY, int(_LOOK_EVERY_S / max(each, 1e-6))))


@HOOKS.register_module()
class SparseRuntimeInfoHook(RuntimeInfoHook):  # type: ignore[misc]
    """mmengine's hook for its own log, which asks the device for every loss of every iteration; this one seldom."""

    def after_train_iter(self, runner: Runner, batch_idx: int, **given: Any) -> None:
        if (batch_idx + 1) % _LOG_EVERY == 0:
            super().after_train_iter(runner, batch_idx, **given)


class TimeLimitHook(Hook):  # type: ignore[misc]
    """Ends a measurement that has taken long enough to tell."""

    priority = "LOWEST"

    def __init__(self, progress: Progress, seconds: float) -> None:
        self._progress, self._seconds = progress, seconds

    def after_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        runner.train_loop.stop_training = sum(self._progress.durations) > self._seconds


def versions() -> dict[str, str]:
    """The packages that a checkpoint's numbers depend on."""
    return {
        "annoloop": __version__,
        "torch": str(torch.__version__),
        "mmengine": mmengine.__version__,
        "mmseg": mmseg.__version__,
    }


def _number(value: Any) -> float | None:
    return None if math.isnan(value) else float(value)


def _mean(values: list[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return fmean(present) if present else None
