"""Images without labels: predicted, sent, and what comes back is their first mask, which undo removes again."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image
from running_loop import Loop, add_model, make_project, mask_bytes, opened

from annoloop.cli.demo import Server
from annoloop.cli.doctor import doctor
from annoloop.data.config import FILE_NAME, load, render
from annoloop.data.images import IndexImage, encode_index_png, read_index_png
from annoloop.errors import ConfigError, DataError
from annoloop.loop.push import push
from annoloop.loop.status import status
from annoloop.loop.undo import undo
from annoloop.masks.regions import Region
from annoloop.project.ledger import Ledger
from annoloop.project.project import Project
from annoloop.selection.request import PushRequest
from annoloop.simulation.annotator import annotate

COUNTS = {"train": 4, "val": 2, "pool": 4}
POOL = ("pool/0000", "pool/0001", "pool/0002", "pool/0003")
BLOT = Region(2, 5, 7, np.ones((6, 9), bool))

PoolFactory = Callable[..., Loop]


@pytest.fixture
def pool_factory(tmp_path: Path, sandbox: Server) -> Iterator[PoolFactory]:
    """Projects with four images without labels and a model that has predicted them."""
    with ExitStack() as stack:

        def build(*, background: str | None = None, palette: bool = False) -> Loop:
            made = make_project(tmp_path, sandbox.url, name=f"pool-{uuid4().hex[:8]}", segment_size=3, counts=COUNTS)
            for name in POOL:
                (made.root / "ann_dir" / f"{name}.png").unlink()
            file = tmp_path / FILE_NAME
            if background is not None:
                file.write_text(render(load(file).model_copy(update={"background": background})), encoding="utf-8")
            for mask in (made.root / "ann_dir").rglob("*.png") if palette else ():
                mask.write_bytes(encode_index_png(IndexImage(read_index_png(mask).values, bytes(range(15)))))
            project, cvat = stack.enter_context(opened(tmp_path, sandbox))
            add_model(project, made.truth)
            return Loop(tmp_path, made.truth, sandbox, project, cvat)

        yield build


@pytest.fixture
def pool(pool_factory: PoolFactory) -> Loop:
    return pool_factory()


def push_pool(loop: Loop, **details: object) -> int:
    report = loop.push(**({"worst": 4, "splits": ("pool",), "by": "uncertainty"} | details))  # type: ignore[arg-type]
    assert report.task is not None
    return report.task


def predicted(loop: Loop, sample_id: str) -> np.ndarray:
    return loop.project.prediction(1, loop.project.ledger.images()[sample_id].image_sha256)


# out and back


def test_predictions_go_out_without_issues_and_with_the_prediction_as_only_picture(pool: Loop) -> None:
    report = pool.push(splits=("pool",), by="uncertainty")
    assert {f.sample_id for f in report.frames} == set(POOL)
    assert all(f.reading is None and not f.issues and f.score is not None for f in report.frames)
    assert all(sum(f.shapes.values()) > 0 for f in report.frames)
    related = pool.cvat.session.call("GET", f"tasks/{report.task}/data/meta")["frames"]
    assert [frame["related_files"] for frame in related] == [1] * 4


def test_what_annotators_draw_becomes_the_first_masks_and_the_images_are_labelled(pool: Loop) -> None:
    before = mask_bytes(pool.project)
    task = push_pool(pool)
    annotate(pool.project, pool.cvat, task, pool.truth)
    report = pool.pull(task)
    assert set(report.written) == set(report.changed) == set(POOL)
    for name in POOL:
        assert np.array_equal(pool.label_map(name), pool.true_map(name))
    after = mask_bytes(pool.project)
    assert {k: v for k, v in after.items() if k not in POOL} == before
    gained = {c.label: c.gained_px for c in report.classes}
    assert sum(gained.values()) == 4 * 48 * 64
    assert status(pool.project).labelled == {"train": 4, "val": 2, "pool": 4}
    data = next(c for c in doctor(pool.project, measure=False).checks if c.name == "data")
    assert data.found == "train 4, val 2, pool 4 (4 labelled) images, 0 faults"


def test_an_accepted_prediction_becomes_the_label_and_is_not_called_an_edit(pool: Loop) -> None:
    task = push_pool(pool)
    pool.complete(task)
    report = pool.pull(task)
    assert (set(report.accepted), report.edited_px, report.changed) == (set(POOL), 0, ())
    for name in POOL:
        assert np.array_equal(pool.label_map(name), predicted(pool, name))
    assert pool.pull(task).written == (), "done once"
    assert push(pool.project, None, PushRequest(1, by="uncertainty", dry_run=True)).corrected_left_out == 0
    with pytest.raises(DataError, match="4 of 4 images are as annotators left them"):
        push_pool(pool)


def test_frames_of_unfinished_jobs_get_no_mask(pool: Loop) -> None:
    task = push_pool(pool)
    first = pool.jobs(task)[0]
    pool.cvat.set_job(first.id, state="completed")
    assert len(pool.pull(task).written) == len(first.frames) == 3
    assert status(pool.project).labelled["pool"] == 3


@pytest.mark.parametrize("accepted", [True, False])
@pytest.mark.parametrize("palette", [True, False])
def test_the_new_file_is_of_the_kind_of_the_others(pool_factory: PoolFactory, palette: bool, accepted: bool) -> None:
    pool = pool_factory(palette=palette)
    task = push_pool(pool)
    if not accepted:
        pool.draw(task, pool.frame_of(task, POOL[0]), "square", BLOT)
    pool.complete(task)
    pool.pull(task)
    mask, other = (pool.project.mask_path(name) for name in (POOL[0], "train/0000"))
    with Image.open(mask) as new, Image.open(other) as old:
        assert new.mode == old.mode == ("P" if palette else "L")
        assert new.getpalette() == old.getpalette()
    assert (pool.label_map(POOL[0])[5:11, 7:16] == 2).all() != accepted


@pytest.mark.parametrize(("background", "expected"), [("background", 0), ("ignore", 255), ("previous", 255)])
def test_what_no_shape_covers_was_nothing_before(pool_factory: PoolFactory, background: str, expected: int) -> None:
    pool = pool_factory(background=background)
    task = push_pool(pool, worst=1)
    (name,) = (frame.sample_id for frame in pool.project.ledger.frames(1))
    job = pool.jobs(task)[0]
    gone = pool.cvat.job_shapes(job.id)[0]
    pool.cvat.change_job_shapes(job.id, delete=[gone])
    pool.complete(task)
    pool.pull(task)
    changed = pool.label_map(name) != predicted(pool, name)
    assert changed.any()
    assert (pool.label_map(name)[changed] == expected).all()


# refusals and conflicts


@pytest.mark.parametrize("by", ["dice", "missed", "class:ring", "label-quality"])
def test_a_criterion_that_needs_labels_names_the_one_that_does_not(pool: Loop, by: str) -> None:
    with pytest.raises(ConfigError, match="no image of split 'pool' has labels") as caught:
        push_pool(pool, by=by)
    assert "--by uncertainty" in str(caught.value.hint)
    assert pool.tasks() == []


def test_images_without_labels_get_predictions_even_where_labels_are_asked_for(pool: Loop) -> None:
    task = push_pool(pool, source="label")
    pool.complete(task)
    assert set(pool.pull(task).written) == set(POOL)
    assert all(np.array_equal(pool.label_map(name), predicted(pool, name)) for name in POOL)


def test_where_some_have_labels_those_are_compared_and_the_others_counted(pool: Loop) -> None:
    pool.project.mask_path(POOL[1]).parent.mkdir(exist_ok=True)
    pool.project.mask_path(POOL[1]).write_bytes((pool.truth / f"{POOL[1]}.png").read_bytes())
    said: list[str] = []
    request = PushRequest(9, splits=("train", "pool"), dry_run=True)
    names = {f.sample_id for f in push(pool.project, None, request, say=said.append).frames}
    assert names == {POOL[1], *(f"train/{n:04d}" for n in range(4))}
    assert said == ["3 images without labels are left out: --by dice needs them"]


def test_a_mask_that_appeared_since_the_push_is_a_conflict(pool: Loop) -> None:
    task = push_pool(pool)
    annotate(pool.project, pool.cvat, task, pool.truth)
    mine = encode_index_png(IndexImage(np.full((48, 64), 3, np.uint8)))
    mask = pool.project.mask_path(POOL[2])
    mask.parent.mkdir(exist_ok=True)
    mask.write_bytes(mine)
    with pytest.raises(DataError, match=rf"{POOL[2]} \(got a mask on disk\)"):
        pool.pull(task)
    assert mask.read_bytes() == mine
    assert status(pool.project).labelled["pool"] == 1
    assert pool.pull(task, on_conflict="mine").kept == (POOL[2],)
    assert mask.read_bytes() == mine
    pool.pull(task, on_conflict="theirs")
    assert np.array_equal(pool.label_map(POOL[2]), pool.true_map(POOL[2]))
    undo(pool.project)
    assert mask.read_bytes() == mine


# undo


def test_undo_removes_the_first_masks_and_the_history_keeps_their_bytes(pool: Loop) -> None:
    before = mask_bytes(pool.project)
    task = push_pool(pool)
    annotate(pool.project, pool.cvat, task, pool.truth)
    pool.pull(task)
    written = {k: v for k, v in mask_bytes(pool.project).items() if k in POOL}
    report = undo(pool.project)
    assert (report.restored, set(report.removed)) == ((), set(POOL))
    assert mask_bytes(pool.project) == before
    for change in pool.project.ledger.mask_changes(1):
        assert pool.project.object_bytes(str(change.new_sha256)) == written[change.sample_id]
    assert pool.pull(task).written == (), "nothing comes back unasked"
    assert set(pool.pull(task, redo=True).written) == set(POOL), "what was undone can be pulled again"
    assert mask_bytes(pool.project) == before | written


def test_undo_of_a_first_mask_that_was_edited_stops_and_force_keeps_the_edit_in_the_history(pool: Loop) -> None:
    task = push_pool(pool)
    pool.complete(task)
    pool.pull(task)
    mine = encode_index_png(IndexImage(np.full((48, 64), 3, np.uint8)))
    pool.project.mask_path(POOL[0]).write_bytes(mine)
    pool.project.mask_path(POOL[1]).unlink()
    with pytest.raises(DataError, match=f"2 masks were edited .*{POOL[0]}, {POOL[1]}"):
        undo(pool.project)
    assert set(undo(pool.project, force=True).removed) == {POOL[0], POOL[2], POOL[3]}
    assert status(pool.project).labelled.get("pool", 0) == 0
    kept = {change.sample_id: change.old_sha256 for change in pool.project.ledger.mask_changes(2)}
    assert pool.project.object_bytes(str(kept[POOL[0]])) == mine
    assert kept[POOL[1]] is None


@pytest.mark.parametrize(
    ("step", "call"),
    [((Ledger, "add_change"), 1), ((Project, "write_masks"), 1), ((Ledger, "mark_written"), 1),
     ((Ledger, "mark_written"), 3)],
    ids=lambda value: value[1] if isinstance(value, tuple) else str(value),
)  # fmt: skip
@pytest.mark.parametrize("after", [False, True])
def test_an_undo_killed_at_any_step_is_finished_or_not_begun(
    pool: Loop, step: tuple[type, str], call: int, after: bool
) -> None:
    before = mask_bytes(pool.project)
    task = push_pool(pool)
    pool.complete(task)
    pool.pull(task)
    whole = mask_bytes(pool.project)
    _kill_undo(pool.folder, step, call, after=after)
    with opened(pool.folder, pool.server) as (project, _):
        begun = len(project.ledger.changes()) == 2
        assert begun == (step[1] != "add_change"), "the rows of an undo are one transaction"
        assert mask_bytes(project) == (before if begun else whole)
        assert project.ledger.unwritten() == []
        if not begun:
            undo(project)
        assert mask_bytes(project) == before


def _kill_undo(folder: Path, step: tuple[type, str], call: int, *, after: bool) -> None:
    """Undo in a forked child that kills itself before or after a call of a method."""
    pid = os.fork()
    if pid == 0:
        try:
            _die_at(step, call, after=after)
            with Project(folder / FILE_NAME) as project:
                undo(project)
        finally:
            sys.stderr.write("the undo was not killed\n")
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL


def _die_at(step: tuple[type, str], call: int, *, after: bool) -> None:
    owner, name = step
    whole = getattr(owner, name)
    calls = iter(range(1, 10**6))

    def deadly(*arguments: object) -> object:
        fatal = next(calls) == call
        if fatal and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = whole(*arguments)
        if fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)
