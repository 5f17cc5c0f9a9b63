"""A project with a finished model and a CVAT session, without an hour of training before every test.

The model is real state, not a mock: a run in the ledger with predictions on disk, as training leaves it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from annoloop.cli.demo import Server
from annoloop.cvat.credentials import Credentials
from annoloop.cvat.server import CvatServer, connect
from annoloop.cvat.wire import JobInfo, Shape, class_labels
from annoloop.data.config import FILE_NAME, CvatConfig, load, render
from annoloop.data.images import IndexImage, encode_index_png, write_atomic
from annoloop.data.mmseg_folders import read_label_map
from annoloop.loop.exchange.pull_report import PullReport
from annoloop.loop.pull import pull
from annoloop.loop.push import PushReport, push
from annoloop.loop.setup.start import init
from annoloop.masks.regions import LabelMap, Region
from annoloop.masks.run_lengths import to_cvat_runs
from annoloop.project.project import Project
from annoloop.selection.request import PushRequest
from annoloop.simulation.made_data import COLORS, NAMES, MadeData, make_data

COUNTS = {"train": 8, "val": 3}


def make_project(
    folder: Path,
    server_url: str,
    *,
    name: str,
    segment_size: int = 0,
    counts: Mapping[str, int] = COUNTS,
    size_hw: tuple[int, int] = (48, 64),
) -> MadeData:
    """A small data set with an annoloop.yaml that points at a server; ``name`` must be the test's own."""
    made = make_data(folder, counts, size_hw=size_hw, damaged_share=0.9, seed=3)
    file = init(made.root, folder, classes=NAMES, palette=COLORS).file
    config = load(file)
    settings = {
        "project": name,
        "data": config.data.model_copy(update={"root": Path(os.path.relpath(made.root, folder))}),
        "cvat": config.cvat.model_copy(update={"url": server_url, "segment_size": segment_size}),
    }
    file.write_text(render(config.model_copy(update=settings)), encoding="utf-8")
    return made


def train_here(folder: Path) -> None:
    """From now on the project trains the smallest recipe on the CPU; ``root`` as init would write it."""
    file = folder / FILE_NAME
    config = load(file)
    train = config.train.model_copy(update={"recipe": "unet_tiny", "device": "cpu"})
    data = config.data.model_copy(update={"root": Path("data")})
    file.write_text(render(config.model_copy(update={"train": train, "data": data})), encoding="utf-8")


def add_model(project: Project, truth: Path, *, mistakes: int = 40, seed: int = 0, recipe: str = "unet_tiny") -> int:
    """A finished, current run that predicts the truth but for a wrong square in every image."""
    run_id = project.ledger.add_run(
        kind_digest="made", recipe=recipe, parent_id=None, class_digest=project.classes.digest
    )
    rng = np.random.default_rng(seed)
    samples = project.samples()
    rows = project.scan(samples)
    for sample in samples:
        prediction = read_label_map(truth / f"{sample.id}.png", project.config.data).copy()
        side = int(np.sqrt(mistakes))
        top, left = (int(rng.integers(0, length - side)) for length in prediction.shape)
        prediction[top : top + side, left : left + side] = int(rng.integers(1, len(NAMES)))
        index_png, confidence_png = project.prediction_paths(run_id, rows[sample.id].image_sha256)
        write_atomic(index_png, encode_index_png(IndexImage(prediction)))
        write_atomic(confidence_png, encode_index_png(IndexImage(np.full_like(prediction, 200))))
    project.ledger.judge_run(run_id, val_dice=0.5, promoted=True, verdict="the first model")
    return run_id


@contextmanager
def opened(folder: Path, server: Server) -> Iterator[tuple[Project, CvatServer]]:
    """The project of ``folder`` and a session with its server."""
    with (
        Project(folder / FILE_NAME) as project,
        connect(CvatConfig(url=server.url), Credentials(token=server.token)) as cvat,
    ):
        yield project, cvat


def mask_bytes(project: Project) -> dict[str, bytes]:
    """The bytes of every mask file, by sample id."""
    return {s.id: s.mask.read_bytes() for s in project.samples() if s.mask is not None}


@dataclass(frozen=True)
class Loop:
    """A project with a model, a session with its server, and what an annotator does there."""

    folder: Path
    truth: Path
    server: Server
    project: Project
    cvat: CvatServer

    def push(self, worst: int = 4, **details: object) -> PushReport:
        """Push predictions with three images per job."""
        settled = {"segment_size": 3, "source": "prediction"} | details
        return push(self.project, self.cvat, PushRequest(worst=worst, **settled))  # type: ignore[arg-type]

    def pull(self, task: int | None, **details: object) -> PullReport:
        """Pull one task."""
        return pull(self.project, self.cvat, task=task, **details)[0]  # type: ignore[arg-type]

    def jobs(self, task: int | None) -> list[JobInfo]:
        """The jobs of a task."""
        assert task is not None
        return self.cvat.jobs(task)

    def complete(self, task: int | None, state: str = "completed") -> None:
        """Set all jobs of a task to a state."""
        for job in self.jobs(task):
            self.cvat.set_job(job.id, state=state)

    def tasks(self) -> list[str]:
        """The names of all tasks of the project in CVAT."""
        project_id = self.cvat.ensure_project(self.project.config.project, class_labels(self.project.classes))
        return [task["name"] for task in self.cvat.session.listed("tasks", project_id=project_id)]

    def frame_of(self, task: int | None, sample_id: str) -> int:
        """The frame that shows a sample."""
        assert task is not None
        return next(f.index for f in self.cvat.frames(task) if f.name.startswith(f"{sample_id}."))

    def draw(self, task: int | None, frame: int, label: str, region: Region) -> None:
        """Draw a mask as an annotator does."""
        labels = {x.name: x.id for x in self.cvat.labels(task_id=int(task or 0))}
        job = next(j for j in self.cvat.jobs(int(task or 0)) if frame in j.frames)
        shape = Shape(frame, labels[label], "mask", tuple(map(float, to_cvat_runs(region))))
        self.cvat.change_job_shapes(job.id, create=[shape])

    def label_map(self, sample_id: str) -> LabelMap:
        """The mask of a sample as it is on disk."""
        return read_label_map(self.project.mask_path(sample_id), self.project.config.data)

    def true_map(self, sample_id: str) -> LabelMap:
        """The mask that it should have."""
        return read_label_map(self.truth / f"{sample_id}.png", self.project.config.data)
