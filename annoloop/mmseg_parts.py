"""What the child process plugs into mmseg: the job's dataset, exact scores and three hooks.

The hooks tell the parent what happens, stop a run that is asked to stop or whose loss is no number,
and keep best.pth and last.pth. A resumed run takes the same steps as one that was never stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import mmengine
import mmseg
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.datasets import BaseSegDataset
from mmseg.evaluation import IoUMetric
from mmseg.registry import DATASETS, METRICS

from annoloop import __version__
from annoloop.errors import TrainingError
from annoloop.mmseg_checkpoint import load, load_weights, random_state, restore_random_state, save
from annoloop.training import Job

SAVE_EVERY_SECONDS = 60.0
"""How much work a kill -9 can cost at most, one iteration and one validation aside."""

MEASURED_ITERATIONS = 6
"""After so many it is said how long a training will take; the first one warms up."""

Emit = Callable[..., None]


class StopRequested(Exception):
    """The run was asked to stop and has saved what it had, up to ``iteration``."""

    def __init__(self, iteration: int) -> None:
        super().__init__(f"asked to stop at {iteration}")
        self.iteration = iteration


@dataclass(slots=True)
class Progress:
    """How far the run is; shared by the hooks. ``spent_s`` counts all time of a run with a budget."""

    iteration: int = 0
    validated_at: int = 0
    best: dict[str, Any] | None = None
    durations: list[float] = field(default_factory=list)
    trained_s: float = 0.0
    spent_s: float = 0.0

    @property
    def seconds_per_iteration(self) -> float | None:
        """The mean without the first iteration, which also warms up, unless it is the only one."""
        return fmean(self.durations[1:] or self.durations) if self.durations else None


@DATASETS.register_module()
class JobDataset(BaseSegDataset):  # type: ignore[misc]
    """The (image, mask) files of one split ("train" or "val") of a job."""

    def __init__(self, job_file: str, split: str, **options: Any) -> None:
        self._job = Job.from_json(Path(job_file).read_text(encoding="utf-8"))
        self._pairs = self._job.train if split == "train" else self._job.val
        super().__init__(metainfo=_metainfo(self._job), reduce_zero_label=self._job.reduce_zero_label, **options)

    def load_data_list(self) -> list[dict[str, Any]]:
        """One dict per image, as mmseg's loading transforms want it."""
        return [
            {
                "img_path": str(image),
                "seg_map_path": str(mask),
                "label_map": self._ignored(),
                "reduce_zero_label": self.reduce_zero_label,
                "seg_fields": [],
            }
            for image, mask in self._pairs
        ]

    def prepare_data(self, idx: int) -> Any:
        """One sample through the pipeline; what cannot be used is named.

        Raises:
            TrainingError: unreadable files, or a mask value that is no class.
        """
        files = self.get_data_info(idx)
        try:
            packed = super().prepare_data(idx)
        except Exception as error:
            raise TrainingError(f"cannot be used with its mask: {error}", where=files["img_path"]) from error
        labels = packed["data_samples"].gt_sem_seg.data
        highest = int(torch.where(labels == 255, 0, labels).max())
        if highest >= len(self._job.class_names):
            raise TrainingError(
                f"the value {highest + int(self.reduce_zero_label)} is no class and not the ignore index",
                where=files["seg_map_path"],
            )
        return packed

    def _ignored(self) -> dict[int, int] | None:
        # mmseg applies the map after it has reduced the labels.
        value = self._job.ignore_index - int(self.reduce_zero_label)
        return None if self._job.ignore_index == 255 or value < 0 else {value: 255}


@METRICS.register_module()
class ExactIoUMetric(IoUMetric):  # type: ignore[misc]
    """mmseg's scores before it rounds them to percent with two digits; fractions of 1."""

    def __init__(self, **options: Any) -> None:
        super().__init__(iou_metrics=["mIoU", "mDice"], **options)

    def compute_metrics(self, results: list[Any]) -> dict[str, Any]:
        """mdice, miou and dice_per_class; None for what occurs neither in truth nor prediction."""
        super().compute_metrics(results)  # mmseg's table, for train.log
        areas = [sum(area.double() for area in column) for column in zip(*results, strict=True)]
        scores = self.total_area_to_metrics(*areas, metrics=self.metrics)
        dice, iou = ([_number(value) for value in scores[name]] for name in ("Dice", "IoU"))
        return {"mdice": _mean(dice), "miou": _mean(iou), "dice_per_class": dice}


