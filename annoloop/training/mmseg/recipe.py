"""From a recipe to the mmengine Config of one job: the recipe's model and pipelines, the job's data.

What the recipe says about architecture, losses, augmentation and optimizer stays; what depends on
the data, the classes, the length of the run or the machine is replaced here and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from annoloop.errors import ConfigError, DataError
from annoloop.metrics.scores import class_weights
from annoloop.training.mmseg import data as mmseg_data  # noqa: F401 - what recipes name
from annoloop.training.mmseg import losses as mmseg_losses  # noqa: F401 - what recipes name
from annoloop.training.mmseg import padding as mmseg_padding  # noqa: F401 - the same
from annoloop.training.mmseg import validation as mmseg_validation  # noqa: F401 - its sampler is named below
from annoloop.training.mmseg.heads import IGNORE, fit_heads
from annoloop.training.mmseg.pretrained import (
    Warn,
    each_dict,
    forget_pretrained,
    settle_pretrained,
    thaw_what_starts_at_random,
)
from annoloop.training.recipe_traits import CLASS_WEIGHT_POWER
from annoloop.training.records import Job
from annoloop.training.validation_plan import BY_ITERATIONS, MEANWHILE

NEVER = 10_000_000
"""An iteration that no run reaches: mmengine wants a number where the clock decides."""

_STRIDE = 32
"""Images are padded to a multiple of it for prediction: the largest stride of common backbones."""

_FUSED = ("Adam", "AdamW", "SGD")
"""torch's optimizers that have a fused step on every device."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a config has to know of where it runs; ``workers`` are data loading processes of each process."""

    device: str = "cpu"
    precision: str = "float32"
    workers: int = 0
    processes: int = 1


def resolve(job: Job, machine: Machine, warn: Warn) -> Config:
    """The whole config of ``job``: complete, printable, and buildable by mmengine's Runner.

    ``warn`` hears of what the recipe wants and cannot get.

    Raises:
        ConfigError: the recipe is no mmseg config that this can train.
        DataError: there is nothing to train on.
    """
    config = _load(job.recipe)
    config.precision = machine.precision
    if not job.train and job.kind not in ("predict", "answer", "export"):
        raise DataError("there are no labelled images to train on")
    _set_model(config, job, warn)
    _set_data(config, job, machine)
    _set_schedule(config, job, machine)
    _set_optimizer(config, job, machine)
    _set_runtime(config, job, machine)
    return config


def prediction_pipeline(config: Config) -> list[dict[str, Any]]:
    """The recipe's test pipeline without the step that reads a mask."""
    dataset = _leaf(config.test_dataloader.dataset)
    return [dict(step) for step in _steps(dataset["pipeline"]) if "LoadAnnotations" not in step["type"]]


def looks_per_image(config: Config) -> int:
    """How often a prediction looks at an image: once, or a second time at its mirror image."""
    return 2 if config.get("annoloop", {}).get("flip_predictions") else 1


def _load(recipe: Path) -> Config:
    try:
        config = Config.fromfile(recipe)
    except (OSError, SyntaxError, KeyError) as error:
        raise ConfigError(f"the recipe cannot be read: {error}", where=recipe) from error
    wanted = ("model", "train_dataloader", "val_dataloader", "train_cfg", "optim_wrapper")
    missing = [key for key in wanted if not config.get(key)]
    if missing or "decode_head" not in config.get("model", {}):
        lacks = ", ".join(missing or ["model.decode_head"])
        raise ConfigError(f"the recipe lacks {lacks}", where=recipe, hint="start from one of annoloop's recipes")
    if "Depth" in str(config.model.get("type")):
        raise ConfigError("the recipe estimates depth, no classes", where=recipe)
    if not config.get("test_dataloader"):
        config.test_dataloader = config.val_dataloader
    return config


def _set_model(config: Config, job: Job, warn: Warn) -> None:
    model = config.model
    _replace_sync_bn(model)
    fit_heads(model, len(job.class_names), _weights(config, job), warn, job.trained_ignore)
    preprocessor = model.setdefault("data_preprocessor", {"type": "SegDataPreProcessor"})
    _set_padding(preprocessor, of_a_new_run=job.kind in ("train", "measure"))
    if job.trained_ignore != IGNORE:
        preprocessor["seg_pad_val"] = job.trained_ignore
    begins = job.init_checkpoint is None and job.kind == "train"
    if begins:
        thaw_what_starts_at_random(model, job.pretrained)
    if begins and not job.resume:
        settle_pretrained(config, job.pretrained, warn)
    else:
        forget_pretrained(config)


