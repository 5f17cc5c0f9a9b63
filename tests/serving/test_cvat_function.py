"""``annoloop.cvat.function`` with the real cvat-cli against the sandbox: a filled task holds the predictions."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from annoloop.cli.demo import Server
from annoloop.cvat import function
from annoloop.cvat.credentials import Credentials
from annoloop.cvat.server import CvatServer, connect
from annoloop.data.config import FILE_NAME, CvatConfig, load, render
from annoloop.errors import ConfigError
from annoloop.loop.push import push
from annoloop.masks.regions import paint
from annoloop.masks.run_lengths import from_cvat_runs
from annoloop.project.project import Project
from annoloop.selection.request import PushRequest
from annoloop.serving.cvat_function import Detector, Interactor, encoded
from annoloop.simulation.made_data import NAMES

ROOT = Path(__file__).parents[2]
LACKING = [name for name in ("cvat_cli", "jsonc") if importlib.util.find_spec(name) is None]

with_cvat_cli = pytest.mark.skipif(bool(LACKING), reason=f"cvat-cli cannot run: {', '.join(LACKING)} not installed")


@dataclass
class Context:
    """What cvat-sdk tells a function of a frame."""

    frame_name: str = "any.png"
    conf_threshold: float | None = None
    conv_mask_to_poly: bool = False


@dataclass
class Filled:
    """A task of the sandbox without annotations."""

    project: Project
    cvat: CvatServer
    server: Server
    task: int

    def auto_annotate(self, *more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cvat_cli", "--server-host", self.server.url, "task", "auto-annotate"]
        command += [str(self.task), "--function-module", "annoloop.cvat.function"]
        command += ["-p", f"project=str:{self.project.path.parent}", *more]
        environment = {**os.environ, "CVAT_ACCESS_TOKEN": self.server.token}
        how: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 300, "check": False}
        return subprocess.run(command, cwd=ROOT, env=environment, **how)

    def shapes(self) -> dict[str, list[Any]]:
        """By the name of the frame."""
        names = {frame.index: frame.name for frame in self.cvat.frames(self.task)}
        found: dict[str, list[Any]] = {name: [] for name in names.values()}
        for shape in self.cvat.session.get(f"tasks/{self.task}/annotations")["shapes"]:
            found[names[shape["frame"]]].append(shape)
        return found


@pytest.fixture
def filled(predicted: Project, sandbox: Server, tmp_path: Path) -> Iterator[Filled]:
    shutil.copytree(predicted.path.parent, tmp_path, dirs_exist_ok=True)
    file = tmp_path / FILE_NAME  # a CVAT project of the test's own
    file.write_text(render(load(file).model_copy(update={"project": tmp_path.name})), encoding="utf-8")
    with (
        Project(tmp_path / FILE_NAME) as project,
        connect(CvatConfig(url=sandbox.url), Credentials(token=sandbox.token)) as cvat,
    ):
        task = push(project, cvat, PushRequest(worst=3)).task
        assert task is not None
        for job in cvat.jobs(task):
            cvat.replace_job_shapes(job.id, [])
        yield Filled(project, cvat, sandbox, task)


def prediction(project: Project, sample_id: str) -> np.ndarray:
    sample = next(one for one in project.samples() if one.id == sample_id)
    run = project.current_run()
    assert run is not None
    return project.prediction(run.id, project.scan([sample])[sample.id].image_sha256)


@with_cvat_cli
def test_cvat_cli_fills_a_task_with_the_predictions(filled: Filled) -> None:
    done = filled.auto_annotate()
    assert done.returncode == 0, done.stderr
    labels = {label.id: label.name for label in filled.cvat.labels(task_id=filled.task)}
    shapes = filled.shapes()
    assert len(shapes) == 3
    for name, ones in shapes.items():
        expected = prediction(filled.project, name.rpartition(".")[0])
        assert {one["source"] for one in ones} == {"auto"}
        regions = [from_cvat_runs(s["points"], NAMES.index(labels[s["label_id"]]), expected.shape) for s in ones]
        assert np.array_equal(paint([r for r in regions if r], expected.shape, fill=0), expected)


@with_cvat_cli
def test_a_class_that_the_task_has_not_is_told(filled: Filled) -> None:
    labels = filled.cvat.labels(task_id=filled.task)
    gone = next(label for label in labels if label.name == "cross")
    filled.cvat.session.call("DELETE", f"labels/{gone.id}")
    done = filled.auto_annotate()
    assert done.returncode != 0
    assert "label 'cross' is not in dataset" in done.stderr
    done = filled.auto_annotate("--allow-unmatched-labels")
    assert done.returncode == 0, done.stderr
    assert "label 'cross' is not in dataset; any annotations using it will be ignored" in done.stderr
    assert gone.id not in {one["label_id"] for ones in filled.shapes().values() for one in ones}


@with_cvat_cli
def test_a_threshold_is_heard(filled: Filled) -> None:
    assert filled.auto_annotate("--conf-threshold", "1").returncode == 0
    assert not any(filled.shapes().values())


@with_cvat_cli
def test_polygons_where_they_are_asked_for(filled: Filled) -> None:
    done = filled.auto_annotate("--conv-mask-to-poly")
    assert done.returncode == 0, done.stderr
    kinds = {one["type"] for ones in filled.shapes().values() for one in ones}
    assert kinds == {"polygon"}


@pytest.fixture(scope="module")
def detector(predicted: Project) -> Iterator[Detector]:
    made = function.create(project=str(predicted.path.parent))
    assert isinstance(made, Detector)
    with closing(made):
        yield made


def drawn(shapes: Any, size_hw: tuple[int, int]) -> np.ndarray:
    return paint([from_cvat_runs(s.points, s.label_id, size_hw) for s in shapes], size_hw, fill=0)  # type: ignore[misc]


def test_a_spec_is_every_class_but_the_background(detector: Detector) -> None:
    assert [(one.name, one.id, str(one.type)) for one in detector.spec.labels] == [
        (name, index, "mask") for index, name in enumerate(NAMES) if index
    ]


def test_a_frame_that_is_no_image_of_the_project_is_predicted_from_its_pixels(
    detector: Detector, predicted: Project
) -> None:
    sample = predicted.samples()[0]
    expected = prediction(predicted, sample.id)
    with Image.open(sample.image) as image:
        image.load()
    for name in (f"{sample.id}.png", sample.id.rpartition("/")[2] + ".png", "stranger.png", "../../etc/passwd"):
        assert np.array_equal(drawn(detector.detect(Context(name), image), expected.shape), expected)
    black = Image.new("RGB", image.size)
    found = drawn(detector.detect(Context(f"{sample.id}.png"), black), expected.shape)
    assert not np.array_equal(found, expected)  # the name alone does not make it the project's


def test_an_interactor_takes_what_is_clicked(predicted: Project) -> None:
    sample = predicted.samples()[1]
    expected = prediction(predicted, sample.id)
    interactor = function.create(str(predicted.path.parent), kind="interactor")
    assert isinstance(interactor, Interactor)
    assert (interactor.spec.min_pos_points, interactor.spec.min_bounding_boxes) == (0, 0)
    with Image.open(sample.image) as image:
        seen = interactor.preprocess_image(None, image)
    prompts = SimpleNamespace(pos_points=[], neg_points=[], bounding_box=((3.0, 4.0), (20.0, 30.0)))
    (shape,) = interactor.detect(None, seen, prompts)
    box = np.zeros_like(expected)
    box[4:30, 3:20] = expected[4:30, 3:20] > 0
    region = from_cvat_runs(shape.points, 1, expected.shape)
    assert region is not None
    assert np.array_equal(paint([region], expected.shape, fill=0), box)
    assert interactor.detect(None, seen, SimpleNamespace(pos_points=[], neg_points=[], bounding_box=None)) == []
    interactor.close()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "F"])
def test_pixels_of_every_mode_can_be_sent(mode: str) -> None:
    assert encoded(Image.new(mode, (4, 3))).startswith(b"\x89PNG")


def test_what_cannot_be_made_is_refused(predicted: Project, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'tracker' is no kind of function"):
        function.create(str(predicted.path.parent), kind="tracker")
    with pytest.raises(ConfigError):
        function.create(str(tmp_path))