class ReportHook(Hook):  # type: ignore[misc]
    """One event per iteration; the run fails where the loss is no number."""

    priority = "LOW"  # after the optimizer and the schedule, before anything is saved

    def __init__(self, progress: Progress, emit: Emit, facts: Mapping[str, Any]) -> None:
        self._progress, self._emit, self._facts = progress, emit, facts
        self._since = 0.0

    def before_train_epoch(self, _: Runner) -> None:
        self._emit("started", **self._facts, resumed_from=self._progress.iteration)
        self._since = time.perf_counter()

    def after_train_iter(self, runner: Runner, batch_idx: int, **given: Any) -> None:
        seconds, loss = time.perf_counter() - self._since, given["outputs"]["loss"].item()
        iteration = batch_idx + 1
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss of iteration {iteration} is {loss}",
                hint="what was saved before is kept; try a smaller learning rate, or look for broken images",
            )
        self._progress.iteration = iteration
        self._progress.durations.append(seconds)
        rate = runner.optim_wrapper.get_lr()["lr"][-1]
        self._emit("iteration", iteration=iteration, loss=loss, lr=rate, seconds=round(seconds, 4))
        if len(self._progress.durations) == MEASURED_ITERATIONS and self._facts["iterations"]:
            self._announce()
        self._since = time.perf_counter()

    def after_val_epoch(self, *_: Any, **__: Any) -> None:
        self._since = time.perf_counter()

    def _announce(self) -> None:
        """How long all of it will take, as soon as that can be told."""
        each, total = self._progress.seconds_per_iteration or 0.0, self._facts["iterations"]
        self._emit("planned", iterations=total, seconds_per_iteration=each, seconds=each * total)


class TimeLimitHook(Hook):  # type: ignore[misc]
    """Ends a measurement that has taken long enough to tell."""

    priority = "LOWEST"

    def __init__(self, progress: Progress, seconds: float) -> None:
        self._progress, self._seconds = progress, seconds

    def after_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        runner.train_loop.stop_training = sum(self._progress.durations) > self._seconds


class BestHook(Hook):  # type: ignore[misc]
    """Keeps the weights with the best mean Dice as best.pth."""

    priority = "VERY_HIGH"  # while averaged (EMA) weights, where a recipe has them, are still in place

    def __init__(self, job: Job, progress: Progress, emit: Emit) -> None:
        self._job, self._progress, self._emit = job, progress, emit

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any] | None = None) -> None:
        scores = {"iteration": runner.iter, **(metrics or {})}
        before = self._progress.best
        better = before is None or (scores["mdice"] or 0.0) > (before["mdice"] or 0.0)
        if better:
            self._progress.best = scores
            self.keep(runner, scores)
        self._progress.validated_at = runner.iter
        self._emit("validation", **scores, best=better)

    def after_train(self, runner: Runner) -> None:
        """Without a validation set the last weights are the best that there are."""
        if not self._job.val:
            unscored = {"iteration": runner.iter, "mdice": None, "miou": None, "dice_per_class": []}
            self._progress.best = unscored
            self.keep(runner, unscored)

    def keep(self, runner: Runner, scores: Mapping[str, Any]) -> None:
        """Write best.pth; ``dataset_meta`` is where mmseg's own tools look for the classes."""
        weights = {key: value.detach().cpu() for key, value in runner.model.state_dict().items()}
        meta = {
            "dataset_meta": _metainfo(self._job),
            "seed": self._job.seed,
            "versions": versions(),
            **scores,
        }
        save(self._job.run_dir / "best.pth", {"state_dict": weights, "meta": meta})


