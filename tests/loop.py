"""A project with a finished model and a CVAT session, without an hour of training before every test.

The model is real state, not a mock: a run in the ledger with predictions on disk, as training leaves it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from annoloop.config import FILE_NAME, CvatConfig, load, render
from annoloop.credentials import Credentials
from annoloop.cvat import CvatServer, connect
from annoloop.dataset import read_label_map
from annoloop.demo import Server
from annoloop.images import IndexImage, encode_index_png, write_atomic
from annoloop.init import init
from annoloop.made_data import COLORS, NAMES, MadeData, make_data
from annoloop.project import Project

COUNTS = {"train": 8, "val": 3}


def make_project(folder: Path, server_url: str, *, name: str, segment_size: int = 0) -> MadeData:
    """A small data set with an annoloop.yaml that points at a server; ``name`` must be the test's own."""
    made = make_data(folder, COUNTS, size_hw=(48, 64), damaged_share=0.9, seed=3)
    file = init(made.root, folder, classes=NAMES, palette=COLORS).file
    config = load(file)
    settings = {
        "project": name,
        "data": config.data.model_copy(update={"root": Path(os.path.relpath(made.root, folder))}),
        "cvat": config.cvat.model_copy(update={"url": server_url, "segment_size": segment_size}),
    }
    file.write_text(render(config.model_copy(update=settings)), encoding="utf-8")
    return made


def add_model(project: Project, truth: Path, *, mistakes: int = 40, seed: int = 0) -> int:
    """A finished, current run that predicts the truth but for a wrong square in every image."""
    run_id = project.ledger.add_run(
        kind_digest="made", recipe="unet_tiny", parent_id=None, class_digest=project.classes.digest
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
