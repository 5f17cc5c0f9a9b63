"""A real training that is tracked: stopped before it was, gone on with by the command, judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from running_loop import make_project, train_here

from annoloop.cli.main import run
from annoloop.data.config import FILE_NAME
from annoloop.errors import Interrupted
from annoloop.loop.handover.snapshot import snapshot
from annoloop.loop.retrain import retrain
from annoloop.loop.training_request import RetrainRequest
from annoloop.project.project import Project
from annoloop.training.records import Event, events_of

pytestmark = pytest.mark.slow


def impatient(event: Event) -> None:
    """Press ^C."""
    if event.kind == "iteration" and event.fields["iteration"] == 12:
        raise KeyboardInterrupt


def test_a_training_goes_on_tracked_that_was_stopped_untracked(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    make_project(tmp_path, "http://127.0.0.1:9", name="steel")
    train_here(tmp_path)
    with Project(tmp_path / FILE_NAME) as project:
        with pytest.raises(Interrupted):
            retrain(project, RetrainRequest(allow_missing_classes=True, iterations=20), watch=impatient)
        run_dir, folder = project.run_dir(1), project.state_dir / "tensorboard"
    assert not folder.exists()
    capfd.readouterr()
    command = ["retrain", "--track", "tensorboard", "--iterations", "20", "--allow-missing-classes", "--json"]
    assert run([*command, "--project", str(tmp_path)]) == 0
    out, err = capfd.readouterr()
    report = json.loads(out)
    assert (report["run"], report["resumed"]) == (1, True), "tracking makes no other training of it"
    place = str(folder / "steel-run-1")
    assert report["tracked"] == {
        "tracker": "tensorboard", "place": place, "look": f"tensorboard --logdir {folder}", "lost": 0,
    }  # fmt: skip
    assert f"tracked: {place}" in err

    read = EventAccumulator(place).Reload()
    assert [one.step for one in read.Scalars("loss")] == [*range(1, 21)], "all of it, and nothing twice"
    first = next(event for event in events_of(run_dir) if event.kind == "iteration")
    assert read.Scalars("loss")[0].value == pytest.approx(first.fields["loss"])
    assert read.Scalars("val/mDice")[-1].step == 20
    assert read.Scalars("final/mDice")[0].value == pytest.approx(report["mean_dice"])
    assert read.Scalars("final/Dice/disc")[0].value == pytest.approx(report["dice"]["disc"])
    assert len([tag for tag in read.Tags()["images"] if tag.startswith("worst/")]) == 3
    (promoted,) = read.Tensors("promoted/text_summary")
    assert promoted.tensor_proto.string_val == [b"yes"]
    parameters = read.Tensors("parameters/text_summary")[0]
    with Project(tmp_path / FILE_NAME) as project:
        taken = snapshot(project, splits=["train"])
    assert taken.content_sha256 in parameters.tensor_proto.string_val[0].decode(), "the digest of a snapshot"
