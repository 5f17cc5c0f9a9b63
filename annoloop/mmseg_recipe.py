"""From a recipe to the mmengine Config of one job: the recipe's model and pipelines, the job's data.

What the recipe says about architecture, losses, augmentation and optimizer stays; what depends on
the data, the classes, the length of the run or the machine is replaced here and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine.config import Config
from mmengine.runner.checkpoint import get_external_models

from annoloop.errors import ConfigError, DataError
from annoloop.training import Job

NEVER = 10_000_000
"""An iteration that no run reaches: mmengine wants a number where the clock decides."""

VALIDATIONS = 6
"""How often a run validates, at equal distances; the last time at its end."""

_STRIDE = 32
"""Images are padded to a multiple of it for prediction: the largest stride of common backbones."""

_IGNORE = 255
"""mmseg's ignore index: the one that its losses, padding and metrics agree on."""

_SOFTMAX = {"use_sigmoid": False, "loss_type": "multi_class"}
"""The options by which mmseg's losses expect one channel per class."""

Warn = Callable[[str], None]


def resolve(job: Job, *, workers: int, warn: Warn) -> Config:
    """The whole config of ``job``: complete, printable, and buildable by mmengine's Runner.

    ``workers`` is the number of data loading processes. ``warn`` hears of what the recipe wants and
    cannot get.

    Raises:
        ConfigError: the recipe is no mmseg config that this can train.
        DataError: there is nothing to train on.
    """
    config = _load(job.recipe)
    if not job.train and job.kind != "predict":
        raise DataError("there are no labelled images to train on")
    _set_model(config, job, warn)
    _set_data(config, job, workers)
    _set_schedule(config, job)
    _set_runtime(config, job)
    return config


def prediction_pipeline(config: Config) -> list[dict[str, Any]]:
    """The recipe's test pipeline without the step that reads a mask."""
    dataset = _leaf(config.test_dataloader.dataset)
    return [dict(step) for step in _steps(dataset["pipeline"]) if "LoadAnnotations" not in step["type"]]


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
    if not config.get("test_dataloader"):
        config.test_dataloader = config.val_dataloader
    return config


def _set_model(config: Config, job: Job, warn: Warn) -> None:
    model = config.model
    _replace_sync_bn(model)
    for head in [*_listed(model.decode_head), *_listed(model.get("auxiliary_head"))]:
        _set_head(head, job, warn)
    _set_padding(model.setdefault("data_preprocessor", {"type": "SegDataPreProcessor"}))
    starts_fresh = job.init_checkpoint is None and not job.resume and job.kind == "train"
    _drop_downloads(model, warn if starts_fresh else lambda _: None)
    source = config.get("load_from")
    config.load_from = source if starts_fresh and source and _at_hand(source, warn) else None


def _set_padding(preprocessor: Any) -> None:
    """Images of any size: padded to one size in training, to the stride in prediction."""
    if preprocessor.get("size") is None and preprocessor.get("size_divisor") is None:
        preprocessor["size_divisor"] = _STRIDE
    if not preprocessor.get("test_cfg"):
        preprocessor["test_cfg"] = {"size_divisor": _STRIDE}


def _replace_sync_bn(node: Any) -> None:
    """SyncBN trains only in several processes; BN has the same weights."""
    for part in _dicts(node):
        if part.get("type") == "SyncBN":
            part["type"] = "BN"


def _set_head(head: Any, job: Job, warn: Warn) -> None:
    """As many outputs as classes; a binary head of one channel becomes a softmax over two."""
    head["num_classes"], head["ignore_index"] = len(job.class_names), _IGNORE
    single_channel = head.pop("out_channels", None) == 1
    head.pop("threshold", None)
    default = {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 1.0}
    for loss in _listed(head.setdefault("loss_decode", default)):
        if single_channel:
            loss.update({key: _SOFTMAX[key] for key in _SOFTMAX if key in loss})
        _set_class_weight(loss, job, warn)


def _set_class_weight(loss: Any, job: Job, warn: Warn) -> None:
    if job.class_weights is not None and "CrossEntropy" in str(loss["type"]):
        loss["class_weight"] = list(job.class_weights)
    given = loss.get("class_weight")
    if isinstance(given, (list, tuple)) and len(given) != len(job.class_names):
        warn(f"{loss['type']} has {len(given)} class weights for {len(job.class_names)} classes: not used")
        loss["class_weight"] = None


def _drop_downloads(model: Any, warn: Warn) -> None:
    """Keep pretrained weights that are on this machine; without the others train from scratch."""
    for part in _dicts(model):
        source = part.get("pretrained")
        if isinstance(source, str) and not _at_hand(source, warn):
            part["pretrained"] = None
        init = part.get("init_cfg") or {}
        pretrained = isinstance(init, dict) and init.get("type") == "Pretrained"
        if pretrained and not _at_hand(init["checkpoint"], warn):
            part["init_cfg"] = None


