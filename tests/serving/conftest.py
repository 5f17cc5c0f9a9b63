"""One project with a made model, and one server of it, for all tests that leave both as they are."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from running_service import Served, new_project, serving

from annoloop.data.config import FILE_NAME
from annoloop.project.project import Project
from annoloop.selection.scoring import predict, unwatched


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
    folder = tmp_path_factory.mktemp("predicted")
    shutil.copytree(model_folder, folder, dirs_exist_ok=True)
    project = Project(folder / FILE_NAME)
    samples = project.samples()
    rows = project.scan(samples)
    run = project.current_run()
    assert run is not None
    predict(project, run, [(s, rows[s.id]) for s in samples], watch=unwatched)
    return project
