"""Proposals: what was accepted is applied pixel for pixel, what was refused is not asked again."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from running_loop import Loop, mask_bytes

from annoloop.cvat.wire import Shape
from annoloop.data.images import IndexImage, encode_index_png, read_image, write_atomic
from annoloop.data.mmseg_folders import read_label_map
from annoloop.errors import ConfigError, DataError
from annoloop.loop.exchange.pull_report import PullReport
from annoloop.loop.exchange.review_cargo import REGION, ReviewCargo, review_project
from annoloop.loop.pull import pull
from annoloop.loop.push import PushReport, push
from annoloop.loop.undo import undo
from annoloop.masks.regions import LabelMap
from annoloop.project.rows import ACCEPT, REJECT, UNANSWERED, VERDICTS, WRONG_TOO, ProposalRow
from annoloop.selection.request import PushRequest
from annoloop.simulation.annotator import annotate


def propose(loop: Loop, count: int = 6, **details: object) -> PushReport:
    settled = {"segment_size": 3, "carries": "proposals"} | details
    return push(loop.project, loop.cvat, PushRequest(count, **settled))  # type: ignore[arg-type]


def rows_of(loop: Loop, report: PushReport) -> list[ProposalRow]:
    task = next(one for one in loop.project.ledger.tasks() if one.cvat_id == report.task)
    return loop.project.ledger.proposals(task.id)


def answer(loop: Loop, report: PushReport, verdicts: dict[int, str], *, finish: bool = True) -> None:
    """Give verdicts by the numbers of the proposals, as CVAT's page does: one attribute of one shape."""
    rows = rows_of(loop, report)
    labels = loop.cvat.task_labels(report.task or 0, ReviewCargo(loop.project.files, tuple(rows)).labels)
    attribute = labels[0].attributes
    for job in loop.jobs(report.task):
        changed = []
        for shape in loop.cvat.job_shapes(job.id):
            values = dict(shape.attributes)
            number = int(values[attribute["becomes"]].partition(":")[0])
            if number in verdicts:
                values[attribute["verdict"]] = verdicts[number]
                changed.append(replace(shape, attributes=tuple(values.items())))
        loop.cvat.change_job_shapes(job.id, update=changed)
    if finish:
        loop.complete(report.task)


def labels_of(loop: Loop) -> dict[str, LabelMap]:
    data = loop.project.config.data
    return {s.id: read_label_map(s.mask, data) for s in loop.project.samples(["train"]) if s.mask is not None}


def with_regions(label_map: LabelMap, rows: list[ProposalRow]) -> LabelMap:
    """An independent reading of CVAT's runs: off, on, off, … within the box, then the box, both ends inclusive."""
    label_map = label_map.copy()
    for row in rows:
        *runs, left, top, right, bottom = row.runs
        bits = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(bottom - top + 1, right - left + 1)
        label_map[top : bottom + 1, left : right + 1][bits] = row.becomes
    return label_map


def test_a_review_asks_for_the_heaviest_regions_in_a_project_of_its_own(loop: Loop) -> None:
    report = propose(loop, 5)
    rows = rows_of(loop, report)
    assert (len(report.proposals or ()), report.source, [row.number for row in rows]) == (
        5,
        "proposals",
        [1, 2, 3, 4, 5],
    )
    assert [row.weight for row in rows] == sorted((row.weight for row in rows), reverse=True)
    project_id = loop.cvat.task(report.task or 0).project_id
    assert loop.cvat.session.read(f"projects/{project_id}")["name"].text() == review_project(
        loop.project.config.project
    )
    (label,) = loop.cvat.labels(project_id=project_id or 0)
    assert (label.name, set(label.attributes)) == (REGION.name, {"verdict", "becomes"})
    before = labels_of(loop)
    for row in rows:
        *_, left, top, right, bottom = row.runs
        part = before[row.sample_id][top : bottom + 1, left : right + 1]
        changed = with_regions(before[row.sample_id], [row])[top : bottom + 1, left : right + 1] != part
        assert (part[changed] == row.labelled).all()
        assert row.becomes != row.labelled


def test_only_what_was_accepted_is_applied_pixel_for_pixel(loop: Loop) -> None:
    before, report = labels_of(loop), propose(loop, 8)
    rows = rows_of(loop, report)
    verdicts = {row.number: VERDICTS[row.number % len(VERDICTS)] for row in rows}
    answer(loop, report, verdicts)
    pulled = loop.pull(report.task)
    accepted = [row for row in rows if verdicts[row.number] == ACCEPT]
    assert accepted
    after = labels_of(loop)
    for name, label_map in before.items():
        wanted = with_regions(label_map, [row for row in accepted if row.sample_id == name])
        assert np.array_equal(after[name], wanted), name
    assert pulled.verdicts == {v: list(verdicts.values()).count(v) for v in set(verdicts.values())}
    assert set(pulled.written) == {row.sample_id for row in accepted}
    assert pulled.accepted == ()
    assert {row.number: row.verdict for row in rows_of(loop, report)} == verdicts


