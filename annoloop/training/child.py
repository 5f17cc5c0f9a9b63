"""Training from outside: a Job goes to a child process, events and a Result come back.

It starts, watches and stops ``annoloop.training.mmseg.worker``; it never imports torch or mmseg. The one fact
to know: a run has succeeded when the child exited with 0 *and* left ``result.json``, written last.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

from annoloop.compute.launch import busy_cores, free_threads, launch, thread_settings
from annoloop.errors import (
    AnnoloopError,
    ConfigError,
    DataError,
    Interrupted,
    MissingExtraError,
    OutOfMemoryError,
    TrainingError,
)
from annoloop.training.records import EXIT_STOPPED, Event, Job, Result, result_of, write_job

STOP_SECONDS = 30.0
"""How long a child that was asked to stop may take to end its iteration and to save."""

_LOG_TAIL_LINES = 15

_FORESEEN = {kind.exit_code: kind for kind in (ConfigError, DataError, TrainingError)}
"""Failures that the child puts into words itself, by its exit code."""

_IN_WORDS = {"predict": "predicting", "measure": "measuring", "answer": "predicting", "export": "exporting the model"}
"""What a child does that trains nothing, by the kind of its job."""


def require_training() -> None:
    """Say what is missing before anything is begun; looks for the packages and loads none.

    Raises:
        MissingExtraError: torch, mmengine, mmcv or mmseg is not installed.
    """
    for package in ("torch", "mmengine", "mmcv", "mmseg"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "train")


def run_job(job: Job, on_event: Callable[[Event], None], *, python: str = sys.executable) -> Result:
    """Run ``job`` in a child process until it ends; ``on_event`` hears of everything as it happens.

    A training that runs out of memory is tried once more with half the batch; two of them make a step.

    Raises:
        Interrupted: ^C; the child was stopped and what it kept is named.
        MissingExtraError: the child's Python lacks torch, mmengine, mmcv or mmseg.
        OutOfMemoryError: not even half the batch fits.
        ConfigError, DataError: the recipe, or the data, as the child found them.
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
    busy = busy_cores()
    if busy and job.threads is None and job.processes == 1:
        job = replace(job, threads=free_threads(busy))
    start = launch(python, write_job(job), processes=job.processes, nodes=job.nodes)
    if start.elsewhere is not None:
        said = (
            f"on the other {job.nodes - 1} machines, which must see the same files, start this, with --node-rank="
            f"1 … {job.nodes - 1}:\n  {start.elsewhere}"
        )
        on_event(Event("warning", {"message": said}))
    last: dict[str, Event] = {}
    record_file = job.run_dir / "events.jsonl"
    with _start(start.command, job, thread_settings(busy)) as child, record_file.open("a", encoding="utf-8") as record:
        try:
            for event in _events(child, record):
                last[event.kind] = event
                on_event(event)
            code = child.wait()
        except KeyboardInterrupt:
            raise _interrupted(job, _stop(child, record, last), last) from None
        finally:
            kill_group(child)
    if code == 0 and (result := result_of(job.run_dir)) is not None:
        return result
    if "missing" in last:
        raise MissingExtraError(last["missing"].fields["package"], "train")
    raise _failed(job, start.command, code, last)


def _start(command: Sequence[str], job: Job, settings: Mapping[str, str]) -> subprocess.Popen[str]:
    # A session of its own keeps the terminal's ^C away from the child: it stops when we ask it to.
    # The child reads stdin only to notice our death: the pipe closes with us, however we die.
    try:
        with (job.run_dir / "train.log").open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**settings, **os.environ},
                encoding="utf-8",
                start_new_session=True,
            )
    except OSError as error:
        raise TrainingError(f"{_process_of(job)} did not start: {error}", where=command[0]) from error


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
    kill_group(child)
    return code


def _signal_child(child: subprocess.Popen[str], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(number)


def kill_group(child: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """Kill a child that still runs, with its data loading processes."""
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


def _interrupted(job: Job, code: int | None, last: dict[str, Event]) -> Interrupted:
    if job.kind != "train":
        hint = "the same command goes on" if job.kind == "predict" else "the same command starts again"
        return Interrupted(f"{_IN_WORDS[job.kind]} was stopped", where=job.run_dir, hint=hint)
    kept = [name for name in ("last.pth", "best.pth") if (job.run_dir / name).is_file()]
    done = f"at iteration {last['stopped'].fields['iteration']}" if "stopped" in last else "before it could save"
    if code is None:
        done = f"by force after {STOP_SECONDS:.0f} s"
    return Interrupted(
        f"training stopped {done}; kept: {', '.join(kept) or 'nothing'}",
        where=job.run_dir,
        hint="the same command goes on from last.pth" if "last.pth" in kept else "the same command starts again",
    )


def _failed(job: Job, command: Sequence[str], code: int, last: dict[str, Event]) -> AnnoloopError:
    """What the child said of its failure; where it could not say, how it ended and the end of its log."""
    log = job.run_dir / "train.log"
    ending = f"was killed by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
    if code == 0:
        ending = "ended without a result"
    said = last["error"].fields if "error" in last else {}
    if said and code in _FORESEEN and "out-of-memory" not in last:
        return _FORESEEN[code](said["message"], where=said["where"], hint=said["hint"] or f"the whole log is {log}")
    reason = f"{said['message']}\n" if "message" in said else ""
    text = f"{reason}{_process_of(job)} {ending}\n  command: {' '.join(command)}\n{end_of(log)}"
    if "out-of-memory" in last:
        batch_size = last["started"].fields.get("batch_size", 0) if "started" in last else 0
        return OutOfMemoryError(text, batch_size, where=log, hint=said.get("hint"))
    return TrainingError(text, where=log, hint=said.get("hint") or _hint(code))


def _process_of(job: Job) -> str:
    return f"the process for {_IN_WORDS[job.kind]}" if job.kind in _IN_WORDS else "the training process"


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


def end_of(log: Path) -> str:
    """The last lines of a child's log, below a line that says so; or that there are none."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 16_384))
        lines = stream.read().decode("utf-8", "replace").splitlines()
    if not lines:
        return "  its log is empty"
    return "\n".join(["  last lines of its log:", *(f"    {line}" for line in lines[-_LOG_TAIL_LINES:])])
