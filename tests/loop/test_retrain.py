"""Retrain, evaluate and undo with real training: promotion, resuming, caching, scores as in mmseg."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running_loop import make_project, train_here

from annoloop.data.config import FILE_NAME
from annoloop.data.images import IndexImage, encode_index_png, file_sha256
from annoloop.data.mmseg_folders import read_label_map
from annoloop.errors import ConfigError, DataError, TrainingError
from annoloop.loop.evaluate import evaluate
from annoloop.loop.retrain import retrain
from annoloop.loop.training_request import RetrainRequest
from annoloop.metrics.scores import confusion, scores
from annoloop.project.project import Project
from annoloop.training.recipes import recipe_path
from annoloop.training.records import Event

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_project(tmp_path, "http://127.0.0.1:9", name="retrain-test")
    train_here(tmp_path)
    return tmp_path


def test_the_first_model_is_promoted_a_worse_one_is_not_and_scores_are_those_of_its_masks(folder: Path) -> None:
    events: list[Event] = []
    with Project(folder / FILE_NAME) as project:
        first = retrain(project, RetrainRequest(allow_missing_classes=True, iterations=40), watch=events.append)
        assert (first.promoted, first.verdict, first.parent) == (True, "the first model", None)
        assert project.ledger.run(1).config_sha256 == file_sha256(project.run_config(1))
        assert {"started", "iteration", "validation", "prediction"} <= {e.kind for e in events}

        report = evaluate(project, splits=("val",))
        val = report.splits["val"]
        rows = project.scan(project.samples(["val"]))
        summed = sum(
            confusion(
                read_label_map(s.mask, project.config.data), project.prediction(1, rows[s.id].image_sha256), 5, 255
            )
            for s in project.samples(["val"])
            if s.mask
        )
        assert val.scores.mean_dice == scores(np.asarray(summed), 0).mean_dice == first.mean_dice
        assert all(panel.stat().st_size > 10_000 for panel in val.panels)
        assert [i.dice for i in val.worst] == sorted(i.dice for i in val.worst)

        worse = retrain(project, RetrainRequest(allow_missing_classes=True, iterations=1, from_scratch=True))
        assert (worse.promoted, worse.parent, worse.current_mean_dice) == (False, None, first.mean_dice)
        assert project.ledger.run(worse.run).verdict == worse.verdict
        current = project.current_run()
        assert current is not None
        assert current.id == first.run

        project.prediction_paths(worse.run, rows["val/0001"].image_sha256)[0].unlink()
        events.clear()
        page = evaluate(project, report=True, against=worse.run, watch=events.append).page
        assert sum(e.kind == "prediction" for e in events) == 1, "the one that was missing, as --against asks"
        assert page is not None
        html = page.read_text(encoding="utf-8")
        assert f"Against run {worse.run}: " in html
        assert "Dice on the validation split while training" in html


def test_a_class_without_a_training_pixel_is_refused_before_anything_runs(folder: Path) -> None:
    for mask in (folder / "data" / "ann_dir" / "train").glob("*.png"):
        mask.write_bytes(encode_index_png(IndexImage(np.zeros((48, 64), np.uint8))))
    with Project(folder / FILE_NAME) as project:
        with pytest.raises(DataError, match="no training mask holds a pixel of") as caught:
            retrain(project, RetrainRequest(iterations=1))
        assert "--allow-missing-classes" in str(caught.value.hint)
        assert project.ledger.runs() == []


def test_auto_writes_its_plan_and_goes_on_with_it(folder: Path) -> None:
    events: list[Event] = []
    with Project(folder / FILE_NAME) as project:
        request = RetrainRequest(recipe="auto", iterations=2, allow_missing_classes=True)
        first = retrain(project, request, watch=events.append)
        (planned,) = (event for event in events if event.kind == "plan")
        assert {"network", "scale", "crop", "length"} <= {line["what"] for line in planned.fields["lines"]}
        recipe = (project.run_dir(first.run) / "recipe.py").read_text(encoding="utf-8")
        assert all(line["because"] in recipe for line in planned.fields["lines"])
        assert project.run_config(first.run).is_file()
        events.clear()
        second = retrain(project, replace(request, recipe=None, iterations=1), watch=events.append)
        assert (second.recipe, second.parent) == ("auto", first.run), "annoloop.yaml names another recipe"
        assert any("goes on with auto" in str(event.fields.get("message")) for event in events)


def test_another_recipe_starts_from_scratch_says_so_and_is_still_compared(folder: Path) -> None:
    own = folder / "own.py"
    own.write_text(
        recipe_path("unet_tiny")
        .read_text()
        .replace("base_channels=8", "base_channels=4")
        .replace("channels=8", "channels=4")
    )
    with Project(folder / FILE_NAME) as project:
        retrain(project, RetrainRequest(allow_missing_classes=True, iterations=30))
        events: list[Event] = []
        report = retrain(
            project, RetrainRequest(allow_missing_classes=True, recipe="own.py", iterations=1), watch=events.append
        )
        said = [str(e.fields["message"]) for e in events if e.kind == "warning"]
        assert any("own.py starts from scratch" in message for message in said)
        assert (report.parent, report.promoted) == (None, False)
        assert report.comparison is not None


def test_predictions_are_made_once_and_only_changed_masks_are_counted_again(folder: Path) -> None:
    with Project(folder / FILE_NAME) as project:
        retrain(project, RetrainRequest(allow_missing_classes=True, iterations=10))
        events: list[Event] = []
        evaluate(project, splits=("train", "val"), watch=events.append)
        assert sum(e.kind == "prediction" for e in events) == 8, "val was predicted by retrain already"
        events.clear()
        before = project.ledger.scores(1)
        sample = project.samples(["train"])[0]
        assert sample.mask is not None
        sample.mask.write_bytes(encode_index_png(IndexImage(np.zeros((48, 64), np.uint8))))
        evaluate(project, splits=("train", "val"), watch=events.append)
        assert events == [], "no child process was needed"
        after = project.ledger.scores(1)
        changed = {name for name in after if after[name].mask_sha256 != before[name].mask_sha256}
        assert changed == {sample.id}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_training_that_is_cut_off_goes_on_with_the_same_command(folder: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "annoloop", "retrain", "--iterations", "60", "--project", str(folder), "--json"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    _wait_for(folder / ".annoloop" / "runs" / "0001" / "best.pth", child)
    os.kill(child.pid, number)
    _, said = child.communicate(timeout=60)
    if number == signal.SIGINT:
        assert child.returncode == 130, said
        assert b"last.pth" in said
    _wait_until_gone(folder / ".annoloop" / "runs" / "0001")
    with Project(folder / FILE_NAME) as project:
        events: list[Event] = []
        report = retrain(project, RetrainRequest(allow_missing_classes=True, iterations=60), watch=events.append)
        assert (report.run, report.resumed, report.iterations) == (1, True, 60)
        first = next(e for e in events if e.kind == "iteration")
        assert first.fields["iteration"] > 1, "it did not start again from nothing"
        assert len(project.ledger.runs()) == 1


def test_masks_that_cannot_be_used_are_all_named_before_training_starts(folder: Path) -> None:
    masks = sorted((folder / "data" / "ann_dir" / "train").glob("*.png"))
    masks[0].write_bytes(b"no png")
    masks[1].write_bytes(encode_index_png(IndexImage(np.full((48, 64), 77, np.uint8))))
    with Project(folder / FILE_NAME) as project:
        with pytest.raises(DataError, match="2 images or masks cannot be used") as caught:
            retrain(project, RetrainRequest(allow_missing_classes=True, iterations=5))
        assert all(str(mask) in str(caught.value) for mask in masks[:2])
        assert project.ledger.runs() == []


def test_an_image_of_the_test_split_is_not_trained_on(folder: Path) -> None:
    for kind in ("img_dir", "ann_dir"):
        source = sorted((folder / "data" / kind / "train").iterdir())[3]
        (folder / "data" / kind / "test").mkdir()
        shutil.copy(source, folder / "data" / kind / "test" / f"copy{source.suffix}")
    file = folder / FILE_NAME
    file.write_text(file.read_text().replace("splits: {", "splits: {test: test, "))
    with Project(file) as project:
        with pytest.raises(DataError, match=r"1 images of train, val or pool .*train/0003 = test/copy") as caught:
            retrain(project, RetrainRequest(allow_missing_classes=True, iterations=5))
        assert "--allow-test-images" in str(caught.value.hint)
        assert project.ledger.runs() == []


def test_a_failing_training_names_command_log_and_last_lines(folder: Path) -> None:
    text = recipe_path("unet_tiny").read_text(encoding="utf-8")
    (folder / "broken.py").write_text(text.replace('type="UNet"', 'type="NoSuchNet"'), encoding="utf-8")
    with Project(folder / FILE_NAME) as project:
        with pytest.raises(TrainingError) as caught:
            retrain(project, RetrainRequest(recipe="broken.py"))
        for words in ("annoloop.training.mmseg.worker", "exit code", "train.log"):
            assert words in str(caught.value)
        assert [run.state for run in project.ledger.runs()] == ["failed"]


def test_a_recipe_that_is_no_mmseg_config_is_a_fault_of_the_recipe_alone(folder: Path) -> None:
    (folder / "broken.py").write_text("model = dict(type='NoSuchModel')\n", encoding="utf-8")
    with Project(folder / FILE_NAME) as project:
        with pytest.raises(ConfigError, match="the recipe lacks train_dataloader") as caught:
            retrain(project, RetrainRequest(recipe="broken.py"))
        assert caught.value.where == str(folder / "broken.py")
        assert "Traceback" not in str(caught.value)


def _wait_for(path: Path, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while not path.exists() and time.monotonic() < deadline:
        assert child.poll() is None, child.communicate()
        time.sleep(0.02)
    assert path.exists()


def _wait_until_gone(run_dir: Path) -> None:
    """The orphan of a killed command saves last.pth and ends by itself."""
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        found = subprocess.run(["pgrep", "-f", f"mmseg.worker {run_dir}"], capture_output=True, check=False).stdout
        if not found:
            return
        time.sleep(0.1)
    pytest.fail("the training process outlived its command")


@pytest.mark.parametrize(
    ("details", "said"),
    [
        ({"budget_s": 60.0, "iterations": 5}, "budget: 60.0 is not allowed beside iterations"),
        ({"device": "gpu"}, "device: 'gpu' is not auto, cpu, cuda"),
        ({"folds": 1}, "folds: 1 is not 0, or 2 to 10"),
        ({"iterations": 0}, "iterations: 0 is not more than 0"),
        ({"gpus": -1}, "gpus: -1 is not more than 0"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(details: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        RetrainRequest(**details)
