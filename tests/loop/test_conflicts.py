"""What may have happened between a push and its pull: each has a defined answer and a clear message."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from running_loop import Loop, mask_bytes, opened

from annoloop.cvat.issues import IssueBoard
from annoloop.cvat.server import CvatServer
from annoloop.cvat.wire import class_labels
from annoloop.data.config import load, render
from annoloop.data.images import IndexImage, encode_index_png
from annoloop.errors import ConfigError, CvatError, DataError
from annoloop.loop.pull import pull
from annoloop.loop.push import push
from annoloop.loop.undo import undo
from annoloop.masks.classes import class_table
from annoloop.masks.regions import Region
from annoloop.selection.request import PushRequest
from annoloop.simulation.annotator import annotate

BLOT = Region(2, 5, 7, np.ones((6, 9), bool))


def label_id(loop: Loop, name: str) -> int:
    project_id = loop.cvat.ensure_project(loop.project.config.project, class_labels(loop.project.classes))
    return next(label.id for label in loop.cvat.labels(project_id=project_id) if label.name == name)


# labels


def test_a_label_added_in_cvat_stops_push_and_pull_before_anything_is_written(loop: Loop) -> None:
    pushed = loop.push(worst=2)
    annotate(loop.project, loop.cvat, int(pushed.task or 0), loop.truth)
    before = mask_bytes(loop.project)
    project_id = loop.cvat.ensure_project(loop.project.config.project, class_labels(loop.project.classes))
    loop.cvat.session.call("PATCH", f"projects/{project_id}", {"labels": [{"name": "hexagon"}]})
    with pytest.raises(CvatError, match="unknown label 'hexagon'"):
        loop.pull(pushed.task)
    with pytest.raises(CvatError, match="unknown label 'hexagon'"):
        loop.push(worst=1)
    assert mask_bytes(loop.project) == before


def test_a_label_deleted_in_cvat_takes_no_mask_with_it(loop: Loop) -> None:
    pushed = loop.push(worst=2)
    loop.complete(pushed.task)
    before = mask_bytes(loop.project)
    loop.cvat.session.call("DELETE", f"labels/{label_id(loop, 'ring')}")
    with pytest.raises(CvatError, match="no label 'ring'") as caught:
        loop.pull(pushed.task)
    assert "takes its shapes with it" in str(caught.value.hint)
    assert mask_bytes(loop.project) == before


# frames, jobs, tasks


def test_a_frame_that_is_restored_after_a_pull_comes_back_with_the_next(loop: Loop) -> None:
    pushed = loop.push(worst=3)
    annotate(loop.project, loop.cvat, int(pushed.task or 0), loop.truth)
    meta = f"tasks/{pushed.task}/data/meta"
    loop.cvat.session.call("PATCH", meta, {"deleted_frames": [1]})
    (deleted,) = loop.pull(pushed.task).deleted
    loop.cvat.session.call("PATCH", meta, {"deleted_frames": []})
    assert loop.pull(pushed.task).changed == (deleted,)
    assert np.array_equal(loop.label_map(deleted), loop.true_map(deleted))


def test_a_task_deleted_in_cvat_does_not_stop_the_others_and_frees_its_images(loop: Loop) -> None:
    first, second = loop.push(worst=2), loop.push(worst=2)
    annotate(loop.project, loop.cvat, int(second.task or 0), loop.truth)
    loop.cvat.delete_task(int(first.task or 0))
    lost, pulled = pull(loop.project, loop.cvat)
    assert (lost.task, lost.lost) == (first.task, True)
    assert (pulled.task, len(pulled.changed)) == (second.task, 2)
    again = {frame.sample_id for frame in loop.push(worst=8).frames}
    assert {frame.sample_id for frame in first.frames} <= again


def test_a_job_reopened_after_the_pull_is_reported_and_pulled_again_when_it_is_done(loop: Loop) -> None:
    pushed = loop.push(worst=2)
    annotate(loop.project, loop.cvat, int(pushed.task or 0), loop.truth)
    loop.pull(pushed.task)
    sample_id = pushed.frames[0].sample_id
    loop.complete(pushed.task, "in progress")
    loop.draw(pushed.task, loop.frame_of(pushed.task, sample_id), "square", BLOT)
    report = loop.pull(pushed.task)
    assert set(report.reopened) == {frame.sample_id for frame in pushed.frames}
    assert report.written == ()
    assert [task.state for task in loop.project.ledger.tasks()] == ["open"], "so that the next pull looks at it"
    loop.complete(pushed.task)
    (report,) = pull(loop.project, loop.cvat)
    assert report.changed == (sample_id,)
    assert len(report.settled) == 1
    assert (loop.label_map(sample_id)[5:11, 7:16] == 2).all()


def test_an_image_in_two_tasks_goes_to_whoever_is_pulled_first_and_the_other_is_a_conflict(loop: Loop) -> None:
    first = loop.push(worst=1)
    sample_id = first.frames[0].sample_id
    annotate(loop.project, loop.cvat, int(first.task or 0), loop.truth)
    loop.pull(first.task)
    second = loop.push(worst=8, corrected=True)
    assert sample_id in {frame.sample_id for frame in second.frames}
    loop.draw(second.task, loop.frame_of(second.task, sample_id), "square", BLOT)
    loop.complete(second.task)
    loop.draw(first.task, loop.frame_of(first.task, sample_id), "ring", replace(BLOT, class_index=3))
    report = loop.pull(first.task)
    assert report.changed == report.shared == (sample_id,)
    with pytest.raises(DataError, match=rf"{sample_id} \(task {first.task} brought another version\)"):
        loop.pull(second.task)


def test_an_image_in_two_tasks_of_one_pull_is_a_conflict_before_either_is_written(loop: Loop) -> None:
    first = loop.push(worst=1)
    sample_id = first.frames[0].sample_id
    loop.complete(first.task)
    loop.pull(first.task)
    second = loop.push(worst=8, corrected=True)
    loop.complete(first.task, "in progress")
    loop.pull(first.task)
    for task, label in ((first.task, "square"), (second.task, "ring")):
        loop.draw(task, loop.frame_of(task, sample_id), label, BLOT)
        loop.complete(task)
    before = mask_bytes(loop.project)
    with pytest.raises(DataError, match=rf"{sample_id} \(task {first.task} brings another version\)"):
        pull(loop.project, loop.cvat)
    assert mask_bytes(loop.project) == before
    pull(loop.project, loop.cvat, on_conflict="theirs")
    assert (loop.label_map(sample_id)[5:11, 7:16] == 3).all(), "the later task's"


def test_a_mask_that_was_kept_stays_kept_until_somebody_edits_its_frame_again(loop: Loop) -> None:
    pushed = loop.push(worst=1)
    sample_id = pushed.frames[0].sample_id
    annotate(loop.project, loop.cvat, int(pushed.task or 0), loop.truth)
    mine = encode_index_png(IndexImage(np.full((48, 64), 3, np.uint8)))
    path = loop.project.mask_path(sample_id)
    path.write_bytes(mine)
    assert loop.pull(pushed.task, on_conflict="mine").kept == (sample_id,)
    assert loop.pull(pushed.task).kept == (sample_id,), "no conflict again"
    loop.draw(pushed.task, 0, "square", BLOT)
    with pytest.raises(DataError, match=rf"{sample_id} \(yours was kept by an earlier pull\)"):
        loop.pull(pushed.task)
    assert path.read_bytes() == mine
    loop.pull(pushed.task, on_conflict="theirs")
    assert (loop.label_map(sample_id)[5:11, 7:16] == 2).all()
    undo(loop.project)
    assert path.read_bytes() == mine


# half-made tasks that no command can finish


@pytest.mark.parametrize("worked_on", [False, True])
def test_a_half_made_task_of_another_model_is_given_up_and_nobodys_work_deleted(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, worked_on: bool
) -> None:
    step = "replace_job_shapes" if worked_on else "upload_images"
    whole = getattr(CvatServer, step)

    def cut_off(*arguments: object, **details: object) -> None:
        whole(*arguments, **details)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CvatServer, step, cut_off)
        with pytest.raises(KeyboardInterrupt):
            loop.push(worst=2)
    (name,) = loop.tasks()
    run = loop.project.ledger.add_run(
        kind_digest="made", recipe="unet_tiny", parent_id=None, class_digest=loop.project.classes.digest
    )
    for sample in loop.project.samples():
        sha = loop.project.ledger.images()[sample.id].image_sha256
        for old, new in zip(
            loop.project.prediction_paths(1, sha), loop.project.prediction_paths(run, sha), strict=True
        ):
            new.parent.mkdir(parents=True, exist_ok=True)
            new.write_bytes(old.read_bytes())
    loop.project.ledger.judge_run(run, val_dice=0.6, promoted=True, verdict="better")
    said: list[str] = []
    report = push(loop.project, loop.cvat, PushRequest(worst=2), say=said.append)
    assert [task.state for task in loop.project.ledger.tasks()] == ["lost", "open"]
    assert (name in loop.tasks()) == worked_on
    assert report.name in loop.tasks()
    assert any("gave up the half-made task" in line for line in said)


def test_a_half_made_task_that_somebody_deleted_is_made_anew_with_its_masks(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(IssueBoard, "pin", cut_off)
        with pytest.raises(KeyboardInterrupt):
            loop.push(worst=2)
    (task,) = loop.project.ledger.tasks()
    assert task.state == "verified"
    loop.cvat.delete_task(int(task.cvat_id or 0))
    report = loop.push(worst=2)
    assert report.resumed
    assert report.task != task.cvat_id
    shapes = sum(len(loop.cvat.job_shapes(job.id)) for job in loop.jobs(report.task))
    assert shapes == sum(sum(frame.shapes.values()) for frame in report.frames) > 0


# assignees


def test_jobs_go_round_robin_and_whoever_has_one_keeps_it(loop: Loop) -> None:
    for name in ("ann", "bob"):
        account = {
            "username": name,
            "email": f"{name}@example.org",
            "password1": "pa55-word!",
            "password2": "pa55-word!",
        }
        with suppress(CvatError):  # another test may have made this user
            loop.cvat.session.call("POST", "auth/register", account | {"first_name": "", "last_name": ""})
    pushed = loop.push(worst=3, segment_size=1, assignees=("ann", "bob"))
    assert [job.assignee for job in loop.jobs(pushed.task)] == ["ann", "bob", "ann"]


def test_an_unknown_assignee_is_an_error_before_anything_is_planned(loop: Loop) -> None:
    with pytest.raises(CvatError, match="no user 'nobody-here'") as caught:
        loop.push(worst=1, assignees=("nobody-here",))
    assert "--assignee" in str(caught.value.hint)
    assert loop.tasks() == []
    assert loop.project.ledger.tasks() == []


# the rule for uncovered pixels


@pytest.mark.parametrize(("background", "expected"), [("ignore", 255), ("previous", None), ("background", 0)])
def test_pixels_that_no_shape_covers_follow_the_background_rule(
    loop: Loop, background: str, expected: int | None
) -> None:
    file = loop.project.path
    settings = load(file).model_copy(update={"background": background, "project": f"{loop.project.config.project}-b"})
    file.write_text(render(settings), encoding="utf-8")
    with opened(loop.folder, loop.server) as (project, cvat):
        project.ledger.judge_run(
            project.ledger.add_run(kind_digest="m", recipe="r", parent_id=None, class_digest=project.classes.digest),
            val_dice=0.5, promoted=True, verdict="made",
        )  # fmt: skip
        for sample in project.samples():
            sha = project.scan([sample])[sample.id].image_sha256
            for old, new in zip(project.prediction_paths(1, sha), project.prediction_paths(2, sha), strict=True):
                new.parent.mkdir(parents=True, exist_ok=True)
                new.write_bytes(old.read_bytes())
        other = Loop(loop.folder, loop.truth, loop.server, project, cvat)
        pushed = other.push(worst=1, source="label")
        sample_id = pushed.frames[0].sample_id
        before = other.label_map(sample_id).copy()
        job = other.jobs(pushed.task)[0]
        gone = max(cvat.job_shapes(job.id), key=lambda shape: len(shape.points))
        kept = [s for s in cvat.job_shapes(job.id) if s.id != gone.id]
        cvat.change_job_shapes(job.id, delete=[gone])
        other.complete(pushed.task)
        report = other.pull(pushed.task)
        after = other.label_map(sample_id)
        changed = before != after
        if expected is None:
            assert not changed.any()
        else:
            assert changed.any()
            assert (after[changed] == expected).all()
        assert kept
        assert (report.uncovered_px > 0) == (background != "background")


def test_a_class_may_not_be_called_like_a_rule() -> None:
    with pytest.raises(ConfigError, match="'previous' is the name of a background rule"):
        class_table(["a", "previous"])
