"""The command line that starts the worker: one process, one per GPU, or the same on several machines.

Starts nothing itself.  The fact to know: more than one process goes through torchrun, and more than one
machine through srun where slurm has given them to us, else through a command for a person to run on each.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from annoloop.errors import ConfigError

WORKER = "annoloop.training.mmseg.worker"

_LOOKS = 5
_LOOK_EVERY_S = 0.04
_LONGER_LOOKS = 20
_LONGER_LOOK_EVERY_S = 0.1

_PORT = 29_400
"""torchrun's own choice of a port for machines to meet at; ``MASTER_PORT`` says otherwise."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What to start here, and what a person has to start on each other machine, if anything."""

    command: tuple[str, ...]
    elsewhere: str | None = None


def launch(python: str, job_file: Path, *, processes: int = 1, nodes: int = 1) -> Launch:
    """How to start the worker in ``processes`` processes on each of ``nodes`` machines.

    Raises:
        ConfigError: slurm has given us fewer machines than asked for.
    """
    worker = ("-m", WORKER, str(job_file))
    if processes == nodes == 1:
        return Launch((python, *worker))
    torchrun = (python, "-m", "torch.distributed.run", f"--nproc-per-node={processes}")
    if nodes == 1:
        return Launch((*torchrun, "--standalone", *worker))
    if "SLURM_JOB_ID" in os.environ:
        srun = ("srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1")
        meeting = f"--rdzv-endpoint={_first_host(nodes)}:{_port()}", f"--rdzv-id={job_file.parent.name}"
        return Launch((*srun, *torchrun, f"--nnodes={nodes}", "--rdzv-backend=c10d", *meeting, *worker))
    host = os.environ.get("MASTER_ADDR") or socket.gethostname()
    static = (f"--nnodes={nodes}", f"--master-addr={host}", f"--master-port={_port()}")
    # The first machine has to be this one: only what its processes say comes back to us.
    elsewhere = shlex.join((*torchrun, *static, "--node-rank=1", *worker))
    return Launch((*torchrun, *static, "--node-rank=0", *worker), elsewhere)


def _port() -> int:
    return int(os.environ.get("MASTER_PORT", _PORT))


def _first_host(nodes: int) -> str:
    """The first machine of our slurm allocation, where all others come to meet."""
    given = int(os.environ.get("SLURM_JOB_NUM_NODES", "1"))
    if given < nodes or shutil.which("scontrol") is None:
        raise ConfigError(
            f"slurm job {os.environ['SLURM_JOB_ID']} has {given} machines, {nodes} were asked for",
            where="--nodes",
            hint=f"ask for them first: salloc --nodes={nodes} annoloop retrain --nodes {nodes} …",
        )
    shown = subprocess.run(
        ["scontrol", "show", "hostnames", os.environ["SLURM_JOB_NODELIST"]],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return shown.stdout.split()[0]


def usable_cores() -> int:
    """The cores that this process may use: its affinity, and the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.is_file():
        limit, period = quota.read_text().split()
        if limit != "max":
            cores = min(cores, max(1, int(limit) // int(period)))
    return cores


def busy_cores() -> int:
    """How many of our usable cores other programs are at work on, all of them at most.

    Where some seem to be, it is looked at for longer: a command that is soon done must not slow a training for hours.
    """
    busy = _median_look(_LOOKS, _LOOK_EVERY_S)
    if busy and usable_cores() > 1:
        busy = min(busy, _median_look(_LONGER_LOOKS, _LONGER_LOOK_EVERY_S))
    return min(usable_cores(), busy)


def _median_look(looks: int, every_s: float) -> int:
    found = []
    for _ in range(looks):
        time.sleep(every_s)
        found.append(_others_running())
    return int(statistics.median(found))


def free_threads(busy: int) -> int:
    """How many threads go on fastest where others are busy on so many of our cores.

    All threads wait for the slowest one, so one that has to share its core holds up the others: on two cores, one of
    them taken, two threads take twice as long as one.
    """
    return max(1, usable_cores() - busy)


def thread_settings(busy: int) -> dict[str, str]:
    """Environment for the worker: how its threads wait for each other where others are busy on so many cores.

    Threads that spin are a third faster where they have their cores to themselves, and several times slower
    where something else wants these: then they give them away.
    """
    return {"OMP_WAIT_POLICY": "passive"} if busy else {}


def _others_running() -> int:
    """How many threads of this machine run or want to, beside ours, that find no free core beside our cores."""
    load = Path("/proc/loadavg")
    if not load.is_file():
        return 0
    running = int(load.read_text().split()[3].partition("/")[0])
    idle = (os.cpu_count() or 1) - usable_cores()
    return max(0, running - 1 - idle)
