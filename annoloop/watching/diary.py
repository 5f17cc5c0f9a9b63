"""What a watch tells: each event to whoever listens, and as a line of JSON into ``.annoloop/watch.log``, which rotates.

Not here: how events look on a screen.  The fact to know: JSON escapes what would command a terminal, so that names
that came from a server can be read in the log.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Literal

from annoloop.reports.as_json import to_plain, to_plain_event

LOG_NAME = "watch.log"

_LOG_BYTES, _OLD_LOGS = 1 << 20, 4

What = Literal["watching", "due", "begun", "done", "failed", "waiting", "noted", "ended"]


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """Something that a watch did or found: ``at`` in UTC, ``step`` pull, retrain or push, where it is about one.

    ``report``: of a step that was done, its whole report.
    """

    at: str
    what: What
    step: str | None
    said: str
    report: Mapping[str, Any] | None = None


Tell = Callable[[WatchEvent], None]


def event(what: What, said: str, step: str | None = None, report: object = None) -> WatchEvent:
    """An event of now; a report is any of annoloop's."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return WatchEvent(at, what, step, said, None if report is None else to_plain(report))


class Diary:
    """Keeps the log and tells each event once."""

    def __init__(self, state_dir: Path, tell: Tell) -> None:
        self._tell = tell
        self._last_wait = ""
        self._log = RotatingFileHandler(
            state_dir / LOG_NAME, maxBytes=_LOG_BYTES, backupCount=_OLD_LOGS, encoding="utf-8"
        )

    def close(self) -> None:
        """End the log."""
        self._log.close()

    def note(self, what: What, said: str, step: str | None = None, report: object = None) -> None:
        """Tell an event, as ``event`` makes it."""
        told = event(what, said, step, report)
        self._last_wait = said if what == "waiting" else ""
        line = json.dumps(to_plain_event(told))
        self._log.emit(logging.LogRecord("annoloop.watch", logging.INFO, "", 0, line, None, None))
        self._tell(told)

    def say(self, text: str) -> None:
        """What a step says meanwhile: a wait, a repeated request."""
        self.note("noted", text)

    def waiting(self, said: str) -> None:
        """The same, if it is not what was told last."""
        if said != self._last_wait:
            self.note("waiting", said)
