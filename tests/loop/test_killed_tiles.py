"""Law 4 with tiles: push and pull of cut images killed by SIGKILL at their steps, run again, are done once."""

from __future__ import annotations

import shutil
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from running_loop import add_model, make_project, mask_bytes, opened
from test_killed import dies_at, in_child, was_killed

from annoloop.cli.demo import Server
from annoloop.cvat.issues import IssueBoard
from annoloop.cvat.server import CvatServer
from annoloop.cvat.wire import class_labels, shape_digest
from annoloop.data.mmseg_folders import read_label_map
from annoloop.loop.pull import pull
from annoloop.loop.push import PushReport, push
from annoloop.loop.undo import undo
from annoloop.project.files import ProjectFiles
from annoloop.project.ledger import Ledger
from annoloop.project.project import Project
from annoloop.selection.request import PushRequest
from annoloop.simulation.annotator import annotate

REQUEST = PushRequest(worst=2, segment_size=4, tiles=64, overlap=8)
PUSH_STEPS = (
    (Ledger, "plan_task"), (ProjectFiles, "keep_object"), (CvatServer, "create_task"), (CvatServer, "upload_images"),
    (CvatServer, "replace_job_shapes"), (IssueBoard, "pin"),
)  # fmt: skip
PULL_STEPS = ((Ledger, "put_frames"), (Ledger, "mark_written"), (Project, "write_masks"), (IssueBoard, "set_resolved"))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, sandbox: Server) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("cut")
    made = make_project(folder, sandbox.url, name="template", counts={"train": 3, "val": 1}, size_hw=(100, 150))
    with opened(folder, sandbox) as (project, _):
        add_model(project, made.truth)
    return folder, made.truth.relative_to(folder)


@pytest.fixture
def place(template: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    folder = tmp_path / "project"
    shutil.copytree(template[0], folder)
    settings = folder / "annoloop.yaml"
    settings.write_text(settings.read_text().replace("project: template", f"project: cut-{uuid4().hex[:8]}"))
    return folder, folder / template[1]


def send(place: tuple[Path, Path], sandbox: Server) -> PushReport:
    with opened(place[0], sandbox) as (project, cvat), project.locked("push"):
        return push(project, cvat, REQUEST)


def check_pushed_once(place: tuple[Path, Path], sandbox: Server, report: PushReport) -> None:
    """One task with a frame for each tile, whose shapes are those of the plan."""
    with opened(place[0], sandbox) as (project, cvat):
        assert [task.state for task in project.ledger.tasks()] == ["open"]
        number = cvat.ensure_project(project.config.project, class_labels(project.classes))
        parts = [part for row in project.ledger.frames(1) for part in row.parts]
        assert [(t["id"], t["size"]) for t in cvat.session.listed("tasks", project_id=number)] == [
            (report.task, len(parts))
        ]
        task = int(report.task or 0)
        labels = {label.id: label.name for label in cvat.labels(task_id=task)}
        names = {frame.index: frame.name for frame in cvat.frames(task)}
        found: dict[str, list[str]] = {name: [] for name in names.values()}
        for job in cvat.jobs(task):
            for shape in cvat.job_shapes(job.id):
                found[names[shape.frame]].append(shape_digest(shape, labels[shape.label_id]))
        assert {name: tuple(sorted(some)) for name, some in found.items()} == {one.name: one.shapes for one in parts}
        assert len(cvat.issues.of_task(task)) == len(project.ledger.issues(1)) > 0


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", PUSH_STEPS, ids=lambda s: s[1])
def test_a_push_of_tiles_killed_at_a_step_is_finished_by_the_same_command(
    place: tuple[Path, Path], sandbox: Server, step: tuple[type, str], after: bool
) -> None:
    assert was_killed(in_child(lambda: send(place, sandbox), lambda: dies_at(*step, 1, after=after)))
    check_pushed_once(place, sandbox, send(place, sandbox))


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", PULL_STEPS, ids=lambda s: s[1])
def test_a_pull_of_tiles_killed_at_a_step_is_finished_by_the_same_command(
    place: tuple[Path, Path], sandbox: Server, step: tuple[type, str], after: bool
) -> None:
    with opened(place[0], sandbox) as (project, cvat):
        before = mask_bytes(project)
        report = push(project, cvat, REQUEST)
        annotate(project, cvat, int(report.task or 0), place[1])

    def work() -> None:
        with opened(place[0], sandbox) as (project, cvat), project.locked("pull"):
            pull(project, cvat)

    assert was_killed(in_child(work, lambda: dies_at(*step, 1, after=after)))
    work()
    with opened(place[0], sandbox) as (project, _):
        data = project.config.data
        for frame in report.frames:
            now, true = (
                read_label_map(one, data) for one in (project.mask_path(frame.sample_id),
                                                      place[1] / f"{frame.sample_id}.png")
            )  # fmt: skip
            row = next(row for row in project.ledger.frames(1) if row.sample_id == frame.sample_id)
            for tile in row.tiles:
                assert np.array_equal(now[tile.window], true[tile.window])
        assert [change.kind for change in project.ledger.changes()] == ["pull"]
        undo(project)
        assert mask_bytes(project) == before
