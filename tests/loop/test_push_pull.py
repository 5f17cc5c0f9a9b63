"""Push and pull against a CVAT that speaks HTTP: laws 2 to 6, one task whatever happens, conflicts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image
from running_loop import Loop, add_model, make_project, mask_bytes, opened

from annoloop.cli.demo import Server
from annoloop.cvat.credentials import Credentials
from annoloop.cvat.server import CvatServer, connect
from annoloop.cvat.wire import Frame, Shape
from annoloop.data.config import CvatConfig
from annoloop.data.images import IndexImage, encode_index_png
from annoloop.data.mmseg_folders import read_label_map
from annoloop.errors import ConfigError, CvatError, DataError, LedgerError
from annoloop.loop.pull import pull
from annoloop.loop.push import push
from annoloop.loop.status import status
from annoloop.loop.undo import undo
from annoloop.masks.regions import Region
from annoloop.project.ledger import Ledger
from annoloop.project.project import Project
from annoloop.selection.request import PushRequest
from annoloop.simulation.annotator import annotate


def test_pushed_labels_that_nobody_touches_come_back_byte_for_byte(loop: Loop) -> None:
    before = mask_bytes(loop.project)
    pushed = loop.push(source="label")
    loop.complete(pushed.task)
    report = loop.pull(pushed.task)
    assert mask_bytes(loop.project) == before
    assert (report.edited_px, report.changed, report.written) == (0, (), ())
    assert not any(c.drawn_px or c.erased_px or c.gained_px or c.lost_px for c in report.classes)
    assert len(report.accepted) == 4
    assert report.jobs == {"completed": 2}


def test_corrected_predictions_become_the_true_masks_and_undo_brings_the_old_ones_back(loop: Loop) -> None:
    before = mask_bytes(loop.project)
    pushed = loop.push()
    annotate(loop.project, loop.cvat, pushed.task, loop.truth)
    report = loop.pull(pushed.task)
    assert set(report.changed) == {f.sample_id for f in pushed.frames}
    assert report.edited_px > 0
    for frame in pushed.frames:
        truth = read_label_map(loop.truth / f"{frame.sample_id}.png", loop.project.config.data)
        assert np.array_equal(read_label_map(loop.project.mask_path(frame.sample_id), loop.project.config.data), truth)
    assert set(undo(loop.project).restored) == set(report.written)
    assert mask_bytes(loop.project) == before
    with pytest.raises(LedgerError, match="no pull to undo"):
        undo(loop.project)
    again = loop.pull(pushed.task)
    assert (again.written, set(again.undone)) == ((), set(report.written)), "nothing comes back unasked"
    assert mask_bytes(loop.project) == before
    assert set(loop.pull(pushed.task, redo=True).written) == set(report.written), "what was undone can be pulled again"


@pytest.mark.usefixtures("spread_early")
def test_a_task_that_takes_all_cores_comes_back_as_the_true_masks(tmp_path: Path, sandbox: Server) -> None:
    counts = {"train": 18, "val": 1}
    made = make_project(tmp_path, sandbox.url, name=f"test-{uuid4().hex[:8]}", counts=counts)
    with opened(tmp_path, sandbox) as (project, cvat):
        add_model(project, made.truth)
        large = Loop(tmp_path, made.truth, sandbox, project, cvat)
        pushed = large.push(worst=18, segment_size=0)
        annotate(project, cvat, pushed.task, made.truth)
        report = large.pull(pushed.task)
        assert len(report.changed) == 18
        for sample_id in report.changed:
            assert np.array_equal(large.label_map(sample_id), large.true_map(sample_id))


def test_predictions_that_nobody_looked_at_leave_the_labels_alone(loop: Loop) -> None:
    before = mask_bytes(loop.project)
    pushed = loop.push(worst=8)
    loop.complete(pushed.task)
    report = loop.pull(pushed.task)
    assert mask_bytes(loop.project) == before
    assert (len(report.untouched), report.accepted, report.written, report.issues_resolved) == (8, (), (), 0)
    assert not any(c.gained_px or c.lost_px for c in report.classes)
    assert not any(issue.resolved for issue in loop.cvat.issues.of_task(int(pushed.task or 0)))
    assert not loop.project.ledger.corrected()


def test_an_edited_frame_comes_back_and_its_untouched_neighbours_do_not(loop: Loop) -> None:
    before = mask_bytes(loop.project)
    pushed = loop.push(worst=4)
    sample_id = pushed.frames[2].sample_id
    loop.draw(pushed.task, loop.frame_of(pushed.task, sample_id), "disc", Region(1, 0, 0, np.ones((3, 3), bool)))
    loop.complete(pushed.task)
    report = loop.pull(pushed.task)
    assert (report.changed, len(report.untouched)) == ((sample_id,), 3)
    assert {k for k, v in mask_bytes(loop.project).items() if v != before[k]} == {sample_id}


def test_a_person_who_resolves_an_issue_has_looked_at_the_frame(loop: Loop) -> None:
    pushed = loop.push(worst=3)
    task = int(pushed.task or 0)
    issue = loop.cvat.issues.of_task(task)[0]
    loop.cvat.session.call("PATCH", f"issues/{issue.id}", {"resolved": True})
    loop.complete(task)
    report = loop.pull(task)
    seen = next(f.sample_id for f in pushed.frames if loop.frame_of(task, f.sample_id) == issue.frame)
    assert (report.accepted, report.written) == ((seen,), (seen,))
    assert len(report.untouched) == 2


def test_a_label_that_was_edited_under_an_untouched_prediction_is_no_conflict(loop: Loop) -> None:
    pushed = loop.push(worst=2)
    mine = encode_index_png(IndexImage(np.full((48, 64), 3, np.uint8)))
    loop.project.mask_path(pushed.frames[0].sample_id).write_bytes(mine)
    loop.complete(pushed.task)
    assert len(loop.pull(pushed.task).untouched) == 2
    assert loop.project.mask_path(pushed.frames[0].sample_id).read_bytes() == mine


def test_predictions_are_accepted_untouched_if_asked_and_what_goes_is_told_first(loop: Loop) -> None:
    pushed = loop.push(worst=2)
    loop.complete(pushed.task)
    assert len(loop.pull(pushed.task).untouched) == 2
    said: list[str] = []
    before = mask_bytes(loop.project)

    def told(text: str) -> None:
        assert mask_bytes(loop.project) == before
        said.append(text)

    report = loop.pull(pushed.task, accept_untouched=True, say=told)
    assert said[0] == "2 labels that nobody looked at give way to predictions:"
    gone = {c.label: (c.lost_px, c.gained_px) for c in report.classes if c.lost_px or c.gained_px}
    assert gone
    assert set(said[1:]) == {f"  {label}: {lost} px go, {gained} px come" for label, (lost, gained) in gone.items()}
    assert (report.edited_px, len(report.accepted), len(report.changed)) == (0, 2, 0)
    run = loop.project.current_run()
    rows = loop.project.ledger.images()
    for frame in pushed.frames:
        prediction = loop.project.prediction(run.id, rows[frame.sample_id].image_sha256)
        assert np.array_equal(
            read_label_map(loop.project.mask_path(frame.sample_id), loop.project.config.data), prediction
        )


def test_only_the_pixels_that_an_annotator_drew_change(loop: Loop) -> None:
    pushed = loop.push(source="label")
    sample_id = pushed.frames[0].sample_id
    before = read_label_map(loop.project.mask_path(sample_id), loop.project.config.data).copy()
    others = {k: v for k, v in mask_bytes(loop.project).items() if k != sample_id}
    frame = next(f for f in loop.cvat.frames(pushed.task) if f.name.startswith(sample_id))
    drawn = Region(2, 5, 7, np.array([[1, 1, 0], [0, 1, 1]], bool))
    loop.draw(pushed.task, frame.index, "square", drawn)
    loop.complete(pushed.task)
    report = loop.pull(pushed.task)
    after = read_label_map(loop.project.mask_path(sample_id), loop.project.config.data)
    expected = before.copy()
    expected[5:7, 7:10][drawn.bits] = 2
    assert np.array_equal(after, expected)
    assert report.edited_px == np.count_nonzero(before != expected)
    assert {k: v for k, v in mask_bytes(loop.project).items() if k != sample_id} == others


def test_relabelling_a_shape_keeps_its_id_and_is_still_seen(loop: Loop) -> None:
    pushed = loop.push(worst=1, source="label")
    job = loop.cvat.jobs(pushed.task)[0]
    shape = loop.cvat.job_shapes(job.id)[0]
    labels = {label.name: label.id for label in loop.cvat.labels(task_id=pushed.task)}
    other = next(number for name, number in labels.items() if number != shape.label_id and name != "ignore")
    loop.cvat.change_job_shapes(job.id, update=[replace(shape, label_id=other)])
    loop.complete(pushed.task)
    assert loop.cvat.job_shapes(job.id)[0].id == shape.id
    assert len(loop.pull(pushed.task).changed) == 1


def test_an_ignored_area_stays_ignored_when_predictions_are_pushed(loop: Loop) -> None:
    mask = loop.project.samples(["train"])[0].mask
    label_map = read_label_map(mask, loop.project.config.data).copy()
    label_map[:9, :11] = 255
    mask.write_bytes(encode_index_png(IndexImage(label_map)))
    pushed = loop.push(worst=8)
    loop.complete(pushed.task)
    loop.pull(pushed.task, accept_untouched=True)
    assert (read_label_map(mask, loop.project.config.data)[:9, :11] == 255).all()


def test_unfinished_jobs_stay_out_and_can_be_pulled_later(loop: Loop) -> None:
    pushed = loop.push(source="label")
    first, second = loop.cvat.jobs(pushed.task)
    loop.cvat.set_job(first.id, state="completed")
    report = loop.pull(pushed.task)
    assert (report.jobs, len(report.accepted), len(report.unopened)) == ({"completed": 1, "new": 1}, 3, 1)
    assert [t.state for t in loop.project.ledger.tasks()] == ["open"]
    loop.cvat.set_job(second.id, state="completed")
    report = loop.pull(pushed.task)
    assert (report.unopened, len(report.accepted), len(report.settled)) == ((), 1, 3)
    assert [t.state for t in loop.project.ledger.tasks()] == ["done"]


def test_frames_that_were_never_opened_stay_out_even_with_include_unfinished(loop: Loop) -> None:
    pushed = loop.push(source="label")
    loop.draw(pushed.task, 0, "disc", Region(1, 0, 0, np.ones((3, 3), bool)))
    report = loop.pull(pushed.task, include_unfinished=True)
    assert (len(report.changed), len(report.accepted), len(report.unopened)) == (1, 0, 3)


def test_a_deleted_frame_is_reported_and_its_mask_left_alone(loop: Loop) -> None:
    pushed = loop.push(worst=3)
    before = mask_bytes(loop.project)
    loop.cvat.session.call("PATCH", f"tasks/{pushed.task}/data/meta", {"deleted_frames": [1]})
    loop.complete(pushed.task)
    report = loop.pull(pushed.task)
    assert len(report.deleted) == 1
    assert mask_bytes(loop.project)[report.deleted[0]] == before[report.deleted[0]]


@pytest.mark.parametrize("on_conflict", ["stop", "mine", "theirs"])
def test_a_mask_edited_on_disk_since_the_push_is_a_conflict(loop: Loop, on_conflict: str) -> None:
    pushed = loop.push()
    annotate(loop.project, loop.cvat, pushed.task, loop.truth)
    sample_id = pushed.frames[1].sample_id
    path = loop.project.mask_path(sample_id)
    mine = encode_index_png(IndexImage(np.full((48, 64), 3, np.uint8)))
    path.write_bytes(mine)
    before = mask_bytes(loop.project)
    if on_conflict == "stop":
        with pytest.raises(DataError, match=f"{sample_id} .edited on disk"):
            loop.pull(pushed.task)
        assert mask_bytes(loop.project) == before, "nothing is written before all is checked"
        return
    report = loop.pull(pushed.task, on_conflict=on_conflict)
    assert (path.read_bytes() == mine) == (on_conflict == "mine")
    assert report.kept == ((sample_id,) if on_conflict == "mine" else ())
    if on_conflict == "theirs":
        undo(loop.project)
        assert path.read_bytes() == mine, "the edited mask lies in the history"


def test_a_label_renamed_in_cvat_is_an_error_before_anything_is_written(loop: Loop) -> None:
    pushed = loop.push()
    annotate(loop.project, loop.cvat, pushed.task, loop.truth)
    before = mask_bytes(loop.project)
    label = next(x for x in loop.cvat.labels(task_id=pushed.task) if x.name == "ring")
    loop.cvat.session.call("PATCH", f"labels/{label.id}", {"name": "annulus"})
    with pytest.raises(CvatError, match="unknown label 'annulus'; no label 'ring'"):
        loop.pull(pushed.task)
    assert mask_bytes(loop.project) == before


def test_changed_classes_are_an_error_before_anything_is_written(loop: Loop) -> None:
    pushed = loop.push(worst=1)
    loop.complete(pushed.task)
    file = loop.project.path
    file.write_text(file.read_text().replace("name: ring", "name: annulus"))
    before = mask_bytes(loop.project)
    with opened(loop.folder, loop.server) as (project, cvat), pytest.raises(ConfigError, match="classes have changed"):
        pull(project, cvat, task=pushed.task)
    assert mask_bytes(loop.project) == before


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ([3.0, 4.0, 0.0, 0.0, 1.0, 1.0], "runs add up to 7 px"),
        ([0.0, 4.0, 63.0, 47.0, 64.0, 48.0], "leaves the image"),
        ([0.5, 3.5, 0.0, 0.0, 1.0, 1.0], "whole numbers"),
    ],
)
def test_a_broken_mask_in_cvat_names_frame_and_shape(loop: Loop, points: list[float], said: str) -> None:
    pushed = loop.push(worst=1)
    job = loop.cvat.jobs(pushed.task)[0]
    label = loop.cvat.labels(task_id=pushed.task)[0]
    loop.cvat.change_job_shapes(job.id, create=[Shape(0, label.id, "mask", tuple(points))])
    loop.complete(pushed.task)
    before = mask_bytes(loop.project)
    (held,) = loop.pull(pushed.task).held
    assert held.sample_id == pushed.frames[0].sample_id
    assert said in held.reasons[0]
    assert mask_bytes(loop.project) == before


def test_polygons_rectangles_and_ellipses_of_annotators_are_drawn(loop: Loop) -> None:
    pushed = loop.push(worst=1, source="label")
    job = loop.cvat.jobs(pushed.task)[0]
    loop.cvat.change_job_shapes(job.id, delete=loop.cvat.job_shapes(job.id))
    labels = {label.name: label.id for label in loop.cvat.labels(task_id=pushed.task)}
    drawn = [
        Shape(0, labels["disc"], "polygon", (2.0, 2.0, 12.0, 2.0, 12.0, 12.0, 2.0, 12.0)),
        Shape(0, labels["ring"], "rectangle", (20.0, 5.0, 30.0, 15.0)),
        Shape(0, labels["cross"], "ellipse", (45.0, 30.0, 53.0, 22.0)),
    ]
    loop.cvat.change_job_shapes(job.id, create=drawn)
    loop.complete(pushed.task)
    loop.pull(pushed.task)
    counts = np.bincount(
        read_label_map(loop.project.mask_path(pushed.frames[0].sample_id), loop.project.config.data).ravel()
    )
    assert counts[1] == 100
    assert counts[3] == 100
    assert counts[4] == pytest.approx(np.pi * 64, rel=0.05)


def test_images_in_an_open_task_are_not_pushed_again(loop: Loop) -> None:
    first = {f.sample_id for f in loop.push(worst=5).frames}
    second = {f.sample_id for f in loop.push(worst=5).frames}
    assert (len(first), len(second)) == (5, 3)
    assert not first & second
    with pytest.raises(DataError, match="8 of 8 images are in open tasks"):
        loop.push(worst=5)


def test_the_worst_images_go_first(loop: Loop) -> None:
    scores = [f.score for f in loop.push(worst=8).frames]
    assert scores == sorted(scores)
    assert scores[0] < scores[-1]


def test_of_images_that_are_nearly_the_same_only_the_worst_goes(loop: Loop) -> None:
    twins = ("train/0002", "train/0005")
    with Image.open(loop.project.image_path(twins[0])) as image:
        image.save(loop.project.image_path(twins[1]), compress_level=0)  # the same picture, other bytes
    add_model(loop.project, loop.truth)
    report = loop.push(worst=8)
    (left_out,) = report.alike_left_out
    assert left_out in twins
    assert {f.sample_id for f in report.frames} == {s.id for s in loop.project.samples(["train"])} - {left_out}
    run = loop.project.current_run()
    assert run is not None
    scores = loop.project.ledger.scores(run.id)
    assert scores[left_out].dice == max(scores[twin].dice for twin in twins)


def test_a_dry_run_sends_nothing_and_plans_nothing(loop: Loop) -> None:
    report = push(loop.project, None, PushRequest(worst=3, dry_run=True))
    assert (report.task, len(report.frames)) == (None, 3)
    assert loop.project.ledger.tasks() == []
    assert loop.tasks() == []


@pytest.mark.parametrize("step", ["create_task", "upload_images", "replace_job_shapes", "job_shapes"])
@pytest.mark.parametrize("after", [False, True])
def test_a_push_cut_off_anywhere_is_finished_by_the_same_command(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    whole = getattr(CvatServer, step)

    def cut_off(*arguments: object, **details: object) -> object:
        if after:
            whole(*arguments, **details)
        raise CvatError("connection cut")

    with monkeypatch.context() as patch:
        patch.setattr(CvatServer, step, cut_off)
        with pytest.raises(CvatError, match="connection cut"):
            loop.push()
    report = loop.push()
    assert report.resumed
    task = loop.project.ledger.tasks()[0]
    assert loop.tasks() == [task.name]
    assert status(loop.project).tasks[0].state == "open"
    annotate(loop.project, loop.cvat, task.cvat_id, loop.truth)
    assert len(loop.pull(task.cvat_id).changed) == 4


def test_what_somebody_corrected_before_a_broken_push_was_finished_is_not_overwritten(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill = CvatServer.replace_job_shapes

    def fill_and_die(*arguments: object) -> None:
        fill(*arguments)  # type: ignore[arg-type]
        raise CvatError("connection cut")

    with monkeypatch.context() as patch:
        patch.setattr(CvatServer, "replace_job_shapes", fill_and_die)
        with pytest.raises(CvatError, match="connection cut"):
            loop.push()
    cvat_id = loop.project.ledger.tasks()[0].cvat_id
    first = loop.cvat.jobs(cvat_id)[0]
    corrected = loop.cvat.job_shapes(first.id)[0]
    loop.cvat.change_job_shapes(first.id, delete=[corrected])
    report = loop.push()
    assert report.task == cvat_id
    assert corrected.id not in {shape.id for shape in loop.cvat.job_shapes(first.id)}
    assert loop.cvat.job_shapes(loop.cvat.jobs(cvat_id)[1].id), "the other job was filled"


@pytest.mark.parametrize("delay", [0.0, 0.03, 0.08, 0.15])
def test_a_push_that_is_killed_is_finished_by_the_same_command(loop: Loop, delay: float) -> None:
    command = [sys.executable, "-m", "annoloop", "push", "--worst", "4", "--project", str(loop.folder)]
    environment = {**os.environ, "CVAT_ACCESS_TOKEN": loop.server.token}
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while child.poll() is None and not loop.project.ledger.tasks() and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(delay)
    child.send_signal(signal.SIGKILL)
    child.wait()
    tasks = loop.project.ledger.tasks()
    if not tasks or tasks[0].state != "open":  # else it was quicker than the kill, and is whole
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert len(loop.tasks()) == 1
    assert [t.state for t in loop.project.ledger.tasks()] == ["open"]


def test_a_pull_cut_off_before_the_files_is_finished_by_opening_the_project(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed = loop.push()
    annotate(loop.project, loop.cvat, pushed.task, loop.truth)
    with monkeypatch.context() as patch:
        patch.setattr(Project, "write_masks", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            loop.pull(pushed.task)
    with opened(loop.folder, loop.server) as (project, _):
        assert len(project.recovered.written) == 4
        for frame in pushed.frames:
            assert np.array_equal(
                read_label_map(project.mask_path(frame.sample_id), project.config.data),
                read_label_map(loop.truth / f"{frame.sample_id}.png", project.config.data),
            )


def test_an_unknown_task_names_those_that_were_pushed(loop: Loop) -> None:
    task = loop.push(worst=1).task
    with pytest.raises(ConfigError, match="task 999 was not pushed") as caught:
        loop.pull(999)
    assert str(task) in str(caught.value.hint)


def test_a_task_deleted_in_cvat_is_a_clear_404(loop: Loop) -> None:
    task = loop.push(worst=1).task
    loop.cvat.delete_task(task)
    with pytest.raises(CvatError, match="was deleted in CVAT") as caught:
        loop.pull(task)
    assert caught.value.status == 404
    assert f"tasks/{task}" in str(caught.value.where)


def test_a_wrong_token_is_a_401_that_does_not_show_the_token(loop: Loop) -> None:
    with (
        connect(CvatConfig(url=loop.server.url), Credentials(token="wrong-token-1234")) as cvat,
        pytest.raises(CvatError) as caught,
    ):
        cvat.about()
    assert caught.value.status == 401
    assert "wrong-token" not in repr(caught.value) + str(caught.value) + repr(Credentials(token="wrong-token-1234"))


def test_a_server_that_is_not_there_says_so(loop: Loop) -> None:
    nobody = connect(CvatConfig(url="http://127.0.0.1:9"), Credentials(token="t"))
    with nobody, pytest.raises(CvatError, match="cannot be reached"):
        nobody.about()


def test_pushing_without_a_model_says_what_to_do(tmp_path: Path, sandbox: Server) -> None:
    make_project(tmp_path, sandbox.url, name="no-model")
    with opened(tmp_path, sandbox) as (project, cvat), pytest.raises(ConfigError) as caught:
        push(project, cvat, PushRequest(worst=1))
    assert caught.value.hint == "annoloop retrain"


def test_an_unknown_criterion_names_the_possible_ones(loop: Loop) -> None:
    with pytest.raises(ConfigError, match="'class:dog' is no criterion") as caught:
        loop.push(by="class:dog")
    assert "ring" in str(caught.value.hint)


def test_one_class_and_missed_pixels_can_be_the_criterion(loop: Loop) -> None:
    by_class = push(loop.project, None, PushRequest(worst=3, by="class:ring", dry_run=True)).frames
    by_missed = push(loop.project, None, PushRequest(worst=3, by="missed", dry_run=True)).frames
    assert [f.score for f in by_class] == sorted(f.score for f in by_class)
    assert [f.score for f in by_missed] == sorted(f.score for f in by_missed)


def test_a_pull_that_nobody_can_mean_writes_nothing(loop: Loop) -> None:
    pushed = loop.push(worst=1)
    with pytest.raises(ConfigError, match="on_conflict: 'their' is not stop, mine, theirs"):
        loop.pull(pushed.task, on_conflict="their")


def test_sizes_that_the_server_makes_up_stop_a_pull_before_anything_is_written(loop: Loop) -> None:
    pushed = loop.push(worst=2, source="label")
    loop.draw(pushed.task, 0, "disc", Region(1, 0, 0, np.ones((3, 3), bool)))
    loop.complete(pushed.task)
    before = mask_bytes(loop.project)
    real = CvatServer.frames

    def lying(server: CvatServer, task_id: int) -> list[Frame]:
        return [replace(frame, size_hw=(74, 54)) for frame in real(server, task_id)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CvatServer, "frames", lying)
        with pytest.raises(CvatError, match="54 x 74 px, but the image that was pushed is 64 x 48 px"):
            loop.pull(pushed.task)
    assert mask_bytes(loop.project) == before


def test_names_that_cvat_cannot_take_are_all_told_before_anything_is_made(loop: Loop) -> None:
    data = loop.project.config.data
    for old, new in (("0000", "a\\b"), ("0001", "line\nbreak")):
        for folder, suffix in ((data.image_dir, data.image_suffix), (data.mask_dir, data.mask_suffix)):
            place = data.root / folder / "train"
            (place / f"{old}{suffix}").rename(place / f"{new}{suffix}")
    with pytest.raises(DataError, match=r"cannot take images of these names \(2\)") as caught:
        loop.push(worst=8)
    assert r"a\\b" in caught.value.message
    assert r"line\nbreak" in caught.value.message
    assert loop.tasks() == []


def test_a_push_that_was_done_a_moment_ago_is_told_and_not_repeated(loop: Loop) -> None:
    request = PushRequest(worst=2)
    first = push(loop.project, loop.cvat, request)
    said: list[str] = []
    again = push(loop.project, loop.cvat, request, again=False, say=said.append)
    assert (again.task, again.resumed) == (first.task, True)
    assert "--again" in said[0]
    third = push(loop.project, loop.cvat, request)
    assert third.task != first.task
    assert len(loop.tasks()) == 2


def test_status_compares_masks_with_those_of_the_training_not_events(loop: Loop) -> None:
    pushed = loop.push(worst=2)
    annotate(loop.project, loop.cvat, int(pushed.task or 0), loop.truth)
    changed = len(loop.pull(pushed.task).written)
    assert status(loop.project).masks_changed_since_training == changed > 0
    undo(loop.project)
    assert status(loop.project).masks_changed_since_training == 0


def test_an_undo_that_was_cut_off_is_finished_and_no_other_pull_is_undone(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = loop.push(worst=2), loop.push(worst=2)
    for pushed in (first, second):
        annotate(loop.project, loop.cvat, int(pushed.task or 0), loop.truth)
        loop.pull(pushed.task)
    after_both = mask_bytes(loop.project)
    with monkeypatch.context() as patch:
        patch.setattr(Project, "write_masks", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            undo(loop.project)
    assert mask_bytes(loop.project) == after_both
    with Project(loop.folder / "annoloop.yaml") as reopened:
        report = undo(reopened)
        assert report.resumed
        assert set(report.restored) == {frame.sample_id for frame in second.frames}
        undone = [change.undone_by is not None for change in reopened.ledger.changes() if change.kind == "pull"]
        assert undone == [False, True]


def test_an_undo_of_which_nobody_heard_the_end_is_told_and_not_followed_by_another(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed = loop.push(worst=2)
    before = mask_bytes(loop.project)
    annotate(loop.project, loop.cvat, int(pushed.task or 0), loop.truth)
    loop.pull(pushed.task)
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "mark_told", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            undo(loop.project)
    assert mask_bytes(loop.project) == before, "all was done, only the end was not told"
    again = undo(loop.project)
    assert again.resumed
    assert set(again.restored) == {frame.sample_id for frame in pushed.frames}
    with pytest.raises(LedgerError, match="no pull to undo"):
        undo(loop.project)
