"""Training from outside: a Job goes to a child process, events and a Result come back.

It starts, watches and stops ``annoloop.training.mmseg.worker``; it never imports torch or mmseg. The one fact
to know: a run has succeeded when the child exited with 0 *and* left ``result.json``, written last.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import IO, Any, Literal

from annoloop.compute.launch import launch, thread_settings
from annoloop.errors import ConfigError, Interrupted, MissingExtraError, OutOfMemoryError, TrainingError

Kind = Literal["train", "predict", "measure"]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "bfloat16", "float32"]

EXIT_MISSING_PACKAGE = 8
"""The child's exit code when torch or an mm* package cannot be imported."""

EXIT_STOPPED = 130
"""The child's exit code when it was asked to stop and did so in good order."""

STOP_SECONDS = 30.0
"""How long a child that was asked to stop may take to end its iteration and to save."""

_LOG_TAIL_LINES = 15


@dataclass(frozen=True, slots=True)
class Job:
    """Everything that the child process needs, and nothing else.

    ``train`` and ``val`` hold (image, mask) files; ``predictions`` holds (image, index PNG to write,
    confidence PNG to write), made after training with the best model, or with ``init_checkpoint``
    when ``kind`` is "predict". ``ignore_index`` is the value in the mask files of pixels that do not
    count; ``reduce_zero_label`` is mmseg's: 0 in a file is ignored and n means class n - 1.
    ``iterations`` and ``batch_size`` of None mean the recipe's own.  ``train_pixels`` counts the pixels
    of every class in every mask of ``train`` (N, K): class weights and the choice of images come from it;
    None leaves both as the recipe has them.  ``budget_s`` in place of ``iterations``: training, validation
    and predictions end so many seconds after ``began_at`` (a Unix time).  ``accumulate``: a step of the
    optimizer takes so many batches.  ``pretrained``: "auto", "none", or a file for the recipe's backbone.
    ``processes`` on each of ``nodes`` machines train together, one for each GPU, and share out every batch.
    ``threads`` bounds those of a child on a CPU that shares its machine; None: one for each usable core.
    """

    kind: Kind
    run_dir: Path
    recipe: Path
    class_names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    ignore_index: int = 255
    reduce_zero_label: bool = False
    device: Device = "auto"
    seed: int = 0
    train: tuple[tuple[Path, Path], ...] = ()
    val: tuple[tuple[Path, Path], ...] = ()
    iterations: int | None = None
    budget_s: float | None = None
    began_at: float | None = None
    batch_size: int | None = None
    init_checkpoint: Path | None = None
    resume: bool = False
    predictions: tuple[tuple[Path, Path, Path], ...] = ()
    background_index: int | None = 0
    train_pixels: tuple[tuple[int, ...], ...] | None = None
    accumulate: int = 1
    precision: Precision = "auto"
    pretrained: str = "auto"
    processes: int = 1
    nodes: int = 1
    threads: int | None = None

    def to_json(self) -> str:
        """The job as JSON text; paths become strings."""
        return json.dumps(asdict(self), default=str, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Job:
        """The exact inverse of ``to_json``."""
        raw = json.loads(text)
        pixels, checkpoint = raw["train_pixels"], raw["init_checkpoint"]
        typed = {
            "run_dir": Path(raw["run_dir"]),
            "recipe": Path(raw["recipe"]),
            "class_names": tuple(raw["class_names"]),
            "palette": tuple(tuple(color) for color in raw["palette"]),
            "init_checkpoint": None if checkpoint is None else Path(checkpoint),
            "train_pixels": None if pixels is None else tuple(map(tuple, pixels)),
        }
        files = ("train", "val", "predictions")
        lists = {key: tuple(tuple(map(Path, row)) for row in raw[key]) for key in files}
        return cls(**{**raw, **typed, **lists})


@dataclass(frozen=True, slots=True)
class Event:
    """One line of ``events.jsonl``: what the child did just now.

    The kinds and their main fields: ``started`` (device, iterations, resumed_from), ``planned``
    (iterations, seconds_per_iteration, seconds: how long it will take), ``iteration`` (iteration,
    loss, lr, seconds), ``validation`` (iteration, mdice, miou, dice_per_class, best),
    ``prediction`` (image, done, total), ``warning`` (message), ``error`` (message, hint),
    ``out-of-memory``, ``missing`` (package) and ``stopped`` (iteration, kept).  ``fold``
    (number, count, images) is not the child's: the training of a fold begins.
    """

    kind: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """The event as one line of JSON."""
        return json.dumps({"kind": self.kind, **self.fields})

    @classmethod
    def from_json(cls, line: str) -> Event:
        """The exact inverse of ``to_json``.

        Raises:
            ValueError: the line is no event.
        """
        raw = json.loads(line)
        if not isinstance(raw, dict) or "kind" not in raw:
            raise ValueError(f"not an event: {line!r}")
        return cls(raw.pop("kind"), raw)


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to; scores are fractions of 1, times are seconds.

    ``mdice``, ``miou`` and ``dice_per_class`` are those of ``best_checkpoint`` on ``Job.val``, None
    where there was nothing to score; a class absent from truth and prediction is None in
    ``dice_per_class`` and does not count in the means, as in mmseg.
    """

    best_checkpoint: Path | None = None
    best_iteration: int | None = None
    iterations: int = 0
    mdice: float | None = None
    miou: float | None = None
    dice_per_class: tuple[float | None, ...] = ()
    predicted: int = 0
    device: str = "cpu"
    seconds: float = 0.0
    seconds_per_iteration: float | None = None
    seconds_per_image: float | None = None

    def to_json(self) -> str:
        """The result as JSON text."""
        return json.dumps(asdict(self), default=str, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Result:
        """The exact inverse of ``to_json``."""
        raw = json.loads(text)
        best = raw["best_checkpoint"]
        raw["best_checkpoint"] = None if best is None else Path(best)
        raw["dice_per_class"] = tuple(raw["dice_per_class"])
        return cls(**raw)


def shipped_recipes() -> dict[str, Path]:
    """The recipes that come with annoloop, by name."""
    folder = Path(str(resources.files("annoloop.configs")))
    return {path.stem: path for path in sorted(folder.glob("*.py")) if path.stem != "__init__"}


def recipe_path(name_or_path: str) -> Path:
    """The mmseg config file of a shipped recipe's name, or of the user's own path.

    Raises:
        ConfigError: neither a shipped recipe nor a file.
    """
    shipped = shipped_recipes()
    if name_or_path in shipped:
        return shipped[name_or_path]
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path.resolve()
    names = ", ".join(shipped)
    raise ConfigError(
        f"{name_or_path!r} is neither a shipped recipe nor a file",
        where="train.recipe",
        hint=f"one of {names}, or the path of an mmseg config",
    )


def run_job(job: Job, on_event: Callable[[Event], None], *, python: str = sys.executable) -> Result:
    """Run ``job`` in a child process until it ends; ``on_event`` hears of everything as it happens.

    A training that runs out of memory is tried once more with half the batch; two of them make a step.

    Raises:
        Interrupted: ^C; the child was stopped and what it kept is named.
        MissingExtraError: the child's Python lacks torch, mmengine, mmcv or mmseg.
        OutOfMemoryError: not even half the batch fits.
        TrainingError: the child failed, was killed or left no result.
    """
    try:
        return _run_once(job, on_event, python)
    except OutOfMemoryError as error:
        if job.kind != "train" or error.batch_size < 2:
            raise
        half = error.batch_size // 2
        said = f"out of memory with a batch of {error.batch_size}: going on with {half}, two of them to a step"
        on_event(Event("warning", {"message": said}))
        resume = (job.run_dir / "last.pth").is_file()
        return _run_once(replace(job, batch_size=half, accumulate=2, resume=resume), on_event, python)


def _run_once(job: Job, on_event: Callable[[Event], None], python: str) -> Result:
    start = launch(python, _write_job(job), processes=job.processes, nodes=job.nodes)
    if start.elsewhere is not None:
        said = (
            f"on the other {job.nodes - 1} machines, which must see the same files, start this, with --node-rank="
            f"1 … {job.nodes - 1}:\n  {start.elsewhere}"
        )
        on_event(Event("warning", {"message": said}))
    last: dict[str, Event] = {}
    record_file = job.run_dir / "events.jsonl"
    with _start(start.command, job.run_dir) as child, record_file.open("a", encoding="utf-8") as record:
        try:
            for event in _events(child, record):
                last[event.kind] = event
                on_event(event)
            code = child.wait()
        except KeyboardInterrupt:
            raise _interrupted(job, _stop(child, record, last), last) from None
        finally:
            _kill_group(child)
    if code == 0 and (result := result_of(job.run_dir)) is not None:
        return result
    if "missing" in last:
        raise MissingExtraError(last["missing"].fields["package"], "train")
    raise _failed(job, start.command, code, last)


def result_of(run_dir: Path) -> Result | None:
    """What a finished run left; None while it is not finished."""
    path = run_dir / "result.json"
    return Result.from_json(path.read_text(encoding="utf-8")) if path.is_file() else None


def events_of(run_dir: Path) -> Iterator[Event]:
    """What is on record of a training, in order; nothing where there is no record.

    A training that was resumed says ``started`` again; a line that a kill cut short is left out.
    """
    path = run_dir / "events.jsonl"
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as record:
        for line in record:
            with contextlib.suppress(ValueError):
                yield Event.from_json(line)


def _write_job(job: Job) -> Path:
    """job.json in the run folder; an older result is removed so that it cannot pass for this run's."""
    job.run_dir.mkdir(parents=True, exist_ok=True)
    (job.run_dir / "result.json").unlink(missing_ok=True)
    path = job.run_dir / "job.json"
    path.write_text(job.to_json(), encoding="utf-8")
    return path


def _start(command: Sequence[str], run_dir: Path) -> subprocess.Popen[str]:
    # A session of its own keeps the terminal's ^C away from the child: it stops when we ask it to.
    # The child reads stdin only to notice our death: the pipe closes with us, however we die.
    try:
        with (run_dir / "train.log").open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**thread_settings(), **os.environ},
                encoding="utf-8",
                start_new_session=True,
            )
    except OSError as error:
        raise TrainingError(f"the training process did not start: {error}", where=command[0]) from error


