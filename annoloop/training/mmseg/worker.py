"""The child process: ``python -m annoloop.training.mmseg.worker JOB.json`` trains, predicts, measures or answers.

Events go to the original stdout as JSON lines, all chatter of torch and mm* to train.log. It stops in
good order, with last.pth saved, on SIGTERM and when the process that started it is gone.
"""

from __future__ import annotations

import gc
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
from contextlib import redirect_stdout
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annoloop.data.durable import flush_disk
from annoloop.errors import AnnoloopError, TrainingError
from annoloop.training.records import EXIT_MISSING_PACKAGE, EXIT_STOPPED, Event, Job, Result
from annoloop.training.validation_plan import MEANWHILE

if TYPE_CHECKING:
    import torch
    from mmengine.config import Config
    from mmengine.runner import Runner

    from annoloop.training.mmseg.hooks import Progress
    from annoloop.training.mmseg.predict import Target

_FIRST = os.environ.get("RANK", "0") == "0"
"""Whether this is the process that speaks and writes for all that torchrun started."""

_MEASURED_ITERATIONS = 6
_MEASURED_SECONDS = 20.0
_MEASURED_IMAGES = 4
_EVERYONES = ("error", "missing", "out-of-memory")
_KNOWN_CHATTER = "Could not import OneDL"


class Border:
    """Between this process and the one that started it: events out, the wish to stop in."""

    def __init__(self, log: Path, *, asked: bool = False) -> None:
        """Take the original stdout for events; from now on fd 1 and 2 are ``log``.

        ``asked``: stdin brings requests, and whoever reads these notices its end.
        """
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        self._stop = False
        self._orderly = False
        with log.open("ab") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop())
        if not asked and stat.S_ISFIFO(os.fstat(0).st_mode):
            threading.Thread(target=self._watch_parent, daemon=True).start()

    def emit(self, kind: str, **fields: Any) -> None:
        """Send an event; where nobody listens any more, stop.  Of several processes the first speaks for all."""
        if not _FIRST and kind not in _EVERYONES:
            return
        self.send(Event(kind, fields))

    def send(self, event: Event, *parts: bytes) -> None:
        """The same with bytes behind it, of which the event says how many there are."""
        try:
            self._out.write(event.to_json() + "\n")
            self._out.flush()
            for part in parts:
                self._out.buffer.write(part)
            self._out.buffer.flush()
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
    border = Border(job.run_dir / "train.log", asked=job.kind == "answer")
    # mmengine falls back to full unpickling where a file is more than weights; torch can forbid that.
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    try:
        _import_framework()
    except ModuleNotFoundError as error:
        traceback.print_exc()
        border.emit("missing", package=error.name or str(error))
        return EXIT_MISSING_PACKAGE
    from annoloop.training.mmseg.checkpoint import replacing
    from annoloop.training.mmseg.hooks import StopRequested

    try:
        result = _run(job, border)
    except StopRequested as stopped:
        kept = [path.name for path in sorted(job.run_dir.glob("*.pth"))]
        border.emit("stopped", iteration=stopped.iteration, kept=kept)
        return EXIT_STOPPED
    except AnnoloopError as error:
        traceback.print_exc()
        border.emit("error", message=error.message, where=error.where, hint=error.hint)
        return error.exit_code
    if _FIRST:
        flush_disk(job.run_dir)  # the predictions: where there is a result, they stay there after a power cut, too
        with replacing(job.run_dir / "result.json") as beside:
            beside.write_text(result.to_json(), encoding="utf-8")
    return 0


def _import_framework() -> None:
    """Load torch and mmseg, without the two complaints that every import of mmseg makes."""
    chatter = io.StringIO()
    gc.disable()  # a fifth of the time to load them would go into looking for garbage, of which there is none yet
    with redirect_stdout(chatter), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*MultiScaleDeformableAttention")
        for package in ("torch", "mmengine.runner", "mmseg.models", "mmseg.datasets", "mmseg.evaluation"):
            import_module(package)
    gc.freeze()  # nor will what is loaded ever be any
    gc.enable()
    print("\n".join(line for line in chatter.getvalue().splitlines() if line != _KNOWN_CHATTER))


