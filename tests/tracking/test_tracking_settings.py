"""Where a training is tracked: annoloop.yaml, what is asked for, the environment; and that nothing is where none is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from annoloop.cli.doctor import _tracker
from annoloop.cli.main import run
from annoloop.cli.views.training import tracked
from annoloop.data.config import FILE_NAME, TrainConfig, load, render
from annoloop.errors import ConfigError, MissingExtraError
from annoloop.loop.tracked import tracker_of
from annoloop.loop.training_request import RetrainRequest
from annoloop.project.project import Project
from annoloop.simulation.damage import KINDS
from annoloop.simulation.working_copy import Harm, begin
from annoloop.tracking import settings
from annoloop.tracking.settings import Place, place_of, require_tracker
from annoloop.tracking.tracker import Tracked, TrackerName
from annoloop.training.records import Event

HERE = Path("/project/annoloop.yaml")
SERVER = "http://mlflow:5000"


@pytest.mark.parametrize(
    ("train", "asked", "expected"),
    [
        ({}, None, None),
        ({"track": "mlflow", "track_uri": SERVER}, None, Place("mlflow", SERVER, "steel")),
        ({"track": "mlflow", "track_uri": SERVER}, "none", None),
        ({"track": "mlflow", "track_uri": SERVER}, "tensorboard", Place("tensorboard", None, "steel")),
        ({"track_uri": SERVER}, "mlflow", Place("mlflow", SERVER, "steel")),
        ({"track": "mlflow"}, None, Place("mlflow", "http://from-the-environment", "steel")),
        ({"track": "mlflow", "track_uri": "databricks"}, None, Place("mlflow", "databricks", "steel")),
        (
            {"track": "mlflow", "track_uri": "sqlite:///a/runs.db"},
            None,
            Place("mlflow", "sqlite:////project/a/runs.db", "steel"),
        ),
        (
            {"track": "mlflow", "track_uri": "sqlite:////a/runs.db"},
            None,
            Place("mlflow", "sqlite:////a/runs.db", "steel"),
        ),
        (
            {"track": "tensorboard", "track_uri": "../tb", "track_project": "p"},
            None,
            Place("tensorboard", "/tb", "p"),
        ),
        ({"track": "wandb", "track_project": "p"}, None, Place("wandb", None, "p")),
    ],
)
def test_the_place_follows_from_the_file_what_is_asked_for_and_the_environment(
    train: dict[str, str], asked: TrackerName | None, expected: Place | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://from-the-environment")
    assert place_of(TrainConfig.model_validate(train), asked, "steel", HERE) == expected


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("track: mlfow", "train.track: Input should be"),
        ("track_uri: http://ann:secret@host:5000", "train.track_uri: must hold no credentials"),
        ("track_uri: mysql://ann:secret@host/runs", "train.track_uri: must hold no credentials"),
    ],
)
def test_faults_of_the_keys_are_named(project: Project, line: str, said: str) -> None:
    text = render(project.config)
    key = line.partition(":")[0]
    project.path.write_text("\n".join(f"  {line}" if f"  {key}: " in one else one for one in text.splitlines()))
    with pytest.raises(ConfigError, match=said) as caught:
        load(project.path)
    assert "secret" not in str(caught.value)


def test_a_tracker_that_there_is_not_cannot_be_asked_for() -> None:
    with pytest.raises(ConfigError, match="track: 'comet' is not none, mlflow, tensorboard, wandb"):
        RetrainRequest(tracker="comet")  # type: ignore[arg-type]


def test_a_model_does_not_depend_on_where_its_training_is_tracked() -> None:
    plain = TrainConfig(seed=3)
    tracked = TrainConfig(seed=3, track="mlflow", track_uri=SERVER, track_project="p")
    assert tracked.of_a_model() == plain.of_a_model() != TrainConfig(seed=4).of_a_model()
    assert set(TrainConfig.model_fields) - set(plain.of_a_model()) == {"track", "track_uri", "track_project"}


def test_mlflow_without_a_place_is_refused_before_anything_is_begun(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert run(["retrain", "--track", "mlflow", "--project", str(project.path.parent)]) == 3
    said = capsys.readouterr().err
    assert "train.track_uri" in said
    assert "--track none" in said
    assert project.ledger.runs() == []


def test_a_package_that_is_missing_is_named_before_anything_is_begun(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(settings, "PACKAGES", {"wandb": "no_such_tracker"})
    with pytest.raises(MissingExtraError, match="no_such_tracker is not installed"):
        require_tracker("wandb")
    (tmp_path / "no_such_tracker").mkdir()  # as wandb leaves a folder of its name where people work
    monkeypatch.syspath_prepend(tmp_path)
    assert run(["retrain", "--track", "wandb", "--project", str(project.path.parent)]) == 8
    assert "[wandb]" in capsys.readouterr().err
    assert project.ledger.runs() == []


def test_doctor_says_whether_the_tracker_can_be_used(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def said() -> list[tuple[str, str]]:
        with Project(project.path) as opened:
            return [(check.state, check.found) for check in _tracker(opened)]

    assert said() == []
    project.path.write_text(project.path.read_text().replace("track: none", "track: tensorboard"))
    assert said() == [("ok", "tensorboard")]
    monkeypatch.setattr(settings, "PACKAGES", {"tensorboard": "no_such_tracker"})
    assert said() == [("fault", "no_such_tracker is not installed")]


def test_a_training_that_nobody_attends_is_not_stopped_by_a_tracker(project: Project) -> None:
    file = project.path.parent / "a-file"
    file.write_text("")
    train = project.config.train.model_copy(update={"track": "tensorboard", "track_uri": "a-file"})
    project.config = project.config.model_copy(update={"train": train})
    with pytest.raises(ConfigError, match="cannot be made"):
        tracker_of(project, RetrainRequest())
    said: list[Event] = []
    assert tracker_of(project, RetrainRequest(unattended=True), said.append) is None
    assert said == [Event("warning", {"message": f"not tracked: {file}: cannot be made: File exists"})]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Tracked("tensorboard", "/tb/run-1", "tensorboard --logdir /tb"), ["tracked: /tb/run-1", "shows it"]),
        (Tracked("wandb", "/w/[a]", "wandb sync '/w/[a]'", lost=3), [r"tracked: /w/\[a]", "3 values", "sends it"]),
        (Tracked("mlflow", None, lost=9), ["not tracked"]),
    ],
)
def test_people_are_told_where_a_training_was_tracked(found: Tracked, said: list[str]) -> None:
    class Sheet:
        def __init__(self) -> None:
            self.lines: list[str] = []

        def print(self, part: object) -> None:
            self.lines.append(str(part))

        def next(self, command: str, why: str) -> None:
            self.lines.append(f"{command} {why}")

    sheet = Sheet()
    tracked(found, sheet)
    assert len(sheet.lines) == len(said)
    assert all(one in line for one, line in zip(said, sheet.lines, strict=True))


def test_trials_of_a_simulation_are_not_tracked(project: Project, tmp_path: Path) -> None:
    project.path.write_text(project.path.read_text().replace("track: none", "track: tensorboard"))
    with Project(project.path) as opened:
        begin(opened, tmp_path / "trial", Harm(0.5, KINDS, 0.0), 3, lambda items, *_: iter(items))
    assert load(tmp_path / "trial" / FILE_NAME).train.track == "none"


def test_without_a_tracker_no_library_of_one_is_loaded(project: Project) -> None:
    code = (
        "import json, sys\nfrom pathlib import Path\nfrom annoloop.loop.retrain import retrain\n"
        "from annoloop.loop.tracked import tracker_of\nfrom annoloop.loop.training_request import RetrainRequest\n"
        "from annoloop.project.project import Project\nwith Project(Path(sys.argv[1])) as project:\n"
        "    assert tracker_of(project, RetrainRequest()) is None\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(project.path)], capture_output=True, text=True, check=True)
    assert not {"mlflow", "wandb", "tensorboardX", "requests"} & set(json.loads(done.stdout))
