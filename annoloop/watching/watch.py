"""``annoloop watch``: look, do what is due, tell it, wait, and look again.

Not here: what is due (``due.py``) and how it is done (``steps.py``).  The facts to know: nothing but the jobs that were
pulled is remembered, all else is seen anew each time, so that whatever was killed anywhere is gone on with; and the
project is opened anew for each look, so that annoloop.yaml may change meanwhile.
"""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from annoloop.cvat.server import CvatServer, open_server
from annoloop.data.config import CvatConfig
from annoloop.data.durations import in_words
from annoloop.errors import AnnoloopError, CvatError, Interrupted, NothingToPushError, file_error
from annoloop.loop.exchange.pull_report import PullReport
from annoloop.loop.push import PushReport
from annoloop.loop.retrain import RetrainReport
from annoloop.progress import Say, Track, silent
from annoloop.project.census import census
from annoloop.project.project import Project, open_project
from annoloop.selection.request import PushRequest, push_request
from annoloop.watching.diary import Diary, Tell, WatchEvent, event
from annoloop.watching.due import Seen, Step, WatchRequest, due, in_short, waits_for
from annoloop.watching.look import look
from annoloop.watching.memory import Memory, Stamps
from annoloop.watching.rhythm import Patience
from annoloop.watching.steps import Outcome, Views, take

_LOOK = "asking CVAT"
"""What looking is called among the steps, where failures are counted."""

_NEXT_TRY = "the next try"
_TOGETHER_S = 0.5
"""CVAT sends three webhooks and more of one thing that somebody did: they are one reason to look."""


@dataclass(frozen=True, slots=True)
class WatchReport:
    """What a watch did: tasks by their number in CVAT, models by that of their run; ``because``: why it ended."""

    pulled: tuple[int, ...]
    masks_written: int
    trained: tuple[int, ...]
    promoted: tuple[int, ...]
    pushed: tuple[int, ...]
    failures: int
    because: str


def watch(
    project: Project,
    wanted: WatchRequest,
    tell: Tell,
    *,
    once: bool = False,
    wake: threading.Event | None = None,
    track: Track = silent,
    views: Views,
) -> WatchReport:
    """Do what is due until somebody ends it, or, ``once``, until nothing is due.

    Args:
        wake: is set to have it look at once.

    Raises:
        ConfigError: a value of annoloop.yaml or a request that cannot be, at the beginning.
        LedgerError: another watch is at work here.
        AnnoloopError: a step failed: ``once``, or too often in a row.
        Interrupted: ^C during a step, ``once``.
    """
    with project.alone("watch"), ExitStack() as stack:
        diary = Diary(project.state_dir, tell)
        stack.callback(diary.close)
        watcher = _Watcher(project.path.parent, wanted, diary, stack, track, views)
        push_for(project, wanted)  # a fault in it is better known before anything is begun
        diary.note("watching", in_short(wanted))
        return watcher.once() if once else watcher.until_ended(wake or threading.Event())


def preview(project: Project, wanted: WatchRequest, server: CvatServer) -> WatchEvent:
    """What a watch would do now, and why, or what it would wait for; nothing is done.

    Raises:
        ConfigError: a value that cannot be.
        CvatError: the server failed.
    """
    request = push_for(project, wanted)
    seen, _ = look(project, server, Memory(project.state_dir), request)
    step = due(wanted, seen, datetime.now())
    if step is None:
        return event("waiting", f"for {waits_for(wanted, seen, datetime.now())}")
    return event("due", f"{step.name}: {step.because}", step.kind)


def push_for(project: Project, wanted: WatchRequest) -> PushRequest | None:
    """The push that comes next, if any is wanted; what the watch does not say is as annoloop.yaml has it."""
    if wanted.push_next is None:
        return None
    return push_request(project.config, wanted.push_next, by=wanted.by, splits=wanted.splits, carries=wanted.carries)


