"""One training in several processes: joining, and agreeing on what only one of them can know.

Alone, every function here answers at once.  The fact to know: a decision that leaves the training loop has
to be the same in every process at the same iteration, or the others wait for ever.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from mmengine import dist

RANK = int(os.environ.get("RANK", "0"))
WORLD = int(os.environ.get("WORLD_SIZE", "1"))
LOCAL_RANK = int(os.environ.get("LOCAL_RANK", "0"))
LOCAL_WORLD = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
"""What torchrun tells each process of the group; a process that was started alone is the first of one."""


def join(device: str) -> None:
    """Join the group of processes that torchrun started; on "cuda", one GPU is ours from now on."""
    if WORLD == 1:
        return
    if device == "cuda":
        torch.cuda.set_device(LOCAL_RANK)
    # Before mmengine does it: on a CPU it would call for CUDA devices.
    torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo")


def any_rank(flag: bool) -> bool:
    """Whether it is so in at least one process."""
    if WORLD == 1:
        return flag
    told = torch.tensor(float(flag))
    dist.all_reduce(told, "max")
    return bool(told.item())


def from_first(values: Sequence[float]) -> tuple[float, ...]:
    """The first process's numbers, in every process."""
    if WORLD == 1:
        return tuple(values)
    told = torch.tensor(values, dtype=torch.float64)
    dist.broadcast(told)
    return tuple(told.tolist())


def wait_for_all() -> None:
    """Go on when every process has come this far."""
    if WORLD > 1:
        dist.barrier()
