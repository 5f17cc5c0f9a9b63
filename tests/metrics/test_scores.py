"""Law 7: the scores are the field's; and the paired bootstrap behind law 8."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from annoloop.errors import DataError
from annoloop.metrics.scores import (
    Confusion,
    class_weights,
    compare,
    confusion,
    dice,
    image_dice,
    intervals,
    missed_share,
    scores,
    wrong_by_kind,
    wrong_px,
)

ROOT = Path(__file__).parents[2]
IGNORE = 255


@st.composite
def pairs(draw: st.DrawFn) -> tuple[int, npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Number of classes, truth with ignored pixels, prediction without."""
    count = draw(st.sampled_from([1, 2, 3, 20, 255]))
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 9)))
    classes = st.integers(0, count - 1)
    truth = draw(hnp.arrays(np.uint8, shape, elements=classes | st.just(IGNORE)))
    return count, truth, draw(hnp.arrays(np.uint8, shape, elements=classes))


def _reference(
    truth: npt.NDArray[np.uint8], prediction: npt.NDArray[np.uint8], index: int
) -> tuple[float, float, float]:
    """Dice, IoU and accuracy of one class from sets of pixels."""
    counted = [(t, p) for t, p in zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True) if t != IGNORE]
    wanted = {i for i, (t, _) in enumerate(counted) if t == index}
    found = {i for i, (_, p) in enumerate(counted) if p == index}
    both = len(wanted & found)
    return (
        2 * both / (len(wanted) + len(found)) if wanted or found else math.nan,
        both / len(wanted | found) if wanted or found else math.nan,
        both / len(wanted) if wanted else math.nan,
    )


@given(pairs())
def test_scores_equal_the_definition(pair: tuple[int, npt.NDArray[np.uint8], npt.NDArray[np.uint8]]) -> None:
    count, truth, prediction = pair
    counts = confusion(truth, prediction, count, IGNORE)
    got = scores(counts, None)
    reference = [_reference(truth, prediction, index) for index in range(count)]
    assert np.allclose(np.array([got.dice, got.iou, got.accuracy]).T, reference, rtol=0, atol=1e-12, equal_nan=True)
    assert counts.sum() == np.count_nonzero(truth != IGNORE)
    assert wrong_px(counts) == np.count_nonzero((truth != prediction) & (truth != IGNORE))
    present = [d for d, _, _ in reference if not math.isnan(d)]
    assert got.mean_dice == pytest.approx(np.mean(present) if present else math.nan, nan_ok=True)


@given(pairs(), st.integers(1, 40), st.integers(1, 3))
def test_runs_and_noise_are_counted_like_single_pixels(
    pair: tuple[int, npt.NDArray[np.uint8], npt.NDArray[np.uint8]], wider: int, higher: int
) -> None:
    count, truth, prediction = pair
    truth, prediction = (np.kron(one, np.ones((higher, wider), np.uint8)) for one in (truth, prediction))
    counted = truth != IGNORE
    joint = truth[counted].astype(np.int64) * count + prediction[counted]
    expected = np.bincount(joint, minlength=count**2).reshape(count, count)
    assert np.array_equal(confusion(truth, prediction, count, IGNORE), expected)


@pytest.mark.parametrize("ignore", [IGNORE, 65535])
@pytest.mark.parametrize("prediction_type", [np.uint8, np.uint16])
def test_more_classes_than_a_byte_holds_are_counted(ignore: int, prediction_type: type[np.unsignedinteger]) -> None:
    rng = np.random.default_rng(0)
    truth = rng.choice(np.array([0, 7, 300, 999, ignore], np.uint16), (41, 53))
    prediction = rng.choice(np.array([0, 7, 200], prediction_type), (41, 53))
    counts = confusion(truth, prediction, 1000, ignore)
    for t in (0, 7, 300, 999):
        for p in (0, 7, 200):
            assert counts[t, p] == np.count_nonzero((truth == t) & (prediction == p))
    assert counts.sum() == np.count_nonzero(truth != ignore)
    with pytest.raises(DataError, match="truth holds index 999, the classes end at 998"):
        confusion(truth, prediction, 999, ignore)


def test_nothing_is_counted_in_nothing() -> None:
    empty = np.zeros((0, 5), np.uint8)
    assert confusion(empty, empty, 2, IGNORE).sum() == 0


