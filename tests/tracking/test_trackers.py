"""MLflow, TensorBoard and Weights & Biases themselves: told a recorded training, and read back with their readers."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from recorded_training import CLASSES, loss_at, on_record, training
from running_mlflow import MlflowServer, free_port

from annoloop.errors import ConfigError, Interrupted, TrainingError
from annoloop.tracking import session
from annoloop.tracking.curves import final_points
from annoloop.tracking.mlflow_runs import MlflowTracker
from annoloop.tracking.session import Tracking, read_sent
from annoloop.tracking.settings import Place, open_tracker
from annoloop.tracking.tensorboard_files import TensorboardTracker
from annoloop.tracking.tracker import Picture, Point, Sent, Texts, Tracked, Tracker
from annoloop.tracking.wandb_runs import WandbTracker
from annoloop.training.records import Event

LOSSES = [(step, pytest.approx(loss_at(step))) for step in range(1, 41)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    running = MlflowServer(tmp_path_factory.mktemp("mlflow"), free_port()).start()
    yield running
    running.kill()


@pytest.fixture(autouse=True)
def _nothing_on_stdout(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Where the result of a command goes, nobody else writes."""
    yield
    assert capfd.readouterr().out == ""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"MLFLOW_HTTP_REQUEST_TIMEOUT": "2", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}.items():
        monkeypatch.setenv(name, value)
    for name in ("MLFLOW_TRACKING_URI", "WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "worst-01.png"
    Image.fromarray(np.full((20, 60, 3), (250, 10, 10), np.uint8)).save(file)
    return file


def tell(
    tracker: Tracker, run_dir: Path, events: Sequence[Event], picture: Path, *, error: Exception | None = None
) -> tuple[Tracked | None, list[Event]]:
    """A training as ``retrain`` tells of it; with an error it ends in the middle."""
    heard: list[Event] = []
    told = Tracking(tracker, heard.append, run_dir, "steel run 1", {"recipe": "unet_tiny", "seed": "0"}, CLASSES)
    with suppress(*[] if error is None else [type(error)]), told:
        for event in events:
            on_record(run_dir, [event])
            told.watch(event)
        if error is not None:
            raise error
        told.tell(final_points(40, {"mDice": 0.7}, [0.9, 0.8, 0.7, 0.6], [0.5] * 4, told.names))
        told.tell([Texts({"promoted": "yes", "verdict": "the first model"}), Picture("worst/worst-01", picture)])
    return told.outcome, heard


CUT_OFF = [*training(1, 25)]
REST = [*training(16, 40)]
"""After it was killed a training goes on from what was saved, and does again what it had done since."""


def test_mlflow_has_one_run_of_a_training_that_was_stopped_and_went_on(
    server: MlflowServer, tmp_path: Path, picture: Path
) -> None:
    stopped, _ = tell(MlflowTracker(server.uri, "one"), tmp_path, CUT_OFF, picture, error=Interrupted("^C"))
    (run,) = server.runs("one")
    assert run["info"]["status"] == "KILLED"
    outcome, heard = tell(MlflowTracker(server.uri, "one"), tmp_path, REST, picture)
    (run,) = server.runs("one")
    run_id = run["info"]["run_id"]
    assert (run["info"]["status"], run["info"]["run_name"]) == ("FINISHED", "steel run 1")
    assert outcome == stopped == Tracked("mlflow", f"{server.uri}/#/experiments/1/runs/{run_id}")
    params = {one["key"]: one["value"] for one in run["data"]["params"]}
    assert params["seed"] == "0"
    assert params["version.torch"] == "2.13.0+cpu"
    tags = {one["key"]: one["value"] for one in run["data"]["tags"]}
    assert (tags["promoted"], tags["verdict"]) == ("yes", "the first model")
    assert "mlflow.user" not in tags
    assert server.history(run_id, "loss") == LOSSES
    assert server.history(run_id, "val/Dice/disc") == [(20, 0.2), (40, 0.4)]
    assert server.history(run_id, "val/Dice/a_b-3") == [(20, 0.5), (40, 0.5)]
    assert server.history(run_id, "final/Dice/disc") == [(40, 0.8)]
    assert server.artifacts(run_id, "worst") == ["worst/worst-01.png"]
    assert [event.kind for event in heard if event.kind not in {one.kind for one in REST}] == ["tracked"]


def test_mlflow_has_the_curves_of_a_training_that_was_not_tracked_at_first_and_that_it_failed(
    server: MlflowServer, tmp_path: Path, picture: Path
) -> None:
    on_record(tmp_path, CUT_OFF)
    tell(MlflowTracker(server.uri, "late"), tmp_path, [*training(16, 30)], picture, error=TrainingError("broken"))
    (run,) = server.runs("late")
    assert run["info"]["status"] == "FAILED"
    assert server.history(run["info"]["run_id"], "loss") == LOSSES[:30]


def test_a_parameter_that_changes_is_a_tag_of_mlflow_and_its_run_may_be_gone(
    server: MlflowServer, tmp_path: Path, picture: Path
) -> None:
    half = [Event(one.kind, {**one.fields, "batch_size": 4}) if one.kind == "started" else one for one in REST]
    _, heard = tell(MlflowTracker(server.uri, "half"), tmp_path, [*CUT_OFF, *half], picture)
    assert not [event for event in heard if event.kind == "warning"]
    (run,) = server.runs("half")
    assert {"key": "batch_size", "value": "8"} in run["data"]["params"]
    assert {"key": "batch_size", "value": "4"} in run["data"]["tags"]

    tracker = MlflowTracker(server.uri, "half")
    tracker._client.delete_run(run["info"]["run_id"])
    tell(tracker, tmp_path, [], picture)
    (again,) = server.runs("half")
    assert again["info"]["run_id"] != run["info"]["run_id"]


def test_a_training_outlives_its_mlflow_server_and_nothing_is_lost_once_that_is_back(
    server: MlflowServer, tmp_path: Path, picture: Path
) -> None:
    told_before = MlflowTracker(server.uri, "killed")
    heard: list[Event] = []
    with Tracking(told_before, heard.append, tmp_path, "run", {}, CLASSES) as told:
        events = training()
        for event in events:
            told.watch(event)
            if event.fields.get("iteration") == 10:
                break
        until(lambda: read_sent(tmp_path).get(server.uri, Sent()).steps.get("training") == 10)
        server.kill()
        for event in events:
            began = time.monotonic()
            told.watch(event)
            assert time.monotonic() - began < 0.2
        until(lambda: told._delivery is not None and told._delivery._failures > 0)
        server.start()
    (warning,) = (event.fields["message"] for event in heard if event.kind == "warning")
    assert warning.startswith(f"{server.uri} does not answer")
    (run,) = server.runs("killed")
    assert server.history(run["info"]["run_id"], "loss") == LOSSES
    assert run["info"]["status"] == "FINISHED"
    assert told.outcome is not None
    assert told.outcome.lost == 0


def test_an_mlflow_server_that_falls_silent_costs_seconds_and_what_is_missing_is_counted(
    server: MlflowServer, tmp_path: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_PATIENCE_S", dict.fromkeys(("finished", "failed", "stopped"), 3.0))
    tracker = MlflowTracker(server.uri, "silent")
    assert server.process is not None
    os.killpg(server.process.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        outcome, heard = tell(tracker, tmp_path, [*training()], picture)
        assert time.monotonic() - began < 6
    finally:
        os.killpg(server.process.pid, signal.SIGCONT)
    assert outcome is not None
    assert outcome.place is None
    assert outcome.lost > 80
    said = [event.fields["message"] for event in heard if event.kind == "warning"]
    assert any("the model is whole all the same" in one for one in said)


def test_an_mlflow_that_nobody_answers_for_is_refused_before_anything_begins(tmp_path: Path) -> None:
    for place, said in ((f"http://127.0.0.1:{free_port()}", "cannot be reached"), (str(tmp_path), "cannot be used")):
        with pytest.raises(ConfigError, match=said) as caught:
            MlflowTracker(place, "x")
        assert "--track none" in str(caught.value.hint)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(ConfigError, match="cannot be reached"):
            MlflowTracker(f"http://ann:secret@127.0.0.1:{silent.getsockname()[1]}", "x")
        assert time.monotonic() - began < 6


def test_an_error_holds_no_credentials() -> None:
    with pytest.raises(ConfigError) as caught:
        MlflowTracker(f"http://ann:secret@127.0.0.1:{free_port()}", "x")
    assert "secret" not in str(caught.value)


def test_mlflow_keeps_runs_in_a_database_without_a_server(tmp_path: Path, picture: Path) -> None:
    place = Place("mlflow", f"sqlite:///{tmp_path}/runs.db", "steel")
    outcome, _ = tell(open_tracker(place, tmp_path), tmp_path, [*training()], picture)
    assert outcome == Tracked("mlflow", place.uri, f"mlflow ui --backend-store-uri {place.uri}")
    assert [one.name for one in (tmp_path / "mlflow-artifacts").rglob("*.png")] == ["worst-01.png"]


def test_tensorboard_reads_one_run_of_a_training_that_was_stopped_and_went_on(tmp_path: Path, picture: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tmp_path / "all runs"
    tell(TensorboardTracker(folder), tmp_path, CUT_OFF, picture, error=Interrupted("^C"))
    outcome, _ = tell(TensorboardTracker(folder), tmp_path, REST, picture)
    assert outcome == Tracked("tensorboard", str(folder / "steel-run-1"), f"tensorboard --logdir '{folder}'")
    read = EventAccumulator(str(folder / "steel-run-1")).Reload()
    assert [(one.step, one.value) for one in read.Scalars("loss")] == LOSSES
    assert [one.step for one in read.Scalars("val/Dice/disc")] == [20, 40]
    assert [(one.step, one.value) for one in read.Scalars("final/Dice/disc")] == [(40, pytest.approx(0.8))]
    (shown,) = read.Images("worst/worst-01")
    assert (shown.width, shown.height) == (60, 20)
    texts = {
        tag: [one.tensor_proto.string_val[0].decode() for one in read.Tensors(tag)] for tag in read.Tags()["tensors"]
    }
    assert texts["verdict/text_summary"] == ["the first model"]
    assert "| recipe | unet_tiny |" in texts["parameters/text_summary"][0]
    another, _ = tell(TensorboardTracker(folder), tmp_path / "another", [], picture)
    assert another is not None
    assert another.place == str(folder / "steel-run-1-2"), "a run of that name is there"


def test_what_tensorboard_was_told_is_in_its_file_before_the_training_ends(tmp_path: Path, picture: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracker = TensorboardTracker(tmp_path)
    begun = tracker.begin("run", None)
    tracker.scalars([Point("loss", step, 0.5) for step in range(3)])
    tracker.picture("worst/worst-01", picture)
    read = EventAccumulator(begun.place).Reload()
    assert (len(read.Scalars("loss")), len(read.Images("worst/worst-01"))) == (3, 1)


def test_tensorboard_loads_no_torch_and_wants_a_folder(tmp_path: Path) -> None:
    import sys

    TensorboardTracker(tmp_path)
    assert "torch" not in sys.modules
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made"):
        TensorboardTracker(tmp_path / "file" / "below")
    with pytest.raises(ConfigError, match="in a folder"):
        open_tracker(Place("tensorboard", "s3://bucket/runs", "x"), tmp_path)


def test_wandb_keeps_a_run_on_disk_where_there_is_no_key(tmp_path: Path, picture: Path) -> None:
    tell(WandbTracker(None, "steel", tmp_path), tmp_path, CUT_OFF, picture, error=Interrupted("^C"))
    outcome, heard = tell(WandbTracker(None, "steel", tmp_path), tmp_path, REST, picture)
    assert outcome is not None
    assert outcome.look == f"wandb sync {outcome.place}"
    (begun,) = (event.fields for event in heard if event.kind == "tracked")
    assert "no API key" in str(begun["note"])
    files = sorted((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
    assert {file.name for file in files} == {f"run-{begun['id']}.wandb"}
    rows: list[dict[str, Any]] = []
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    for record in (one for file in files for one in wandb_records(file)):
        if record.HasField("history"):
            rows.append(plain(record.history.item))
        if record.HasField("config"):
            config |= plain(record.config.update)
        if record.HasField("summary"):
            summary |= plain(record.summary.update)
        assert record.WhichOneof("record_type") not in ("output", "output_raw", "stats"), "nobody's business"
    assert [(row["iteration"], row["loss"]) for row in rows if "loss" in row] == LOSSES
    assert [row["val/Dice/disc"] for row in rows if "val/Dice/disc" in row] == [0.2, 0.4]
    assert any(key.startswith("worst/worst-01") for row in rows for key in row)
    assert len(list((tmp_path / "wandb").rglob("*.png"))) == 1
    assert config["recipe"] == "unet_tiny"
    assert (summary["verdict"], summary["status"]) == ("the first model", "finished")


def test_wandb_with_a_key_asks_for_the_server_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = f"http://127.0.0.1:{free_port()}"
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password " + "0" * 40 + "\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(ConfigError, match="cannot be reached") as caught:
        WandbTracker(server, "steel", tmp_path)
    assert "WANDB_MODE=offline" in str(caught.value.hint)
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert WandbTracker(server, "steel", tmp_path).place == str(tmp_path / "wandb")


def plain(items: Any) -> dict[str, Any]:
    return {one.key or one.nested_key[0]: json.loads(one.value_json) for one in items}


def wandb_records(file: Path) -> Iterator[Any]:
    """The records of a file of wandb: LevelDB's log format, blocks of 32 KiB, behind a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, parts = file.read_bytes(), 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def until(true: Any, patience_s: float = 20.0) -> None:
    deadline = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