def _at_hand(source: str, warn: Warn) -> bool:
    url = _url(source)
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    file = Path(source) if url is None else cache / Path(urlparse(url).path).name
    if not file.is_file():
        origin = "" if url is None else f" (download {url} to that place to use it)"
        warn(f"training starts without the pretrained weights {source}: {file} is not there{origin}")
    return file.is_file()


def _url(source: str) -> str | None:
    """Where mmengine would download ``source`` from; None for a file."""
    scheme, found, name = source.partition("://")
    if not found:
        return None
    models: dict[str, str] = get_external_models()
    return models.get(name, source) if scheme in ("open-mmlab", "openmmlab") else source


def _set_data(config: Config, job: Job, workers: int) -> None:
    train = config.train_dataloader
    config.train_dataloader = {
        **_loader(train, job, "train", workers),
        "batch_size": job.batch_size or train.get("batch_size", 2),
        "sampler": {"type": "InfiniteSampler", "shuffle": True},
    }
    config.test_dataloader = {
        **_loader(config.test_dataloader, job, "val", workers),
        "batch_size": 1,
        "sampler": {"type": "DefaultSampler", "shuffle": False},
    }
    config.test_evaluator = {"type": "ExactIoUMetric", "ignore_index": _IGNORE}
    config.test_cfg = {"type": "TestLoop"}
    validates = bool(job.val) and job.kind == "train"
    config.val_dataloader = config.test_dataloader if validates else None
    config.val_evaluator = config.test_evaluator if validates else None
    config.val_cfg = {"type": "ValLoop"} if validates else None


def _loader(loader: Any, job: Job, split: str, workers: int) -> dict[str, Any]:
    replaced = ("batch_sampler", "collate_fn", "prefetch_factor")
    kept = {key: value for key, value in loader.items() if key not in replaced}
    kept["num_workers"] = min(workers, loader.get("num_workers", 0))
    kept["persistent_workers"] = kept["num_workers"] > 0
    kept["dataset"] = _with_pairs(loader["dataset"], job, split)
    return kept


def _with_pairs(dataset: Any, job: Job, split: str) -> dict[str, Any]:
    """The recipe's dataset with the job's files in it; wrappers (repeat, mosaic) stay around it."""
    if "dataset" in dataset:
        return {**dataset, "dataset": _with_pairs(dataset["dataset"], job, split)}
    if "datasets" in dataset:
        return _with_pairs(dataset["datasets"][0], job, split)
    return {
        "type": "JobDataset",
        "job_file": str(job.run_dir / "job.json"),
        "split": split,
        "pipeline": _steps(dataset["pipeline"]),
    }


def _leaf(dataset: Any) -> Any:
    return _leaf(dataset["dataset"]) if "dataset" in dataset else dataset


def _steps(pipeline: Iterable[Any]) -> list[dict[str, Any]]:
    return [_step(dict(step)) for step in pipeline]


def _step(step: dict[str, Any]) -> dict[str, Any]:
    if step["type"] == "LoadAnnotations":
        step.pop("reduce_zero_label", None)
    return step


def _set_schedule(config: Config, job: Job) -> None:
    """The job's iterations; every schedule of the recipe is stretched to them."""
    recipe = config.train_cfg
    batches_per_epoch = math.ceil(len(job.train) / config.train_dataloader["batch_size"]) or 1
    unit = 1 if "max_iters" in recipe else batches_per_epoch
    own = recipe.get("max_iters") or recipe.get("max_epochs", 0) * batches_per_epoch
    if not own:
        raise ConfigError("the recipe has no train_cfg.max_iters", where=job.recipe)
    if job.budget_s is not None and job.kind == "train":
        _follow_the_clock(config)
        return
    iterations = job.iterations or own
    for scheduler in _dicts(config.get("param_scheduler")):
        _stretch(scheduler, unit * iterations / own)
    config.train_cfg = {
        "type": "IterBasedTrainLoop",
        "max_iters": iterations,
        "val_interval": math.ceil(iterations / VALIDATIONS),
    }


def _follow_the_clock(config: Config) -> None:
    """Rates, validations and the end are set by ``mmseg_budget``; a resumed run does not read its past again."""
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


def _set_runtime(config: Config, job: Job) -> None:
    config.default_scope = "mmseg"
    config.work_dir = str(job.run_dir / "mmengine")
    config.randomness = {"seed": job.seed}
    config.resume = False  # last.pth is read by us, with weights_only
    config.default_hooks = {**config.get("default_hooks", {}), "checkpoint": None}
    config.log_processor = {"by_epoch": False}


def _dicts(node: Any) -> Iterator[Any]:
    """Every dict in a config, outermost first."""
    if isinstance(node, dict):
        yield node
    if isinstance(node, (dict, list, tuple)):
        for child in list(node.values()) if isinstance(node, dict) else node:
            yield from _dicts(child)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