def test_without_a_verdict_nothing_is_applied(loop: Loop) -> None:
    before, report = mask_bytes(loop.project), propose(loop)
    loop.complete(report.task)
    pulled = loop.pull(report.task)
    assert mask_bytes(loop.project) == before
    assert (pulled.edited_px, pulled.written, pulled.verdicts) == (0, (), {UNANSWERED: 6})
    assert not loop.project.ledger.corrected(), "a region without an answer says nothing of its image"
    assert rows_of(loop, propose(loop, 6)), "and may be asked again"


def test_a_refused_region_is_never_asked_again_an_accepted_or_unanswered_one_may_be(loop: Loop) -> None:
    report = propose(loop, 9)
    rows = rows_of(loop, report)
    answer(loop, report, {row.number: REJECT for row in rows[:4]} | {rows[4].number: WRONG_TOO})
    loop.pull(report.task)
    refused = {(row.sample_id, row.runs) for row in rows[:5]}
    again = {(row.sample_id, row.runs) for row in rows_of(loop, propose(loop, 1000, issues_per_frame=1))}
    assert not refused & again
    assert {(row.sample_id, row.runs) for row in rows[5:]} <= again


def test_a_refused_region_is_asked_again_once_its_label_is_another(loop: Loop) -> None:
    report = propose(loop, 1)
    (row,) = rows_of(loop, report)
    answer(loop, report, {1: REJECT})
    loop.pull(report.task)
    sample = next(one for one in loop.project.samples(["train"]) if one.id == row.sample_id)
    assert isinstance(sample.mask, Path)
    label_map = read_label_map(sample.mask, loop.project.config.data).copy()
    *_, left, top, right, bottom = row.runs
    other = next(i for i in range(5) if i not in (row.labelled, row.becomes))
    label_map[top : bottom + 1, left : right + 1] = other
    write_atomic(sample.mask, encode_index_png(IndexImage(label_map)))
    rows = rows_of(loop, propose(loop, 1000, only=(row.sample_id,)))
    assert any((one.labelled, one.becomes) == (other, row.becomes) for one in rows)


def test_what_is_wrong_in_another_way_is_marked_for_a_full_correction(loop: Loop) -> None:
    report = propose(loop, 3)
    first = rows_of(loop, report)[0]
    answer(loop, report, {first.number: WRONG_TOO})
    pulled = loop.pull(report.task)
    assert pulled.wrong_too == (first.sample_id,)
    assert set(loop.project.ledger.marks()) == {first.sample_id}
    assert loop.push(1, source="label").frames[0].sample_id == first.sample_id


def test_an_answer_can_be_changed_until_nobody_wants_it_any_more(loop: Loop) -> None:
    before, report = mask_bytes(loop.project), propose(loop, 1)
    answer(loop, report, {1: ACCEPT})
    assert loop.pull(report.task).written
    answer(loop, report, {1: REJECT})
    assert loop.pull(report.task).written
    assert {name: read_label(loop, name) for name in before} == {
        name: loop.project.files.object_label_map(loop.project.files.keep_object(data)).tobytes()
        for name, data in before.items()
    }


def read_label(loop: Loop, name: str) -> bytes:
    sample = next(one for one in loop.project.samples() if one.id == name)
    assert sample.mask is not None
    return read_label_map(sample.mask, loop.project.config.data).tobytes()


def test_an_accepted_region_can_be_undone(loop: Loop) -> None:
    before, report = mask_bytes(loop.project), propose(loop)
    answer(loop, report, dict.fromkeys(range(1, 7), ACCEPT))
    assert loop.pull(report.task).written
    assert mask_bytes(loop.project) != before
    undo(loop.project, server=loop.cvat)
    assert mask_bytes(loop.project) == before
    assert loop.pull(report.task).written == ()


def test_a_job_that_goes_on_brings_nothing(loop: Loop) -> None:
    before, report = mask_bytes(loop.project), propose(loop)
    answer(loop, report, {1: ACCEPT}, finish=False)
    loop.pull(report.task)
    assert mask_bytes(loop.project) == before


