"""An object store that speaks S3 on this machine, and projects whose data lie in it.

moto's server is a stand-in for S3 as others wrote it; what talks to it is the real s3fs, over HTTP.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest

from annoloop.data.config import FILE_NAME, load, render
from annoloop.data.storage import RemotePath

ACCOUNT = {
    "AWS_ACCESS_KEY_ID": "test-account",
    "AWS_SECRET_ACCESS_KEY": "the-secret-of-the-test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_MAX_ATTEMPTS": "1",
}


@dataclass(frozen=True)
class Store:
    """One bucket, which is the test's own."""

    endpoint: str
    url: str

    def put(self, folder: Path, name: str) -> RemotePath:
        """Upload a folder."""
        fsspec.filesystem("s3").put(f"{folder}/", f"{self.url}/{name}/", recursive=True)
        return RemotePath(f"{self.url}/{name}")

    def move_data(self, folder: Path) -> RemotePath:
        """The data of a project folder go into the store, and no longer lie beside annoloop.yaml."""
        file = folder / FILE_NAME
        config = load(file)
        assert isinstance(config.data.root, Path)
        root = self.put(config.data.root, f"data-{uuid4().hex[:8]}")
        shutil.rmtree(config.data.root)
        data = config.data.model_copy(update={"root": root})
        file.write_text(render(config.model_copy(update={"data": data})), encoding="utf-8")
        return root


def contents(root: Path | RemotePath) -> dict[str, bytes]:
    """All files below a folder by their names."""
    if isinstance(root, RemotePath):
        return {name: file.read_bytes() for name, file in root.found().items()}
    return {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}


def gets(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The objects that were read since the last time, without their bucket; the caller sets the level to INFO."""
    lines = [record.getMessage() for record in caplog.records if record.name == "werkzeug"]
    caplog.clear()
    return [found[1] for line in lines if (found := re.search(r"GET /[^/? ]+/(\S+)", line))]


@contextmanager
def running_store() -> Iterator[str]:
    """The address of an S3 that is empty; this process and its children talk to it."""
    from moto.server import ThreadedMotoServer  # a second that only tests with a store have to wait

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**ACCOUNT, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
            patch.setenv(name, value)
        yield f"http://{host}:{port}"
    server.stop()


def new_bucket(endpoint: str) -> Store:
    """A bucket of its own for a test."""
    name = f"bucket-{uuid4().hex[:8]}"
    fsspec.filesystem("s3").mkdir(name)
    return Store(endpoint, f"s3://{name}")