class ResumeHook(Hook):  # type: ignore[misc]
    """Starts the run where it shall start, stops it when asked, and keeps last.pth to go on from."""

    priority = "VERY_LOW"  # last of all, so that what it saves is complete

    def __init__(self, job: Job, progress: Progress, stopping: Callable[[], bool]) -> None:
        self._job, self._progress, self._stopping = job, progress, stopping
        self._path = job.run_dir / "last.pth"
        self._saved_at = time.monotonic()
        self._torch_random: torch.Tensor | None = None

    def before_train(self, runner: Runner) -> None:
        if self._job.resume and self._path.is_file():
            self._resume(runner)
        elif self._job.init_checkpoint is not None:
            load_weights(runner.model, self._job.init_checkpoint)
            runner.call_hook("after_load_checkpoint", checkpoint={"state_dict": runner.model.state_dict()})

    def before_train_epoch(self, runner: Runner) -> None:
        """Do the validation that was due when the run was stopped."""
        if _validation_due(runner, runner.iter) and self._progress.validated_at != runner.iter:
            runner.val_loop.run()

    def before_train_iter(self, *_: Any, **__: Any) -> None:
        # Rewinding the data loader drew from torch's generator; the model must not notice.
        if self._torch_random is not None:
            torch.set_rng_state(self._torch_random)
            self._torch_random = None

    def after_train_iter(self, runner: Runner, batch_idx: int, **_: Any) -> None:
        # A validation may take long: what it needs to be done again is saved before it begins.
        overdue = time.monotonic() - self._saved_at > SAVE_EVERY_SECONDS
        stops = self._stopping()
        if stops or overdue or _validation_due(runner, batch_idx + 1):
            self._save(runner, batch_idx + 1)
        if stops:
            raise StopRequested(batch_idx + 1)

    def before_val_iter(self, runner: Runner, **_: Any) -> None:
        if self._stopping():
            raise StopRequested(runner.iter)

    def after_train(self, runner: Runner) -> None:
        self._save(runner, runner.iter)

    def _save(self, runner: Runner, iteration: int) -> None:
        state = {
            "iteration": iteration,
            "iterations": runner.max_iters,
            "validated_at": self._progress.validated_at,
            "best": self._progress.best,
            "trained_s": self._progress.trained_s,
            "spent_s": self._progress.spent_s,
            "state_dict": runner.model.state_dict(),
            "optimizer": runner.optim_wrapper.state_dict(),
            "schedulers": [scheduler.state_dict() for scheduler in runner.param_schedulers],
            "random": random_state(),
        }
        runner.call_hook("before_save_checkpoint", checkpoint=state)  # averaged weights join here
        save(self._path, state)
        self._saved_at = time.monotonic()

    def _resume(self, runner: Runner) -> None:
        state = load(self._path)
        if state["iterations"] != runner.max_iters:
            raise TrainingError(
                f"a run of {state['iterations']} iterations cannot be resumed as one of {runner.max_iters}",
                where=self._path,
                hint="start a new run; it can begin with the weights of this one",
            )
        runner._resume = True  # tells mmengine's EMA hook to take its averaged weights from the state
        runner.call_hook("after_load_checkpoint", checkpoint=state)
        runner.model.load_state_dict(state["state_dict"])
        runner.optim_wrapper.load_state_dict(state["optimizer"])
        for scheduler, saved in zip(runner.param_schedulers, state["schedulers"], strict=True):
            scheduler.load_state_dict(saved)
        runner.train_loop._iter = state["iteration"]
        self._progress.iteration = state["iteration"]
        self._progress.validated_at, self._progress.best = state["validated_at"], state["best"]
        self._progress.trained_s, self._progress.spent_s = state.get("trained_s", 0.0), state.get("spent_s", 0.0)
        restore_random_state(state["random"])
        self._torch_random = state["random"]["torch"]


def _validation_due(runner: Runner, iteration: int) -> bool:
    at_its_time = iteration % runner.val_interval == 0 or iteration == runner.max_iters
    return runner.val_loop is not None and iteration > 0 and at_its_time


def _metainfo(job: Job) -> dict[str, Any]:
    return {"classes": list(job.class_names), "palette": [list(color) for color in job.palette]}


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
