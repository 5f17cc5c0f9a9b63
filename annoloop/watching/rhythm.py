"""When something may be done: within which hours of the day, and how long after it failed.

Not here: what is to be done (``due.py``).  The fact to know: hours are those of this machine's clock and time zone, and
may go over midnight.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta

from annoloop.errors import ConfigError

LONGEST_PAUSE_S = 900.0
"""No longer is waited for the next try, however often something failed."""

_HOURS = re.compile(r"(\d\d?):(\d\d)-(\d\d?):(\d\d)")
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Hours:
    """A part of every day, from ``start`` until ``end``, which belongs to the next day where it is not later."""

    start: time
    end: time

    def hold(self, now: datetime) -> bool:
        """Whether a moment is within."""
        at = now.time()
        if self.start < self.end:
            return self.start <= at < self.end
        return at >= self.start or at < self.end

    def left_s(self, now: datetime) -> float:
        """Seconds until they end, of a moment within."""
        end = datetime.combine(now.date(), self.end)
        end = end if end > now.replace(tzinfo=None) else end + timedelta(days=1)
        return (end - now.replace(tzinfo=None)).total_seconds()

    @property
    def length_s(self) -> float:
        """How long they are, in seconds."""
        today = datetime(2000, 1, 1)
        length = (datetime.combine(today, self.end) - datetime.combine(today, self.start)).total_seconds()
        return length if length > 0 else length + _DAY_S

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}"


def parse_hours(text: str) -> Hours:
    """Hours as people write them.

    >>> str(parse_hours("20:00-6:30"))
    '20:00-06:30'

    Raises:
        ConfigError: it is no such part of a day.
    """
    found = _HOURS.fullmatch(text.strip())
    try:
        if found is None:
            raise ValueError
        numbers = [int(part) for part in found.groups()]
        return Hours(time(numbers[0], numbers[1]), time(numbers[2], numbers[3]))
    except ValueError:
        raise ConfigError(f"{text!r} is no part of a day like 20:00-06:00", where="--hours") from None


@dataclass(slots=True)
class Patience:
    """How often each kind of step failed in a row, and until when it is left alone; moments are monotonic, in s."""

    first_pause_s: float
    failures: dict[str, int] = field(default_factory=dict)
    _until: dict[str, float] = field(default_factory=dict)

    def failed(self, step: str, now_s: float) -> float:
        """Note a failure; returns how long the step is left alone: twice as long each time, up to a bound."""
        times = self.failures[step] = self.failures.get(step, 0) + 1
        pause_s = min(self.first_pause_s * 2.0 ** min(times - 1, 32), max(LONGEST_PAUSE_S, self.first_pause_s))
        self._until[step] = now_s + pause_s
        return pause_s

    def succeeded(self, step: str) -> None:
        """Forget its failures."""
        self.failures.pop(step, None)
        self._until.pop(step, None)

    def resting(self, now_s: float) -> set[str]:
        """The steps that are left alone at a moment."""
        return {step for step, until in self._until.items() if now_s < until}

    def next_try_s(self, now_s: float) -> float:
        """In how many seconds the first of them may be tried again; infinity where none is left alone."""
        return min((until - now_s for until in self._until.values() if until > now_s), default=float("inf"))
