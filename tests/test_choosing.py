"""What people ask for: marked images first, images by name, and what is told of those that cannot go."""

from __future__ import annotations

import pytest
from loop import Loop

from annoloop.errors import ConfigError, DataError
from annoloop.planning import PushRequest
from annoloop.push import PushReport, push


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
    pushed = loop.push(worst=1)
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