def _set_padding(preprocessor: Any, *, of_a_new_run: bool) -> None:
    """Images of any size: padded to one size in training, to the stride in prediction; an older run stays as it is."""
    if of_a_new_run and preprocessor.get("type") in ("SegDataPreProcessor", "mmseg.SegDataPreProcessor"):
        preprocessor["type"] = "MirrorPadPreProcessor"
    if preprocessor.get("size") is None and preprocessor.get("size_divisor") is None:
        preprocessor["size_divisor"] = _STRIDE
    if not preprocessor.get("test_cfg"):
        preprocessor["test_cfg"] = {"size_divisor": _STRIDE}


def _replace_sync_bn(node: Any) -> None:
    """SyncBN trains only in several processes; BN has the same weights."""
    for part in each_dict(node):
        if part.get("type") == "SyncBN":
            part["type"] = "BN"


def _weights(config: Config, job: Job) -> list[float] | None:
    """Class weights from the counts of the training split, as steep as the recipe says."""
    if job.train_pixels is None:
        return None
    power = config.get("annoloop", {}).get("class_weight_power", CLASS_WEIGHT_POWER)
    return list(class_weights(np.sum(job.train_pixels, axis=0, dtype=np.int64), power))


def _set_data(config: Config, job: Job, machine: Machine) -> None:
    train = config.train_dataloader
    loader = _loader(train, job, "train", machine)
    config.train_dataloader = {
        **loader,
        "dataset": _balanced(loader["dataset"], config, job),
        # Processes share out a batch; with one image each it is at its smallest.
        "batch_size": math.ceil((job.batch_size or train.get("batch_size", 2)) / machine.processes),
        "sampler": {"type": "InfiniteSampler", "shuffle": True},
    }
    config.test_dataloader = {
        **_loader(config.test_dataloader, job, "val", machine),
        "batch_size": 1,
        "sampler": {"type": "FirstSampler"},
    }
    config.test_evaluator = {"type": "ExactIoUMetric", "ignore_index": job.trained_ignore}
    config.test_cfg = {"type": "TestLoop"}
    validates = bool(job.val) and job.kind == "train"
    meanwhile = {"type": "FirstSampler", "images": MEANWHILE}
    config.val_dataloader = {**config.test_dataloader, "sampler": meanwhile} if validates else None
    config.val_evaluator = config.test_evaluator if validates else None
    config.val_cfg = {"type": "ValLoop"} if validates else None


def _loader(loader: Any, job: Job, split: str, machine: Machine) -> dict[str, Any]:
    replaced = ("batch_sampler", "collate_fn", "prefetch_factor")
    kept = {key: value for key, value in loader.items() if key not in replaced}
    kept["num_workers"] = min(machine.workers, loader.get("num_workers", 0))
    kept["persistent_workers"] = kept["num_workers"] > 0
    kept["pin_memory"] = machine.device == "cuda"
    kept["dataset"] = _with_pairs(loader["dataset"], job, split, ahead=kept["num_workers"] > 0)
    return kept


def _with_pairs(dataset: Any, job: Job, split: str, *, ahead: bool) -> dict[str, Any]:
    """The recipe's dataset with the job's files in it; wrappers (repeat, mosaic) stay around it."""
    if "dataset" in dataset:
        return {**dataset, "dataset": _with_pairs(dataset["dataset"], job, split, ahead=ahead)}
    if "datasets" in dataset:
        return _with_pairs(dataset["datasets"][0], job, split, ahead=ahead)
    return {
        "type": "JobDataset",
        "job_file": str(job.run_dir / "job.json"),
        "split": split,
        "cached": job.kind == "train",
        "ahead": ahead,
        "pipeline": _steps(dataset["pipeline"]),
    }


def _balanced(dataset: dict[str, Any], config: Config, job: Job) -> dict[str, Any]:
    """Images of rare classes more often: repeat factor sampling (Gupta, Dollár, Girshick, "LVIS", CVPR 2019)."""
    threshold = config.get("annoloop", {}).get("repeat_below", 0.0)
    if not threshold or job.train_pixels is None:
        return dataset
    return {"type": "ClassBalancedDataset", "oversample_thr": threshold, "dataset": dataset}


