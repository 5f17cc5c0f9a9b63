"""The child process: ``python -m annoloop.mmseg_worker JOB.json`` trains, predicts or measures with mmseg.

Events go to the original stdout as JSON lines, all chatter of torch and mm* to train.log. It stops in
good order, with last.pth saved, on SIGTERM and when the process that started it is gone.
"""

from __future__ import annotations

import io
import itertools
import os
import signal
import stat
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annoloop.errors import AnnoloopError, TrainingError
from annoloop.training import EXIT_MISSING_PACKAGE, EXIT_STOPPED, Event, Job, Result

if TYPE_CHECKING:
    import torch
    from mmengine.config import Config
    from mmengine.runner import Runner

    from annoloop.mmseg_parts import Progress

_PREDICTION_BATCH = 4
_MEASURED_ITERATIONS = 6
_MEASURED_SECONDS = 20.0
_MEASURED_IMAGES = 4
_KNOWN_CHATTER = "Could not import OneDL"


class Border:
    """Between this process and the one that started it: events out, the wish to stop in."""

    def __init__(self, log: Path) -> None:
        """Take the original stdout for events; from now on fd 1 and 2 are ``log``."""
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        self._stop = False
        self._orderly = False
        with log.open("ab") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop())
        if stat.S_ISFIFO(os.fstat(0).st_mode):
            threading.Thread(target=self._watch_parent, daemon=True).start()

    def emit(self, kind: str, **fields: Any) -> None:
        """Send an event; where nobody listens any more, stop."""
        try:
            self._out.write(Event(kind, fields).to_json() + "\n")
            self._out.flush()
        except BrokenPipeError:
            self.stop()

    def warn(self, message: str) -> None:
        self.emit("warning", message=message)

    def stop(self) -> None:
        """End now, or, where there is something to save, as soon as it is saved."""
        self._stop = True
        if not self._orderly:
            os._exit(EXIT_STOPPED)

    def stop_orderly(self) -> None:
        """From now on the work asks ``stopping`` itself."""
        self._orderly = True

    def stopping(self) -> bool:
        """Whether the run shall save and end."""
        return self._stop

    def _watch_parent(self) -> None:
        # The parent never writes: this returns when its end of the pipe closes, so when it is dead.
        os.read(0, 1)
        self.stop()


def main(job_file: Path) -> int:
    """Do the job; the exit code, after which ``result.json`` is there if and only if it is 0."""
    job = Job.from_json(job_file.read_text(encoding="utf-8"))
    border = Border(job.run_dir / "train.log")
    # mmengine falls back to full unpickling where a file is more than weights; torch can forbid that.
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    try:
        _import_framework()
    except ModuleNotFoundError as error:
        traceback.print_exc()
        border.emit("missing", package=error.name or str(error))
        return EXIT_MISSING_PACKAGE
    from annoloop.mmseg_checkpoint import replacing
    from annoloop.mmseg_parts import StopRequested

    try:
        result = _run(job, border)
    except StopRequested as stopped:
        kept = [path.name for path in sorted(job.run_dir.glob("*.pth"))]
        border.emit("stopped", iteration=stopped.iteration, kept=kept)
        return EXIT_STOPPED
    except AnnoloopError as error:
        traceback.print_exc()
        place = f"{error.where}: " if error.where else ""
        border.emit("error", message=f"{place}{error.message}", hint=error.hint)
        return error.exit_code
    with replacing(job.run_dir / "result.json") as beside:
        beside.write_text(result.to_json(), encoding="utf-8")
    return 0


def _import_framework() -> None:
    """Load torch and mmseg, without the two complaints that every import of mmseg makes."""
    chatter = io.StringIO()
    with redirect_stdout(chatter), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*MultiScaleDeformableAttention")
        for package in ("torch", "mmengine.runner", "mmseg.models", "mmseg.datasets", "mmseg.evaluation"):
            import_module(package)
    print("\n".join(line for line in chatter.getvalue().splitlines() if line != _KNOWN_CHATTER))


