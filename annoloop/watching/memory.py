"""What a watch remembers over its restarts: which state of which job it has pulled, in ``.annoloop/watch.json``.

Not here: anything that would be lost with it: without it, each open task is pulled once more, which changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from annoloop.data.images import write_atomic

Stamps = Mapping[str, str]
"""Of the finished jobs of a task, by the job's number: when it was last changed, as CVAT says."""


class Memory:
    """The finished jobs that have been pulled, by task and job."""

    def __init__(self, state_dir: Path) -> None:
        self._file = state_dir / "watch.json"
        self._pulled = _read(self._file)

    def has_pulled(self, task: int, stamps: Stamps) -> bool:
        """Whether these very states have come back."""
        return self._pulled.get(str(task), {}).items() >= stamps.items()

    def note_pulled(self, task: int, stamps: Stamps) -> None:
        """They have; what they were before does not matter any more."""
        self._pulled[str(task)] = dict(stamps)
        self._write()

    def keep_only(self, tasks: set[int]) -> None:
        """Forget the tasks that are not open any more."""
        kept = {task: stamps for task, stamps in self._pulled.items() if int(task) in tasks}
        if kept != self._pulled:
            self._pulled = kept
            self._write()

    def _write(self) -> None:
        write_atomic(self._file, json.dumps({"pulled": self._pulled}).encode())


def _read(file: Path) -> dict[str, dict[str, str]]:
    """What is there; nothing where there is no such file, or something else in it."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))["pulled"]
        return {
            str(int(task)): {str(job): str(stamp) for job, stamp in stamps.items()} for task, stamps in found.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
