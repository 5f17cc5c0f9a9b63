"""What people ask for: marked images first, images by name, and what is told of those that cannot go."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running_loop import Loop

from annoloop.data.images import IndexImage, encode_index_png, write_atomic
from annoloop.data.mmseg_folders import read_label_map
from annoloop.errors import ConfigError, DataError
from annoloop.loop.push import PushReport, push
from annoloop.metrics.scores import Confusion, confusion, image_dice, wrong_px
from annoloop.progress import silent, unsaid
from annoloop.project.near_duplicates import looks_of
from annoloop.project.project import Project
from annoloop.project.rows import FrameRow, ImageRow, ScoreRow
from annoloop.selection.choosing import choose_images
from annoloop.selection.request import PushRequest
from annoloop.selection.scoring import unwatched


def dry(loop: Loop, **details: object) -> tuple[PushReport, list[str]]:
    said: list[str] = []
    request = PushRequest(**({"worst": 2, "dry_run": True} | details))  # type: ignore[arg-type]
    return push(loop.project, None, request, say=said.append), said


def names(report: PushReport) -> set[str]:
    return {frame.sample_id for frame in report.frames}


def best(loop: Loop) -> str:
    """The training image that comes last by Dice."""
    return dry(loop, worst=8)[0].frames[-1].sample_id


def test_a_marked_image_goes_before_the_worst_and_is_no_longer_marked_then(loop: Loop) -> None:
    marked = best(loop)
    loop.project.ledger.put_marks(add=[marked])
    report, said = dry(loop)
    assert marked in names(report)
    assert "1 marked images go first" in said
    assert loop.project.ledger.marks().keys() == {marked}, "a dry run changes nothing"
    pushed = loop.push(worst=2)
    assert marked in names(pushed)
    assert len(pushed.frames) == 2
    assert loop.project.ledger.marks() == {}


def test_marks_that_cannot_go_stay_and_are_told(loop: Loop) -> None:
    waiting = loop.push(worst=1).frames[0].sample_id
    loop.project.ledger.put_marks(add=[waiting, "val/0000"])
    report, said = dry(loop)
    assert not {waiting, "val/0000"} & names(report)
    assert any(line.startswith("2 marked images stay marked") for line in said)
    assert dry(loop, splits=("val",))[0].frames[0].sample_id in {"val/0000", "val/0001", "val/0002"}
    assert "val/0000" in names(dry(loop, splits=("val",), worst=1)[0])


def test_a_marked_image_goes_again_though_annotators_corrected_it(loop: Loop) -> None:
    pushed = loop.push(worst=1, source="label")
    loop.complete(pushed.task)
    loop.pull(pushed.task)
    corrected = pushed.frames[0].sample_id
    assert corrected not in names(dry(loop, worst=7)[0])
    loop.project.ledger.put_marks(add=[corrected])
    again = dry(loop)[0]
    assert corrected in names(again)
    assert {f.reading for f in again.frames if f.sample_id == corrected} == {"already corrected"}


def test_images_by_name_go_and_no_others_from_whatever_split(loop: Loop) -> None:
    report = loop.push(worst=1, only=("val/0001", "train/0003"), random_share=1.0)
    assert names(report) == {"val/0001", "train/0003"}
    assert " selected 2 " in report.name


def test_an_image_without_labels_by_name_is_rated_by_uncertainty(loop: Loop) -> None:
    loop.project.mask_path("val/0001").unlink()
    report, said = dry(loop, only=("val/0001",))
    assert names(report) == {"val/0001"}
    assert report.frames[0].reading is None
    assert any("rated by uncertainty" in line for line in said)


@pytest.mark.parametrize("name", ["train/none", "nosplit/0001", "0001", ""])
def test_a_name_that_is_no_image_is_an_error(loop: Loop, name: str) -> None:
    with pytest.raises(ConfigError, match="there is no image"):
        dry(loop, only=("train/0001", name))


def test_an_image_by_name_that_waits_in_a_task_is_an_error(loop: Loop) -> None:
    waiting = loop.push(worst=1).frames[0].sample_id
    with pytest.raises(DataError, match="is in an open task already"):
        dry(loop, only=(waiting,))


def test_where_a_frame_is_corrected_is_known_after_the_push(loop: Loop) -> None:
    report = loop.push(worst=4)
    jobs = {job.id: job for job in loop.jobs(report.task)}
    places = loop.project.ledger.open_places()
    assert places.keys() == names(report)
    for name, place in places.items():
        assert place.number == loop.frame_of(report.task, name)
        assert place.job is not None
        assert place.number in jobs[place.job].frames


# The definition: every image that may go is rated from its own counts, all are sorted, and twins stay out.

TRAIN = [f"train/{number:04d}" for number in range(8)]
RATES = st.sampled_from([(9, 1), (8, 2), (4, 2), (0, 5)])  # right and wrong pixels; two of equal Dice, and ties
LIVES = st.sampled_from(["scored", "never scored", "another image", "another mask"])
WAITS = st.sampled_from(["nowhere", "nowhere", "in a task", "corrected", "corrected, then edited", "kept"])


def counts_of(right: int, wrong: int, classes: int) -> Confusion:
    counts = np.zeros((classes, classes), np.int64)
    counts[1, 1], counts[1, 0] = right, wrong
    return counts


def put_score(project: Project, run_id: int, row: ImageRow, life: str, counts: Confusion) -> None:
    image = "0" * 64 if life == "another image" else row.image_sha256
    mask = "0" * 64 if life == "another mask" else str(row.mask_sha256)
    dice = image_dice(counts, project.classes.background_index)
    if life != "never scored":
        project.ledger.put_scores(run_id, [ScoreRow(row.sample_id, image, mask, dice, counts)])


def put_frame(project: Project, row: ImageRow, waits: str) -> None:
    if waits == "nowhere":
        return
    task = {"name": row.sample_id, "plan_digest": "p", "source": "prediction", "run_id": None, "class_digest": "c",
            "server": "x", "shape": "mask", "tolerance_px": 0.0, "min_region_px": 0}  # fmt: skip
    version = "0" * 64 if waits == "corrected, then edited" else str(row.mask_sha256)
    state = {"in a task": "open", "kept": "kept"}.get(waits, "changed")
    frame = FrameRow(row.sample_id, "x.png", None, None, version, version, (), state)
    number = project.ledger.plan_task(task, [frame])
    project.ledger.put_frames(number, [frame])
    project.ledger.set_task(number, "open" if waits == "in a task" else "done", 1)


def put_opinion(project: Project, run_id: int, row: ImageRow, side: int) -> None:
    """An out-of-fold prediction that is wrong in a square; none without a side."""
    for path in project.out_of_fold_paths(run_id, row.image_sha256):
        path.unlink(missing_ok=True)
        if side:
            values = read_label_map(project.mask_path(row.sample_id), project.config.data).copy()
            values[:side, :side] = 1
            write_atomic(path, encode_index_png(IndexImage(values)))


def counts_by_definition(project: Project, run_id: int, row: ImageRow, known: Mapping[str, ScoreRow]) -> Confusion:
    score = known.get(row.sample_id)
    seen = project.has_out_of_fold(run_id, row.image_sha256)
    if not seen and score and (score.image_sha256, score.mask_sha256) == (row.image_sha256, row.mask_sha256):
        return score.confusion
    truth = read_label_map(project.mask_path(row.sample_id), project.config.data)
    prediction = project.opinion(run_id, row.image_sha256).prediction
    return confusion(truth, prediction, len(project.classes), project.classes.ignore_index)


def chosen_by_definition(
    project: Project, rows: Mapping[str, ImageRow], waits: Mapping[str, str], marked: Sequence[str], share: float
) -> tuple[list[str], list[str]]:
    known = project.ledger.scores(1)
    marked = [name for name in marked if waits[name] != "in a task"]
    may = [name for name in TRAIN if waits[name] not in ("in a task", "corrected") or name in marked]
    counts = {name: counts_by_definition(project, 1, rows[name], known) for name in may}
    dice = {name: image_dice(one, project.classes.background_index) for name, one in counts.items()}
    ranked = sorted(may, key=lambda name: (dice[name], -wrong_px(counts[name]), name))
    looks = looks_of(project, {name: rows[name] for name in may})
    places = min(4, len(may))
    asked = [name for name in ranked if name in marked][:places]
    chosen, left_out = list(asked), list[str]()

    def take(names: Sequence[str], until: int) -> None:
        for name in names:
            if len(chosen) < until:
                (left_out if looks.any_alike(name, chosen) else chosen).append(name)

    free = places - len(asked)
    take([name for name in ranked if name not in marked], places - round(free * share))
    rest = sorted(set(may) - set(marked) - {*chosen, *left_out})
    take(random.Random(1).sample(rest, len(rest)), places)
    return chosen, left_out


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.sets(st.sampled_from(TRAIN), max_size=3), st.sampled_from([0.0, 0.5]))
def test_the_ledger_chooses_by_the_definition(loop: Loop, data: st.DataObject, marked: set[str], share: float) -> None:
    project, run = loop.project, loop.project.current_run()
    assert run is not None
    for table in ("score", "frame", "task", "mark"):
        project.ledger._db.execute(f"DELETE FROM {table}")
    rows = project.scan(project.samples(["train"]))
    waits = {name: data.draw(WAITS) for name in TRAIN}
    for name in TRAIN:
        put_score(project, run.id, rows[name], data.draw(LIVES), counts_of(*data.draw(RATES), len(project.classes)))
        put_frame(project, rows[name], waits[name])
        put_opinion(project, run.id, rows[name], data.draw(st.sampled_from([0, 0, 0, 6])))
    project.ledger.put_marks(add=marked)
    expected, left_out = chosen_by_definition(project, rows, waits, sorted(marked), share)
    request = PushRequest(worst=4, random_share=share)
    if not expected:
        with pytest.raises(DataError, match="nothing to push"):
            choose_images(project, run, request, unsaid, silent, unwatched)
        return
    found = choose_images(project, run, request, unsaid, silent, unwatched)
    assert [one.sample.id for one in found.images] == expected
    assert list(found.alike_left_out) == left_out
