"""A way is measured in a process of its own, so that its imports are not counted and its memory is its own.

``ask`` starts ``bench_way.py`` with a module, a function of it and a plan: the function makes ready what is not to be
counted and returns what is.  The fact to know: peers may run in another environment, so only the standard library
is imported here.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

_WAY = Path(__file__).with_name("bench_way.py")
_LOOK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class Plan:
    """What a way works on: an annoloop project, the same images and masks as plain files, and where to write.

    ``repeat`` repetitions follow one that only warms up; 0 means once, cold.
    """

    project: str
    pairs: tuple[tuple[str, str], ...]
    names: tuple[str, ...]
    background: int
    out: str
    coco: str = ""
    workers: int | None = None
    repeat: int = 0

    @property
    def foreground(self) -> tuple[int, ...]:
        """The class indices that are drawn."""
        return tuple(index for index in range(len(self.names)) if index != self.background)


@dataclass(frozen=True, slots=True)
class Answer:
    """Seconds of the median repetition; peak memory of the process and its children, each at its own worst, summed."""

    seconds: float
    peak_mb: float | None


class ChildFailed(Exception):
    """A way ended with an error; the message is its last line."""


def ask(python: str, module: str, way: str, plan: Plan, environment: Mapping[str, str] | None = None) -> Answer:
    """Let a child measure the function ``way`` of a module beside this one.

    Raises:
        ChildFailed: it ended with an error.
    """
    with tempfile.TemporaryDirectory(prefix="annoloop-bench-") as name:
        file, log = Path(name) / "plan.json", Path(name) / "log.txt"
        file.write_text(json.dumps(asdict(plan)), encoding="utf-8")
        with log.open("w+b") as stream:
            child = subprocess.Popen(
                [python, str(_WAY), module, way, str(file)],
                stdout=stream, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})},
            )  # fmt: skip
            peak_mb = _watch(child)
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it said nothing"]
    if child.returncode:
        raise ChildFailed(f"{lines[-1]} (exit code {child.returncode})")
    said = json.loads(next(line for line in reversed(lines) if line.startswith("{")))
    return Answer(said["seconds"], peak_mb)


def timed_command(command: Iterable[str], environment: Mapping[str, str]) -> Answer:
    """A whole command, from its start to its end.

    Raises:
        ChildFailed: it ended with an error.
    """
    began = time.perf_counter()
    done = subprocess.run(list(command), capture_output=True, text=True, check=False, env={**os.environ, **environment})
    seconds = time.perf_counter() - began
    if done.returncode:
        raise ChildFailed((done.stderr.strip().splitlines() or ["it said nothing"])[-1])
    return Answer(seconds, None)


def _watch(child: subprocess.Popen[bytes]) -> float | None:
    """Wait for a process; its peak memory with all below it, in MB, or None where the kernel does not tell."""
    peaks: dict[int, int] = {}
    while child.poll() is None:
        for pid in _family(child.pid):
            peaks[pid] = max(peaks.get(pid, 0), _peak_kb(pid))
        time.sleep(_LOOK_EVERY_S)
    return sum(peaks.values()) / 1024 if any(peaks.values()) else None


def _family(pid: int) -> list[int]:
    found, below = [pid], [pid]
    while below:
        children = Path(f"/proc/{below[0]}/task/{below[0]}/children")
        try:
            more = [int(word) for word in children.read_text().split()]
        except OSError:  # it has ended meanwhile
            more = []
        below = [*below[1:], *more]
        found += more
    return found


def _peak_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)