def test_rows_are_truth_and_columns_prediction() -> None:
    counts = confusion(np.array([[0, 0, 1, IGNORE]], np.uint8), np.array([[0, 1, 1, 1]], np.uint8), 2, IGNORE)
    assert counts.tolist() == [[1, 1], [0, 1]]
    assert counts.dtype == np.int64


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        ([[0, 2]], [[0, 1]], "truth holds index 2, the classes end at 1"),
        ([[0, 1]], [[0, 9]], "prediction holds index 9, the classes end at 1"),
        ([[0, 1]], [[0, IGNORE]], "prediction holds index 255"),
        ([[0, 1]], [[0], [1]], "truth is .2, 1. px, prediction .1, 2."),
    ],
)
def test_what_cannot_be_counted_is_refused(truth: list[list[int]], prediction: list[list[int]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        confusion(np.array(truth, np.uint8), np.array(prediction, np.uint8), 2, IGNORE)


def test_a_prediction_of_ignored_pixels_may_be_anything() -> None:
    counts = confusion(np.full((2, 3), IGNORE, np.uint8), np.full((2, 3), 77, np.uint8), 2, IGNORE)
    assert counts.sum() == 0


# One child for all cases: torch takes seconds to load and stays out of the test process.
MMSEG = """
import json, sys
import numpy as np, torch
from mmseg.evaluation import IoUMetric
from annoloop.metrics.scores import confusion, scores

def mmseg_scores(maps, count):
    metric = IoUMetric(ignore_index=255, iou_metrics=["mDice", "mIoU"])
    metric.dataset_meta = {"classes": [str(i) for i in range(count)]}
    for truth, prediction in maps:
        tensor = lambda m: {"data": torch.from_numpy(m.astype(np.int64))[None]}
        metric.process({}, [{"gt_sem_seg": tensor(truth), "pred_sem_seg": tensor(prediction)}])
    totals = [sum(part) for part in zip(*metric.results)]
    found = IoUMetric.total_area_to_metrics(*totals, ["mDice", "mIoU"])
    lists = {name: np.asarray(found[name], float).tolist() for name in ("Dice", "IoU", "Acc")}
    return {**lists, "aAcc": float(found["aAcc"]), "mDice": float(np.nanmean(found["Dice"])),
            "mIoU": float(np.nanmean(found["IoU"]))}

def our_scores(maps, count):
    s = scores(sum(confusion(t, p, count, 255) for t, p in maps), 0)
    return {"Dice": s.dice, "IoU": s.iou, "Acc": s.accuracy, "aAcc": s.pixel_accuracy,
            "mDice": s.mean_dice, "mIoU": s.mean_iou}

rng = np.random.default_rng(0)
answers = []
for count, drawn, ignored in ((2, 2, 0.0), (5, 4, 0.2), (20, 20, 0.1), (20, 3, 0.5)):
    maps = []
    for shape in ((31, 47), (64, 20), (1, 1)):
        truth = rng.integers(0, drawn, shape, dtype=np.uint8)
        prediction = np.where(rng.random(shape) < 0.7, truth, rng.integers(0, drawn, shape, dtype=np.uint8))
        truth[rng.random(shape) < ignored] = 255
        maps.append((truth, prediction.astype(np.uint8)))
    answers.append([mmseg_scores(maps, count), our_scores(maps, count)])
json.dump(answers, sys.stdout)
"""


def test_scores_equal_mmsegs_iou_metric() -> None:
    child = subprocess.run([sys.executable, "-c", MMSEG], capture_output=True, text=True, cwd=ROOT)
    assert child.returncode == 0, child.stderr[-2000:]
    answers = json.loads(child.stdout[child.stdout.index("[[") :])
    assert len(answers) == 4
    for theirs, ours in answers:
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            assert ours[name] == pytest.approx(value, abs=1e-6, nan_ok=True), name


# one image


def _counts(*rows: list[int]) -> Confusion:
    return np.array(rows, np.int64)


@pytest.mark.parametrize(
    ("counts", "background", "expected"),
    [
        (_counts([90, 0, 0], [0, 10, 0], [0, 0, 0]), 0, 1.0),  # class 2 is absent and does not count
        (_counts([80, 10, 0], [0, 10, 0], [0, 0, 0]), 0, 2 / 3),
        (_counts([90, 0, 5], [0, 10, 0], [0, 0, 0]), 0, 0.5),  # class 2 was invented: it counts as 0
        (_counts([100, 0, 0], [0, 0, 0], [0, 0, 0]), 0, 1.0),  # nothing there, nothing found
        (_counts([0, 0, 0], [0, 0, 0], [0, 0, 0]), 0, 1.0),  # everything ignored
        (_counts([80, 10, 0], [0, 10, 0], [0, 0, 0]), None, (160 / 170 + 2 / 3) / 2),
        (_counts([7]), 0, 1.0),
    ],
)
def test_per_image_dice_has_a_rule_for_absent_classes(
    counts: Confusion, background: int | None, expected: float
) -> None:
    assert image_dice(counts, background) == pytest.approx(expected)


def test_missed_share_counts_foreground_only() -> None:
    counts = _counts([50, 9, 0], [6, 2, 0], [0, 1, 1])
    assert missed_share(counts, 0) == pytest.approx(0.7)
    assert missed_share(_counts([5, 3], [0, 0]), 0) == 0


@given(pairs(), st.booleans())
def test_every_wrong_pixel_is_of_one_kind(
    pair: tuple[int, npt.NDArray[np.uint8], npt.NDArray[np.uint8]], background: bool
) -> None:
    count, truth, prediction = pair
    wrong = (truth != prediction) & (truth != IGNORE)
    missed, invented = (np.count_nonzero(wrong & (m == 0)) * background for m in (prediction, truth))
    assert wrong_by_kind(confusion(truth, prediction, count, IGNORE), 0 if background else None) == {
        "false negative": missed,
        "false positive": invented,
        "confused": np.count_nonzero(wrong) - missed - invented,
    }


def test_foreground_dice_leaves_the_background_out() -> None:
    counts = _counts([90, 0], [5, 5])
    assert scores(counts, 0).foreground_dice == pytest.approx(dice(counts)[1])
    assert scores(counts, None).foreground_dice == scores(counts, None).mean_dice


def test_an_empty_matrix_scores_nan_and_warns_nobody() -> None:
    empty = scores(np.zeros((3, 3), np.int64), 0)
    assert math.isnan(empty.mean_dice)
    assert math.isnan(empty.pixel_accuracy)


@given(hnp.arrays(np.int64, st.integers(1, 12), elements=st.integers(0, 10**9)))
def test_class_weights_are_positive_and_fall_with_frequency(pixels: npt.NDArray[np.int64]) -> None:
    weights = np.array(class_weights(pixels))
    assert (weights > 0).all()
    assert np.isfinite(weights).all()
    assert (weights[pixels == 0] == 1).all()
    present = pixels > 0
    assert (np.diff(weights[present][np.argsort(pixels[present])]) <= 0).all()


# one model against another


def _some_images(seed: int, hit_rate: float, count: int = 30) -> Confusion:
    """(count, 3, 3): every image has the same truth, a random part of it was found."""
    rng = np.random.default_rng(seed)
    truth = np.array([[900, 60, 40]] * count)
    hits = rng.binomial(truth, hit_rate)
    counts = np.zeros((count, 3, 3), np.int64)
    for k in range(3):
        counts[:, k, k] = hits[:, k]
        counts[:, k, (k + 1) % 3] = truth[:, k] - hits[:, k]
    return counts


def test_the_same_seed_gives_the_same_interval() -> None:
    better, worse = _some_images(1, 0.9), _some_images(2, 0.85)
    assert compare(better, worse, resamples=500) == compare(better, worse, resamples=500)
    assert compare(better, worse, resamples=500, seed=1) != compare(better, worse, resamples=500)


def test_a_model_is_as_good_as_itself() -> None:
    images = _some_images(1, 0.9)
    same = compare(images, images, resamples=300)
    assert (same.difference, same.low, same.high, same.share_better) == (0, 0, 0, 0)


def test_swapping_the_models_turns_the_interval_round() -> None:
    better, worse = _some_images(1, 0.9), _some_images(2, 0.85)
    ahead, behind = compare(better, worse, resamples=2500), compare(worse, better, resamples=2500)
    assert (behind.difference, behind.low, behind.high) == pytest.approx((-ahead.difference, -ahead.high, -ahead.low))
    assert behind.share_better == pytest.approx(1 - ahead.share_better)


def test_a_clear_gain_is_clear_and_noise_is_not() -> None:
    gain = compare(_some_images(1, 0.92), _some_images(2, 0.85), resamples=1000)
    assert 0 < gain.low < gain.difference < gain.high
    noise = compare(_some_images(1, 0.9), _some_images(2, 0.9), resamples=1000)
    assert noise.low < 0 < noise.high


def test_the_interval_covers_the_true_difference_as_often_as_it_says() -> None:
    covered = sum(
        found.low <= 0 <= found.high
        for found in (
            compare(_some_images(seed, 0.8), _some_images(seed + 1000, 0.8), resamples=400) for seed in range(100)
        )
    )
    assert 85 <= covered <= 100


@given(st.integers(0, 5), st.integers(1, 4))
def test_images_that_are_ignored_everywhere_change_nothing(seed: int, ignored: int) -> None:
    better, worse = _some_images(seed, 0.9, 4), _some_images(seed + 100, 0.8, 4)
    nothing = np.zeros((ignored, 3, 3), np.int64)
    with_them = compare(np.concatenate([nothing, better]), np.concatenate([nothing, worse]), resamples=200)
    assert with_them == compare(better, worse, resamples=200)


@pytest.mark.parametrize(
    ("candidate", "current"),
    [
        (np.ones((2, 3, 3), np.int64), np.ones((1, 3, 3), np.int64)),
        (np.ones((0, 3, 3), np.int64), np.ones((0, 3, 3), np.int64)),
        (np.zeros((2, 3, 3), np.int64), np.zeros((2, 3, 3), np.int64)),
    ],
    ids=["other images", "no images", "all ignored"],
)
def test_what_cannot_be_compared_is_refused(candidate: Confusion, current: Confusion) -> None:
    with pytest.raises(DataError, match="cannot compare"):
        compare(candidate, current)


# how sure a score is


def test_an_interval_holds_its_score_and_narrows_with_more_images() -> None:
    few, many = _some_images(1, 0.8, 10), _some_images(1, 0.8, 1000)
    narrow, wide = intervals(many, resamples=1000), intervals(few, resamples=1000)
    observed = scores(many.sum(0), 0)
    assert narrow.mean_dice[0] < observed.mean_dice < narrow.mean_dice[1]
    assert narrow.mean_iou[0] < observed.mean_iou < narrow.mean_iou[1]
    assert all(low < value < high for value, (low, high) in zip(observed.dice, narrow.dice, strict=True))
    assert all(low < value < high for value, (low, high) in zip(observed.iou, narrow.iou, strict=True))
    assert 5 < np.ptp(wide.mean_dice) / np.ptp(narrow.mean_dice) < 20  # the root of 100, about


def test_the_same_images_have_the_same_interval() -> None:
    images = _some_images(1, 0.9)
    assert intervals(images, resamples=500) == intervals(images, resamples=500)
    assert intervals(images, resamples=500, seed=1) != intervals(images, resamples=500)
    nothing = np.zeros((3, 3, 3), np.int64)
    assert intervals(np.concatenate([nothing, images]), resamples=500) == intervals(images, resamples=500)


def test_an_interval_covers_the_true_dice_as_often_as_it_says() -> None:
    truth = scores(np.sum([_some_images(seed, 0.8).sum(0) for seed in range(500, 700)], axis=0), 0).mean_dice
    found = [intervals(_some_images(seed, 0.8), resamples=400).mean_dice for seed in range(100)]
    assert 85 <= sum(low <= truth <= high for low, high in found) <= 100


def test_a_class_that_is_nowhere_has_no_interval_and_one_in_few_images_has() -> None:
    images = _some_images(1, 0.9, 12)
    images[1:, 2], images[1:, :, 2], images[:, 1], images[:, :, 1] = 0, 0, 0, 0
    found = intervals(images, resamples=300)
    assert np.isnan(found.dice[1]).all()
    assert not np.isnan([found.dice[0], found.dice[2], found.mean_dice]).any()


def test_without_a_labelled_pixel_there_is_no_interval() -> None:
    found = intervals(np.zeros((2, 3, 3), np.int64))
    assert np.isnan([found.mean_dice, found.mean_iou, *found.dice, *found.iou]).all()
