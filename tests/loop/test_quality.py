"""How far annotators agree: Dice between them, the noise ceiling, who stands apart, where they differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from running_loop import Loop, make_project, mask_bytes, opened

from annoloop.cli.demo import Server
from annoloop.cvat.shapes import Drawing, draw
from annoloop.cvat.wire import JobInfo
from annoloop.errors import ConfigError, DataError
from annoloop.loop.quality import LEAST_PX, QualityReport, quality
from annoloop.masks.morphology import highest_around
from annoloop.masks.regions import LabelMap
from annoloop.metrics.agreement import (
    against_the_others,
    agreement,
    dice_of,
    disagreements,
    mean_dice,
    pair_counts,
    standings,
)

SAMPLES = ("train/0000", "train/0001", "train/0002", "train/0003", "train/0004", "train/0005")


@pytest.fixture
def ready(loop: Loop) -> Loop:
    return loop


@pytest.fixture
def bare(tmp_path: Path, sandbox: Server) -> Iterator[Loop]:
    """Without a model."""
    made = make_project(tmp_path, sandbox.url, name=f"test-{uuid4().hex[:8]}")
    with opened(tmp_path, sandbox) as (project, cvat):
        yield Loop(tmp_path, made.truth, sandbox, project, cvat)


def _replicas(loop: Loop, task: int | None) -> list[JobInfo]:
    return loop.cvat.jobs_and_replicas(task or 0)[1]


def _say(loop: Loop, task: int | None, replica: JobInfo, maps: dict[str, LabelMap]) -> None:
    """Put label maps in place of all that a replica has, and complete it."""
    labels = {x.name: x.id for x in loop.cvat.labels(task_id=int(task or 0))}
    shapes = []
    for sample, label_map in maps.items():
        frame = loop.frame_of(task, sample)
        for one in draw(label_map, loop.project.classes, Drawing("mask", 0.0, 0), sample):
            shapes.append(replace(one.shape, frame=frame, label_id=labels[one.label]))
    loop.cvat.replace_job_shapes(replica.id, shapes)
    loop.cvat.set_job(replica.id, state="completed")


def _annotated(loop: Loop, *hands: str) -> int:
    """A task whose annotators are right, ragged, bad, or did nothing."""
    task = loop.push(only=SAMPLES, source="label", replicas=len(hands), segment_size=0).task
    assert task is not None
    for replica, hand in zip(_replicas(loop, task), hands, strict=True):
        maps, rng = {}, np.random.default_rng(0)
        for sample in SAMPLES:
            right = loop.true_map(sample)
            ragged = highest_around(np.where(right == 255, 0, right), 1)
            maps[sample] = {
                "right": right,
                "ragged": np.where(right == 0, ragged, right).astype(np.uint8),
                "careful": np.where(rng.random(right.shape) < 0.02, 0, right).astype(np.uint8),
                "bad": np.roll(right, 14, axis=1),
                "nothing": loop.label_map(sample),
            }[hand]
        _say(loop, task, replica, maps)
    return task


def _by_hand(loop: Loop, report: QualityReport, task: int, hand: int) -> float:
    assert report.tasks == (task,)
    name = f"job {_replicas(loop, task)[hand].id}"
    return next(one for one in report.annotators if one.annotator == name).dice


def test_a_bad_annotator_of_three_is_found(ready: Loop) -> None:
    before = mask_bytes(ready.project)
    task = _annotated(ready, "right", "bad", "ragged")
    report = quality(ready.project, ready.cvat, task=task)
    bad = f"job {_replicas(ready, task)[1].id}"
    assert [one.annotator for one in report.annotators if one.apart] == [bad]
    assert _by_hand(ready, report, task, 1) < _by_hand(ready, report, task, 0)
    assert all(one.frames == len(SAMPLES) for one in report.annotators)
    assert report.left_out == (bad,)
    assert report.annotators_dice > 0.7  # which says nothing of the third
    assert mask_bytes(ready.project) == before


def test_three_who_agree_are_all_well(ready: Loop) -> None:
    task = _annotated(ready, "right", "right", "careful")
    report = quality(ready.project, ready.cvat, task=task)
    assert not any(one.apart for one in report.annotators)


def test_the_ceiling_is_the_dice_between_annotators(ready: Loop) -> None:
    task = _annotated(ready, "right", "ragged")
    report = quality(ready.project, ready.cvat)
    table = ready.project.classes
    shared = np.zeros((len(table), 2), np.int64)
    for sample in SAMPLES:
        right = ready.true_map(sample)
        ragged = np.where(right == 0, highest_around(np.where(right == 255, 0, right), 1), right)
        for index in range(len(table)):
            counted = (right != 255) & (ragged != 255)
            a, b = right[counted] == index, ragged[counted] == index
            shared[index] += 2 * np.count_nonzero(a & b), a.sum() + b.sum()
    found = {one.label: one.annotators for one in report.classes}
    for one in table.classes[1:]:
        assert found[one.name] == pytest.approx(shared[one.index, 0] / shared[one.index, 1])
    assert report.annotators_dice == pytest.approx(np.mean(list(found.values())))
    assert report.run is not None
    assert 0 < report.model_dice < 1
    assert report.tasks == (task,)
    assert all(np.isnan(one.dice) for one in report.annotators)  # two have no majority of others
    assert report.frames[0].dice <= report.frames[-1].dice
    assert report.frames[0].url.startswith(f"{ready.cvat.task_url(task)}/jobs/")


@pytest.mark.parametrize(
    ("other", "said"), [("bad", "more labels of this kind will not help"), ("right", "can still help")]
)
def test_what_more_labels_can_do_is_said_both_ways(ready: Loop, other: str, said: str) -> None:
    _annotated(ready, "right", other)
    report = quality(ready.project, ready.cvat)
    assert any(said in one.verdict for one in report.classes)


def test_without_a_model_that_is_said(bare: Loop) -> None:
    task = _annotated(bare, "right", "bad")
    report = quality(bare.project, bare.cvat, task=task)
    assert report.run is None
    assert all(one.verdict.endswith("no model has been asked") for one in report.classes)


def test_planted_errors_that_were_found_are_counted(ready: Loop) -> None:
    wrong = sum(np.count_nonzero(ready.label_map(s) != ready.true_map(s)) for s in SAMPLES)
    task = _annotated(ready, "right", "nothing")
    report = quality(ready.project, ready.cvat, task=task, truth=ready.truth)
    careful, careless = report.annotators
    assert (careful.planted_px, careful.found_px, careful.spoiled_px) == (wrong, wrong, 0)
    assert (careless.planted_px, careless.found_px, careless.spoiled_px) == (wrong, 0, 0)


def test_known_masks_that_are_of_nothing_are_told(ready: Loop, tmp_path: Path) -> None:
    _annotated(ready, "right", "right")
    with pytest.raises(DataError, match="has a known mask there"):
        quality(ready.project, ready.cvat, truth=tmp_path / "nowhere")


def test_where_they_differ_is_listed(ready: Loop) -> None:
    task = _annotated(ready, "right", "nothing")
    report = quality(ready.project, ready.cvat, task=task)
    assert report.disagreement_count == len(report.disagreements) > 0
    first = report.disagreements[0]
    assert first.px == max(one.px for one in report.disagreements)
    assert all(one.px >= LEAST_PX for one in report.disagreements)
    left, top, right, bottom = first.box_ltrb
    differs = ready.label_map(first.sample_id) != ready.true_map(first.sample_id)
    assert differs[top:bottom, left:right].any()
    assert len(set(first.says.values())) == 2


def test_what_cannot_be_compared_says_why(ready: Loop) -> None:
    with pytest.raises(ConfigError, match="no task has replicas"):
        quality(ready.project, ready.cvat)
    plain = ready.push(only=SAMPLES[:1], source="label").task
    with pytest.raises(ConfigError, match=f"task {plain} has no replicas"):
        quality(ready.project, ready.cvat, task=plain)
    with pytest.raises(ConfigError, match="was not pushed from here"):
        quality(ready.project, ready.cvat, task=99_999)
    ready.push(only=SAMPLES[1:2], source="label", replicas=2)
    with pytest.raises(DataError, match="no image has masks of two annotators yet"):
        quality(ready.project, ready.cvat)
    assert quality(ready.project, ready.cvat, include_unfinished=True).annotators_dice == 1


# arithmetic

MAPS = hnp.arrays(np.uint8, (4, 5), elements=st.sampled_from([0, 1, 2, 255]))


@given(MAPS, MAPS)
def test_dice_between_two_is_the_same_both_ways(one: LabelMap, other: LabelMap) -> None:
    there = pair_counts(one, other, 3, 255)
    assert np.array_equal(there, pair_counts(other, one, 3, 255))
    assert np.array_equal(there, agreement([one, other], 3, 255))
    assert np.array_equal(there, agreement([other, one], 3, 255))
    found = dice_of(pair_counts(one, one, 3, 255))
    assert np.isnan(found[~np.isin(range(3), one)]).all()
    assert (found[np.isin(range(3), one)] == 1).all()


@given(MAPS, MAPS)
def test_areas_of_disagreement_are_the_pixels_that_differ(one: LabelMap, other: LabelMap) -> None:
    seen = np.zeros(one.shape, np.int64)
    for region, said in disagreements([one, other], 255, least_px=1):
        left, top, right, bottom = region.box_ltrb
        seen[top:bottom, left:right] += region.bits
        assert (one[top:bottom, left:right][region.bits] == said[0]).all()
        assert (other[top:bottom, left:right][region.bits] == said[1]).all()
    assert np.array_equal(seen, ((one != other) & (one != 255) & (other != 255)).astype(np.int64))


def test_where_the_others_have_no_majority_nobody_is_measured() -> None:
    one, two, three = (np.array([[value, 1]], np.uint8) for value in (0, 1, 2))
    assert [counts[:, 1].sum() for counts in against_the_others([one, two, three], 3, 255)] == [2, 2, 2]


def test_one_image_is_not_enough_to_stand_apart() -> None:
    counts = np.zeros((1, 3, 2, 2), np.int64)
    counts[0, :, 1] = [[100, 100], [100, 100], [40, 100]]
    assert [one.apart for one in standings(counts, 0)] == [False, False, True]
    assert np.isnan(mean_dice(np.zeros((2, 2), np.int64), 0))
