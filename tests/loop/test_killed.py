"""Law 4: push and pull killed by SIGKILL at every step and at any moment, run again, are done once.

The commands run in a forked child, so that a kill costs no second start of Python.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from running_loop import add_model, make_project, mask_bytes, opened
from store import Store, contents

from annoloop.cli.demo import Server
from annoloop.cvat.issues import IssueBoard
from annoloop.cvat.server import CvatServer
from annoloop.cvat.wire import class_labels, shape_digest
from annoloop.data.mmseg_folders import read_label_map
from annoloop.data.storage import RemotePath
from annoloop.loop.pull import pull
from annoloop.loop.push import PushReport, push
from annoloop.loop.undo import undo
from annoloop.project.files import ProjectFiles
from annoloop.project.ledger import Ledger
from annoloop.project.project import Project
from annoloop.selection.request import PushRequest
from annoloop.simulation.annotator import annotate

REQUEST = PushRequest(worst=4, segment_size=3, source="prediction")

PUSH_STEPS = (
    (Ledger, "plan_task"), (Ledger, "set_task"), (Ledger, "put_issues"), (ProjectFiles, "keep_object"),
    (CvatServer, "ensure_project"), (CvatServer, "write_guide"), (CvatServer, "create_task"),
    (CvatServer, "upload_images"), (CvatServer, "replace_job_shapes"), (IssueBoard, "pin"),
)  # fmt: skip
PULL_STEPS = (
    (Ledger, "put_frames"), (Ledger, "set_task"), (Ledger, "add_change"), (Ledger, "mark_written"),
    (ProjectFiles, "keep_object"), (Project, "write_masks"), (IssueBoard, "set_resolved"), (Ledger, "put_issues"),
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """A project with a model, a server, and what its masks should become."""

    folder: Path
    truth: Path
    server: Server

    def push(self) -> PushReport:
        with opened(self.folder, self.server) as (project, cvat), project.locked("push"):
            return push(project, cvat, REQUEST)

    def annotate(self, task: int | None) -> None:
        assert task is not None
        with opened(self.folder, self.server) as (project, cvat):
            annotate(project, cvat, task, self.truth)

    def pull(self) -> None:
        with opened(self.folder, self.server) as (project, cvat), project.locked("pull"):
            pull(project, cvat)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, sandbox: Server) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("template")
    made = make_project(folder, sandbox.url, name="template")
    with opened(folder, sandbox) as (project, _):
        add_model(project, made.truth)
    return folder, made.truth.relative_to(folder)


@pytest.fixture
def place(template: tuple[Path, Path], tmp_path: Path, sandbox: Server) -> Place:
    folder = tmp_path / "project"
    shutil.copytree(template[0], folder)
    settings = folder / "annoloop.yaml"
    settings.write_text(settings.read_text().replace("project: template", f"project: killed-{uuid4().hex[:8]}"))
    return Place(folder, folder / template[1], sandbox)


def in_child(action: Callable[[], object], prepare: Callable[[], object] = lambda: None) -> int:
    """Begin ``action`` in a forked child; returns its pid."""
    pid = os.fork()
    if pid:
        return pid
    try:
        prepare()
        action()
    except BaseException as error:
        sys.stderr.write(f"child: {error!r}\n")
        os._exit(1)
    os._exit(0)


def dies_at(owner: type, name: str, call: int, *, after: bool) -> None:
    """From now on this process kills itself at the given call of a method."""
    whole, calls = getattr(owner, name), iter(range(1, 10**6))

    def deadly(*arguments: object, **details: object) -> object:
        fatal = next(calls) == call
        if fatal and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = whole(*arguments, **details)
        if fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)


def was_killed(pid: int) -> bool:
    """Wait for a child; fails if it ended by an error of its own."""
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def check_pushed_once(place: Place, report: PushReport) -> None:
    """One task, of this name, whose shapes are those of the plan; nothing half-made is left."""
    with opened(place.folder, place.server) as (project, cvat):
        assert [task.state for task in project.ledger.tasks()] == ["open"]
        project_id = cvat.ensure_project(project.config.project, class_labels(project.classes))
        tasks = cvat.session.listed("tasks", project_id=project_id)
        assert [(t["id"], t["name"], t["size"]) for t in tasks] == [(report.task, report.name, 4)]
        labels = {label.id: label.name for label in cvat.labels(task_id=tasks[0]["id"])}
        frames = {frame.index: frame.name for frame in cvat.frames(tasks[0]["id"])}
        found: dict[str, list[str]] = {name: [] for name in frames.values()}
        for job in cvat.jobs(tasks[0]["id"]):
            for shape in cvat.job_shapes(job.id):
                found[frames[shape.frame]].append(shape_digest(shape, labels[shape.label_id]))
        ledger_task = project.ledger.tasks()[0]
        planned = {frame.name: list(frame.shapes) for frame in project.ledger.frames(ledger_task.id)}
        assert {name: sorted(digests) for name, digests in found.items()} == planned
        issues = [issue.cvat_id for issue in project.ledger.issues(ledger_task.id)]
        assert sorted(issues) == sorted(int(issue.id or 0) for issue in cvat.issues.of_task(tasks[0]["id"]))
        scratch = project.state_dir / "scratch"
        assert not scratch.exists() or not any(scratch.iterdir())


def check_pulled_once(place: Place, report: PushReport, before: dict[str, bytes]) -> None:
    """The pushed masks are the true ones, the others as before, and undo brings all old bytes back."""
    with opened(place.folder, place.server) as (project, cvat):
        pushed = {frame.sample_id for frame in report.frames}
        for sample_id, old in before.items():
            mask = project.mask_path(sample_id)
            if sample_id in pushed:
                truth = read_label_map(place.truth / f"{sample_id}.png", project.config.data)
                assert np.array_equal(read_label_map(mask, project.config.data), truth)
            else:
                assert mask.read_bytes() == old
        assert [task.state for task in project.ledger.tasks()] == ["done"]
        states = {issue.state for issue in project.ledger.issues(project.ledger.tasks()[0].id)}
        assert states == {"resolved"}
        assert all(issue.resolved for issue in cvat.issues.of_task(int(report.task or 0)))
        assert [change.kind for change in project.ledger.changes()] == ["pull"]
        assert not [name for name in contents(project.config.data.root) if name.endswith(".part")]
        undo(project)
        assert mask_bytes(project) == before


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", PUSH_STEPS, ids=lambda s: s[1])
def test_a_push_killed_at_any_step_is_finished_by_the_same_command(
    place: Place, step: tuple[type, str], after: bool
) -> None:
    reached = 0
    for call in (1, 3, 6) if step[1] in ("set_task", "keep_object") else (1,):
        if _half_pushed(place):
            pid = in_child(place.push, lambda call=call: dies_at(*step, call, after=after))  # type: ignore[misc]
            reached += was_killed(pid)
    assert reached, f"{step[1]} was never called"
    check_pushed_once(place, place.push() if _half_pushed(place) else _pushed(place))


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", PULL_STEPS, ids=lambda s: s[1])
def test_a_pull_killed_at_any_step_is_finished_by_the_same_command(
    place: Place, step: tuple[type, str], after: bool
) -> None:
    report, before = _annotated(place)
    call = 2 if step[1] in ("mark_written", "keep_object", "put_issues") else 1
    assert was_killed(in_child(place.pull, lambda: dies_at(*step, call, after=after)))
    place.pull()
    check_pulled_once(place, report, before)


@pytest.mark.parametrize("seed", range(20))
def test_a_push_killed_at_a_random_moment_is_finished_by_the_same_command(place: Place, seed: int) -> None:
    _kill_after(in_child(place.push), random.Random(seed).uniform(0.01, 0.5))
    check_pushed_once(place, place.push() if _half_pushed(place) else _pushed(place))


@pytest.mark.parametrize("seed", range(20))
def test_a_pull_killed_at_a_random_moment_is_finished_by_the_same_command(place: Place, seed: int) -> None:
    report, before = _annotated(place)
    _kill_after(in_child(place.pull), random.Random(seed).uniform(0.005, 0.25))
    place.pull()
    check_pulled_once(place, report, before)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", [(RemotePath, "put"), (Ledger, "mark_written")], ids=lambda s: s[1])
def test_a_pull_into_a_store_killed_midway_is_finished_by_the_same_command(
    place: Place, store: Store, step: tuple[type, str], after: bool
) -> None:
    store.move_data(place.folder)
    report, before = _annotated(place)
    assert was_killed(in_child(place.pull, lambda: dies_at(*step, 2, after=after)))
    place.pull()
    check_pulled_once(place, report, before)


@pytest.mark.parametrize("seed", range(4))
def test_a_pull_into_a_store_killed_at_a_random_moment_is_finished_by_the_same_command(
    place: Place, store: Store, seed: int
) -> None:
    store.move_data(place.folder)
    report, before = _annotated(place)
    _kill_after(in_child(place.pull), random.Random(seed).uniform(0.005, 0.6))
    place.pull()
    check_pulled_once(place, report, before)


def _kill_after(pid: int, seconds: float) -> None:
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)  # a child that has ended is still there to be killed until it is waited for
    was_killed(pid)


def _annotated(place: Place) -> tuple[PushReport, dict[str, bytes]]:
    with opened(place.folder, place.server) as (project, _):
        before = mask_bytes(project)
    report = place.push()
    place.annotate(report.task)
    return report, before


def _half_pushed(place: Place) -> bool:
    with opened(place.folder, place.server) as (project, _):
        return [task.state for task in project.ledger.tasks()] != ["open"]


def _pushed(place: Place) -> PushReport:
    """The report of a push that was quicker than its kill."""
    with opened(place.folder, place.server) as (project, _):
        task = project.ledger.tasks()[0]
        return PushReport(task.name, task.cvat_id, None, "prediction", task.run_id, False, None, None, ())
