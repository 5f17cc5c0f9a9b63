"""One project with a made model, and one server of it, for all tests that leave both as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from lambda_manager import LambdaManager
from made_model import add_made_model
from running_loop import make_project, train_here

from annoloop.data.config import FILE_NAME
from annoloop.project.project import Project
from annoloop.selection.scoring import predict, unwatched
from annoloop.serving.application import Limits
from annoloop.serving.server import serve


def new_project(folder: Path) -> None:
    """A project of eleven images with a made model; predictions are there of the first two images only."""
    make_project(folder, "http://127.0.0.1:1", name="My Steel")
    train_here(folder)
    with Project(folder / FILE_NAME) as project:
        add_made_model(project)


@dataclass
class Served:
    """A server that runs, and what it has said."""

    folder: Path
    url: str
    cvat: LambdaManager
    said: list[str] = field(default_factory=list)


@contextmanager
def serving(folder: Path, limits: Limits | None = None) -> Iterator[Served]:
    said: list[str] = []
    with (
        Project(folder / FILE_NAME) as project,
        serve(project, listen="127.0.0.1:0", limits=limits, say=said.append) as session,
    ):
        yield Served(folder, session.report.url, LambdaManager(session.report.url), said)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    new_project(folder)
    return folder


@pytest.fixture(scope="session")
def served(model_folder: Path) -> Iterator[Served]:
    with serving(model_folder) as one:
        yield one


@pytest.fixture(scope="session")
def predicted(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The same project in a folder of its own, with every prediction made by ``evaluate``'s way."""
    import shutil

    folder = tmp_path_factory.mktemp("predicted")
    shutil.copytree(model_folder, folder, dirs_exist_ok=True)
    project = Project(folder / FILE_NAME)
    samples = project.samples()
    rows = project.scan(samples)
    run = project.current_run()
    assert run is not None
    predict(project, run, [(s, rows[s.id]) for s in samples], watch=unwatched)
    return project
