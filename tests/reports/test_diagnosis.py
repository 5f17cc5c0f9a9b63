"""Many images looked into: the same from files as from arrays, added up, whoever the judge is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from annoloop.data.config import DataConfig
from annoloop.data.images import IndexImage, encode_index_png
from annoloop.errors import DataError
from annoloop.masks.classes import class_table
from annoloop.metrics.examination import examine, no_tally
from annoloop.metrics.scores import Confusion, confusion
from annoloop.reports.diagnosis import Case, Files, diagnose, images_with_half_of_the_errors

CLASSES = class_table(["background", "disc", "ring"], background="background")


def case(folder: Path, number: int, judged: bool = False) -> tuple[Case, list[np.ndarray]]:
    """An image on disk and its arrays: truth, prediction, confidence, and both of the judge."""
    rng = np.random.default_rng(number)
    arrays = [rng.integers(0, top, (12, 16), np.uint8) for top in (3, 3, 256, 3, 256)]
    paths = [folder / f"{number}-{kind}.png" for kind in ("mask", "prediction", "confidence", "judge", "sure")]
    for path, array in zip(paths, arrays, strict=True):
        path.write_bytes(encode_index_png(IndexImage(array)))
    files = Files(folder / "none.jpg", paths[0], paths[1], paths[2], (paths[3], paths[4]) if judged else None)
    counts = confusion(arrays[0], arrays[1], 3, 255)
    return Case(f"val/{number}", files, 0.5, counts, corrected=False), arrays


@pytest.mark.usefixtures("spread_early")
@pytest.mark.parametrize("count", [2, 30])
def test_files_say_what_their_arrays_say_and_add_up(tmp_path: Path, count: int) -> None:
    made = [case(tmp_path, number) for number in range(count)]
    found = diagnose([one for one, _ in made], DataConfig(root=tmp_path, splits={"val": "val"}), CLASSES)
    alone = [examine(truth, said, sure, CLASSES) for _, (truth, said, sure, *_) in made]
    assert found.observations == tuple(one.observation for one in alone)
    summed = sum((one.tally for one in alone), no_tally(3))
    for name in ("objects", "boundary", "confidence", "class_confidence"):
        assert (getattr(found.tally, name) == getattr(summed, name)).all()
    assert found.counts.shape == (count, 3, 3)
    assert found.compared == ()


def test_a_judge_is_heard_about_the_label_and_nothing_else(tmp_path: Path) -> None:
    data = DataConfig(root=tmp_path, splits={"val": "val"})
    judged, (truth, said, sure, other, other_sure) = case(tmp_path, 1, judged=True)
    (observation,) = diagnose([judged], data, CLASSES).observations
    assert observation == examine(truth, said, sure, CLASSES, judge=(other, other_sure)).observation
    (own,) = diagnose([case(tmp_path, 1)[0]], data, CLASSES).observations
    assert own.largest == observation.largest
    assert own.belief.quality != observation.belief.quality


def test_masks_are_read_as_the_project_stores_them(tmp_path: Path) -> None:
    one, (truth, said, sure, *_) = case(tmp_path, 1)
    data = DataConfig(root=tmp_path, splits={"val": "val"}, reduce_zero_label=True)
    (observation,) = diagnose([one], data, CLASSES).observations
    assert observation == examine(truth - np.uint8(1), said, sure, CLASSES).observation


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    one, _ = case(tmp_path, 1)
    one.files.confidence.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"1-confidence\.png"):
        diagnose([one], DataConfig(root=tmp_path, splits={"val": "val"}), CLASSES)


def _wrong(px: int) -> Confusion:
    return np.array([[100, px], [0, 0]], np.int64)


@pytest.mark.parametrize(
    ("wrong", "expected"), [([5, 3, 2], 1), ([4, 3, 2, 1], 2), ([1, 1, 1, 1], 2), ([7], 1), ([0, 0], 0)]
)
def test_the_fewest_images_that_hold_half_of_the_wrong_pixels(tmp_path: Path, wrong: list[int], expected: int) -> None:
    files = Files(*[tmp_path] * 4, None)
    cases = [Case(str(n), files, 1.0, _wrong(px), corrected=False) for n, px in enumerate(wrong[::-1])]
    assert images_with_half_of_the_errors(cases) == expected
