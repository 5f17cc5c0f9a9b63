"""What every test shares: a small made data set, projects copied from it, the sandbox, and no way out.

No test reaches further than this machine; hypothesis draws the same examples in every run.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import pytest
from hypothesis import settings
from ray_head import IMPORTED_FROM, RAY_IS_MISSING, ray_head
from running_loop import Loop, add_model, make_project, opened
from store import Store, new_bucket, running_store

from annoloop.cli.demo import Server, running_sandbox
from annoloop.compute import workers
from annoloop.compute.launch import usable_cores
from annoloop.data.config import FILE_NAME
from annoloop.loop.setup.start import init
from annoloop.project.project import Project
from annoloop.simulation.made_data import COLORS, NAMES, MadeData, make_data

# A shell starts what runs in its background with ^C ignored, and every child would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("ci")

LONG_FIRST = (
    "test_demo.py", "test_day.py", "test_child.py", "test_retrain.py", "test_simulate.py", "test_serve.py",
    "test_ray_cluster.py",
    "test_budget.py", "test_launch.py", "test_mishaps.py", "test_app.py", "test_killed_children.py", "test_trackers.py",
    "test_lying_server.py", "test_faults.py", "test_shards.py", "test_killed.py", "test_killed_review.py",
    "test_export_model.py", "test_exporting.py", "test_predict.py",
    "test_cvat_function.py", "test_folds.py", "test_browse.py", "test_data_in_a_store.py", "test_push_pull.py",
    "test_python_docs.py", "test_wheel.py",
)  # fmt: skip
"""Files that take more than half a minute, longest first: begun last, they would leave the other cores idle."""


ALL_CORES = os.sched_getaffinity(0)


def pytest_configure(config: pytest.Config) -> None:
    """Give each of several test processes a core of its own, which whatever it starts stays on.

    Threads of two trainings that wait for each other on the same cores take four times as long.  Where a container may
    use less than it sees, nobody knows who else is on a core.
    """
    worker = getattr(config, "workerinput", None)
    if worker is not None and usable_cores() == len(ALL_CORES):
        cores = sorted(ALL_CORES)
        os.sched_setaffinity(0, {cores[int(worker["workerid"].removeprefix("gw")) % len(cores)]})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take long first, the others in their order."""
    place = {name: number for number, name in enumerate(LONG_FIRST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


ProjectFactory: TypeAlias = Callable[[str], Project]
"""Makes and opens a project in a folder of the given name below the test's ``tmp_path``."""

MADE_COUNTS = {"train": 3, "val": 2, "test": 1}
MADE_SIZE_HW = (40, 56)

_THIS_MACHINE = ("127.0.0.1", "::1", "localhost", "0.0.0.0", "::", "", None)


@pytest.fixture(scope="session", autouse=True)
def this_machine_only() -> Iterator[None]:
    """Whoever looks up or connects to another machine gets an error that says so."""
    connect, getaddrinfo = socket.socket.connect, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX:
            _refuse(address[0])
        connect(self, address)

    def guarded_getaddrinfo(host: Any, *arguments: Any, **named: Any) -> Any:
        _refuse(host.decode() if isinstance(host, bytes) else host)
        return getaddrinfo(host, *arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)
        yield


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeData:
    """Six made images, 40 x 56 px, in train, val and test; every test reads it, none writes."""
    return make_data(tmp_path_factory.mktemp("made"), MADE_COUNTS, size_hw=MADE_SIZE_HW)


@pytest.fixture
def project_factory(made: MadeData, tmp_path: Path) -> Iterator[ProjectFactory]:
    """Projects on copies of the made data, as ``annoloop init`` sets them up; closed after the test."""
    with ExitStack() as opened:

        def build(name: str) -> Project:
            folder = tmp_path / name
            shutil.copytree(made.root, folder / "data")
            init(folder / "data", folder, classes=NAMES, palette=COLORS)
            return opened.enter_context(Project(folder / FILE_NAME))

        yield build


@pytest.fixture
def project(project_factory: ProjectFactory) -> Project:
    """One project on a copy of the made data."""
    return project_factory("project")


@pytest.fixture(scope="module")
def all_cores() -> Iterator[None]:
    """All cores for the rest of a module: for what is about several of them, or is several programs at once."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, ALL_CORES)
    yield
    os.sched_setaffinity(0, own)


class _AtOnce(ThreadPoolExecutor):
    """What is submitted is done when ``submit`` returns."""

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:  # type: ignore[override]
        begun = super().submit(function, *args)
        wait([begun])
        return begun


@pytest.fixture
def spread_early(all_cores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work goes to other processes after two items, however soon it would be done; while they start this one waits."""
    monkeypatch.setattr(workers, "_TRIED_S", 0.0)
    monkeypatch.setattr(workers, "_START_S", 0.0)
    monkeypatch.setattr(workers, "ThreadPoolExecutor", _AtOnce)


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The embedded CVAT in a child process: where it listens, and its token."""
    with running_sandbox(tmp_path_factory.mktemp("sandbox")) as server:
        yield server


@pytest.fixture(scope="session")
def ray_token() -> Iterator[None]:
    """A token of our own, so that nobody else on this machine can use the tests' Ray clusters."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        yield


@pytest.fixture(scope="session")
def ray_address(ray_token: None) -> Iterator[str]:
    """A Ray cluster of this machine, for all tests that leave it whole."""
    if RAY_IS_MISSING:
        pytest.skip(RAY_IS_MISSING)
    with ray_head(*IMPORTED_FROM) as (address, _):
        yield address


@pytest.fixture
def loop(tmp_path: Path, sandbox: Server) -> Iterator[Loop]:
    """A project with a model of known mistakes, and a session with the sandbox."""
    made = make_project(tmp_path, sandbox.url, name=f"test-{uuid4().hex[:8]}", segment_size=3)
    with opened(tmp_path, sandbox) as (project, cvat):
        add_model(project, made.truth)
        yield Loop(tmp_path, made.truth, sandbox, project, cvat)


@pytest.fixture(scope="session")
def store_address() -> Iterator[str]:
    """Where an S3 listens, in a thread of this process."""
    with running_store() as endpoint:
        yield endpoint


@pytest.fixture
def store(store_address: str) -> Store:
    """An empty bucket in it."""
    return new_bucket(store_address)


def _refuse(host: object) -> None:
    if host not in _THIS_MACHINE:
        raise OSError(f"tests stay on this machine, but somebody wants to reach {host!r}")
