"""Several processes for one training: two of them on the CPU, as torchrun starts them on GPUs and machines."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_job import in_child, make_job, of

from annoloop.compute import launch as launching
from annoloop.compute.launch import busy_cores, free_threads, launch, thread_settings, usable_cores
from annoloop.errors import ConfigError, Interrupted, TrainingError
from annoloop.training import child
from annoloop.training.child import run_job
from annoloop.training.records import Event

JOB = Path("runs/0007/job.json")


def test_one_process_needs_no_torchrun() -> None:
    assert launch("python", JOB).command == ("python", "-m", "annoloop.training.mmseg.worker", str(JOB))


def test_gpus_of_one_machine_go_through_torchrun() -> None:
    command = shlex.join(launch("python", JOB, processes=4).command)
    assert (
        command
        == f"python -m torch.distributed.run --nproc-per-node=4 --standalone -m annoloop.training.mmseg.worker {JOB}"
    )


def test_without_slurm_a_person_starts_the_other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("MASTER_ADDR", "gpu1")
    start = launch("python", JOB, processes=2, nodes=3)
    assert "--nnodes=3 --master-addr=gpu1 --master-port=29400 --node-rank=0" in shlex.join(start.command)
    assert start.elsewhere == shlex.join(start.command).replace("--node-rank=0", "--node-rank=1")


def test_slurm_starts_every_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    scontrol = tmp_path / "scontrol"
    scontrol.write_text("#!/bin/sh\necho node07\necho node08\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name, value in (("SLURM_JOB_ID", "99"), ("SLURM_JOB_NUM_NODES", "2"), ("SLURM_JOB_NODELIST", "node[07-08]")):
        monkeypatch.setenv(name, value)
    start = launch("python", JOB, processes=4, nodes=2)
    assert start.elsewhere is None
    assert shlex.join(start.command).startswith("srun --nodes=2 --ntasks=2 --ntasks-per-node=1 python -m torch")
    assert "--rdzv-endpoint=node07:29400" in start.command
    with pytest.raises(ConfigError, match="slurm job 99 has 2 machines, 3 were asked for"):
        launch("python", JOB, nodes=3)


@pytest.mark.slow
def test_two_processes_train_as_well_as_one(tmp_path: Path) -> None:
    """Same images, same batch of four; only batch norm sees two images instead of four."""
    job = make_job(tmp_path, iterations=60)
    alone = run_job(replace(job, run_dir=tmp_path / "alone"), lambda _: None)
    events: list[Event] = []
    both = run_job(replace(job, run_dir=tmp_path / "both", processes=2, device="cpu"), events.append)
    (started,) = of(events, "started")
    assert (started.fields["processes"], started.fields["batch_size"]) == (2, 4)
    assert len(of(events, "iteration")) == 60, "one process speaks for both"
    assert len(of(events, "prediction")) <= len(job.predictions)
    assert all(index_png.is_file() and confidence_png.is_file() for _, index_png, confidence_png in job.predictions)
    assert alone.mdice is not None
    assert both.mdice == pytest.approx(alone.mdice, abs=0.1)
    assert both.mdice == max(e.fields["mdice"] for e in of(events, "validation"))


@pytest.mark.slow
def test_a_stopped_training_of_two_goes_on_and_a_single_process_can_take_it_over(tmp_path: Path) -> None:
    def on_event(event: Event) -> None:
        if event.kind == "iteration" and event.fields["iteration"] == 5:
            signal.raise_signal(signal.SIGINT)

    job = make_job(tmp_path, iterations=20, processes=2, device="cpu")
    with pytest.raises(Interrupted, match=r"last\.pth"):
        run_job(job, on_event)
    events: list[Event] = []
    result = run_job(replace(job, resume=True, processes=1), events.append)
    (started,) = of(events, "started")
    assert started.fields["resumed_from"] >= 5
    assert result.iterations == 20


@pytest.mark.slow
def test_a_budget_is_kept_by_two_processes(tmp_path: Path) -> None:
    began = time.time()
    job = make_job(tmp_path, budget_s=45.0, began_at=began, processes=2, device="cpu")
    result = run_job(job, lambda _: None)
    assert time.time() - began < 45.0 * 1.1
    assert result.mdice is not None


@pytest.mark.slow
def test_two_machines_meet_and_share_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other "machine" is a process that runs what annoloop tells a person to run there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(port))
    others: list[subprocess.Popen[bytes]] = []

    def on_event(event: Event) -> None:
        if event.kind == "warning" and "--node-rank=1" in event.fields["message"]:
            command = event.fields["message"].splitlines()[1]
            others.append(subprocess.Popen(shlex.split(command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        events.append(event)

    events: list[Event] = []
    try:
        result = run_job(make_job(tmp_path, iterations=8, nodes=2, device="cpu"), on_event)
        assert others[0].wait(30) == 0
    finally:
        for other in others:
            other.kill()
    assert result.iterations == 8
    assert of(events, "started")[0].fields["processes"] == 2


@pytest.mark.slow
def test_gpus_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    if in_child("import torch; print(torch.cuda.device_count())") > 0:
        pytest.skip("this machine has a GPU; the check is for one that has none")
    with pytest.raises(TrainingError, match="no CUDA device was found"):
        run_job(make_job(tmp_path, iterations=8, processes=2, device="cuda"), lambda _: None)


@pytest.mark.skipif(not Path("/proc/loadavg").is_file(), reason="needs Linux's /proc/loadavg")
def test_threads_give_their_cores_away_where_others_want_them() -> None:
    spinning = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(os.cpu_count() or 1)]
    try:
        time.sleep(0.3)
        assert busy_cores() == usable_cores()
    finally:
        for one in spinning:
            one.kill()
            one.wait()


@pytest.mark.parametrize(("seen", "busy"), [([0] * 5, 0), ([1] * 5 + [0] * 20, 0), ([2] * 5 + [1] * 20, 1)])
def test_a_command_that_is_soon_done_keeps_no_core(monkeypatch: pytest.MonkeyPatch, seen: list[int], busy: int) -> None:
    looks = iter(seen)
    monkeypatch.setattr(launching, "_others_running", lambda: next(looks))
    monkeypatch.setattr(launching, "usable_cores", lambda: 4)
    monkeypatch.setattr(launching, "time", SimpleNamespace(sleep=lambda _: None))
    assert busy_cores() == busy
    assert list(looks) == []


def test_others_are_left_the_cores_that_they_are_busy_on(all_cores: None) -> None:
    cores = usable_cores()
    assert [free_threads(busy) for busy in (0, 1, cores, 99)] == [cores, max(1, cores - 1), 1, 1]
    assert thread_settings(0) == {}
    assert thread_settings(1) == {"OMP_WAIT_POLICY": "passive"}


@pytest.mark.slow
def test_a_training_beside_others_takes_the_cores_that_are_left(
    tmp_path: Path, all_cores: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "busy_cores", lambda: 1)
    events: list[Event] = []
    run_job(make_job(tmp_path, iterations=2, device="cpu"), events.append)
    facts = of(events, "started")[0].fields
    assert (facts["threads"], facts["cores"]) == (max(1, usable_cores() - 1), usable_cores())
