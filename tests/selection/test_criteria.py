"""What --by means on a real project: who is believed, what images without labels get, who is left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from running_loop import Loop

from annoloop.data.images import IndexImage, encode_index_png, write_atomic
from annoloop.data.mmseg_folders import read_label_map
from annoloop.errors import ConfigError, DataError
from annoloop.loop.push import PushReport, push
from annoloop.loop.undo import undo
from annoloop.masks.regions import LabelMap
from annoloop.project.project import Project
from annoloop.selection.criteria import check_criterion
from annoloop.selection.request import PushRequest
from annoloop.simulation.annotator import annotate

SURE, UNSURE = 250, 105


def model_says(project: Project, sample_id: str, prediction: LabelMap, confidence: LabelMap, *, unseen: bool) -> None:
    """Put a prediction in the place of the run's own, or beside it as one of another fold."""
    sha = project.scan([s for s in project.samples() if s.id == sample_id])[sample_id].image_sha256
    paths = (project.out_of_fold_paths if unseen else project.prediction_paths)(1, sha)
    for path, values in zip(paths, (prediction, confidence), strict=True):
        write_atomic(path, encode_index_png(IndexImage(values)))


def agree(loop: Loop, *, confidence: int = SURE) -> None:
    """From now on the model repeats every label and is sure of it."""
    for sample in loop.project.samples():
        assert sample.mask is not None
        label_map = read_label_map(sample.mask, loop.project.config.data)
        model_says(loop.project, sample.id, label_map, np.full_like(label_map, confidence), unseen=False)


def contradict(loop: Loop, sample_id: str, confidence: int, *, unseen: bool = False) -> None:
    """The model sees a square where the label of this image has none; sure of all the rest."""
    label_map = loop.label_map(sample_id).copy()
    sure = np.full_like(label_map, SURE)
    label_map[10:22, 10:22] = label_map[10:22, 10:22] % 4 + 1
    sure[10:22, 10:22] = confidence
    model_says(loop.project, sample_id, label_map, sure, unseen=unseen)


def ranked(loop: Loop, **details: object) -> tuple[PushReport, list[str]]:
    said: list[str] = []
    request = PushRequest(worst=8, dry_run=True, **details)  # type: ignore[arg-type]
    return push(loop.project, None, request, say=said.append), said


def test_a_sure_contradiction_is_worse_than_an_unsure_one_and_each_is_called_by_its_name(loop: Loop) -> None:
    agree(loop)
    contradict(loop, "train/0002", SURE)
    contradict(loop, "train/0005", UNSURE)
    frames = ranked(loop, by="label-quality")[0].frames
    assert [f.sample_id for f in frames[:2]] == ["train/0002", "train/0005"]
    assert [f.reading for f in frames] == ["label looks wrong", "model finds it hard"] + [None] * 6
    assert ranked(loop, by="uncertainty")[0].frames[0].sample_id == "train/0005"


def test_a_model_that_has_not_seen_the_label_is_heard_instead_and_the_rest_is_told_once(loop: Loop) -> None:
    agree(loop)
    contradict(loop, "train/0006", SURE, unseen=True)
    report, said = ranked(loop, by="label-quality")
    assert report.frames[0].sample_id == "train/0006"
    assert report.frames[0].reading == "label looks wrong"
    assert len([line for line in said if "retrain --folds 3 makes this sharper" in line]) == 1
    for number in range(8):
        contradict(loop, f"train/{number:04d}", SURE, unseen=True)
    assert ranked(loop, by="label-quality")[1] == []
    assert ranked(loop, by="label-quality", splits=("val",))[1] == [], "the model was not trained on these"


@pytest.mark.parametrize("by", ["dice", "missed"])
def test_out_of_fold_predictions_are_heard_by_every_criterion(loop: Loop, by: str) -> None:
    agree(loop)
    nothing = np.zeros_like(loop.label_map("train/0004"))
    model_says(loop.project, "train/0004", nothing, np.full_like(nothing, SURE), unseen=True)
    worst = ranked(loop, by=by)[0].frames[0]
    assert (worst.sample_id, worst.score) == ("train/0004", 0)


