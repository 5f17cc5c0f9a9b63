"""A real training that is tracked: stopped, gone on with, judged; by Python and by the command."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from running_loop import make_project, train_here

from annoloop.cli.main import run
from annoloop.data.config import FILE_NAME
from annoloop.errors import Interrupted
from annoloop.loop.retrain import retrain
from annoloop.loop.training_request import RetrainRequest
from annoloop.project.project import Project
from annoloop.training.records import Event, events_of

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_project(tmp_path, "http://127.0.0.1:9", name="steel")
    train_here(tmp_path)
    return tmp_path


def test_a_training_goes_on_tracked_that_was_stopped_untracked(folder: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def impatient(event: Event) -> None:
        if event.kind == "iteration" and event.fields["iteration"] == 12:
            raise KeyboardInterrupt

    def request(**more: Any) -> RetrainRequest:
        return RetrainRequest(allow_missing_classes=True, iterations=20, **more)

    with Project(folder / FILE_NAME) as project:
        with pytest.raises(Interrupted):
            retrain(project, request(), watch=impatient)
        assert not (project.state_dir / "tensorboard").exists()
        events: list[Event] = []
        report = retrain(project, request(tracker="tensorboard"), watch=events.append)
        assert (report.run, report.resumed) == (1, True), "tracking makes no other training of it"
        assert report.tracked is not None
        assert report.tracked.place == str(project.state_dir / "tensorboard" / "steel-run-1")
        assert [event.fields["place"] for event in events if event.kind == "tracked"] == [report.tracked.place]
        read = EventAccumulator(report.tracked.place).Reload()
        losses = {e.fields["iteration"]: e.fields["loss"] for e in reversed([*events_of(project.run_dir(1))])
                  if e.kind == "iteration"}  # fmt: skip
        assert {one.step: one.value for one in read.Scalars("loss")} == pytest.approx(losses)
        assert len(read.Scalars("loss")) == 20, "nothing twice"
        assert read.Scalars("final/mDice")[0].value == pytest.approx(report.mean_dice)
        assert read.Scalars("final/Dice/disc")[0].value == pytest.approx(report.dice["disc"])
        assert len([tag for tag in read.Tags()["images"] if tag.startswith("worst/")]) == 3
        (promoted,) = read.Tensors("promoted/text_summary")
        assert promoted.tensor_proto.string_val == [b"yes"]


def test_the_command_tells_a_failing_training_and_prints_where(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/runs.db")
    command = ["retrain", "--track", "mlflow", "--iterations", "3", "--project", str(folder)]
    assert run([*command, "--allow-missing-classes", "--json"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["tracked"]["look"] == f"mlflow ui --backend-store-uri sqlite:///{folder}/runs.db"
    assert "tracked: sqlite" in err
    (folder / "broken.py").write_text(
        (Path(__file__).parents[2] / "configs" / "unet_tiny.py").read_text().replace('type="UNet"', 'type="NoSuchNet"')
    )
    assert run([*command, "--allow-missing-classes", "--recipe", "broken.py"]) == 7
    with sqlite3.connect(folder / "runs.db") as database:
        assert database.execute("select name, status from runs order by start_time").fetchall() == [
            ("steel run 1", "FINISHED"),
            ("steel run 2", "FAILED"),
        ]
