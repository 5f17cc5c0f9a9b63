"""What an annotator finds in CVAT beside the masks: context pictures, pinned issues, the guide, polygons."""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from running_loop import Loop, mask_bytes

from annoloop.cvat.guide import MARK
from annoloop.cvat.issues import IssueBoard
from annoloop.cvat.wire import class_labels
from annoloop.errors import CvatError
from annoloop.loop.pull import pull
from annoloop.loop.push import push
from annoloop.loop.undo import undo
from annoloop.masks.regions import Region, from_cvat_outline
from annoloop.selection.request import PushRequest
from annoloop.simulation.annotator import annotate


def context_of(loop: Loop, task: int | None, frame: int) -> dict[str, Image.Image]:
    """The pictures that CVAT shows beside a frame, by the title of their pane."""
    response = loop.cvat.session._client.api_client.rest_client.request(
        "GET",
        f"{loop.server.url}/api/tasks/{task}/data?type=context_image&quality=original&number={frame}",
        headers={"Authorization": f"Bearer {loop.server.token}"},
    )
    with zipfile.ZipFile(io.BytesIO(response.data)) as archive:
        return {name.removesuffix(".jpg"): Image.open(io.BytesIO(archive.read(name))) for name in archive.namelist()}


def test_labels_prediction_and_errors_stand_beside_every_frame(loop: Loop) -> None:
    task = loop.push(worst=2).task
    for frame in loop.cvat.frames(int(task or 0)):
        pictures = context_of(loop, task, frame.index)
        assert sorted(pictures) == ["1 labels", "2 prediction", "3 errors"]
        assert all(picture.width >= 300 for picture in pictures.values())
    assert len(loop.cvat.frames(int(task or 0))) == 2, "context pictures are no frames"


def test_context_can_be_left_out(loop: Loop) -> None:
    task = loop.push(worst=1, context=False).task
    assert context_of(loop, task, 0) == {}


def test_the_largest_errors_are_pinned_with_the_word_that_matters_first(loop: Loop) -> None:
    pushed = loop.push(worst=3, issues_per_frame=1)
    issues = loop.cvat.issues.of_task(int(pushed.task or 0))
    assert len(issues) == sum(len(frame.issues) for frame in pushed.frames) == 3
    comments = {c["message"] for c in loop.cvat.session.listed("comments")}
    for frame in pushed.frames:
        (message,) = frame.issues
        assert message in comments
        size, unit, *what = message.partition(":")[0].split()
        assert (size.isdecimal(), unit) == (True, "px")
        assert what[0] in ("missed", "invented") or what[1] == "or"
        assert "confidence 0.78" in message
    for issue in issues:
        left, top, right, bottom = issue.position
        assert 0 <= left < right <= 64
        assert 0 <= top < bottom <= 48


def test_an_issue_is_resolved_when_its_area_was_corrected_and_stays_where_it_was_not(loop: Loop) -> None:
    pushed = loop.push(worst=2, source="label", issues_per_frame=1)
    task = int(pushed.task or 0)
    first, second = sorted(loop.cvat.issues.of_task(task), key=lambda issue: issue.frame)
    row = next(r for r in loop.project.ledger.issues(1) if r.cvat_id == first.id)
    left, top, right, bottom = row.runs[-4:]
    other = "disc" if "labelled disc" not in row.message else "square"
    loop.draw(task, first.frame, other, Region(1, top, left, np.ones((bottom - top + 1, right - left + 1), bool)))
    loop.complete(task)
    assert loop.pull(task).issues_resolved == 1
    assert {issue.id: issue.resolved for issue in loop.cvat.issues.of_task(task)} == {first.id: True, second.id: False}


