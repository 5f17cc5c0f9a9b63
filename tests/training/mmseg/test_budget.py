"""A training with a budget: it ends in time, with a validated model, and goes on after it was stopped."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from small_job import make_job, of

from annoloop.errors import Interrupted
from annoloop.training.child import run_job
from annoloop.training.records import Event, Job

BUDGET_S = 40.0


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return make_job(tmp_path, budget_s=BUDGET_S, began_at=time.time())


@pytest.mark.slow
def test_it_ends_in_time_validated_with_its_rate_at_the_end_and_all_predictions_made(job: Job) -> None:
    events: list[Event] = []
    began = time.time()
    result = run_job(replace(job, began_at=began), events.append)
    assert 0.6 * BUDGET_S <= time.time() - began <= 1.1 * BUDGET_S
    validations = of(events, "validation")
    assert len(validations) >= 2
    assert validations[-1].fields["iteration"] == result.iterations
    assert result.mdice == max(v.fields["mdice"] for v in validations)
    assert result.mdice is not None
    assert result.mdice > 0.6
    assert (job.run_dir / "best.pth").is_file()
    assert all(index_png.is_file() for _, index_png, _ in job.predictions)
    rates = [event.fields["lr"] for event in of(events, "iteration")]
    assert rates[-1] < 0.1 * max(rates)
    assert rates[0] < 0.5 * max(rates), "it warms up"


@pytest.mark.slow
def test_how_long_it_takes_is_told_early_and_close_to_what_comes(job: Job) -> None:
    events: list[Event] = []
    result = run_job(replace(job, began_at=time.time()), events.append)
    first = of(events, "planned")[0]
    assert events.index(first) < events.index(of(events, "iteration")[10])
    assert first.fields["seconds"] == BUDGET_S
    assert 0.4 < first.fields["iterations"] / result.iterations < 2.5, "machines are noisy"


@pytest.mark.slow
def test_a_run_that_was_stopped_uses_up_what_is_left_of_its_budget(job: Job) -> None:
    def stop_at_60(event: Event) -> None:
        if event.kind == "iteration" and event.fields["iteration"] == 60:
            raise KeyboardInterrupt

    began = time.time()
    with pytest.raises(Interrupted, match="training stopped"):
        run_job(replace(job, began_at=began), stop_at_60)
    used = time.time() - began
    events: list[Event] = []
    again = time.time()
    result = run_job(replace(job, resume=True, began_at=again), events.append)
    assert of(events, "started")[0].fields["resumed_from"] >= 60
    assert result.iterations > 60
    assert time.time() - again <= 1.1 * BUDGET_S - 0.5 * used
    assert (job.run_dir / "best.pth").is_file()


@pytest.mark.slow
def test_a_budget_that_is_too_short_still_ends_with_a_model(job: Job) -> None:
    result = run_job(replace(job, budget_s=1.0, began_at=time.time()), lambda _: None)
    assert result.iterations >= 1
    assert result.mdice is not None


def test_wrong_budgets_are_wrong_usage() -> None:
    for arguments in (["--budget", "soon"], ["--budget", "5m", "--iterations", "3"]):
        child = subprocess.run(
            [sys.executable, "-m", "annoloop", "retrain", *arguments], capture_output=True, text=True, check=False
        )
        assert child.returncode == 2
        assert "--budget" in child.stderr