def _run(job: Job, border: Border) -> Result:
    import torch

    began = time.perf_counter()
    device = _choose_device(job)
    operation = {"train": _train, "predict": _predict, "measure": _measure}[job.kind]
    try:
        result = operation(job, device, border)
    except torch.OutOfMemoryError as error:
        hint = "a smaller batch size or crop, or a smaller recipe"
        raise TrainingError("the GPU has too little memory for this job", hint=hint) from error
    return replace(result, device=device, seconds=time.perf_counter() - began)


def _choose_device(job: Job) -> str:
    """The device by name; tells mmengine, and gives a CPU run the cores that it may use and no more."""
    import mmengine.device.utils
    import torch

    found = torch.cuda.is_available()
    if job.device == "cuda" and not found:
        hint = f"use device cpu, or install a CUDA build of torch (this one is {torch.__version__})"
        raise TrainingError("no CUDA device was found", hint=hint)
    device = "cuda" if found and job.device != "cpu" else "cpu"
    mmengine.device.utils.DEVICE = device
    if device == "cpu":
        torch.set_num_threads(usable_cores())
    return device


def usable_cores() -> int:
    """The cores that this process may use: its affinity, and the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.is_file():
        limit, period = quota.read_text().split()
        if limit != "max":
            cores = min(cores, max(1, int(limit) // int(period)))
    return cores


def _train(job: Job, device: str, border: Border) -> Result:
    from annoloop.mmseg_budget import BudgetHook
    from annoloop.mmseg_checkpoint import load_weights
    from annoloop.mmseg_parts import BestHook, Progress, ResumeHook

    progress = Progress()
    runner = _runner(job, device, border, progress)
    runner.register_hook(BestHook(job, progress, border.emit))
    if job.budget_s is not None:
        runner.register_hook(BudgetHook(job, progress, border.emit))
    runner.register_hook(ResumeHook(job, progress, border.stopping))
    border.stop_orderly()
    runner.train()
    best = progress.best or {}
    if job.predictions:
        load_weights(runner.model, job.run_dir / "best.pth")
        _write_predictions(runner.model, runner.cfg, job, border)
    return Result(
        best_checkpoint=job.run_dir / "best.pth",
        best_iteration=best["iteration"],
        iterations=runner.iter,
        mdice=best["mdice"],
        miou=best["miou"],
        dice_per_class=tuple(best["dice_per_class"]),
        predicted=len(job.predictions),
        seconds_per_iteration=progress.seconds_per_iteration,
    )


def _measure(job: Job, device: str, border: Border) -> Result:
    """A few iterations and a few images, timed; ``iterations`` is how many a training would run."""
    from annoloop.mmseg_parts import Progress, TimeLimitHook

    progress = Progress()
    runner = _runner(replace(job, iterations=_MEASURED_ITERATIONS), device, border, progress)
    runner.register_hook(TimeLimitHook(progress, _MEASURED_SECONDS))
    runner.train()
    return Result(
        iterations=_config(job, device, border).train_cfg.max_iters,
        seconds_per_iteration=progress.seconds_per_iteration,
        seconds_per_image=_seconds_per_image(runner) if job.val else None,
    )


def _predict(job: Job, device: str, border: Border) -> Result:
    from mmengine.registry import init_default_scope
    from mmseg.registry import MODELS

    from annoloop.mmseg_checkpoint import load_weights

    if job.init_checkpoint is None:
        raise TrainingError("a prediction needs a checkpoint", hint="set Job.init_checkpoint")
    config = _config(job, device, border)
    init_default_scope("mmseg")
    model = MODELS.build(config.model)
    load_weights(model, job.init_checkpoint)
    border.emit("started", device=device, total=len(job.predictions))
    began = time.perf_counter()
    _write_predictions(_placed(model.to(device), device), config, job, border)
    each = (time.perf_counter() - began) / max(1, len(job.predictions))
    return Result(predicted=len(job.predictions), seconds_per_image=each)


def _config(job: Job, device: str, border: Border) -> Config:
    """The job's resolved config, also written to the run folder for people to read."""
    from annoloop.mmseg_recipe import resolve

    # On a CPU a loading process would only take turns with the training on the same cores.
    config = resolve(job, workers=0 if device == "cpu" else max(1, usable_cores() - 1), warn=border.warn)
    config.dump(job.run_dir / "config.py")
    return config