def _events(child: subprocess.Popen[str], record: IO[str]) -> Iterator[Event]:
    """The child's events until it closes its stream; each is on record before it is passed on."""
    assert child.stdout is not None
    for line in child.stdout:
        # A child that dies in the middle of a line leaves one that is no event; its exit code says why.
        with contextlib.suppress(ValueError):
            event = Event.from_json(line)
            record.write(event.to_json() + "\n")
            record.flush()
            yield event


def _stop(child: subprocess.Popen[str], record: IO[str], last: dict[str, Event]) -> int | None:
    """Ask the child to stop and wait for it; its exit code, or None when it had to be killed."""
    _signal_child(child, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
        child.wait(STOP_SECONDS)
        # Drained only now: what it said fits into the pipe, and a silent child must not hold us up.
        for event in _events(child, record):
            last[event.kind] = event
    code = child.poll()
    _kill_group(child)
    return code


def _signal_child(child: subprocess.Popen[str], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(number)


def _kill_group(child: subprocess.Popen[str]) -> None:
    """Kill a child that still runs, with its data loading processes."""
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


def _interrupted(job: Job, code: int | None, last: dict[str, Event]) -> Interrupted:
    kept = [name for name in ("last.pth", "best.pth") if (job.run_dir / name).is_file()]
    done = f"at iteration {last['stopped'].fields['iteration']}" if "stopped" in last else "before it could save"
    if code is None:
        done = f"by force after {STOP_SECONDS:.0f} s"
    return Interrupted(
        f"training stopped {done}; kept: {', '.join(kept) or 'nothing'}",
        where=job.run_dir,
        hint="the same command goes on from last.pth" if "last.pth" in kept else "the same command starts again",
    )


def _failed(job: Job, command: Sequence[str], code: int, last: dict[str, Event]) -> TrainingError:
    log = job.run_dir / "train.log"
    ending = f"was killed by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
    if code == 0:
        ending = "ended without a result"
    said = last["error"].fields if "error" in last else {}
    reason = f"{said['message']}\n" if "message" in said else ""
    text = (
        f"{reason}the training process {ending}\n  command: {' '.join(command)}\n  last lines of the log:\n{_tail(log)}"
    )
    if "out-of-memory" in last:
        batch_size = last["started"].fields.get("batch_size", 0) if "started" in last else 0
        return OutOfMemoryError(text, batch_size, where=log, hint=said.get("hint"))
    return TrainingError(text, where=log, hint=said.get("hint") or _hint(code))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _hint(code: int) -> str:
    if code == -signal.SIGKILL:
        return "the system kills what takes too much memory: try a smaller batch size, crop or recipe"
    if code == EXIT_STOPPED:
        return "somebody stopped it; the same command goes on from last.pth"
    return "the whole log is the file named above"


def _tail(log: Path) -> str:
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 16_384))
        lines = stream.read().decode("utf-8", "replace").splitlines()
    return "\n".join(f"    {line}" for line in lines[-_LOG_TAIL_LINES:])