def _leaf(dataset: Any) -> Any:
    return _leaf(dataset["dataset"]) if "dataset" in dataset else dataset


def _steps(pipeline: Iterable[Any]) -> list[dict[str, Any]]:
    return [_step(dict(step)) for step in pipeline]


def _step(step: dict[str, Any]) -> dict[str, Any]:
    if step["type"] == "LoadAnnotations":
        step.pop("reduce_zero_label", None)
    return step


def _set_schedule(config: Config, job: Job, machine: Machine) -> None:
    """The job's iterations; every schedule of the recipe is stretched to them."""
    recipe = config.train_cfg
    batches_per_epoch = math.ceil(len(job.train) / (config.train_dataloader["batch_size"] * machine.processes)) or 1
    unit = 1 if "max_iters" in recipe else batches_per_epoch
    own = recipe.get("max_iters") or recipe.get("max_epochs", 0) * batches_per_epoch
    if not own:
        raise ConfigError("the recipe has no train_cfg.max_iters", where=job.recipe)
    if job.budget_s is not None and job.kind == "train":
        _follow_the_clock(config)
        return
    iterations = (job.iterations or own) * job.accumulate
    for scheduler in each_dict(config.get("param_scheduler")):
        _stretch(scheduler, unit * iterations / own)
    config.train_cfg = {
        "type": "IterBasedTrainLoop",
        "max_iters": iterations,
        "val_interval": math.ceil(iterations / BY_ITERATIONS),
    }


def _follow_the_clock(config: Config) -> None:
    """Rates, validations and the end are set by ``budget``; a resumed run does not read its past again."""
    config.param_scheduler = []
    config.train_cfg = {
        "type": "IterBasedTrainLoop",
        "max_iters": NEVER,
        "val_interval": NEVER,
        "fast_forward_on_resume": True,
    }


def _stretch(scheduler: Any, factor: float) -> None:
    scheduler["by_epoch"] = False
    scheduler.pop("convert_to_iter_based", None)
    begin = round(scheduler.get("begin", 0) * factor)
    scheduler["begin"] = begin
    if scheduler.get("end") is not None:
        scheduler["end"] = max(begin + 1, round(scheduler["end"] * factor))
    for key in ("T_max", "total_iters", "total_steps", "step_size"):
        if scheduler.get(key) is not None:
            scheduler[key] = max(1, round(scheduler[key] * factor))
    if "milestones" in scheduler:
        scheduler["milestones"] = [round(milestone * factor) for milestone in scheduler["milestones"]]


def _set_optimizer(config: Config, job: Job, machine: Machine) -> None:
    """Batches are added up where a job says so, and steps are taken in one pass over the weights."""
    wrapper = config.optim_wrapper
    if machine.device == "cpu" and "Amp" in str(wrapper.get("type", "")):
        wrapper["type"] = "OptimWrapper"  # mmengine's own needs a GPU; the worker sets the precision anyway
        for key in ("dtype", "loss_scale", "use_fsdp"):
            wrapper.pop(key, None)
    wrapper["accumulative_counts"] = wrapper.get("accumulative_counts", 1) * job.accumulate
    if wrapper["optimizer"]["type"] in _FUSED:
        wrapper["optimizer"].setdefault("fused", True)


def _set_runtime(config: Config, job: Job, machine: Machine) -> None:
    config.default_scope = "mmseg"
    config.work_dir = str(job.run_dir / "mmengine")
    config.randomness = {"seed": job.seed}
    config.resume = False  # last.pth is read by us, with weights_only
    # Ours does not ask the device for every loss of every iteration.
    config.default_hooks = {
        **config.get("default_hooks", {}), "checkpoint": None, "runtime_info": {"type": "SparseRuntimeInfoHook"},
    }  # fmt: skip
    config.log_processor = {"by_epoch": False}
    if machine.processes > 1:
        config.launcher = "pytorch"
        on_gpu = machine.device == "cuda"
        config.sync_bn = "torch" if on_gpu else None
        config.model_wrapper_cfg = None if on_gpu else {"type": "MMDistributedDataParallel", "device_ids": None}
