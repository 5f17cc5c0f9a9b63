"""Large images in tiles: laws 1, 2, 3 and 5 hold for each tile, and per image for conflicts and undo."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from running_loop import Loop, add_model, make_project, mask_bytes, opened

from annoloop.cli.demo import Server
from annoloop.cli.main import run
from annoloop.cvat.wire import Shape
from annoloop.data.images import decode_index_png, read_image
from annoloop.errors import ConfigError, DataError
from annoloop.loop.exchange.loading import cargo_of
from annoloop.loop.push import PushReport
from annoloop.loop.push import push as push_plan
from annoloop.loop.undo import undo
from annoloop.masks.regions import Region
from annoloop.masks.run_lengths import to_cvat_runs
from annoloop.project.rows import FrameRow
from annoloop.reports.context import context_pictures
from annoloop.selection.request import PushRequest
from annoloop.simulation.annotator import annotate

SIZE_HW = (150, 220)


@pytest.fixture
def large(tmp_path: Path, sandbox: Server) -> Iterator[Loop]:
    made = make_project(
        tmp_path, sandbox.url, name=f"tiles-{uuid4().hex[:8]}", counts={"train": 3, "val": 1}, size_hw=SIZE_HW
    )
    with opened(tmp_path, sandbox) as (project, cvat):
        add_model(project, made.truth)
        yield Loop(tmp_path, made.truth, sandbox, project, cvat)


def push(loop: Loop, worst: int = 2, **details: object) -> PushReport:
    """Tiles of 64 px, in small jobs; all of them unless asked otherwise."""
    settled = {"tiles": 64, "overlap": 16, "all_tiles": True, "segment_size": 5, "source": "label"} | details
    return loop.push(worst, **settled)


def row_of(loop: Loop, sample_id: str) -> FrameRow:
    """A cut image in the ledger."""
    return next(row for row in loop.project.ledger.frames(loop.project.ledger.tasks()[-1].id)
                if row.sample_id == sample_id)  # fmt: skip


def index_of(loop: Loop, task: int | None, part: FrameRow) -> int:
    """The frame of a tile."""
    return next(frame.index for frame in loop.cvat.frames(int(task or 0)) if frame.name == part.name)


def draw(loop: Loop, task: int | None, part: FrameRow, label: str, box_ltrb: tuple[int, int, int, int]) -> None:
    """Draw a rectangle on a tile, in px of the tile."""
    left, top, right, bottom = box_ltrb
    bits = np.ones((bottom - top, right - left), bool)
    loop.draw(task, index_of(loop, task, part), label, Region(1, top, left, bits))


def test_tiles_that_nobody_touches_come_back_byte_for_byte(large: Loop) -> None:
    before = mask_bytes(large.project)
    pushed = push(large)
    frames = large.cvat.frames(int(pushed.task or 0))
    assert len(frames) == sum(frame.tiles for frame in pushed.frames) == 2 * 3 * 5
    assert {frame.size_hw for frame in frames} == {(64, 64)}
    large.complete(pushed.task)
    report = large.pull(pushed.task)
    assert mask_bytes(large.project) == before
    assert (len(report.accepted), report.edited_px, report.written) == (2, 0, ())
    assert report.tiles.disputed_px == 0


@pytest.mark.parametrize("shape", ["mask", "polygon"])
def test_an_edit_in_a_tile_comes_back_in_its_place_and_nothing_else(large: Loop, shape: str) -> None:
    pushed = push(large, shape=shape)
    sample_id = pushed.frames[0].sample_id
    before = large.label_map(sample_id).copy()
    others = mask_bytes(large.project)
    part = row_of(large, sample_id).parts[7]
    draw(large, pushed.task, part, "disc", (10, 20, 15, 24))
    large.complete(pushed.task)
    report = large.pull(pushed.task)
    assert part.window is not None
    wanted = before.copy()
    wanted[part.window.window][20:24, 10:15] = large.project.classes.index_of("disc")
    assert np.array_equal(large.label_map(sample_id), wanted)
    assert report.edited_px == np.count_nonzero(before != wanted)
    assert report.changed == (sample_id,)
    assert {name for name, data in mask_bytes(large.project).items() if data != others[name]} <= {sample_id}
    undo(large.project)
    assert mask_bytes(large.project) == others


@pytest.mark.parametrize("source", ["label", "prediction", "both"])
def test_corrected_tiles_become_the_true_masks(large: Loop, source: str) -> None:
    pushed = push(large, 3, source=source)
    annotate(large.project, large.cvat, int(pushed.task or 0), large.truth)
    report = large.pull(pushed.task, accept_untouched=source != "label")  # a tile that is right is not touched
    for frame in pushed.frames:
        assert np.array_equal(large.label_map(frame.sample_id), large.true_map(frame.sample_id))
    assert (report.tiles.disputed_px, report.waiting) == (0, ())


def test_an_image_waits_until_the_jobs_of_all_its_tiles_are_finished(large: Loop) -> None:
    pushed = push(large, 1)
    (frame,) = pushed.frames
    before = mask_bytes(large.project)
    row = row_of(large, frame.sample_id)
    draw(large, pushed.task, row.parts[0], "disc", (1, 1, 9, 9))
    first, *others = large.jobs(pushed.task)
    assert len(others) == 2
    large.cvat.set_job(first.id, state="completed")
    report = large.pull(pushed.task)
    assert (report.waiting, report.written) == ((frame.sample_id,), ())
    assert mask_bytes(large.project) == before
    report = large.pull(pushed.task, include_unfinished=True)
    assert report.written == (frame.sample_id,)
    large.complete(pushed.task)
    assert large.pull(pushed.task).settled == (frame.sample_id,)


def test_what_two_tiles_draw_differently_is_told_and_the_owner_counts(large: Loop) -> None:
    pushed = push(large, 1)
    sample_id = pushed.frames[0].sample_id
    first, second = row_of(large, sample_id).parts[:2]
    assert first.window is not None
    assert second.window is not None
    start = second.window.left_px
    draw(large, pushed.task, first, "disc", (start, 3, start + 4, 6))  # both show these, the first owns them
    draw(large, pushed.task, second, "ring", (0, 3, 4, 6))
    large.complete(pushed.task)
    report = large.pull(pushed.task)
    shown = large.label_map(sample_id)[3:6, start : start + 4]
    assert (shown == large.project.classes.index_of("disc")).all()
    assert 0 < report.tiles.disputed_px <= 12


def test_a_deleted_tile_keeps_its_pixels_and_is_told(large: Loop) -> None:
    pushed = push(large, 1)
    sample_id = pushed.frames[0].sample_id
    before = large.label_map(sample_id).copy()
    gone, edited = row_of(large, sample_id).parts[3], row_of(large, sample_id).parts[8]
    draw(large, pushed.task, edited, "disc", (20, 20, 26, 26))
    large.cvat.session.call(
        "PATCH", f"tasks/{pushed.task}/data/meta", {"deleted_frames": [index_of(large, pushed.task, gone)]}
    )
    large.complete(pushed.task)
    report = large.pull(pushed.task)
    assert report.tiles.deleted == (gone.name,)
    assert gone.window is not None
    own = gone.window.core
    assert np.array_equal(large.label_map(sample_id)[own], before[own])
    assert (report.changed, report.deleted) == ((sample_id,), ())


def test_of_a_prediction_only_the_tiles_that_somebody_looked_at_count(large: Loop) -> None:
    pushed = push(large, 1, source="prediction")
    sample_id = pushed.frames[0].sample_id
    before = large.label_map(sample_id).copy()
    row = row_of(large, sample_id)
    seen = row.parts[6]
    draw(large, pushed.task, seen, "disc", (30, 30, 33, 33))
    large.complete(pushed.task)
    report = large.pull(pushed.task)
    after, sent = large.label_map(sample_id), large.project.files.object_label_map(row.sent_sha256)
    assert seen.window is not None
    wanted = before.copy()
    wanted[seen.window.window] = sent[seen.window.window]
    wanted[seen.window.window][30:33, 30:33] = large.project.classes.index_of("disc")
    assert np.array_equal(after, wanted)
    assert report.tiles.unseen == len(row.tiles) - 1
    assert report.edited_px <= 9


def test_tiles_without_an_error_are_left_out_and_counted(large: Loop) -> None:
    request = PushRequest(2, tiles=64, overlap=16)
    told = push_plan(large.project, None, request)
    assert (told.task, told.tiles_left_out) == (None, 30 - sum(frame.tiles for frame in told.frames))
    pushed = push(large, 2, all_tiles=False, source="prediction")
    assert pushed.tiles_left_out
    assert pushed.tiles_left_out + sum(frame.tiles for frame in pushed.frames) == 30
    before = {frame.sample_id: large.label_map(frame.sample_id).copy() for frame in pushed.frames}
    annotate(large.project, large.cvat, int(pushed.task or 0), large.truth)
    large.pull(pushed.task, accept_untouched=True)
    for frame in pushed.frames:
        row, after = row_of(large, frame.sample_id), large.label_map(frame.sample_id)
        shown = np.zeros(after.shape, bool)
        for tile in row.tiles:
            shown[tile.window] = True
        assert np.array_equal(after[~shown], before[frame.sample_id][~shown])
        assert np.array_equal(after[shown], large.true_map(frame.sample_id)[shown])


def test_issues_are_pinned_on_the_tile_that_owns_their_area(large: Loop) -> None:
    pushed = push(large, 1, all_tiles=False)
    task = int(pushed.task or 0)
    row = row_of(large, pushed.frames[0].sample_id)
    index = {index_of(large, task, part): part for part in row.parts}
    issues = large.cvat.issues.of_task(task)
    assert len(issues) == len(pushed.frames[0].issues) > 0
    for issue in issues:
        assert issue.frame in index
        assert all(0 <= number <= 64 for number in issue.position)


def test_small_images_stay_whole_and_what_cannot_be_cut_is_said(large: Loop) -> None:
    assert {frame.tiles for frame in push(large, 2, tiles=1024, overlap=64).frames} == {0}
    with pytest.raises(ConfigError, match="tiles"):
        push(large, tiles=63)
    with pytest.raises(ConfigError, match="half a tile"):
        push(large, tiles=64, overlap=33)
    with pytest.raises(ConfigError, match="tiles"):
        push(large, carries="proposals")


def test_images_with_nothing_to_correct_are_an_error_that_says_what_sends_them(large: Loop) -> None:
    for sample in large.project.samples():
        assert sample.mask is not None
        sample.mask.write_bytes((large.truth / f"{sample.id}.png").read_bytes())
    current = large.project.current_run()
    assert current is not None
    rows = large.project.scan(large.project.samples())
    for name, row in rows.items():
        index_png, _ = large.project.prediction_paths(current.id, row.image_sha256)
        index_png.write_bytes((large.truth / f"{name}.png").read_bytes())
    with pytest.raises(DataError, match="nothing to correct in any tile"):
        push(large, 2, all_tiles=False)


def test_context_pictures_show_the_tile_with_its_own_labels(large: Loop) -> None:
    push(large, 1, all_tiles=False)
    row = large.project.ledger.frames(1)[0]
    image = read_image(large.project.image_path(row.sample_id))
    sha256 = large.project.ledger.images()[row.sample_id].image_sha256
    cargo = cargo_of(large.project, large.project.ledger.tasks()[0])
    current = large.project.current_run()
    assert current is not None
    for part in row.parts:
        assert part.window is not None
        own = np.ascontiguousarray(image[part.window.window])
        maps = (large.label_map(row.sample_id), large.project.prediction(current.id, sha256))
        label, said = (np.ascontiguousarray(one[part.window.window]) for one in maps)
        wanted = context_pictures(own, label, said, large.project.classes)
        pictures = cargo.pictures(part, lambda own=own: own, sha256)
        assert [data for _, data in pictures] == [one.jpeg for one in wanted]
        stem = part.name.rpartition("/")[2].rpartition(".")[0]
        assert all(f"related_images/{stem}_png/" in name for name, _ in pictures)


def test_the_commands_tell_of_tiles(large: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    os.environ["CVAT_ACCESS_TOKEN"] = large.server.token
    try:
        line = ["push", "--worst", "1", "--tiles", "64", "--overlap", "16", "--project", str(large.folder)]
        assert run([*line, "--source", "prediction"]) == 0
        told = capsys.readouterr().out
        assert "tiles without anything to correct" in told
        assert re.search(r"in \d+ tiles", told)
        task = large.project.ledger.tasks()[0]
        first, *_ = large.project.ledger.frames(task.id)[0].parts
        draw(large, task.cvat_id, first, "disc", (1, 1, 9, 9))
        large.complete(task.cvat_id)
        assert run(["pull", "--project", str(large.folder)]) == 0
        assert "tiles of predictions over labels" in capsys.readouterr().out
        assert run(["push", "--worst", "1", "--overlap", "16", "--project", str(large.folder)]) == 2
        assert "give --tiles, too" in capsys.readouterr().err
    finally:
        del os.environ["CVAT_ACCESS_TOKEN"]


def test_replicas_of_tiles_vote_pixel_by_pixel(large: Loop) -> None:
    before = mask_bytes(large.project)
    pushed = push(large, 1, replicas=2)
    task = int(pushed.task or 0)
    sample_id = pushed.frames[0].sample_id
    part = row_of(large, sample_id).parts[4]
    index = index_of(large, task, part)
    labels = {label.name: label.id for label in large.cvat.labels(task_id=task)}
    _, replicas = large.cvat.jobs_and_replicas(task)
    for number, one in enumerate(replicas):
        if index in one.frames:  # both draw the first rectangle, one of them another, too
            areas = [(5, 6), (30, 31)][: 1 + number % 2]
            shapes = [_shape(index, labels["disc"], top, left) for top, left in areas]
            large.cvat.change_job_shapes(one.id, create=shapes)
        large.cvat.set_job(one.id, state="completed")
    report = large.pull(task)
    assert part.window is not None
    old = decode_index_png(before[sample_id], sample_id).values
    wanted = old.copy()
    wanted[part.window.window][5:9, 6:10] = large.project.classes.index_of("disc")
    assert np.array_equal(large.label_map(sample_id), wanted)
    assert report.edited_px == np.count_nonzero(wanted != old)


def _shape(index: int, label: int, top: int, left: int) -> Shape:
    region = Region(1, top, left, np.ones((4, 4), bool))
    return Shape(index, label, "mask", tuple(map(float, to_cvat_runs(region))))
