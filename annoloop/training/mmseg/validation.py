"""Validation that leaves time to train: a fixed share of the images meanwhile, all of them for the last candidates.

Not here: when a run validates (``budget`` or the recipe).  The fact to know: images come in one order in which
every beginning holds the classes as the whole does, so that any number of them is a fair share.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.registry import DATA_SAMPLERS
from mmengine.runner import Runner
from torch.utils.data import Dataset, Sampler

from annoloop.training.mmseg.checkpoint import load
from annoloop.training.mmseg.ranks import RANK, WORLD, from_first
from annoloop.training.mmseg.resume import BestHook, bare
from annoloop.training.records import Job
from annoloop.training.validation_plan import judging_s


@DATA_SAMPLERS.register_module()
class FirstSampler(Sampler[int]):
    """The first ``images`` of a data set, in order, shared out among the processes; all of it where None."""

    def __init__(self, dataset: Dataset[Any], images: int | None = None, seed: int | None = None) -> None:
        del seed  # mmengine gives one to every sampler
        total = len(dataset)  # type: ignore[arg-type]
        self._images = total if images is None else min(images, total)

    def __iter__(self) -> Iterator[int]:
        # Of several processes each has equally many: mmengine gathers results in turn and drops what is too much.
        rounds = len(self)
        return (min(RANK + WORLD * turn, self._images - 1) for turn in range(rounds))

    def __len__(self) -> int:
        return -(-self._images // WORLD)


def judge_candidates(runner: Runner, job: Job, best: BestHook) -> None:
    """Score the weights that were best meanwhile, and the last ones, on all validation images; keep the better.

    Where a budget has no time for all of them, on as many as it has: the scores in best.pth and of the run are then
    those on the images that were looked at.
    """
    files = [file for file in (best.best, best.latest) if file.is_file()]
    scored = []
    most_s = judging_s(len(job.val), math.inf, job.budget_s)
    each_s = None if math.isinf(most_s) else most_s / len(files)
    for file in files:
        content = load(file)
        bare(runner.model).load_state_dict(content["state_dict"])
        scores = _scores(runner, each_s)
        scored.append({**scores, "iteration": content["meta"]["iteration"]})
    better = max(range(len(files)), key=lambda number: scored[number]["mdice"] or 0.0)
    bare(runner.model).load_state_dict(load(files[better])["state_dict"])
    best.settle(runner, scored[better])


def _scores(runner: Runner, seconds: float | None) -> dict[str, Any]:
    """mdice, miou and dice_per_class of the model as it is, on as many images as there is time for."""
    loop, began, seen = runner.test_loop, time.perf_counter(), 0
    runner.model.eval()
    with torch.no_grad():
        for batch in loop.dataloader:
            loop.evaluator.process(data_samples=runner.model.test_step(batch), data_batch=batch)
            seen += WORLD
            (spent,) = from_first([time.perf_counter() - began])
            if seconds is not None and spent > seconds:
                break
    metrics: dict[str, Any] = loop.evaluator.evaluate(min(seen, len(loop.dataloader.dataset)))
    return {**metrics, "images": min(seen, len(loop.dataloader.dataset))}