def _runner(job: Job, device: str, border: Border, progress: Progress) -> Runner:
    from mmengine.runner import Runner

    from annoloop.mmseg_parts import ReportHook, versions

    config = _config(job, device, border)
    runner = Runner.from_cfg(config)
    _placed(runner.model, device)
    facts = {
        "device": device,
        "iterations": None if job.budget_s is not None else config.train_cfg.max_iters,
        "batch_size": config.train_dataloader.batch_size,
        "train_images": len(job.train),
        "val_images": len(job.val),
        "parameters": sum(parameter.numel() for parameter in runner.model.parameters()),
        "versions": versions(),
    }
    runner.register_hook(ReportHook(progress, border.emit, facts))
    return runner


def _placed(model: torch.nn.Module, device: str) -> torch.nn.Module:
    """The model in the memory layout that is fastest on its device."""
    import torch

    # Convolutions on a CPU are a fifth to a quarter faster this way.
    return model.to(memory_format=torch.channels_last) if device == "cpu" else model  # type: ignore[call-overload]


def _seconds_per_image(runner: Runner) -> float:
    import torch

    runner.model.eval()
    marks = []
    with torch.no_grad():
        for batch in itertools.islice(runner.test_loop.dataloader, _MEASURED_IMAGES + 1):
            runner.model.test_step(batch)
            marks.append(time.perf_counter())
    return (marks[-1] - marks[0]) / max(1, len(marks) - 1)


def _write_predictions(model: torch.nn.Module, config: Config, job: Job, border: Border) -> None:
    """Index and confidence PNGs for every image of ``job.predictions``, of the size of the image file."""
    import torch

    from annoloop.mmseg_parts import StopRequested

    model.eval()
    border.stop_orderly()
    done = 0
    for batch in _batches(config, job):
        if border.stopping():
            raise StopRequested(done)
        packed = {key: [item[key] for _, item in batch] for key in ("inputs", "data_samples")}
        with torch.no_grad():
            samples = model.test_step(packed)  # type: ignore[operator]
        for (target, _), sample in zip(batch, samples, strict=True):
            _write_prediction(sample.seg_logits.data, target)
            done += 1
            border.emit("prediction", image=str(target[0]), done=done, total=len(job.predictions))


def _batches(config: Config, job: Job) -> Iterator[list[tuple[tuple[Path, Path, Path], dict[str, Any]]]]:
    """Neighbours of equal size in one batch; no more than one batch is in memory."""
    from mmengine.dataset import Compose

    from annoloop.mmseg_recipe import prediction_pipeline

    pipeline = Compose(prediction_pipeline(config))
    batch: list[tuple[tuple[Path, Path, Path], dict[str, Any]]] = []
    for target in job.predictions:
        item = _read(pipeline, target[0])
        if batch and (len(batch) == _PREDICTION_BATCH or item["inputs"].shape != batch[0][1]["inputs"].shape):
            yield batch
            batch = []
        batch.append((target, item))
    if batch:
        yield batch


def _read(pipeline: Any, image: Path) -> dict[str, Any]:
    try:
        item: dict[str, Any] = pipeline({"img_path": str(image)})
    except Exception as error:
        raise TrainingError(f"cannot be read as an image: {error}", where=image) from error
    return item


def _write_prediction(logits: torch.Tensor, target: tuple[Path, Path, Path]) -> None:
    """(K, H, W) logits as class indices and as round(255 * probability of that class), both (H, W)."""
    from PIL import Image

    from annoloop.mmseg_checkpoint import replacing

    confidence, indices = logits.softmax(dim=0).max(dim=0)
    _, index_png, confidence_png = target
    # The index map comes last: where there is one, its confidence is there too.
    for path, values in ((confidence_png, (255 * confidence).round()), (index_png, indices)):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as beside:
            Image.fromarray(values.byte().cpu().numpy()).save(beside, format="PNG")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