def _run(job: Job, border: Border) -> Result:
    import torch

    from annoloop.training.mmseg.device import choose_device
    from annoloop.training.mmseg.ranks import join

    began = time.perf_counter()
    device = choose_device(job)
    join(device)
    operation = {"train": _train, "predict": _predict, "measure": _measure, "answer": _answer, "export": _export}[
        job.kind
    ]
    try:
        result = operation(job, device, border)
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        # On a CPU torch raises a plain RuntimeError.
        if type(error) is RuntimeError and "allocate memory" not in str(error):
            raise
        raise _out_of_memory(device, border) from error
    return replace(result, device=device, seconds=time.perf_counter() - began)


def _out_of_memory(device: str, border: Border) -> TrainingError:
    border.emit("out-of-memory")
    place = "the GPU" if device == "cuda" else "this machine"
    hint = "a smaller train.batch_size, a smaller crop_size in the recipe, or a smaller recipe"
    return TrainingError(f"{place} has too little memory for this job", hint=hint)


def _train(job: Job, device: str, border: Border) -> Result:
    from annoloop.training.mmseg.budget import BudgetHook
    from annoloop.training.mmseg.checkpoint import load_weights
    from annoloop.training.mmseg.hooks import Diverged, Progress
    from annoloop.training.mmseg.ranks import wait_for_all
    from annoloop.training.mmseg.resume import BestHook, ResumeHook, bare, end_with_last_good
    from annoloop.training.mmseg.validation import judge_candidates

    progress = Progress()
    runner = _runner(job, device, border, progress)
    best = BestHook(job, progress, border.emit)
    runner.register_hook(best)
    if job.budget_s is not None:
        runner.register_hook(BudgetHook(job, progress, border.emit))
    runner.register_hook(ResumeHook(job, progress, border.emit, border.stopping))
    border.stop_orderly()
    try:
        runner.train()
    except Diverged as diverged:
        border.warn(end_with_last_good(runner, job, progress, diverged))
    wait_for_all()
    if len(job.val) > MEANWHILE:
        judge_candidates(runner, job, best)
    scores = progress.best or {}
    wait_for_all()
    if job.predictions:
        load_weights(bare(runner.model), job.run_dir / "best.pth")
        _write_predictions(bare(runner.model), runner.cfg, job, border)
    wait_for_all()
    return Result(
        best_checkpoint=job.run_dir / "best.pth",
        best_iteration=scores["iteration"],
        iterations=runner.iter,
        mdice=scores["mdice"],
        miou=scores["miou"],
        dice_per_class=tuple(scores["dice_per_class"]),
        predicted=len(job.predictions),
        seconds_per_iteration=progress.seconds_per_iteration,
    )


def _measure(job: Job, device: str, border: Border) -> Result:
    """A few iterations and a few images, timed; ``iterations`` is how many a training would run."""
    from annoloop.training.mmseg.hooks import Progress, TimeLimitHook
    from annoloop.training.mmseg.recipe import looks_per_image

    progress = Progress()
    runner = _runner(replace(job, iterations=_MEASURED_ITERATIONS), device, border, progress)
    runner.register_hook(TimeLimitHook(progress, _MEASURED_SECONDS))
    runner.train()
    config = _config(job, device, border)
    return Result(
        iterations=config.train_cfg.max_iters,
        seconds_per_iteration=progress.seconds_per_iteration,
        seconds_per_image=_seconds_per_image(runner) if job.val else None,
        looks_per_image=looks_per_image(config),
    )


def _predict(job: Job, device: str, border: Border) -> Result:
    model, config = _loaded(job, device, border)
    border.emit("started", device=device, total=len(job.predictions))
    began = time.perf_counter()
    _write_predictions(model, config, job, border)
    each = (time.perf_counter() - began) / max(1, len(job.predictions))
    return Result(predicted=len(job.predictions), seconds_per_image=each)


