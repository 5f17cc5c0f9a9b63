"""A tracking server of MLflow in a child process, on a database and a folder of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_S = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class MlflowServer:
    """Where it listens, and what it knows, asked for by REST."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> MlflowServer:
        command = [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db", "--artifacts-destination",
            f"{self.folder}/artifacts",
        ]  # fmt: skip
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true",
                 "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # fmt: skip
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=os.environ | quiet, cwd=self.folder, start_new_session=True
            )
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=2).close()
                return self
            except OSError:
                time.sleep(0.1)
        raise AssertionError((self.folder / "server.log").read_text())

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.uri}/api/2.0/mlflow/{path}", timeout=10) as answer:
            return json.load(answer)

    def runs(self, experiment: str) -> list[Any]:
        """The runs of an experiment, the oldest first."""
        found = self.get(f"experiments/get-by-name?experiment_name={experiment}")["experiment"]["experiment_id"]
        asked = json.dumps({"experiment_ids": [found], "order_by": ["attributes.start_time ASC"]}).encode()
        request = urllib.request.Request(
            f"{self.uri}/api/2.0/mlflow/runs/search", asked, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return list(json.load(answer).get("runs", []))

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """(step, value) of all points of a curve."""
        found = self.get(f"metrics/get-history?run_id={run_id}&metric_key={metric}").get("metrics", [])
        return sorted((int(one["step"]), float(one["value"])) for one in found)

    def artifacts(self, run_id: str, folder: str) -> list[str]:
        return [one["path"] for one in self.get(f"artifacts/list?run_id={run_id}&path={folder}").get("files", [])]
