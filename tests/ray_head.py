"""A Ray cluster of this machine for tests: four places for processes, on 127.0.0.1 only.

Nothing here imports ray: it reads its settings when it is imported, which is for annoloop to do.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
IMPORTED_FROM = (
    HERE,
    *sorted(path for path in HERE.rglob("*") if path.is_dir() and path.name != "__pycache__"),
    HERE.parent,
)
"""Where the modules lie whose functions tests hand to the cluster."""

CORES = 4

RAY_IS_MISSING = "" if find_spec("ray") else "Ray is not installed: pip install 'annoloop[ray]'"
needs_ray = pytest.mark.skipif(bool(RAY_IS_MISSING), reason=RAY_IS_MISSING)


@contextmanager
def ray_head(*python_path: Path) -> Iterator[tuple[str, int]]:
    """A cluster whose processes find modules at ``python_path``: its address, and the pid of its head."""
    import psutil

    folder = tempfile.mkdtemp(prefix="ray-")  # the paths of sockets below it must be short
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--port=0"]
    command += ["--node-ip-address=127.0.0.1", f"--num-cpus={CORES}", "--include-dashboard=false"]
    command += ["--disable-usage-stats", f"--object-store-memory={1 << 27}", f"--temp-dir={folder}"]
    alone = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "PYTHONPATH": os.pathsep.join(map(str, python_path))}
    log = Path(folder) / "head.log"
    with log.open("w") as stream:
        head = subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True, env={**os.environ, **alone}
        )
    try:
        deadline = time.monotonic() + 60
        while "Ray runtime started" not in log.read_text():
            if head.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"Ray did not start:\n{log.read_text()}")
            time.sleep(0.1)
        assert _listening(psutil.Process(head.pid)) <= {"127.0.0.1", "::ffff:127.0.0.1"}
        yield (Path(folder) / "ray_current_cluster").read_text().strip(), head.pid
    finally:
        family = psutil.Process(head.pid).children(recursive=True)
        os.killpg(head.pid, signal.SIGKILL)
        psutil.wait_procs(family, timeout=10)  # they write into the folder to the end
        head.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _listening(head: Any) -> set[str]:
    """The interfaces on which a process (of psutil) and its children listen."""
    sockets = (one for process in (head, *head.children(recursive=True)) for one in process.net_connections("tcp"))
    return {one.laddr.ip for one in sockets if one.status == "LISTEN"}
