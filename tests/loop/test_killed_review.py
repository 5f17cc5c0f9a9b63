"""Reviews killed at every step of push and pull: the same command finishes, each region is asked and applied once.

Also two hundred regions at once, answered over HTTP and compared with a calculation of the test's own.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from running_loop import Loop, add_model, make_project, mask_bytes, opened
from test_killed import dies_at, in_child, was_killed
from test_proposals import answer, labels_of, propose, rows_of, with_regions

from annoloop.cli.demo import Server
from annoloop.cvat.server import CvatServer
from annoloop.loop.exchange.review_cargo import REGION, review_project
from annoloop.loop.undo import undo
from annoloop.project.files import ProjectFiles
from annoloop.project.ledger import Ledger
from annoloop.project.project import Project
from annoloop.project.rows import ACCEPT, REJECT, VERDICTS

PUSH_STEPS = (
    (Ledger, "plan_task"), (Ledger, "set_task"), (CvatServer, "ensure_project"), (CvatServer, "create_task"),
    (CvatServer, "upload_images"), (CvatServer, "replace_job_shapes"),
)  # fmt: skip
PULL_STEPS = (
    (Ledger, "put_verdicts"), (Ledger, "put_marks"), (Ledger, "put_frames"), (Ledger, "add_change"),
    (Ledger, "mark_written"), (ProjectFiles, "keep_object"), (Project, "write_masks"),
)  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, sandbox: Server) -> Iterator[tuple[Path, Path]]:
    """A project folder and its true masks; nothing is open, so that a child can work in it."""
    made = make_project(tmp_path, sandbox.url, name=f"killed-{uuid4().hex[:8]}", segment_size=3)
    with opened(tmp_path, sandbox) as (project, _):
        add_model(project, made.truth)
    yield tmp_path, made.truth
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", PUSH_STEPS, ids=lambda s: s[1])
def test_a_review_killed_while_it_is_pushed_is_finished(
    place: tuple[Path, Path], sandbox: Server, step: tuple[type, str], after: bool
) -> None:
    def work() -> None:
        with opened(place[0], sandbox) as (project, cvat), project.locked("push"):
            propose(Loop(*place, sandbox, project, cvat), 6)

    assert was_killed(in_child(work, lambda: dies_at(*step, 1, after=after)))
    with opened(place[0], sandbox) as (project, cvat):
        loop = Loop(*place, sandbox, project, cvat)
        report = propose(loop, 6)
        number = cvat.ensure_project(review_project(project.config.project), [REGION])
        assert [t["id"] for t in cvat.session.listed("tasks", project_id=number)] == [report.task]
        assert len(report.proposals or ()) == 6
        assert sum(len(cvat.job_shapes(job.id)) for job in loop.jobs(report.task)) == 6
        assert [task.state for task in project.ledger.tasks()] == ["open"]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", PULL_STEPS, ids=lambda s: s[1])
def test_a_review_killed_while_it_is_pulled_is_applied_once(
    place: tuple[Path, Path], sandbox: Server, step: tuple[type, str], after: bool
) -> None:
    with opened(place[0], sandbox) as (project, cvat):
        loop = Loop(*place, sandbox, project, cvat)
        files, before = mask_bytes(project), labels_of(loop)
        report = propose(loop, 8)
        rows = rows_of(loop, report)
        answer(loop, report, {row.number: ACCEPT if row.number % 2 else REJECT for row in rows})

    def work() -> None:
        with opened(place[0], sandbox) as (project, cvat), project.locked("pull"):
            Loop(*place, sandbox, project, cvat).pull(report.task)

    assert was_killed(in_child(work, lambda: dies_at(*step, 1, after=after)))
    with opened(place[0], sandbox) as (project, cvat):
        loop = Loop(*place, sandbox, project, cvat)
        loop.pull(report.task)
        accepted = [row for row in rows if row.number % 2]
        for name, label_map in labels_of(loop).items():
            wanted = with_regions(before[name], [row for row in accepted if row.sample_id == name])
            assert np.array_equal(label_map, wanted)
        assert {row.verdict for row in rows_of(loop, report)} == {ACCEPT, REJECT}
        undo(project)
        assert mask_bytes(project) == files


def test_two_hundred_answers_make_the_masks_that_they_say(tmp_path: Path, sandbox: Server) -> None:
    counts = {"train": 70, "val": 2}
    made = make_project(tmp_path, sandbox.url, name=f"many-{uuid4().hex[:8]}", counts=counts)
    with opened(tmp_path, sandbox) as (project, cvat):
        add_model(project, made.truth)
        loop = Loop(tmp_path, made.truth, sandbox, project, cvat)
        before, report = labels_of(loop), propose(loop, 200, segment_size=10)
        rows = rows_of(loop, report)
        assert len(rows) == len(report.proposals or ()) == 200
        drawn = np.random.default_rng(1).integers(0, len(VERDICTS), 200)
        verdicts = {row.number: VERDICTS[int(v)] for row, v in zip(rows, drawn, strict=True)}
        answer(loop, report, verdicts)
        loop.pull(report.task)
        accepted = [row for row in rows if verdicts[row.number] == ACCEPT]
        for name, label_map in labels_of(loop).items():
            wanted = with_regions(before[name], [row for row in accepted if row.sample_id == name])
            assert np.array_equal(label_map, wanted)
        refused = {(r.sample_id, r.runs) for r in rows if verdicts[r.number] in VERDICTS[2:]}
        assert not refused & {(r.sample_id, r.runs) for r in rows_of(loop, propose(loop, 200))}
