"""How much memory a process needs, for tests that bound it."""

from __future__ import annotations

from pathlib import Path

import pytest

_STATUS = "/proc/{}/status"

tells_memory = pytest.mark.skipif(
    not Path(_STATUS.format("self")).exists(), reason="reads the memory of a process from /proc: run it on Linux"
)


def most_bytes(pid: int) -> int:
    """The most bytes of memory that a process has ever had; getrusage would also count those of the one before exec."""
    status = Path(_STATUS.format(pid)).read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024
