"""A training that ends in time: its schedule follows the clock, and so do its validations and its end.

Not here: what a budget is asked for (``retrain.py``).  The fact to know: a machine may slow down in the
middle, so the learning rate is set from the share of the time that is used up, never from a number of
iterations planned at the start; it always reaches its end, and a validated model is always there.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from annoloop.training.mmseg.hooks import MEASURED_ITERATIONS, Emit, Progress
from annoloop.training.mmseg.ranks import WORLD, from_first
from annoloop.training.mmseg.recipe import NEVER, looks_per_image
from annoloop.training.records import Job
from annoloop.training.validation_plan import MEANWHILE, judging_s, validations

_POWER = 0.9
_WARM_UP_SHARE = 0.015
_FIRST_VALIDATION_S = 1.0

_END_S = 3.0
"""What saving, ending and judging take beside the images."""


def learning_rate_factor(share: float) -> float:
    """Of the recipe's learning rate when this share (0 ... 1) of the time is used: warm-up, then poly 0.9.

    >>> [round(learning_rate_factor(s), 2) for s in (0.0, 0.015, 0.5, 1.0)]
    [0.1, 0.99, 0.54, 0.0]
    """
    warm = min(1.0, 0.1 + 0.9 * share / _WARM_UP_SHARE)
    return float(warm * (1 - min(share, 1.0)) ** _POWER)


class BudgetHook(Hook):  # type: ignore[misc]
    """Sets learning rate, validations and end of a run from ``Job.budget_s``, counted from ``Job.began_at``."""

    priority = 80  # after the time of an iteration is known, before it is decided what to save

    def __init__(self, job: Job, progress: Progress, emit: Emit) -> None:
        assert job.budget_s is not None
        assert job.began_at is not None
        self._job, self._progress, self._emit = job, progress, emit
        self._budget_s, self._began_at = job.budget_s, job.began_at
        self._trained_s = 0.0
        self._counted = 0
        self._share = 0.0
        self._validation_s: float | None = None
        self._validation_began = 0.0
        self._validations: int | None = None
        self._done = 0
        self._spent_before_s = 0.0
        self._base_rates: Sequence[float] = ()
        self._validated_images = min(MEANWHILE, len(job.val))

    def before_train(self, runner: Runner) -> None:
        # Before a resume puts the rates of its last iteration in their place.
        self._base_rates = [group["lr"] for group in runner.optim_wrapper.param_groups]

    def before_train_epoch(self, runner: Runner) -> None:
        self._spent_before_s = self._progress.spent_s
        self._trained_s = self._progress.trained_s
        self._validate_at(runner, NEVER)

    def before_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        factor = learning_rate_factor(self._share)
        for group, rate in zip(runner.optim_wrapper.param_groups, self._base_rates, strict=True):
            group["lr"] = rate * factor

    def after_train_iter(self, runner: Runner, batch_idx: int, **_: Any) -> None:
        if not self._progress.looked:
            return
        self._trained_s += sum(self._progress.durations[self._counted :])
        self._counted = len(self._progress.durations)
        self._progress.trained_s, self._progress.spent_s = self._trained_s, self._spent_s()
        if self._counted >= MEASURED_ITERATIONS and self._validations is None:
            self._plan(runner)
        left_s = self._left_s(runner)
        share = max(self._share, self._trained_s / (self._trained_s + max(left_s, 0.0)))
        ends = left_s <= self._mean_s() / 2
        due = self._validations is not None and share >= (self._done + 1) / self._validations
        # Every process has its own clock; the first one's counts.
        self._share, ended, wanted = from_first([share, ends, ends or due])
        self._validate_at(runner, batch_idx + 1 if wanted else NEVER)
        runner.train_loop.stop_training = bool(ended)

    def before_val_epoch(self, _: Runner) -> None:
        self._validation_began = time.perf_counter()

    def after_val_epoch(self, runner: Runner, **_: Any) -> None:
        self._validation_s = time.perf_counter() - self._validation_began
        self._done += 1
        if not runner.train_loop.stop_training:
            self._announce(runner)

    def _plan(self, runner: Runner) -> None:
        """How often to validate, now that the speed is known."""
        self._validations = validations(self._budget_s, self._validation_guess_s(runner)) if self._job.val else 1
        self._announce(runner)

    def _announce(self, runner: Runner) -> None:
        mean_s = self._mean_s()
        total = self._progress.iteration + int(max(0.0, self._left_s(runner)) / mean_s)
        self._emit("planned", iterations=total, seconds_per_iteration=mean_s, seconds=self._budget_s)

    def _validate_at(self, runner: Runner, iteration: int) -> None:
        # mmengine takes the interval from this list before every look at it.
        runner.train_loop.dynamic_intervals = [iteration]
        runner.train_loop.val_interval = iteration

    def _spent_s(self) -> float:
        return self._spent_before_s + time.time() - self._began_at

    def _mean_s(self) -> float:
        """Of the latest iterations: the machine may have become slower, or faster."""
        latest = (self._progress.durations[1:] or self._progress.durations)[-50:]
        return sum(latest) / len(latest)

    def _left_s(self, runner: Runner) -> float:
        """For iterations; validations to come and everything after the training are taken off."""
        validation_s = self._validation_guess_s(runner)
        to_come = max(1, (self._validations or 1) - self._done) if self._job.val else 0
        each_s = validation_s / max(1, self._validated_images)
        ending_s = _END_S + len(self._job.predictions) * (looks_per_image(runner.cfg) + 0.5) * each_s
        ending_s += judging_s(len(self._job.val), each_s, self._budget_s)
        return self._budget_s - self._spent_s() - to_come * validation_s - ending_s

    def _validation_guess_s(self, runner: Runner) -> float:
        """As long as the last one took; before the first, a third of training on as many images, and warming up."""
        if self._validation_s is not None:
            return self._validation_s
        batch_size = WORLD * int(runner.cfg.train_dataloader.batch_size)
        return _FIRST_VALIDATION_S + self._validated_images * self._mean_s() / batch_size / 3
