"""A project with a made model, and a server of it in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lambda_manager import LambdaManager
from made_model import add_made_model
from running_loop import make_project, train_here

from annoloop.data.config import FILE_NAME
from annoloop.project.project import Project
from annoloop.serving.calls import Limits
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
