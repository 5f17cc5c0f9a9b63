"""Where annotators of the same images differ, somebody else is asked, for what most of them say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from running_loop import Loop
from test_proposals import answer, labels_of, propose, rows_of, with_regions

from annoloop.cvat.shapes import Drawing, draw
from annoloop.data.images import IndexImage, encode_index_png, write_atomic
from annoloop.errors import ConfigError, DataError
from annoloop.loop.push import push
from annoloop.masks.regions import LabelMap
from annoloop.project.rows import ACCEPT, REJECT
from annoloop.selection.request import PushRequest

SAMPLE = "train/0000"
BOX = np.s_[4:14, 6:18]


def several(loop: Loop, *values: int) -> int:
    """A task of one image; each of its annotators paints another class into the same box, and the rest is as it was."""
    task = loop.push(only=(SAMPLE,), source="label", replicas=len(values), segment_size=0).task
    assert task is not None
    labels = {one.name: one.id for one in loop.cvat.labels(task_id=task)}
    frame = loop.frame_of(task, SAMPLE)
    for replica, value in zip(loop.cvat.jobs_and_replicas(task)[1], values, strict=True):
        label_map = loop.label_map(SAMPLE).copy()
        label_map[BOX] = value
        drawn = draw(label_map, loop.project.classes, Drawing("mask", 0.0, 0), SAMPLE)
        shapes = [replace(one.shape, frame=frame, label_id=labels[one.label]) for one in drawn]
        loop.cvat.replace_job_shapes(replica.id, shapes)
        loop.cvat.set_job(replica.id, state="completed")
    return task


def empty_box(loop: Loop) -> LabelMap:
    """The label of the image, with background in the box."""
    before = loop.label_map(SAMPLE).copy()
    before[BOX] = 0
    write_atomic(loop.project.mask_path(SAMPLE), encode_index_png(IndexImage(before)))
    return before


def test_what_two_of_three_say_is_asked_and_applied_if_accepted(loop: Loop) -> None:
    before = empty_box(loop)
    task = several(loop, 1, 2, 0)  # one each: a vote leaves the label as it is
    loop.pull(task)
    assert np.array_equal(labels_of(loop)[SAMPLE], before)
    report = propose(loop, 10, carries="disputed")
    rows = rows_of(loop, report)
    assert {(row.sample_id, row.labelled) for row in rows} == {(SAMPLE, 0)}
    assert [row.becomes for row in rows] == [1], "of equal votes the first class; the label has one vote, too"
    assert rows[0].confidence == pytest.approx(1 / 3)
    answer(loop, report, {1: ACCEPT})
    loop.pull(report.task)
    assert np.array_equal(labels_of(loop)[SAMPLE], with_regions(before, rows))
    assert (labels_of(loop)[SAMPLE][BOX] == 1).all()


def test_an_image_is_asked_about_once_it_was_pulled_and_never_again_after_a_no(loop: Loop) -> None:
    empty_box(loop)
    task = several(loop, 1, 2)
    with pytest.raises(DataError, match="nothing to ask"):
        propose(loop, 10, carries="disputed")
    loop.pull(task)
    report = propose(loop, 10, carries="disputed")
    answer(loop, report, {row.number: REJECT for row in rows_of(loop, report)})
    loop.pull(report.task)
    with pytest.raises(DataError, match="nothing to ask"):
        propose(loop, 10, carries="disputed")


def test_where_nobody_was_asked_twice_it_says_how(loop: Loop) -> None:
    with pytest.raises(ConfigError, match="no task has replicas"):
        propose(loop, 5, carries="disputed")
    with pytest.raises(ConfigError, match="dry run"):
        push(loop.project, None, PushRequest(5, carries="disputed", dry_run=True))
