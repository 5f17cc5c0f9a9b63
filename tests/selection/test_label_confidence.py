"""Beliefs and error maps: made once, made again when mask or opinion is another."""

from __future__ import annotations

from math import isnan

import numpy as np
import pytest
from running_loop import Loop

from annoloop.app.app_masks import error_maps
from annoloop.data.images import IndexImage, encode_index_png, read_index_png, write_atomic
from annoloop.data.mmseg_folders import Sample
from annoloop.errors import DataError
from annoloop.metrics.label_quality import certainty, label_quality
from annoloop.project.rows import BeliefRow, ImageRow
from annoloop.reports.gallery import ERROR_COLORS
from annoloop.selection import label_confidence as module
from annoloop.selection.label_confidence import beliefs, readings

RUN = 1


def pairs(loop: Loop) -> list[tuple[Sample, ImageRow]]:
    samples = loop.project.samples()
    rows = loop.project.scan(samples)
    return [(sample, rows[sample.id]) for sample in samples]


def asked(loop: Loop) -> tuple[dict[str, BeliefRow], int]:
    """The beliefs, and how many of them were computed for it."""
    counted: list[int] = []

    def track(items: object, title: str, total: int | None = None) -> object:
        counted.append(total or 0)
        return iter(items)  # type: ignore[call-overload]

    return beliefs(loop.project, RUN, pairs(loop), track), sum(counted)  # type: ignore[arg-type]


def test_they_are_what_label_quality_says_and_are_computed_once(loop: Loop) -> None:
    found, computed = asked(loop)
    assert computed == len(found) == 11
    for sample, row in pairs(loop):
        truth, sha = loop.label_map(sample.id), row.image_sha256
        prediction, confidence = loop.project.prediction(RUN, sha), loop.project.confidence(RUN, sha)
        assert found[sample.id].belief.quality == label_quality(truth, prediction, confidence, 255)
        assert found[sample.id].belief.certainty == certainty(confidence)
    assert asked(loop) == (found, 0)


def test_another_mask_or_another_opinion_is_asked_about_anew(loop: Loop) -> None:
    before, _ = asked(loop)
    label_map = loop.label_map("train/0001").copy()
    label_map[:20] = 1
    loop.project.mask_path("train/0001").write_bytes(encode_index_png(IndexImage(label_map)))
    sha = pairs(loop)[2][1].image_sha256
    assert pairs(loop)[2][0].id == "train/0002"
    for path, source in zip(
        loop.project.out_of_fold_paths(RUN, sha), loop.project.prediction_paths(RUN, sha), strict=True
    ):
        write_atomic(path, source.read_bytes())
    after, computed = asked(loop)
    assert computed == 2
    assert after["train/0001"].belief.quality < before["train/0001"].belief.quality
    assert after["train/0002"].out_of_fold
    assert {name for name in before if before[name] != after[name]} == {"train/0001", "train/0002"}


def test_an_image_without_labels_has_certainty_alone_and_no_reading(loop: Loop) -> None:
    loop.project.mask_path("train/0001").unlink()
    found, _ = asked(loop)
    assert isnan(found["train/0001"].belief.quality)
    assert found["train/0001"].belief.certainty > 0
    assert readings(found)["train/0001"] is None


def test_what_was_computed_before_an_interruption_is_kept(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 2)
    loop.project.mask_path("train/0005").write_bytes(b"no PNG")
    with pytest.raises(DataError, match="cannot be read"):
        asked(loop)
    assert len(loop.project.ledger.beliefs(RUN)) == 4


def test_a_mask_of_another_size_is_named(loop: Loop) -> None:
    small = encode_index_png(IndexImage(np.zeros((10, 20), np.uint8)))
    loop.project.mask_path("train/0003").write_bytes(small)
    for compute in (lambda: asked(loop), lambda: error_maps(loop.project, RUN, pairs(loop))):
        with pytest.raises(DataError, match=r"0003.png: mask is 20 x 10 px, the prediction 64 x 48 px"):
            compute()


def test_an_error_map_names_every_pixel_that_is_wrong_and_no_ignored_one(loop: Loop) -> None:
    sha = next(row.image_sha256 for sample, row in pairs(loop) if sample.id == "val/0000")
    prediction = loop.project.prediction(RUN, sha)
    truth = prediction.copy()
    truth[0, :4], truth[1, :4], truth[2, :4] = (1, 2, 0, 255), prediction[1, :4], 0
    truth[truth == 3] = 4
    loop.project.mask_path("val/0000").write_bytes(encode_index_png(IndexImage(truth)))
    path = error_maps(loop.project, RUN, pairs(loop))["val/0000"]
    kinds = read_index_png(path).values
    names = ["right", *ERROR_COLORS]
    for (row, column), kind in np.ndenumerate(kinds):
        label, said = int(truth[row, column]), int(prediction[row, column])
        wanted = (
            "right"
            if label in (said, 255)
            else "false negative"
            if said == 0
            else "false positive"
            if label == 0
            else "confused"
        )
        assert names[kind] == wanted


def test_error_maps_are_drawn_once_per_version_of_a_mask(loop: Loop) -> None:
    first = error_maps(loop.project, RUN, pairs(loop))
    stamps = {path: path.stat().st_mtime_ns for path in first.values()}
    label_map = loop.label_map("train/0001").copy()
    label_map[:5] = 2
    loop.project.mask_path("train/0001").write_bytes(encode_index_png(IndexImage(label_map)))
    loop.project.mask_path("train/0002").unlink()
    again = error_maps(loop.project, RUN, pairs(loop))
    assert {name for name in again if again[name] != first[name]} == {"train/0001"}
    assert set(first) - set(again) == {"train/0002"}
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
