"""What a run keeps, and how it begins again: best.pth, and last.pth with all that a resume needs.

A resumed run takes the same steps as one that was never stopped.  The fact to know: of several processes
the first writes, and all of them leave the training at the same iteration.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from annoloop.errors import TrainingError
from annoloop.training.mmseg.backbone_weights import load_backbone
from annoloop.training.mmseg.checkpoint import load, load_weights, random_state, restore_random_state, save
from annoloop.training.mmseg.data import metainfo
from annoloop.training.mmseg.hooks import Diverged, Emit, Progress, StopRequested, versions
from annoloop.training.mmseg.ranks import RANK, any_rank
from annoloop.training.records import Job

SAVE_EVERY_SECONDS = 60.0
"""How much work a kill -9 can cost at most, one iteration and one validation aside."""


class BestHook(Hook):  # type: ignore[misc]
    """Keeps the weights with the best mean Dice as best.pth."""

    priority = "VERY_HIGH"  # while averaged (EMA) weights, where a recipe has them, are still in place

    def __init__(self, job: Job, progress: Progress, emit: Emit) -> None:
        self._job, self._progress, self._emit = job, progress, emit
        self.best, self.latest = job.run_dir / "best.pth", job.run_dir / "latest.pth"

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any] | None = None) -> None:
        scores = {"iteration": runner.iter, **(metrics or {})}
        before = self._progress.best
        better = before is None or (scores["mdice"] or 0.0) > (before["mdice"] or 0.0)
        if better:
            self._progress.best = scores
        # Where not all images were looked at the latest weights are a candidate, too.
        self.keep(runner, scores, self.best if better else self.latest)
        if better and RANK == 0:
            self.latest.unlink(missing_ok=True)
        self._progress.validated_at = runner.iter
        self._emit("validation", **scores, best=better)

    def after_train(self, runner: Runner) -> None:
        """Without a validation set the last weights are the best that there are."""
        if not self._job.val:
            unscored = {"iteration": runner.iter, "mdice": None, "miou": None, "dice_per_class": []}
            self._progress.best = unscored
            self.keep(runner, unscored, self.best)

    def settle(self, runner: Runner, scores: Mapping[str, Any]) -> None:
        """The model as it is now is the run's, with these scores; there is no other candidate any more."""
        self._progress.best = dict(scores)
        self.keep(runner, scores, self.best)
        if RANK == 0:
            self.latest.unlink(missing_ok=True)
        self._emit("validation", **scores, best=True, settled=True)

    def keep(self, runner: Runner, scores: Mapping[str, Any], file: Path) -> None:
        """Write a checkpoint of weights; ``dataset_meta`` is where mmseg's own tools look for the classes."""
        if RANK != 0:
            return
        weights = {key: value.detach().cpu() for key, value in bare(runner.model).state_dict().items()}
        meta = {
            "dataset_meta": metainfo(self._job),
            "seed": self._job.seed,
            "versions": versions(),
            **scores,
        }
        save(file, {"state_dict": weights, "meta": meta})


