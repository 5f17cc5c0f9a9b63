"""What annotators leave on a frame that is no mask of it holds back this frame, and no other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from running_loop import Loop, mask_bytes

from annoloop.cli.main import run
from annoloop.masks.regions import Region

SPECK = Region(1, 0, 0, np.ones((3, 3), bool))

STRAYS: dict[str, dict[str, Any]] = {
    "points": {"type": "points", "points": [3, 4]},
    "polyline": {"type": "polyline", "points": [3, 4, 9, 9]},
    "cuboid": {"type": "cuboid", "points": [1, 1, 9, 1, 9, 9, 1, 9, 3, 3, 11, 3, 11, 11, 3, 11]},
    "mask outside": {"type": "mask", "points": [0, 4, 70, 2, 71, 3]},
    "mask with wrong runs": {"type": "mask", "points": [0, 3, 2, 2, 3, 3]},
}


def put(loop: Loop, task: int, frame: int, **shape: Any) -> None:
    """Save a shape as CVAT's page would, whatever it is."""
    job = next(j for j in loop.cvat.jobs(task) if frame in j.frames)
    label = next(x.id for x in loop.cvat.labels(task_id=task) if x.name == "disc")
    body = {"frame": frame, "label_id": label, "z_order": 0, "rotation": 0, "occluded": False, "group": 0}
    body |= {"source": "manual", "attributes": [], **shape}
    sent = {"version": 0, "tags": [], "tracks": [], "shapes": [body]}
    loop.cvat.session.call("PATCH", f"jobs/{job.id}/annotations", sent, action="create")


@pytest.mark.parametrize("kind", STRAYS)
def test_a_stray_shape_holds_back_its_own_frame_only(loop: Loop, kind: str) -> None:
    task = int(loop.push(worst=4, source="label").task or 0)
    stray = loop.cvat.frames(task)[1]
    for frame in (0, 1, 2):
        loop.draw(task, frame, "disc", SPECK)
    put(loop, task, stray.index, **STRAYS[kind])
    loop.complete(task)
    before = mask_bytes(loop.project)
    report = loop.pull(task)
    held_id = stray.name.rpartition(".")[0]
    assert [one.sample_id for one in report.held] == [held_id]
    assert f"/tasks/{task}/jobs/" in report.held[0].url
    assert report.held[0].url.endswith("?frame=1")
    assert set(report.written) == {f.name.rpartition(".")[0] for f in loop.cvat.frames(task) if f.index in (0, 2)}
    assert mask_bytes(loop.project)[held_id] == before[held_id]
    assert [t.state for t in loop.project.ledger.tasks()] == ["open"], "it waits for the frame"


def test_once_it_is_mended_the_same_command_takes_the_frame(loop: Loop) -> None:
    task = int(loop.push(worst=1, source="label").task or 0)
    loop.draw(task, 0, "disc", SPECK)
    put(loop, task, 0, **STRAYS["points"])
    loop.complete(task)
    assert len(loop.pull(task).held) == 1
    job = loop.cvat.jobs(task)[0]
    stray = next(s for s in loop.cvat.session.get(f"jobs/{job.id}/annotations")["shapes"] if s["type"] == "points")
    sent = {"version": 0, "tags": [], "tracks": [], "shapes": [stray]}
    loop.cvat.session.call("PATCH", f"jobs/{job.id}/annotations", sent, action="delete")
    report = loop.pull(task)
    assert (report.held, len(report.written)) == ((), 1)
    assert [t.state for t in loop.project.ledger.tasks()] == ["done"]


def test_the_command_ends_with_6_names_frame_and_link_and_has_pulled_the_rest(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    task = int(loop.push(worst=2, source="label").task or 0)
    for frame in (0, 1):
        loop.draw(task, frame, "disc", SPECK)
    put(loop, task, 1, **STRAYS["polyline"])
    loop.complete(task)
    monkeypatch.setenv("CVAT_ACCESS_TOKEN", loop.server.token)
    assert run(["pull", "--task", str(task), "--project", str(loop.folder)]) == 6
    shown = capsys.readouterr()
    assert "held back:" in shown.out
    assert "polyline" in shown.out
    assert "?frame=1" in shown.out + shown.err
    assert "1 masks written" in shown.out
    assert "the same command takes them" in shown.err


def test_tags_are_told(loop: Loop) -> None:
    task = int(loop.push(worst=1, source="label").task or 0)
    job = loop.cvat.jobs(task)[0]
    label = next(x.id for x in loop.cvat.labels(task_id=task) if x.name == "ring")
    tag = {"frame": 0, "label_id": label, "group": 0, "source": "manual", "attributes": []}
    sent = {"version": 0, "tags": [tag], "tracks": [], "shapes": []}
    loop.cvat.session.call("PATCH", f"jobs/{job.id}/annotations", sent, action="create")
    loop.complete(task)
    report = loop.pull(task)
    assert list(report.tags.values()) == [("ring",)]
    assert report.held == ()
