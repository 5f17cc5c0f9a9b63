"""Between a training and its tracker: a queue and a thread, so that a slow or dead server stalls nothing.

Not here: what is told (``curves.py``).  The fact to know: ``put`` never waits and never raises; curves have a bounded
room, and what finds none in it is counted as lost.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from annoloop.tracking.tracker import (
    Begun,
    Call,
    Params,
    Picture,
    Point,
    Points,
    Sent,
    Status,
    Texts,
    Tracker,
    Unreached,
    shortened,
    without_credentials,
)

ROOM = 100_000
"""So many values of curves are kept for a server that does not answer; a few MB."""

_GATHER_S = 1.0
"""Curves are sent together about once a second."""

_AT_ONCE = 500
_PAUSES_S = (1.0, 2.0, 5.0, 10.0, 30.0)
_LAST_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Heard:
    """What is to be told people: that the run has begun there, or what went wrong."""

    begun: Begun | None = None
    trouble: str | None = None


class Delivery:
    """Tells a tracker what is put, in its order, in a thread of its own."""

    def __init__(self, tracker: Tracker, run_name: str, sent: Sent, keep: Callable[[Sent], None]) -> None:
        """``sent``: what the run has already; ``keep`` is called with it, from the thread, whenever there is more."""
        self._tracker, self._run_name, self._sent, self._keep = tracker, run_name, sent, keep
        self._change = threading.Condition()
        self._calls: deque[Call] = deque()
        self._kept_points = 0
        self._heard: deque[Heard] = deque()
        self._deadline: float | None = None
        self._status: Status = "failed"
        self._failures = self._refusals = 0
        self._troubles: set[str] = set()
        self.begun: Begun | None = None
        self.lost = 0
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    def put(self, call: Call) -> None:
        """Take what is to be told."""
        with self._change:
            if isinstance(call, Points):
                if self._kept_points + len(call.values) > ROOM:
                    self.lost += len(call.values)
                    return
                self._kept_points += len(call.values)
            self._calls.append(call)
            self._change.notify()

    def heard(self) -> list[Heard]:
        """What happened since the last call of this."""
        with self._change:
            some = list(self._heard)
            self._heard.clear()
        return some

    def close(self, status: Status, patience_s: float) -> None:
        """Tell the rest and end the run, for so long at most; what is not told then counts as lost."""
        with self._change:
            self._status, self._deadline = status, time.monotonic() + patience_s
            self._change.notify()
        self._thread.join(patience_s)
        with self._change:
            self.lost += sum(map(_size, self._calls))
            self._calls.clear()

    # in the thread

    def _work(self) -> None:
        if not self._insist(self._begin) or self.begun is None:
            return
        while some := self._next():
            refusals = self._refusals
            if not self._insist(partial(self._tell, some)):
                return
            with self._change:
                if self._refusals > refusals:
                    self.lost += sum(map(_size, some))
                self._done(some)
        self._insist(self._end)

    def _begin(self) -> None:
        self.begun = self._tracker.begin(self._run_name, self._sent.id)
        if self.begun.id != self._sent.id:
            self._sent = Sent(self.begun.id)
        self._remember()
        with self._change:
            self._heard.append(Heard(begun=self.begun))

    def _end(self) -> None:
        self._tracker.end(self._status)

    def _insist(self, act: Callable[[], None]) -> bool:
        """Do it, again and again while the place does not answer; False where it is time to stop trying."""
        while True:
            try:
                act()
            except Unreached as error:
                self._failures += 1
                self._trouble("does not answer", f"{error}; the training goes on, and it is asked again")
            except Exception as error:  # of a foreign library, and none of them may end a training
                self._refusals += 1
                self._trouble("refused what it was told", str(error))
                return True
            else:
                self._failures = 0
                return True
            if not self._pause():
                return False

    def _trouble(self, kind: str, why: str) -> None:
        """Say so; once of a kind, as one trouble is seldom alone."""
        if kind not in self._troubles:
            self._troubles.add(kind)
            plain = shortened(without_credentials(why))
            with self._change:
                self._heard.append(Heard(trouble=f"{self._tracker.place} {kind}: {plain}"))

    def _pause(self) -> bool:
        """Wait before the next try; False where the deadline leaves no time for one."""
        pause_s = _PAUSES_S[min(self._failures, len(_PAUSES_S)) - 1]
        with self._change:
            if self._deadline is None:
                self._change.wait_for(lambda: self._deadline is not None, pause_s)
                return True
            left_s = self._deadline - time.monotonic()
        time.sleep(max(0.0, min(left_s, _LAST_PAUSE_S)))
        return left_s > _LAST_PAUSE_S

    def _next(self) -> list[Call]:
        """What is told next: points of curves together, anything else alone; nothing at the end."""
        with self._change:
            self._change.wait_for(lambda: self._calls or self._deadline is not None)
            if self._deadline is None and isinstance(self._calls[0], Points):
                self._change.wait_for(lambda: self._deadline is not None, _GATHER_S)
            some: list[Call] = []
            for call in self._calls:
                if some and not (isinstance(call, Points) and isinstance(some[0], Points)):
                    break
                if some and sum(map(_size, some)) + _size(call) > _AT_ONCE:
                    break
                some.append(call)
            return some

    def _done(self, calls: list[Call]) -> None:
        for call in calls:
            if self._calls:  # none is left where the deadline has passed meanwhile
                self._calls.popleft()
            self._kept_points -= _size(call) if isinstance(call, Points) else 0

    def _tell(self, calls: list[Call]) -> None:
        points: list[Point] = []
        for call in calls:
            if isinstance(call, Points):
                points += call.values if call.step > self._sent.steps.get(call.series, -1) else ()
            else:
                self._tell_one(call)
        if points:
            self._tracker.scalars(points)
        for call in calls:
            if isinstance(call, Points):
                self._sent.steps[call.series] = max(call.step, self._sent.steps.get(call.series, -1))
        self._remember()

    def _tell_one(self, call: Params | Picture | Texts) -> None:
        if isinstance(call, Picture):
            if call.name not in self._sent.pictures:
                self._tracker.picture(call.name, call.file)
                self._sent.pictures.append(call.name)
            return
        known = self._sent.params if isinstance(call, Params) else self._sent.texts
        new = {name: value for name, value in call.values.items() if known.get(name) != value}
        if new:
            (self._tracker.params if isinstance(call, Params) else self._tracker.texts)(new)
            known.update(new)

    def _remember(self) -> None:
        with contextlib.suppress(OSError):  # a full disk: the training itself says so
            self._keep(self._sent)


def _size(call: Call) -> int:
    return len(call.values) if isinstance(call, Points) else 1