class ResumeHook(Hook):  # type: ignore[misc]
    """Starts the run where it shall start, stops it when asked, and keeps last.pth to go on from."""

    priority = "VERY_LOW"  # last of all, so that what it saves is complete

    def __init__(self, job: Job, progress: Progress, emit: Emit, stopping: Callable[[], bool]) -> None:
        self._job, self._progress, self._emit, self._stopping = job, progress, emit, stopping
        self._path = job.run_dir / "last.pth"
        self._saved_at = time.monotonic()
        self._torch_random: torch.Tensor | None = None

    def before_train(self, runner: Runner) -> None:
        if self._job.resume and self._path.is_file():
            self._resume(runner)
        elif self._job.init_checkpoint is not None:
            load_weights(bare(runner.model), self._job.init_checkpoint)
            self._tell_loaded(runner)
        elif runner.cfg.get("backbone_weights"):
            backbone = bare(runner.model).get_submodule("backbone")
            lacking = load_backbone(backbone, Path(runner.cfg.backbone_weights))
            if lacking is not None:
                self._emit("warning", message=lacking)
            self._tell_loaded(runner)

    @staticmethod
    def _tell_loaded(runner: Runner) -> None:
        runner.call_hook("after_load_checkpoint", checkpoint={"state_dict": bare(runner.model).state_dict()})

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
        stops = self._progress.looked and any_rank(self._stopping())
        if stops or overdue or _validation_due(runner, batch_idx + 1):
            self._save(runner, batch_idx + 1)
        if stops:
            raise StopRequested(batch_idx + 1)

    def before_val_iter(self, runner: Runner, **_: Any) -> None:
        if any_rank(self._stopping()):
            raise StopRequested(runner.iter)

    def after_train(self, runner: Runner) -> None:
        self._save(runner, runner.iter)

    def _save(self, runner: Runner, iteration: int) -> None:
        if RANK != 0:
            return
        weights = bare(runner.model).state_dict()
        # A gradient may have been no number although its loss was one: then the next loss will tell.
        if not all(bool(value.isfinite().all()) for value in weights.values()):
            return
        state = {
            "iteration": iteration,
            "iterations": runner.max_iters,
            "accumulate": self._job.accumulate,
            "validated_at": self._progress.validated_at,
            "best": self._progress.best,
            "trained_s": self._progress.trained_s,
            "spent_s": self._progress.spent_s,
            "state_dict": weights,
            "optimizer": runner.optim_wrapper.state_dict(),
            "schedulers": [scheduler.state_dict() for scheduler in runner.param_schedulers],
            "random": random_state(),
        }
        runner.call_hook("before_save_checkpoint", checkpoint=state)  # averaged weights join here
        save(self._path, state)
        self._saved_at = time.monotonic()

    def _resume(self, runner: Runner) -> None:
        state = _recounted(load(self._path), self._job, runner.max_iters)
        if state["iterations"] != runner.max_iters:
            raise TrainingError(
                f"a run of {state['iterations']} iterations cannot be resumed as one of {runner.max_iters}",
                where=self._path,
                hint="start a new run; it can begin with the weights of this one",
            )
        runner._resume = True  # tells mmengine's EMA hook to take its averaged weights from the state
        runner.call_hook("after_load_checkpoint", checkpoint=state)
        bare(runner.model).load_state_dict(state["state_dict"])
        runner.optim_wrapper.load_state_dict(state["optimizer"])
        for scheduler, saved in zip(runner.param_schedulers, state["schedulers"], strict=True):
            scheduler.load_state_dict(saved)
        runner.train_loop._iter = state["iteration"]
        self._progress.iteration = state["iteration"]
        self._progress.validated_at, self._progress.best = state["validated_at"], state["best"]
        self._progress.trained_s, self._progress.spent_s = state["trained_s"], state["spent_s"]
        restore_random_state(state["random"])
        self._torch_random = state["random"]["torch"]


def end_with_last_good(runner: Runner, job: Job, progress: Progress, diverged: Diverged) -> str:
    """End a run whose loss is no number with the weights that were saved last; what is to be said of it.

    Raises:
        TrainingError: nothing was saved before.
    """
    last = job.run_dir / "last.pth"
    if not last.is_file():
        raise TrainingError(
            str(diverged), hint="try a smaller learning rate or train.precision: float32, or look for broken images"
        ) from diverged
    state = load(last)
    bare(runner.model).load_state_dict(state["state_dict"])
    runner.train_loop._iter = state["iteration"]
    if runner.val_loop is not None and progress.validated_at != state["iteration"]:
        runner.val_loop.run()
    if progress.best is None:
        runner.call_hook("after_train")
    return f"{diverged}: training ended with the model that was best up to iteration {state['iteration']}"


def bare(model: torch.nn.Module) -> torch.nn.Module:
    """The model without the wrapper that shares it between processes."""
    inner: torch.nn.Module = model.module if is_model_wrapper(model) else model  # type: ignore[assignment]
    return inner


def _recounted(state: dict[str, Any], job: Job, iterations: int) -> dict[str, Any]:
    """The state of a run whose batches were of another size: with half of it, twice as many iterations are done."""
    factor = job.accumulate / state["accumulate"]
    if factor == 1 or state["iterations"] * factor != iterations:
        return state
    # Only where a schedule stands; how long it is, the new run knows better.
    stand = ("last_step", "_global_step")
    schedulers = [{key: round(one[key] * factor) for key in stand} for one in state["schedulers"]]
    counts = {key: round(state[key] * factor) for key in ("iteration", "iterations", "validated_at")}
    return {**state, **counts, "schedulers": schedulers}


def _validation_due(runner: Runner, iteration: int) -> bool:
    at_its_time = iteration % runner.val_interval == 0 or iteration == runner.max_iters
    return runner.val_loop is not None and iteration > 0 and at_its_time
