"""A training that is told a tracker while it runs: events in, calls out, ``tracking.json`` in the folder of the run.

Not here: what is told of an event (``curves.py``), and sending it (``delivery.py``).  The fact to know: a run that goes
on is the same one there, because ``tracking.json`` holds its id and how far it was told; events on record from before
are told as far as they are missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from annoloop.data.images import write_atomic
from annoloop.errors import AnnoloopError, Interrupted
from annoloop.tracking.curves import calls_of, metric_names
from annoloop.tracking.delivery import Delivery
from annoloop.tracking.tracker import Call, Params, Points, Sent, Status, Tracked, Tracker
from annoloop.training.records import Event, events_of

FILE_NAME = "tracking.json"

_PATIENCE_S: Mapping[Status, float] = {"finished": 30.0, "failed": 10.0, "stopped": 10.0}
"""How long the end of a training waits for the rest to be told."""

Watch = Callable[[Event], None]


class Tracking:
    """Tells a tracker what it watches; without a tracker it only passes events on.

    As a context: leaving it ends the tracked run, which failed, or was stopped, where an error leaves it.
    """

    def __init__(
        self,
        tracker: Tracker | None,
        watch: Watch,
        run_dir: Path,
        name: str,
        params: Mapping[str, str],
        classes: Sequence[str],
    ) -> None:
        """``watch`` hears of every event, and of what becomes of the tracking; ``params``: what a run is made with."""
        self._tracker, self._watch, self._run_dir = tracker, watch, run_dir
        self._name, self._params = name, params
        self.names = metric_names(classes)
        self._delivery: Delivery | None = None

    def __enter__(self) -> Self:
        if self._tracker is None:
            return self
        key, all_sent = self._tracker.place, read_sent(self._run_dir)
        sent = all_sent.get(key, Sent())

        def keep(now: Sent) -> None:
            write_sent(self._run_dir, {**all_sent, key: now})

        before = dict(sent.steps)  # the thread changes those of ``sent``
        self._delivery = Delivery(self._tracker, self._name, sent, keep)
        self.tell([Params(self._params)])
        for event in events_of(self._run_dir):
            self.tell(one for one in calls_of(event, self.names) if _is_news(one, before))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._delivery is None:
            return
        stopped = isinstance(error, Interrupted | KeyboardInterrupt)
        status: Status = "finished" if error is None else "stopped" if stopped else "failed"
        self._delivery.close(status, _PATIENCE_S[status])
        self._pass_on()
        if self._delivery.lost and error is None:
            said = f"{self._delivery.lost} values are not at {self._place}: the model is whole all the same"
            self._watch(Event("warning", {"message": said}))

    @property
    def on(self) -> bool:
        """Whether there is a tracker."""
        return self._delivery is not None

    @property
    def outcome(self) -> Tracked | None:
        """Where the run is tracked; None: nowhere."""
        if self._delivery is None or self._tracker is None:
            return None
        begun = self._delivery.begun
        if begun is None:
            return Tracked(self._tracker.name, None, lost=self._delivery.lost)
        return Tracked(self._tracker.name, begun.place, begun.look, self._delivery.lost)

    def watch(self, event: Event) -> None:
        """Pass an event of the training on, and tell the tracker."""
        self._pass_on()
        self._watch(event)
        self.tell(calls_of(event, self.names))

    def tell(self, calls: Iterable[Call]) -> None:
        """Tell the tracker; never waits."""
        if self._delivery is not None:
            for call in calls:
                self._delivery.put(call)

    def warn(self, error: AnnoloopError) -> None:
        """Say what could not be told."""
        self._watch(Event("warning", {"message": f"not tracked: {error}"}))

    def _pass_on(self) -> None:
        """What the thread has to say, in this one: those who watch need not expect two."""
        if self._delivery is None:
            return
        for heard in self._delivery.heard():
            if heard.begun is not None:
                self._watch(Event("tracked", asdict(heard.begun)))
            if heard.trouble is not None:
                self._watch(Event("warning", {"message": heard.trouble}))

    @property
    def _place(self) -> str:
        assert self._tracker is not None
        return self._tracker.place


def _is_news(call: Call, steps: Mapping[str, int]) -> bool:
    return not isinstance(call, Points) or call.step > steps.get(call.series, -1)


def read_sent(run_dir: Path) -> dict[str, Sent]:
    """What the run's tracked runs have already, by their places; a file that is none counts as nothing."""
    try:
        raw = json.loads((run_dir / FILE_NAME).read_text(encoding="utf-8"))
        return {place: Sent(**fields) for place, fields in raw.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def write_sent(run_dir: Path, sent: Mapping[str, Sent]) -> None:
    """The exact inverse of ``read_sent``."""
    run_dir.mkdir(parents=True, exist_ok=True)
    text = json.dumps({place: asdict(one) for place, one in sent.items()}, indent=1)
    write_atomic(run_dir / FILE_NAME, text.encode(), durable=False)
