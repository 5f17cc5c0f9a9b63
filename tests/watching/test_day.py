"""A day of the loop in a minute and a half: watch, sandbox and trainings in processes of their own, killed at random.

Somebody annotates three rounds meanwhile, of which the watch is told by a webhook, unless that is lost.
ANNOLOOP_DAY_SEED draws another day.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import IO

import psutil
import pytest
from running_loop import make_project, opened, train_here
from test_webhook import BODY, SECRET, Receiver, signed

from annoloop.cli.demo import Server
from annoloop.data.config import FILE_NAME
from annoloop.data.mmseg_folders import read_label_map
from annoloop.errors import CvatError
from annoloop.project.project import Project
from annoloop.simulation.annotator import annotate
from annoloop.watching.webhook import SECRET_VARIABLE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(540)]

ROUNDS, IMAGES = 3, 3
PATIENCE_S = 150.0


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Day:
    """The processes of a day, each of which may be killed and is begun again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.state = folder, folder / "sandbox"
        self.port, self.webhook_port = free_port(), free_port()
        self.dice = random.Random(int(os.environ.get("ANNOLOOP_DAY_SEED", "7")))
        self.kills: Counter[str] = Counter()
        self.log: IO[bytes] = (folder / "day.log").open("ab")
        self.sandbox, self.server = self._start_sandbox()
        self.watch: subprocess.Popen[bytes] | None = None

    def _start_sandbox(self) -> tuple[subprocess.Popen[bytes], Server]:
        command = [sys.executable, "-m", "annoloop.sandbox", "--state", str(self.state), "--port", str(self.port)]
        child = subprocess.Popen(
            [*command, "--with-parent"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log
        )
        assert child.stdout is not None
        told = json.loads(child.stdout.readline())
        return child, Server(told["url"], told["token"])

    def start_watch(self) -> None:
        command = [sys.executable, "-m", "annoloop", "watch", "--pull", "--retrain-after", "2", "--push-next"]
        command += [str(IMAGES), "--every", "3s", "--allow-missing-classes", "--quiet", "--project", str(self.folder)]
        command += ["--listen", f"127.0.0.1:{self.webhook_port}"]
        environment = {**os.environ, "CVAT_ACCESS_TOKEN": self.server.token, SECRET_VARIABLE: SECRET.decode()}
        self.watch = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=environment)

    def kill_watch(self) -> None:
        assert self.watch is not None
        self.watch.kill()
        self.watch.wait()
        self.kills["watch"] += 1
        self.start_watch()

    def kill_training(self) -> None:
        """Its processes, if there are any now."""
        assert self.watch is not None
        children = []
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.watch.pid).children(recursive=True)
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
                self.kills["child"] += 1

    def kill_sandbox(self) -> None:
        self.sandbox.kill()
        self.sandbox.wait()
        self.kills["server"] += 1
        time.sleep(self.dice.uniform(0.0, 1.0))
        self.sandbox, self.server = self._start_sandbox()

    def some_mishap(self) -> None:
        self.dice.choice([self.kill_watch, self.kill_watch, self.kill_training, self.kill_sandbox])()

    def states(self) -> dict[int, str]:
        """Of the tasks that CVAT has, by their number there; read without opening the project."""
        ledger = f"file:{self.folder / '.annoloop' / 'ledger.db'}?mode=ro"
        with contextlib.closing(sqlite3.connect(ledger, uri=True)) as found:
            return dict(found.execute("SELECT cvat_id, state FROM task WHERE cvat_id IS NOT NULL"))

    def wait_for(self, what: str, reached: Callable[[], bool], *, mishaps: int = 0) -> None:
        """Wait; things are killed meanwhile, after times that nobody foresees."""
        deadline = time.monotonic() + PATIENCE_S
        strikes = sorted(time.monotonic() + self.dice.uniform(0.5, 8.0) for _ in range(mishaps))
        while not reached():
            assert self.watch is not None
            assert self.watch.poll() is None, f"the watch ended:\n{self._said()}"
            assert time.monotonic() < deadline, f"no {what}:\n{self._said()}"
            if strikes and time.monotonic() > strikes[0]:
                strikes.pop(0)
                self.some_mishap()
            time.sleep(0.1)

    def _said(self) -> str:
        return (self.folder / "day.log").read_text(encoding="utf-8", errors="replace")[-3000:]

    def annotate(self, task: int, truth: Path) -> None:
        """Somebody corrects a task; where the server goes away they do it again."""
        with opened(self.folder, self.server) as (project, cvat):
            for _ in range(5):
                with contextlib.suppress(CvatError):
                    annotate(project, cvat, task, truth)
                    return
        raise AssertionError("no annotation")

    def send_webhook(self) -> None:
        """As CVAT does where a job is completed, once: a watch that is just begun again does not hear it."""
        with contextlib.suppress(OSError):
            assert Receiver(f"http://127.0.0.1:{self.webhook_port}", threading.Event()).post(BODY, signed(BODY)) == 204

    def end(self) -> None:
        for child in (self.watch, self.sandbox):
            if child is not None and child.poll() is None:
                child.send_signal(signal.SIGTERM)
                try:
                    child.wait(30)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
        self.log.close()