def _answer(job: Job, device: str, border: Border) -> Result:
    """Predict what comes in over stdin, until it ends."""
    from annoloop.training.mmseg.answering import answer_requests

    model, config = _loaded(job, device, border)
    border.emit("started", device=device)
    answered = answer_requests(model, config, sys.stdin.buffer, job.run_dir / "image", border.send)
    return Result(predicted=answered)


def _export(job: Job, device: str, border: Border) -> Result:
    from annoloop.training.mmseg.exporting import export_model

    if job.model_format is None:
        raise TrainingError("an export needs a format", hint="set Job.model_format")
    border.emit("started", device=device)
    model, config = _loaded(replace(job, precision="float32"), device, border)  # a file for others rounds as little
    export_model(model, config, job.model_format, job.run_dir)
    return Result()


def _loaded(job: Job, device: str, border: Border) -> tuple[torch.nn.Module, Config]:
    """The job's model on its device, with the weights that it names."""
    from mmengine.registry import init_default_scope
    from mmseg.registry import MODELS

    from annoloop.training.mmseg.checkpoint import load_weights
    from annoloop.training.mmseg.device import placed

    if job.init_checkpoint is None:
        raise TrainingError("a prediction needs a checkpoint", hint="set Job.init_checkpoint")
    config = _config(job, device, border)
    init_default_scope("mmseg")
    model = placed(MODELS.build(config.model), device, config.precision)
    load_weights(model, job.init_checkpoint)
    return model, config


def _config(job: Job, device: str, border: Border) -> Config:
    """The job's resolved config, also written to the run folder for people to read."""
    from annoloop.compute.launch import usable_cores
    from annoloop.training.mmseg.device import precision
    from annoloop.training.mmseg.ranks import LOCAL_WORLD, WORLD
    from annoloop.training.mmseg.recipe import Machine, resolve

    # On a CPU a loading process would only take turns with the training on the same cores.
    workers = 0 if device == "cpu" else max(1, usable_cores() // LOCAL_WORLD - 1)
    config = resolve(job, Machine(device, precision(device, job), workers, WORLD), border.warn)
    if _FIRST:
        config.dump(job.run_dir / "config.py")
    return config


def _runner(job: Job, device: str, border: Border, progress: Progress) -> Runner:
    import torch

    from annoloop.compute.launch import usable_cores
    from annoloop.training.mmseg.checkpoint import check_room
    from annoloop.training.mmseg.device import PlacedRunner
    from annoloop.training.mmseg.hooks import ReportHook, versions

    config = _config(job, device, border)
    runner = PlacedRunner.from_cfg(config)
    if job.kind == "train":
        check_room(job.run_dir, runner.model, [image for image, _, _ in job.predictions])
    facts = {
        "device": device,
        "processes": job.processes * job.nodes,
        "threads": torch.get_num_threads() if device == "cpu" else None,
        "cores": usable_cores(),
        "precision": config.precision,
        "iterations": None if job.budget_s is not None else config.train_cfg.max_iters,
        "batch_size": config.train_dataloader.batch_size * job.processes * job.nodes,
        "train_images": len(job.train),
        "val_images": len(job.val),
        "parameters": sum(parameter.numel() for parameter in runner.model.parameters()),
        "versions": versions(),
    }
    runner.register_hook(ReportHook(progress, border.emit, facts))
    return runner


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
    """This process's share of the predictions."""
    from annoloop.training.mmseg.hooks import StopRequested
    from annoloop.training.mmseg.predict import write_predictions
    from annoloop.training.mmseg.ranks import RANK, WORLD

    border.stop_orderly()
    done = 0

    def wrote(target: Target) -> None:
        nonlocal done
        done = min(done + WORLD, len(job.predictions))
        border.emit("prediction", image=str(target[0]), done=done, total=len(job.predictions))
        if border.stopping():
            raise StopRequested(done)

    def failed(target: Target, error: TrainingError) -> None:
        border.emit("unpredicted", image=str(target[0]), message=error.message)

    write_predictions(model, config, job.predictions[RANK::WORLD], wrote, failed if job.past_faults else None)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