class _Watcher:
    """What lasts from one look to the next."""

    def __init__(
        self, folder: Path, wanted: WatchRequest, diary: Diary, stack: ExitStack, track: Track, views: Views
    ) -> None:
        self._folder, self._wanted, self._diary = folder, wanted, diary
        self._track, self._views = track, views
        self._sessions = stack.enter_context(_Sessions(diary.say))
        self._patience = Patience(wanted.every_s)
        self._exhausted: tuple[object, str] | None = None
        self._pulled: set[int] = set()
        """Since the last wait: what is left over of these does not come by asking at once."""
        self._has_looked = False
        self._done = WatchReport((), 0, (), (), (), 0, "")

    def once(self) -> WatchReport:
        """Until nothing is due, or something fails."""
        while (waits := self._turn(raising=True)) is None:
            pass
        return self._ended(f"nothing is due: it waits for {waits}")

    def until_ended(self, wake: threading.Event) -> WatchReport:
        """Until ^C or SIGTERM, or too many failures."""
        try:
            while True:
                waits = self._turn(raising=False)
                if waits is None:
                    continue
                if waits != _NEXT_TRY:
                    self._diary.waiting(f"for {waits}")
                self._pulled.clear()
                if wake.wait(min(self._wanted.every_s, self._patience.next_try_s(time.monotonic()))):
                    time.sleep(_TOGETHER_S)
                    wake.clear()
        except (KeyboardInterrupt, Interrupted):
            return self._ended("it was ended; the same command goes on")

    def _ended(self, because: str) -> WatchReport:
        self._done = replace(self._done, because=because)
        self._diary.note("ended", because, report=self._done)
        return self._done

    # one turn

    def _turn(self, *, raising: bool) -> str | None:
        """Look, and do a step if one is due; otherwise what is waited for."""
        resting = self._patience.resting(time.monotonic())
        if _LOOK in resting:
            return _NEXT_TRY
        step: Step | None = None
        try:
            with open_project(self._folder) as project:
                if (other := project.at_work()) is not None:
                    return f"{other}, to be done"
                server = self._sessions.of(project.config.cvat)
                request = push_for(project, self._wanted)
                seen, stamps = self._look(project, server, request)
                self._has_looked = True
                step = due(self._wanted, seen, datetime.now(), resting)
                self._patience.succeeded(_LOOK)
                if step is None:
                    return self._waits_for(seen)
                self._take(step, project, server, request, stamps)
                return None
        except (AnnoloopError, OSError) as error:
            if isinstance(error, Interrupted):
                raise
            self._sessions.close()
            # What is wrong from the beginning, as credentials that are missing, does not mend itself.
            hopeless = not self._has_looked and not (
                isinstance(error, CvatError) and (error.transient or error.unreached)
            )
            self._failed(
                _LOOK if step is None else step.name,
                error if isinstance(error, AnnoloopError) else file_error(error),
                raising=raising or hopeless,
            )
            return None if step is not None else _NEXT_TRY

    def _look(
        self, project: Project, server: CvatServer, request: PushRequest | None
    ) -> tuple[Seen, dict[int, Stamps]]:
        memory = Memory(project.state_dir)
        return look(project, server, memory, request, exhausted=self._nothing_left(project), leave=self._pulled)

    def _waits_for(self, seen: Seen) -> str:
        tries = [name for name in self._patience.failures if name != _LOOK]
        return waits_for(self._wanted, seen, datetime.now(), tries)

    def _take(
        self, step: Step, project: Project, server: CvatServer, request: PushRequest | None, stamps: dict[int, Stamps]
    ) -> None:
        self._diary.note("begun", f"{step.name}: {step.because}", step.kind)
        try:
            found = take(step, self._wanted, project, server, request, self._diary.say, self._track, self._views)
        except NothingToPushError as nothing:
            self._exhausted = (_state(project), nothing.message)
            self._diary.note("done", nothing.message, step.kind)
            return
        self._patience.succeeded(step.name)
        if step.kind == "pull" and step.task is not None:
            self._pulled.add(step.task)
            Memory(project.state_dir).note_pulled(step.task, stamps.get(step.task, {}))
        self._count(found)
        self._diary.note("done", found.said, step.kind, found.report)

    def _nothing_left(self, project: Project) -> str | None:
        """Why the last push found nothing, as long as everything is as it was then."""
        if self._exhausted is None or self._exhausted[0] != _state(project):
            return None
        return self._exhausted[1]

    def _count(self, found: Outcome) -> None:
        done, report = self._done, found.report
        if isinstance(report, PullReport):
            written = done.masks_written + len(report.written)
            done = replace(done, pulled=(*done.pulled, report.task), masks_written=written)
        elif isinstance(report, RetrainReport):
            promoted = (*done.promoted, report.run) if report.promoted else done.promoted
            done = replace(done, trained=(*done.trained, report.run), promoted=promoted)
        elif isinstance(report, PushReport) and report.task is not None:
            done = replace(done, pushed=(*done.pushed, report.task))
        self._done = done

    def _failed(self, name: str, error: AnnoloopError, *, raising: bool) -> None:
        """Tell a failure, and have what failed rest.

        Raises:
            AnnoloopError: it was one too many.
        """
        self._done = replace(self._done, failures=self._done.failures + 1)
        pause_s = self._patience.failed(name, time.monotonic())
        times, most = self._patience.failures[name], self._wanted.most_failures
        what = f"{name} failed: {error.where}: {error.message}" if error.where else f"{name} failed: {error.message}"
        if raising or times >= most:
            if not raising:
                error.message = f"{name} failed {times} times in a row, the last time so: {error.message}"
            self._ended(what)
            error.after_result = True
            raise error
        first, newline, rest = what.partition("\n")  # what came of a training has the end of its log behind it
        self._diary.note("failed", f"{first}; try {times + 1} of {most} in {in_words(pause_s)}{newline}{rest}", name)


class _Sessions:
    """One session with CVAT, for as long as annoloop.yaml names the same server and nothing fails."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._open = ExitStack()
        self._server: tuple[CvatConfig, CvatServer] | None = None

    def __enter__(self) -> _Sessions:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def of(self, settings: CvatConfig) -> CvatServer:
        """The session with a server, whose account is tried at once."""
        if self._server is None or self._server[0] != settings:
            self.close()
            server = self._open.enter_context(open_server(settings, self._say))
            server.about()
            self._server = settings, server
        return self._server[1]

    def close(self) -> None:
        """End it; the next one begins anew."""
        self._server = None
        self._open.close()


def _state(project: Project) -> object:
    """What a push depends on: equal as long as it would find the same."""
    run = project.current_run()
    changes = project.ledger.changes()
    tasks = [(task.id, task.state) for task in project.ledger.tasks()]
    images = {split: (one.images, one.labelled) for split, one in census(project).items()}
    return None if run is None else run.id, changes[-1].id if changes else 0, tasks, images