def test_an_issue_that_cannot_be_resolved_now_is_resolved_by_the_next_pull(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = int(loop.push(worst=2).task or 0)
    annotate(loop.project, loop.cvat, task, loop.truth)

    def refuse(*_: object) -> tuple[frozenset[int], CvatError]:
        return frozenset(), CvatError("HTTP 500", status=500)

    with monkeypatch.context() as patch:
        patch.setattr(IssueBoard, "set_resolved", refuse)
        assert loop.pull(task).issues_resolved == 0
    assert all(task.state == "done" for task in loop.project.ledger.tasks())
    assert loop.pull(task).issues_resolved == len(loop.cvat.issues.of_task(task)) > 0


def test_an_issue_that_somebody_deleted_is_no_obstacle(loop: Loop) -> None:
    task = int(loop.push(worst=1).task or 0)
    annotate(loop.project, loop.cvat, task, loop.truth)
    for issue in loop.cvat.issues.of_task(task):
        loop.cvat.session.call("DELETE", f"issues/{issue.id}")
    loop.pull(task)
    assert {issue.state for issue in loop.project.ledger.issues(1)} == {"resolved"}


def test_predicted_masks_are_marked_as_automatic(loop: Loop) -> None:
    task = loop.push(worst=1).task
    assert {shape.source for job in loop.jobs(task) for shape in loop.cvat.job_shapes(job.id)} == {"auto"}


def test_the_project_gets_a_guide_and_one_of_people_stays(loop: Loop) -> None:
    loop.push(worst=1)
    project_id = loop.cvat.ensure_project(loop.project.config.project, class_labels(loop.project.classes))
    guide = f"guides/{loop.cvat.session.get(f'projects/{project_id}')['guide_id']}"
    text = loop.cvat.session.get(guide)["markdown"]
    assert text.startswith(MARK)
    addresses = re.findall(r"!\[#[0-9a-f]{6}\]\(/(api/assets/[0-9a-f-]+)\)", text)
    assert len(addresses) == 5, "a swatch for every label"
    loop.push(worst=1)
    assert loop.cvat.session.get(guide)["markdown"] == text, "written once"
    assert all(f"| {name} |" in text for name in ("disc", "square", "ring", "cross", "ignore"))
    loop.cvat.session.call("PATCH", guide, {"markdown": "# our own rules"})
    loop.push(worst=1)
    assert loop.cvat.session.get(guide)["markdown"] == "# our own rules"


def test_undo_opens_the_issues_again_that_its_pull_resolved(loop: Loop) -> None:
    task = int(loop.push(worst=2).task or 0)
    by_a_person = loop.cvat.issues.of_task(task)[0]
    loop.cvat.session.call("PATCH", f"issues/{by_a_person.id}", {"resolved": True})
    annotate(loop.project, loop.cvat, task, loop.truth)
    resolved = loop.pull(task).issues_resolved
    assert resolved > 0
    report = undo(loop.project, server=loop.cvat)
    assert (report.issues_reopened, report.issues_to_reopen) == (resolved, 0)
    assert {i.id for i in loop.cvat.issues.of_task(task) if i.resolved} == {by_a_person.id}, "that one stays"
    assert loop.pull(task).issues_resolved == 0, "what was undone is not settled again unasked"
    again = loop.pull(task, redo=True)
    assert (again.issues_resolved, bool(again.written)) == (resolved, True)


def test_without_a_server_undo_is_told_to_cvat_by_the_next_pull(loop: Loop) -> None:
    task = int(loop.push(worst=2).task or 0)
    annotate(loop.project, loop.cvat, task, loop.truth)
    resolved = loop.pull(task).issues_resolved
    assert undo(loop.project).issues_to_reopen == resolved > 0
    (report,) = pull(loop.project, loop.cvat)
    assert (report.issues_reopened, report.written) == (resolved, ())
    assert not any(issue.resolved for issue in loop.cvat.issues.of_task(task))


# polygons


def test_polygons_that_nobody_touches_come_back_byte_for_byte(loop: Loop) -> None:
    before = mask_bytes(loop.project)
    pushed = loop.push(worst=8, source="label", shape="polygon", tolerance_px=2.0)
    kinds = {shape.kind for job in loop.jobs(pushed.task) for shape in loop.cvat.job_shapes(job.id)}
    assert "polygon" in kinds
    assert pushed.polygon_loss_px
    loop.complete(pushed.task)
    report = loop.pull(pushed.task)
    assert (report.edited_px, report.written) == (0, ())
    assert mask_bytes(loop.project) == before


def test_only_the_polygon_that_was_edited_is_rasterised(loop: Loop) -> None:
    pushed = loop.push(worst=1, source="label", shape="polygon", tolerance_px=2.0)
    sample_id = pushed.frames[0].sample_id
    before = loop.label_map(sample_id).copy()
    job = loop.jobs(pushed.task)[0]
    shapes = [s for s in loop.cvat.job_shapes(job.id) if s.kind == "polygon"]
    assert len(shapes) > 1
    edited = shapes[0]
    moved = tuple(p + (1.0 if place % 2 == 0 else 0.0) for place, p in enumerate(edited.points))
    loop.cvat.change_job_shapes(job.id, update=[replace(edited, points=moved)])
    loop.complete(pushed.task)
    loop.pull(pushed.task)
    after = loop.label_map(sample_id)
    near = np.zeros(before.shape, bool)
    for points in (edited.points, moved):
        region = from_cvat_outline("polygon", points, 0.0, 1, before.shape)
        assert region is not None
        left, top, right, bottom = region.box_ltrb
        near[max(0, top - 3) : bottom + 3, max(0, left - 3) : right + 3] = True
    assert (before != after).any()
    assert not (before != after)[~near].any(), "everything else is as it was, to the pixel"


def test_a_dry_run_with_polygons_says_what_they_would_lose(loop: Loop) -> None:
    said: list[str] = []
    report = push(
        loop.project, None, PushRequest(worst=3, shape="polygon", tolerance_px=3.0, dry_run=True), say=said.append
    )
    assert report.polygon_loss_px
    assert f"{report.polygon_loss_px} px in 3 images would change" in said[0]
