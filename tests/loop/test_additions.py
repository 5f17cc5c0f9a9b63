"""What a model would add travels beside a label: its shapes can be kept or deleted, and unseen they are nothing."""

from __future__ import annotations

import numpy as np
import pytest
from running_loop import Loop, mask_bytes
from test_proposals import labels_of

from annoloop.cvat.wire import Shape
from annoloop.data.images import IndexImage, encode_index_png, read_index_png, write_atomic
from annoloop.errors import ConfigError
from annoloop.masks.regions import LabelMap
from annoloop.metrics.error_regions import SURE, additions
from annoloop.selection.request import PushRequest


def sure_model(loop: Loop) -> None:
    """From now on the model is certain of all that it says."""
    for path in loop.project.state_dir.glob("predictions/*/*/*.confidence.png"):
        write_atomic(path, encode_index_png(IndexImage(np.full_like(read_index_png(path).values, 250))))


def shapes_by_source(loop: Loop, task: int | None) -> dict[str, list[Shape]]:
    found: dict[str, list[Shape]] = {"manual": [], "auto": []}
    for job in loop.jobs(task):
        for shape in loop.cvat.job_shapes(job.id):
            found[shape.source].append(shape)
    return found


def wanted_of(loop: Loop) -> dict[str, LabelMap]:
    """Each label with what the model adds, by a calculation of its own: where the label is background and the model
    surely calls it an object."""
    run = loop.project.current_run()
    assert run is not None
    rows = loop.project.scan(loop.project.samples(["train"]))
    classes, wanted = loop.project.classes, {}
    for name, label in labels_of(loop).items():
        prediction = loop.project.prediction(run.id, rows[name].image_sha256)
        confidence = loop.project.confidence(run.id, rows[name].image_sha256)
        wanted[name] = label.copy()
        for one in additions(label, prediction, confidence, classes, least_px=16):
            left, top, right, bottom = one.region.box_ltrb
            part = wanted[name][top:bottom, left:right]
            assert (part[one.region.bits] == classes.background_index).all()
            assert one.confidence >= SURE
            part[one.region.bits] = one.predicted
    return wanted


def test_additions_are_auto_and_the_labels_are_not(loop: Loop) -> None:
    sure_model(loop)
    wanted, labels = wanted_of(loop), labels_of(loop)
    found = shapes_by_source(loop, loop.push(8, source="both").task)
    assert any(not np.array_equal(wanted[name], labels[name]) for name in labels)
    assert found["auto"]
    assert found["manual"]


def test_unseen_additions_leave_the_label_as_it_is(loop: Loop) -> None:
    sure_model(loop)
    before, report = mask_bytes(loop.project), loop.push(8, source="both")
    loop.complete(report.task)
    pulled = loop.pull(report.task)
    assert mask_bytes(loop.project) == before
    assert pulled.untouched
    assert pulled.written == ()


def test_what_is_kept_comes_back_and_what_is_deleted_does_not(loop: Loop) -> None:
    sure_model(loop)
    wanted, before, report = wanted_of(loop), labels_of(loop), loop.push(8, source="both")
    added = shapes_by_source(loop, report.task)["auto"]
    name_of = {frame.index: frame.name.rpartition(".")[0] for frame in loop.cvat.frames(report.task or 0)}
    several = [frame for frame in name_of if sum(shape.frame == frame for shape in added) > 1]
    assert several, "some frame has two additions, so that one can go and one stay"
    frame = several[0]
    gone = next(shape for shape in added if shape.frame == frame)
    job = next(one for one in loop.jobs(report.task) if frame in one.frames)
    loop.cvat.change_job_shapes(job.id, delete=[gone])
    loop.complete(report.task)
    loop.pull(report.task)
    after = labels_of(loop)
    *runs, left, top, right, bottom = map(int, gone.points)
    bits = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(bottom - top + 1, right - left + 1)
    expected = wanted[name_of[frame]].copy()
    expected[top : bottom + 1, left : right + 1][bits] = before[name_of[frame]][top : bottom + 1, left : right + 1][
        bits
    ]
    assert np.array_equal(after[name_of[frame]], expected)
    for name in before.keys() - {name_of[frame]}:
        assert np.array_equal(after[name], before[name])


def test_an_unsure_model_adds_nothing(loop: Loop) -> None:
    assert not shapes_by_source(loop, loop.push(8, source="both").task)["auto"]


def test_additions_are_masks_only() -> None:
    with pytest.raises(ConfigError, match="polygons"):
        PushRequest(3, source="both", shape="polygon")
