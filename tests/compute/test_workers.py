"""Many items on all cores: order, errors and a killed process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import groupby
from pathlib import Path

import click
import psutil
import pytest
from click.testing import CliRunner

from annoloop.cli.options import on_all_cores
from annoloop.compute import workers
from annoloop.compute.launch import usable_cores
from annoloop.compute.workers import processes, spread
from annoloop.errors import AnnoloopError, DataError

early = pytest.mark.usefixtures("spread_early")


def square_and_pid(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


def fail_at_100(number: int) -> int:
    if number == 100:
        raise DataError("is odd", where=Path("masks/100.png"), hint="mend it")
    return number


def die_at_100(number: int) -> int:
    if number == 100:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@early
def test_results_come_in_the_order_of_the_items_from_other_processes() -> None:
    with processes(2):
        results = list(spread(square_and_pid, range(500)))
    assert [square for square, _ in results] == [n * n for n in range(500)]
    assert len({pid for _, pid in results} - {os.getpid()}) == 2


def slow_pid(_: int) -> int:
    time.sleep(0.06)
    return os.getpid()


def test_what_is_soon_done_stays_in_this_process() -> None:
    with processes(2):
        assert {pid for _, pid in spread(square_and_pid, range(5000))} == {os.getpid()}
        assert list(spread(slow_pid, range(3))) == [os.getpid()] * 3
        assert list(spread(slow_pid, range(0))) == []


def test_what_takes_long_goes_to_other_processes_once_that_is_known() -> None:
    with processes(2):
        pids = list(spread(slow_pid, range(120)))
    here = pids.count(os.getpid())
    assert 2 < here < 100
    assert pids[:here] == [os.getpid()] * here
    assert len(set(pids)) == 3
    in_a_row = [len(list(same)) for _, same in groupby(pids[here:])]
    assert max(in_a_row) < 8, "items that take long are handed out a few at a time, so that all end together"


def test_this_process_works_while_others_start(monkeypatch: pytest.MonkeyPatch) -> None:
    start = workers._start

    def slow_start(pool: ProcessPoolExecutor, count: int) -> None:
        time.sleep(2)
        start(pool, count)

    monkeypatch.setattr(workers, "_start", slow_start)
    with processes(2):
        pids = list(spread(slow_pid, range(60)))
    assert pids.count(os.getpid()) > 20


def test_the_time_of_the_first_item_says_nothing_of_the_others() -> None:
    loaded: list[int] = []

    def load_once(number: int) -> int:
        if not loaded:
            time.sleep(0.2)
            loaded.append(number)
        return os.getpid()

    with processes(2):
        assert set(spread(load_once, range(1000))) == {os.getpid()}


@early
def test_a_single_worker_is_this_process() -> None:
    with processes(1):
        assert {pid for _, pid in spread(square_and_pid, range(500))} == {os.getpid()}


@early
@pytest.mark.parametrize(("option", "alone"), [(("--workers", "1"), True), (("--workers", "2"), False)])
def test_the_option_bounds_the_processes_of_its_command_only(option: tuple[str, str], alone: bool) -> None:
    @click.command()
    @on_all_cores
    def command(**_: object) -> None:
        click.echo({pid for _, pid in spread(square_and_pid, range(500))} == {os.getpid()})

    told = CliRunner().invoke(command, option)
    assert told.output == f"{alone}\n"
    assert CliRunner().invoke(command).output == f"{usable_cores() == 1}\n"


@early
@pytest.mark.parametrize("workers", [1, 2])
def test_an_exception_comes_back_whole_after_the_results_before_it(workers: int) -> None:
    results = spread(fail_at_100, range(500))
    with processes(workers), pytest.raises(DataError, match=r"masks/100.png: is odd\n  hint: mend it"):
        assert [next(results) for _ in range(500)]


def _variable(_: int) -> str | None:
    return os.environ.get("ANNOLOOP_TEST_NOW")


@early
@pytest.mark.parametrize("now", ["first", "second"])
def test_other_processes_have_the_environment_of_now(monkeypatch: pytest.MonkeyPatch, now: str) -> None:
    monkeypatch.setenv("ANNOLOOP_TEST_NOW", now)
    with processes(2):
        assert set(spread(_variable, range(10))) == {now}


@early
def test_a_killed_process_is_an_error_that_says_so() -> None:
    with processes(2), pytest.raises(AnnoloopError, match="a worker process was killed"):
        list(spread(die_at_100, range(500)))


LONG_WORK = """
import time
from annoloop.compute import workers

if __name__ == "__main__":
    workers._TRIED_S, workers._START_S, workers._BATCHES_A_SECOND = 0, 0, 1
    with workers.processes(2):
        for number, _ in enumerate(workers.spread(time.sleep, [0.1] * 60 + [{seconds}] * 200)):
            print(number, flush=True)
"""


@pytest.mark.parametrize(("interrupts", "seconds"), [(1, 1), (2, 60)])
def test_an_interrupt_lets_items_end_and_another_waits_for_nothing(
    tmp_path: Path, interrupts: int, seconds: float
) -> None:
    (tmp_path / "work.py").write_text(LONG_WORK.format(seconds=seconds))
    child = subprocess.Popen(
        [sys.executable, str(tmp_path / "work.py")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert child.stdout is not None
    for line in child.stdout:
        if int(line) == 40:  # one of the other processes has come to the long items, 16 at once
            break
    for _ in range(interrupts):
        os.killpg(child.pid, signal.SIGINT)
        time.sleep(0.3)
    _, errors = child.communicate(timeout=8)
    assert errors.strip().splitlines()[-1] == "KeyboardInterrupt"
    assert errors.count("Traceback") == 1


def test_workers_end_with_a_process_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(LONG_WORK.format(seconds=0.1))
    child = subprocess.Popen(
        [sys.executable, str(tmp_path / "work.py")], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert child.stdout is not None
    for line in child.stdout:
        if int(line) == 40:  # others are at work
            break
    others = psutil.Process(child.pid).children(recursive=True)
    assert len(others) >= 3
    child.kill()
    child.communicate()
    assert psutil.wait_procs(others, timeout=10)[1] == []


@early
def test_what_is_not_taken_is_not_computed_far_ahead(tmp_path: Path) -> None:
    results = spread(_leave_a_trace, [tmp_path / str(n) for n in range(2000)])
    with processes(2):
        next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(list(tmp_path.iterdir())) < 500


def _leave_a_trace(path: Path) -> None:
    path.touch()
