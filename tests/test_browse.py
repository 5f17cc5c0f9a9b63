"""The FiftyOne dataset over a real MongoDB, in step with the project."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from app import annoloop, needs_mongodb, own_database
from loop import add_model, make_project

from annoloop.config import FILE_NAME
from annoloop.project import Project
from annoloop.scoring import score

pytestmark = [pytest.mark.slow, needs_mongodb]


@pytest.fixture
def scored_project(tmp_path: Path) -> Path:
    made = make_project(tmp_path, "http://127.0.0.1:9", name="browse-test")
    with Project(tmp_path / FILE_NAME) as project:
        add_model(project, made.truth)
        run = project.current_run()
        assert run is not None
        score(project, run, project.samples())
    return tmp_path


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return own_database(tmp_path)


def test_the_dataset_holds_masks_scores_and_the_worst_view_and_is_updated_in_place(
    scored_project: Path, environment: dict[str, str]
) -> None:
    command = annoloop("browse", "--project", str(scored_project), "--no-app", "--json")
    first, again = (
        json.loads(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
        for _ in range(2)
    )
    assert (first["samples"], first["scored"], first["updated"]) == (11, 11, 11)
    assert again["updated"] == 0
    look = subprocess.run([sys.executable, "-c", LOOK], env=environment, capture_output=True, text=True, check=True)
    seen = json.loads(look.stdout.splitlines()[-1])
    assert seen["dice"] == sorted(seen["dice"])
    assert seen["targets"]["truth"] == {
        "0": "background", "1": "disc", "2": "square", "3": "ring", "4": "cross", "255": "ignore"
    }  # fmt: skip
    assert seen["masks"] == [11, 11]
    assert seen["status"]["loop"] == "browse-test"
    assert seen["status"]["next"].startswith("annoloop push --worst 50")


def test_a_port_that_is_taken_is_an_error(scored_project: Path, environment: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = annoloop("browse", "--project", str(scored_project), "--port", port, "--no-open")
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert f"127.0.0.1:{port}: cannot be used" in done.stderr
    assert "MongoDB" not in done.stderr, "FiftyOne's remarks are not ours"


def test_fiftyone_reads_our_coco_file_with_every_mask(
    scored_project: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    export = annoloop("convert", "to-coco", "--project", str(scored_project), "--split", "val", "--json")
    done = subprocess.run([*export, "--out", str(tmp_path / "val.json")], capture_output=True, text=True, check=True)
    written = json.loads(done.stdout)["annotations"]
    read = subprocess.run(
        [sys.executable, "-c", READ_COCO, str(scored_project / "data" / "img_dir"), str(tmp_path / "val.json")],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    seen = json.loads(read.stdout.splitlines()[-1])
    assert seen == {"samples": 3, "masks": written}


READ_COCO = """
import json, sys, fiftyone as fo
dataset = fo.Dataset.from_dir(
    dataset_type=fo.types.COCODetectionDataset, data_path=sys.argv[1], labels_path=sys.argv[2],
    label_types="segmentations", include_id=True,
)
found = [d.mask for s in dataset for d in (s["segmentations"] or s["ground_truth"]).detections]
print(json.dumps({"samples": len(dataset), "masks": sum(m is not None and m.any() for m in found).item()}))
"""

LOOK = """
import json
from annoloop.fiftyone_app import fiftyone
fo = fiftyone()
import fiftyone.operators as foo
dataset = fo.load_dataset("annoloop-browse-test")
print(json.dumps({
    "dice": dataset.load_saved_view("worst").values("dice"),
    "targets": dataset.mask_targets,
    "masks": [dataset.exists("truth.mask_path").count(), dataset.exists("prediction.mask_path").count()],
    "status": foo.execute_operator("@annoloop/loop/loop_status", ctx={"dataset": dataset}).result,
}))
"""
