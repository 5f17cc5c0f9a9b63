"""What the machine offers a training: a GPU or cores, and how much memory is free, without loading torch.

Not here: which device a training takes in the end (the training process knows what its torch can use).
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_ASKED = ("--query-gpu=memory.free", "--format=csv,noheader,nounits")
_TIMEOUT_S = 20.0
_MIB = 1 << 20


def free_memory_bytes() -> int:
    """Memory that this process may still take: what the system has free, and the limit of its container."""
    free = _meminfo_bytes("MemAvailable")
    group = Path("/sys/fs/cgroup")
    limit, used = group / "memory.max", group / "memory.current"
    if limit.is_file() and used.is_file():
        most = limit.read_text().strip()
        if most != "max":
            free = min(free, int(most) - int(used.read_text()))
    return max(0, free)


def gpu_memory_bytes() -> int | None:
    """Free memory of the smallest NVIDIA GPU, as its driver says; None where there is no GPU or no driver."""
    if shutil.which("nvidia-smi") is None:
        return None
    try:
        told = subprocess.run(["nvidia-smi", *_ASKED], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
        return min(int(line) for line in told.stdout.split()) * _MIB
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def _meminfo_bytes(name: str) -> int:
    file = Path("/proc/meminfo")
    if not file.is_file():  # not Linux: nothing is kept
        return 0
    line = next(line for line in file.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024
