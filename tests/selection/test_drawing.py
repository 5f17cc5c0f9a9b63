"""foreground-random and clasp-pe: who is drawn, and from what is kept of a prediction."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from made_model import add_made_model
from PIL import Image
from running_loop import Loop, make_project, train_here
from small_job import in_child

from annoloop.data.class_entropy import noted, read_sums
from annoloop.data.config import FILE_NAME
from annoloop.errors import DataError
from annoloop.loop.push import PushReport, push
from annoloop.metrics.clasp_pe import order
from annoloop.project.project import Project
from annoloop.selection.request import PushRequest
from annoloop.simulation.made_data import NAMES

_SUMS = """
import json
import numpy as np, torch
from annoloop.training.mmseg.predict import class_entropy
torch.manual_seed(3)
p = (6 * torch.randn(5, 31, 47)).softmax(dim=0)
p[:, 0, :5] = torch.tensor([1.0, 0, 0, 0, 0])[:, None]
halves = class_entropy(p[:, :, :20]) + class_entropy(p[:, :, 20:])
print(json.dumps([p.tolist(), class_entropy(p).tolist(), halves.tolist()]))
"""


def test_class_sums_are_entropy_times_probability_summed_over_pixels() -> None:
    probabilities, sums, halves = map(np.array, in_child(_SUMS))
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.nansum(probabilities * np.log(probabilities), axis=0)
    expected = (probabilities * entropy).sum(axis=(1, 2))
    assert sums == pytest.approx(expected, rel=1e-4)
    assert halves == pytest.approx(sums, rel=1e-6)
    assert sums.sum() == pytest.approx(entropy.sum(), rel=1e-4)


def test_sums_come_back_from_a_png_as_they_went(tmp_path: Path) -> None:
    sums = np.array([0.1, 1e-30, 12345678.9, 0.0])
    Image.new("L", (40, 30)).save(tmp_path / "one.png", pnginfo=noted(sums))
    found = read_sums(tmp_path / "one.png")
    assert found is not None
    assert found.tolist() == sums.astype(np.float32).tolist()
    Image.new("L", (40, 30)).save(tmp_path / "old.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert [read_sums(tmp_path / name) for name in ("old.png", "broken.png", "none.png")] == [None] * 3


@pytest.fixture(scope="module")
def made_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawing")
    make_project(folder, "http://127.0.0.1:1", name="drawing", counts={"train": 9, "val": 1})
    train_here(folder)
    with Project(folder / FILE_NAME) as project:
        add_made_model(project)
        chosen(project, "clasp-pe")
    return folder


@pytest.fixture
def real(made_folder: Path, tmp_path: Path) -> Iterator[Project]:
    shutil.copytree(made_folder, tmp_path, dirs_exist_ok=True)
    with Project(tmp_path / FILE_NAME) as project:
        yield project


def chosen(project: Project, by: str, worst: int = 4, **details: object) -> tuple[list[str], list[str]]:
    said: list[str] = []
    request = PushRequest(worst, by=by, dry_run=True, **details)  # type: ignore[arg-type]
    report = push(project, None, request, say=said.append)
    return _drawn_of(report), said


def _drawn_of(report: PushReport) -> list[str]:
    assert {frame.score for frame in report.frames} == {None}
    return sorted(frame.sample_id for frame in report.frames)


def test_clasp_pe_takes_what_its_formula_says_of_the_kept_sums(real: Project) -> None:
    run = real.current_run()
    assert run is not None
    means = {}
    samples = real.samples(["train"])
    for name, row in real.scan(samples).items():
        sums = read_sums(real.prediction_paths(run.id, row.image_sha256)[1])
        assert sums is not None
        assert sums.shape == (len(NAMES),)
        means[name] = sums / (48 * 64)
        assert 0 < means[name].sum() < np.log(len(NAMES))
    expected = order(means, range(1, len(NAMES)), 4, round_number=0, seed=run.id)[:4]
    found, said = chosen(real, "clasp-pe")
    assert found == sorted(expected)
    assert not any("made anew" in line for line in said)
    assert chosen(real, "clasp-pe")[0] == found


def test_predictions_from_before_there_were_sums_are_made_anew(real: Project) -> None:
    run = real.current_run()
    assert run is not None
    expected, _ = chosen(real, "clasp-pe")
    samples = real.samples(["train"])
    before = {}
    for row in list(real.scan(samples).values())[:5]:
        path = real.prediction_paths(run.id, row.image_sha256)[1]
        with Image.open(path) as image:
            before[row.image_sha256] = np.asarray(image)
        Image.fromarray(before[row.image_sha256]).save(path)
    found, said = chosen(real, "clasp-pe")
    assert "5 predictions are from before class sums were kept: they are made anew" in said
    assert found == expected
    for digest, confidence in before.items():
        assert np.array_equal(real.confidence(run.id, digest), confidence)
        path = real.prediction_paths(run.id, digest)[1]
        Image.fromarray(confidence).save(path)
    real.best_checkpoint(run.id).unlink()
    with pytest.raises(DataError, match=r"5 predictions keep no class sums.* that would make them anew are gone"):
        chosen(real, "clasp-pe")


def test_foreground_random_draws_among_images_with_foreground(loop: Loop) -> None:
    samples = {one.id: one for one in loop.project.samples(["train"])}
    names = sorted(samples)
    for name in names[:3]:  # no foreground in the label, whatever the model says
        mask = samples[name].mask
        assert isinstance(mask, Path)
        with Image.open(mask) as image:
            empty = Image.new(image.mode, image.size, 0)
            if image.mode == "P":
                empty.putpalette(image.getpalette() or [])
        empty.save(mask)
    found, said = chosen(loop.project, "foreground-random", worst=len(names))
    assert found == names[3:]
    assert "3 images without foreground are left out" in said
    run = loop.project.current_run()
    assert run is not None
    expected = random.Random(run.id).sample(names[3:], 5)
    assert chosen(loop.project, "foreground-random", worst=2)[0] == sorted(expected[:2])


def test_without_a_label_the_prediction_says_whether_there_is_foreground(loop: Loop) -> None:
    samples = {one.id: one for one in loop.project.samples(["train"])}
    names = sorted(samples)
    run = loop.project.current_run()
    assert run is not None
    rows = loop.project.scan(list(samples.values()))
    for name in names[:2]:
        mask = samples[name].mask
        assert isinstance(mask, Path)
        mask.unlink()
    index_png = loop.project.prediction_paths(run.id, rows[names[0]].image_sha256)[0]
    Image.new("L", (64, 48), 0).save(index_png)
    found, _ = chosen(loop.project, "foreground-random", worst=len(names))
    assert found == names[1:]


def test_what_people_ask_for_goes_first(loop: Loop) -> None:
    loop.project.ledger.put_marks(add=["train/0005"])
    for _ in range(2):
        assert "train/0005" in chosen(loop.project, "foreground-random", worst=2)[0]
    assert chosen(loop.project, "foreground-random", worst=1)[0] == ["train/0005"]