def test_an_ignored_area_is_no_uncertainty(loop: Loop) -> None:
    agree(loop)
    contradict(loop, "train/0003", UNSURE)
    mask = loop.project.mask_path("train/0003")
    label_map = loop.label_map("train/0003").copy()
    label_map[10:22, 10:22] = 255
    mask.write_bytes(encode_index_png(IndexImage(label_map)))
    scores = {f.sample_id: f.score for f in ranked(loop, by="uncertainty")[0].frames}
    assert scores["train/0003"] == pytest.approx(scores["train/0004"])


# what was corrected already


def test_what_annotators_corrected_is_not_sent_again_unless_it_is_asked_for(loop: Loop) -> None:
    first = loop.push(worst=2)
    annotate(loop.project, loop.cvat, int(first.task or 0), loop.truth)
    loop.pull(first.task)
    accepted = loop.push(worst=2, source="label")
    loop.complete(accepted.task)
    assert loop.pull(accepted.task).written == (), "accepted as they were"
    done = {f.sample_id for f in first.frames + accepted.frames}
    for by in ("dice", "missed", "class:ring", "contradiction", "label-quality", "uncertainty"):
        report, _ = ranked(loop, by=by)
        assert report.corrected_left_out == 4
        assert not done & {f.sample_id for f in report.frames}
    report, _ = ranked(loop, corrected=True)
    assert report.corrected_left_out == 0
    assert {f.sample_id for f in report.frames if f.reading == "already corrected"} == done
    assert len(report.frames) == 8


def test_a_corrected_mask_that_was_undone_or_edited_is_open_again(loop: Loop) -> None:
    pushed = loop.push(worst=2)
    annotate(loop.project, loop.cvat, int(pushed.task or 0), loop.truth)
    loop.pull(pushed.task)
    mask = loop.project.mask_path(pushed.frames[0].sample_id)
    mine = loop.label_map(pushed.frames[0].sample_id).copy()
    mine[:3, :3] = 4
    corrected = mask.read_bytes()
    mask.write_bytes(encode_index_png(IndexImage(mine)))
    assert ranked(loop)[0].corrected_left_out == 1, "somebody worked on it since"
    mask.write_bytes(corrected)
    undo(loop.project)
    assert ranked(loop)[0].corrected_left_out == 0


def test_when_all_are_corrected_the_error_says_how_to_get_at_them(loop: Loop) -> None:
    pushed = loop.push(worst=8, source="label")
    loop.complete(pushed.task)
    loop.pull(pushed.task)
    with pytest.raises(DataError, match="8 of 8 images are as annotators left them") as caught:
        loop.push(worst=1)
    assert "--corrected" in str(caught.value.hint)


def test_the_reading_is_still_known_when_a_broken_push_is_finished(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    agree(loop)
    contradict(loop, "train/0002", SURE)

    def cut_off(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("annoloop.cvat.server.CvatServer.create_task", cut_off)
        with pytest.raises(KeyboardInterrupt):
            loop.push(worst=1, by="label-quality")
    report = loop.push(worst=1, by="label-quality")
    assert (report.resumed, report.corrected_left_out) == (True, None)
    assert [(f.sample_id, f.reading) for f in report.frames] == [("train/0002", "label looks wrong")]


# names


@pytest.mark.parametrize("by", ["dice", "missed", "class:ring", "contradiction", "label-quality", "uncertainty"])
def test_known_criteria(project: Project, by: str) -> None:
    check_criterion(by, project.classes)


@pytest.mark.parametrize("by", ["Dice", "class:dog", "class:", "ring", ""])
def test_an_unknown_criterion_is_told_before_anything_is_predicted(loop: Loop, by: str) -> None:
    predictions: Path = loop.project.state_dir / "predictions"
    predictions.rename(predictions.with_name("gone"))
    with pytest.raises(ConfigError, match="is no criterion") as caught:
        loop.push(by=by)
    assert "uncertainty, or class:NAME with one of background" in str(caught.value.hint)
