"""The FiftyOne App over a real MongoDB, looked at by a real Chromium."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from loop import add_model, make_project

from annoloop.config import FILE_NAME
from annoloop.fiftyone_app import mongod_path
from annoloop.project import Project
from annoloop.scoring import score

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        mongod_path() is None and not os.environ.get("FIFTYONE_DATABASE_URI"),
        reason="FiftyOne has no MongoDB: run scripts/setup on Linux x86-64, or set FIFTYONE_DATABASE_URI",
    ),
]


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
    """A database of the test's own."""
    return {**os.environ, "FIFTYONE_DATABASE_DIR": str(tmp_path / "mongo"), "HOME": str(tmp_path)}


def annoloop(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "annoloop", *arguments]


@pytest.fixture
def app_url(scored_project: Path, environment: dict[str, str]) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = annoloop("browse", "--project", str(scored_project), "--port", str(port), "--no-open", "--json")
    log = (scored_project / "browse.log").open("w+")
    child = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        _wait_for(f"http://127.0.0.1:{port}/", child, log.name)
        yield f"http://127.0.0.1:{port}/datasets/annoloop-browse-test"
    finally:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
        log.close()


def _wait_for(url: str, child: subprocess.Popen[bytes], log: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if child.poll() is not None:
            pytest.fail(f"browse ended with {child.returncode}:\n{Path(log).read_text()}")
        try:
            urllib.request.urlopen(url, timeout=5)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
        else:
            return
    pytest.fail(f"nothing answers at {url}:\n{Path(log).read_text()}")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium, then run again")
def test_the_app_shows_every_sample_and_the_worst_view_in_a_browser(app_url: str, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.goto(f"{app_url}?view=worst")
        page.wait_for_selector("[data-cy='looker']", timeout=90_000)
        page.wait_for_timeout(3000)
        page.screenshot(path=os.environ.get("ANNOLOOP_TEST_SCREENSHOT", str(tmp_path / "app.png")))
        shown = page.locator("[data-cy='looker']").count()
        text = page.inner_text("body")
        browser.close()
    assert shown == 11
    assert "worst" in text
    for name in ("truth", "prediction", "dice", "split"):
        assert name in text


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
from annoloop.fiftyone_app import _fiftyone
fo = _fiftyone()
import fiftyone.operators as foo
dataset = fo.load_dataset("annoloop-browse-test")
print(json.dumps({
    "dice": dataset.load_saved_view("worst").values("dice"),
    "targets": dataset.mask_targets,
    "masks": [dataset.exists("truth.mask_path").count(), dataset.exists("prediction.mask_path").count()],
    "status": foo.execute_operator("@annoloop/loop/loop_status", ctx={"dataset": dataset}).result,
}))
"""