def test_three_rounds_with_everything_killed_at_random(tmp_path: Path) -> None:
    day = Day(tmp_path)
    made = make_project(tmp_path, day.server.url, name="a day", counts={"train": 12, "val": 3})
    train_here(tmp_path)
    settings = (tmp_path / FILE_NAME).read_text(encoding="utf-8")
    settings = settings.replace("iterations: null", "iterations: 40").replace("patience: 5m", "patience: 5s")
    (tmp_path / FILE_NAME).write_text(settings, encoding="utf-8")
    try:
        with Project(tmp_path / FILE_NAME):
            pass
        day.start_watch()
        done: set[int] = set()
        for is_lost in day.dice.sample([True, False, False], ROUNDS):
            day.wait_for("task", lambda: "open" in day.states().values(), mishaps=2)
            task = next(number for number, state in day.states().items() if state == "open")
            day.annotate(task, made.truth)
            finished_at = time.monotonic()
            if not is_lost:
                day.send_webhook()
            done.add(task)
            day.wait_for("pull", lambda: all(day.states()[one] == "done" for one in done), mishaps=1)
            assert time.monotonic() - finished_at < 60, "from a completed job to its masks"
        day.wait_for("last push", lambda: "open" in day.states().values())
        assert day.watch is not None
        day.watch.send_signal(signal.SIGTERM)
        assert day.watch.wait(30) == 0
        assert sum(day.kills.values()) >= ROUNDS
        _check(day, made.truth, done)
    finally:
        day.end()


def _check(day: Day, truth: Path, done: set[int]) -> None:
    with opened(day.folder, day.server) as (project, cvat):
        rows = [row for row in project.ledger.tasks() if row.state in ("open", "done")]
        assert [row.state for row in rows] == ["done"] * ROUNDS + ["open"], "one task a round"
        assert len(cvat.session.listed("tasks")) == len(rows)
        pushed = [frame.sample_id for row in rows for frame in project.ledger.frames(row.id)]
        assert len(pushed) == len(set(pushed)) == IMAGES * (ROUNDS + 1)
        for row in rows[:ROUNDS]:
            assert row.cvat_id in done
            for frame in project.ledger.frames(row.id):
                assert frame.state in ("changed", "accepted")
                mask = read_label_map(project.mask_path(frame.sample_id), project.config.data)
                assert (mask == read_label_map(truth / f"{frame.sample_id}.png", project.config.data)).all()
        changed = [
            one.sample_id for change in project.ledger.changes() for one in project.ledger.mask_changes(change.id)
        ]
        assert len(changed) == len(set(changed)), "every correction came back once"
        assert project.ledger.unwritten() == []
        finished = [run for run in project.ledger.runs() if run.state == "finished"]
        assert len(finished) >= 2
        assert all(run.verdict for run in finished)
        assert finished[0].promoted