@pytest.mark.parametrize("kind", ["moved", "drawn", "becomes", "odd verdict"])
def test_an_edited_frame_is_held_back_and_says_why(loop: Loop, kind: str) -> None:
    before, report = mask_bytes(loop.project), propose(loop)
    job = loop.jobs(report.task)[0]
    shape = loop.cvat.job_shapes(job.id)[0]
    labels = loop.cvat.task_labels(report.task or 0, [REGION])[0]
    if kind == "moved":
        runs, box = shape.points[:-4], shape.points[-4:]
        sign = -1 if box[0] > 0 else 1
        edited = replace(shape, points=(*runs, box[0] + sign, box[1], box[2] + sign, box[3]))
    elif kind == "drawn":
        edited = Shape(shape.frame, shape.label_id, "rectangle", (1.0, 1.0, 9.0, 9.0))
    else:
        name, value = ("becomes", "1: everything") if kind == "becomes" else ("verdict", "maybe")
        values = dict(shape.attributes) | {labels.attributes["verdict"]: ACCEPT, labels.attributes[name]: value}
        edited = replace(shape, attributes=tuple(values.items()))
    loop.cvat.change_job_shapes(job.id, **{"create" if kind == "drawn" else "update": [edited]})
    loop.complete(report.task)
    pulled = loop.pull(report.task)
    assert len(pulled.held) == 1
    assert "verdicts only" in pulled.held[0].reasons[0]
    assert mask_bytes(loop.project) == before


def test_a_deleted_region_has_no_verdict(loop: Loop) -> None:
    before, report = mask_bytes(loop.project), propose(loop)
    job = loop.jobs(report.task)[0]
    loop.cvat.change_job_shapes(job.id, delete=loop.cvat.job_shapes(job.id)[:1])
    loop.complete(report.task)
    assert loop.pull(report.task).verdicts == {UNANSWERED: 6}
    assert mask_bytes(loop.project) == before


def test_a_mask_that_was_edited_meanwhile_is_a_conflict(loop: Loop) -> None:
    report = propose(loop)
    row = rows_of(loop, report)[0]
    sample = next(one for one in loop.project.samples() if one.id == row.sample_id)
    assert isinstance(sample.mask, Path)
    label_map = read_label_map(sample.mask, loop.project.config.data).copy()
    label_map[0, 0] = 4 - label_map[0, 0]
    write_atomic(sample.mask, encode_index_png(IndexImage(label_map)))
    answer(loop, report, {row.number: ACCEPT})
    with pytest.raises(DataError, match="edited on disk"):
        loop.pull(report.task)
    kept: PullReport = pull(loop.project, loop.cvat, task=report.task, on_conflict="mine")[0]
    assert row.sample_id in kept.kept
    assert np.array_equal(read_label_map(sample.mask, loop.project.config.data), label_map)


def test_images_in_open_tasks_are_not_asked_about(loop: Loop) -> None:
    waiting = {frame.sample_id for frame in loop.push(3, source="label").frames}
    assert not waiting & {row.sample_id for row in rows_of(loop, propose(loop, 1000))}


def test_where_there_is_nothing_to_ask_it_says_so(loop: Loop) -> None:
    report = propose(loop, 1000)
    answer(loop, report, {row.number: REJECT for row in rows_of(loop, report)})
    loop.pull(report.task)
    with pytest.raises(DataError, match="nothing to ask"):
        propose(loop, 5)
    with pytest.raises(ConfigError, match="no image 'train/none'"):
        propose(loop, 5, only=("train/none",))


def test_each_region_has_a_picture_of_before_and_after(loop: Loop) -> None:
    report = propose(loop, 4)
    rows = rows_of(loop, report)
    task = next(one for one in loop.project.ledger.tasks() if one.cvat_id == report.task)
    cargo = ReviewCargo(loop.project.files, tuple(rows))
    frames = {frame.sample_id: frame for frame in loop.project.ledger.frames(task.id)}
    names = []
    for name, frame in frames.items():
        pictures = cargo.pictures(frame, partial(read_image, loop.project.image_path(name)), "")
        assert all(isinstance(data, bytes) and data[:2] == b"\xff\xd8" for _, data in pictures)
        names += [path.rpartition("/")[2] for path, _ in pictures]
    assert sorted(names) == [f"region {row.number:04d}.jpg" for row in rows]


def test_a_stand_in_reviewer_mends_labels_and_spoils_none(loop: Loop) -> None:
    data = loop.project.config.data

    def wrong() -> dict[str, int]:
        return {
            name: int(np.count_nonzero(label != read_label_map(loop.truth / f"{name}.png", data)))
            for name, label in labels_of(loop).items()
        }

    before, report = wrong(), propose(loop, 1000)
    done = annotate(loop.project, loop.cvat, report.task or 0, loop.truth)
    assert done.answered == len(report.proposals or ())
    loop.pull(report.task)
    after = wrong()
    assert all(after[name] <= before[name] for name in before)
    assert sum(after.values()) < sum(before.values())
