"""The field's scores from confusion matrices: Dice, IoU, accuracy, their intervals, and which model is better.

Equal to mmsegmentation's ``IoUMetric`` over a split (law 7).  Not here: files, predictions, ranking.
The fact to know: scores over a split come from the summed matrix, never from a mean over images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from annoloop.errors import DataError

Confusion: TypeAlias = npt.NDArray[np.int64]
"""int64 (K, K): rows truth, columns prediction; ignored pixels are left out."""

Floats: TypeAlias = npt.NDArray[np.float64]
Pixels: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]

Interval: TypeAlias = tuple[float, float]
"""Low and high end of the bootstrap's 95 % interval over images."""

ErrorKind: TypeAlias = Literal["false negative", "false positive", "confused"]

IN_PLAIN_WORDS: dict[ErrorKind, str] = {
    "false negative": "false negative (missed)",
    "false positive": "false positive (invented)",
    "confused": "confused",
}
"""The kinds as they are named where they stand for the first time."""
"""A class taken for background; background taken for a class; one class taken for another."""

MOST_CONFUSION_BYTES = 4 << 30
"""Of the matrices of all images that are scored at once: about 23 000 classes for one image, 730 for a thousand."""

_ENDS = (0.025, 0.975)
_BLOCK = 1000
"""Resamples drawn at a time: memory stays small for any number of images."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of a split; per class (K,), NaN where a class is neither in truth nor in prediction."""

    dice: tuple[float, ...]
    iou: tuple[float, ...]
    accuracy: tuple[float, ...]
    mean_dice: float
    mean_iou: float
    pixel_accuracy: float
    foreground_dice: float
    """Mean Dice without the background class; equal to ``mean_dice`` where there is none."""


@dataclass(frozen=True, slots=True)
class Intervals:
    """How far ``Scores`` would swing with other images; per class (K,), NaN where ``Scores`` is NaN."""

    mean_dice: Interval
    mean_iou: Interval
    dice: tuple[Interval, ...]
    iou: tuple[Interval, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Candidate minus current in mDice, with the bootstrap's 95 % interval over images."""

    difference: float
    low: float
    high: float
    share_better: float
    """Share of the resamples in which the candidate is better."""


def check_confusions(images: int, class_count: int) -> None:
    """Raise where the confusions of so many images, (N, K, K) int64, are more than memory is to hold.

    Raises:
        DataError: says how many bytes they take, and what helps.
    """
    needed = images * class_count**2 * np.dtype(np.int64).itemsize
    if needed > MOST_CONFUSION_BYTES:
        raise DataError(
            f"the confusions of {images} images with {class_count} classes take {needed / 2**30:.1f} GiB;"
            f" {MOST_CONFUSION_BYTES >> 30} GiB are the most",
            hint="score fewer images at a time (another split, a shorter list), or merge classes",
        )


def confusion(truth: Pixels, prediction: Pixels, class_count: int, ignore_index: int) -> Confusion:
    """Count every pair of truth and prediction, class indices as uint8 or uint16; both (H, W).

    Raises:
        DataError: different sizes, an index that is no class, or too many classes for a matrix of all pairs.
    """
    check_confusions(1, class_count)
    if truth.shape != prediction.shape:
        raise DataError(f"truth is {truth.shape[::-1]} px, prediction {prediction.shape[::-1]} px")
    table = _joint_counts(truth, prediction, class_count)
    if ignore_index < class_count:
        table[ignore_index] = 0
    if table[class_count].any():
        _check(truth[truth != ignore_index], class_count, "truth")
    if table[:class_count, class_count].any():
        _check(prediction[truth != ignore_index], class_count, "prediction")
    return table[:class_count, :class_count].copy()


def _joint_counts(truth: Pixels, prediction: Pixels, class_count: int) -> Confusion:
    """How often every pair of classes occurs, (K + 1, K + 1); every index that is no class counts as K."""
    from annoloop.masks.kernels import counts
    from annoloop.masks.kernels.machine_code import readable

    both = np.result_type(truth, prediction)
    t, p = (readable(one.astype(both, copy=False)).reshape(-1) for one in (truth, prediction))
    table = np.zeros((class_count + 1, class_count + 1), np.int64)
    whole = t.nbytes // 8 * 8 // t.itemsize  # as many pixels as fill words
    counts.count_words(t[:whole].view(np.uint64), p[:whole].view(np.uint64), 8 * t.itemsize, table)
    counts.count_pairs(t[whole:], p[whole:], table)
    return table


def _check(indices: Pixels, class_count: int, name: str) -> None:
    highest = int(indices.max(initial=0))
    if highest >= class_count:
        raise DataError(f"{name} holds index {highest}, the classes end at {class_count - 1}")


def map_dice(truth: Pixels, prediction: Pixels, class_count: int, ignore_index: int) -> Floats:
    """Dice per class of two label maps (H, W), as from their confusion, but without a matrix of K x K."""
    counted = truth != ignore_index
    t, p = truth[counted], prediction[counted]
    hits, wanted, given = (np.bincount(one, minlength=class_count)[:class_count] for one in (t[t == p], t, p))
    return _ratio(2 * hits, wanted + given)


def dice(counts: Confusion) -> Floats:
    """Dice per class, 2 TP / (2 TP + FP + FN), over the last two axes; NaN where a class is absent."""
    hits, truth, predicted = _sums(counts)
    return _ratio(2 * hits, truth + predicted)


def scores(counts: Confusion, background_index: int | None) -> Scores:
    """All scores of a summed matrix (K, K), as mmseg's ``IoUMetric`` defines them."""
    hits, truth, predicted = _sums(counts)
    per_class = dice(counts)
    iou = _ratio(hits, truth + predicted - hits)
    accuracy = _ratio(hits, truth)
    total = int(truth.sum())
    return Scores(
        dice=tuple(per_class.tolist()),
        iou=tuple(iou.tolist()),
        accuracy=tuple(accuracy.tolist()),
        mean_dice=_mean(per_class),
        mean_iou=_mean(iou),
        pixel_accuracy=float(hits.sum() / total) if total else float("nan"),
        foreground_dice=_mean(_foreground(per_class, background_index)),
    )


def image_dice(counts: Confusion, background_index: int | None) -> float:
    """Dice of one image: the mean over the foreground classes in its truth or its prediction.

    A class that is in neither does not count.  An image without any foreground in both scores 1.
    Where there is no background class every class counts.
    """
    mean = _mean(_foreground(dice(counts), background_index))
    return 1.0 if np.isnan(mean) else mean


def missed_share(counts: Confusion, background_index: int | None) -> float:
    """Share of the foreground pixels of the truth that were given another class; 0 without any."""
    hits, truth, _ = _sums(counts)
    wanted = _foreground(truth, background_index).sum()
    found = _foreground(hits, background_index).sum()
    return float(1 - found / wanted) if wanted else 0.0


def wrong_px(counts: Confusion) -> int:
    """How many pixels were given another class than their own."""
    return int(counts.sum() - np.trace(counts))


def wrong_by_kind(counts: Confusion, background_index: int | None) -> dict[ErrorKind, int]:
    """The wrong pixels of a matrix (K, K) by kind; where no class is background all of them are confused."""
    total, missed, invented = wrong_px(counts), 0, 0
    if background_index is not None:
        right = int(counts[background_index, background_index])
        missed = int(counts[:, background_index].sum()) - right
        invented = int(counts[background_index].sum()) - right
    return {"false negative": missed, "false positive": invented, "confused": total - missed - invented}


def class_weights(pixels: npt.NDArray[np.int64], power: float = 0.5) -> tuple[float, ...]:
    """Cross-entropy weights per class from the training split's pixel counts (K,).

    Inverse frequency to a power below 1, (1 / (K x share)) ** power, held between 0.1 and 10: with 0
    small networks settle on "all background" and never find a rare class, with the full inverse (1) they
    see rare classes everywhere.  A class without a pixel weighs 1.
    """
    present = pixels > 0
    weights = np.ones(pixels.size)
    if present.any():
        shares = pixels[present] / pixels.sum()
        weights[present] = np.clip((present.sum() * shares) ** -power, 0.1, 10.0)
    return tuple(float(w) for w in weights)


def compare(candidate: Confusion, current: Confusion, *, resamples: int = 10_000, seed: int = 0) -> Comparison:
    """Paired bootstrap over images of the difference in mDice; both (N, K, K), image by image alike.

    Images whose truth is ignored everywhere say nothing and are left out.
    Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, percentile interval.

    Raises:
        DataError: different images, or none with a pixel that counts.
    """
    if candidate.shape != current.shape:
        raise DataError(f"cannot compare {len(candidate)} with {len(current)} images")
    counted = candidate.sum((1, 2)) > 0
    candidate, current = candidate[counted], current[counted]
    if len(candidate) == 0:
        raise DataError("cannot compare models without an image that has a labelled pixel")
    differences = np.concatenate(
        [
            _row_means(_resampled(weights, candidate)[0]) - _row_means(_resampled(weights, current)[0])
            for weights in _resamples(len(candidate), resamples, seed)
        ]
    )
    low, high = np.quantile(differences, _ENDS)
    observed = _mean(dice(candidate.sum(0))) - _mean(dice(current.sum(0)))
    return Comparison(observed, float(low), float(high), float(np.mean(differences > 0)))


def intervals(counts: Confusion, *, resamples: int = 10_000, seed: int = 0) -> Intervals:
    """Bootstrap over images (N, K, K) of mDice, mIoU and both per class.

    Images whose truth is ignored everywhere are left out, and so is a class in the resamples that happen to
    have no image with it.
    Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, percentile interval.
    """
    counted = counts[counts.sum((1, 2)) > 0]
    if len(counted) == 0:
        nothing = (float("nan"), float("nan"))
        each = (nothing,) * counts.shape[-1]
        return Intervals(nothing, nothing, each, each)
    drawn = [_resampled(weights, counted) for weights in _resamples(len(counted), resamples, seed)]
    dices, ious = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    return Intervals(
        _interval(_row_means(dices)),
        _interval(_row_means(ious)),
        tuple(_interval(column) for column in dices.T),
        tuple(_interval(column) for column in ious.T),
    )


def _resamples(n: int, count: int, seed: int) -> Iterator[Floats]:
    """How often each of ``n`` images was drawn with replacement, (R, n), a block of resamples at a time."""
    rng = np.random.default_rng(seed)
    for start in range(0, count, _BLOCK):
        yield rng.multinomial(n, np.full(n, 1 / n), size=min(_BLOCK, count - start)).astype(np.float64)


def _resampled(weights: Floats, counts: Confusion) -> tuple[Floats, Floats]:
    """Dice and IoU per class, (R, K), of every row of ``weights`` (R, N)."""
    hits, truth, predicted = (weights @ part.astype(np.float64) for part in _sums(counts))
    return _ratio(2 * hits, truth + predicted), _ratio(hits, truth + predicted - hits)


def _row_means(per_class: Floats) -> Floats:
    """The mean over the classes that are there, of every row of (R, K)."""
    return np.asarray(np.nanmean(per_class, axis=-1), np.float64)


def _interval(values: Floats) -> Interval:
    present = values[~np.isnan(values)]
    if present.size == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(present, _ENDS)
    return float(low), float(high)


def _sums(counts: Confusion) -> tuple[Confusion, Confusion, Confusion]:
    """True positives, truth and prediction pixels per class."""
    return np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(-1), counts.sum(-2)


def _ratio(part: npt.NDArray[np.generic], whole: npt.NDArray[np.generic]) -> Floats:
    whole_f = whole.astype(np.float64)
    ratio: Floats = np.full(whole_f.shape, np.nan)
    np.divide(part, whole_f, out=ratio, where=whole_f > 0)
    return ratio


def _foreground(per_class: npt.NDArray[np.generic], background_index: int | None) -> npt.NDArray[np.generic]:
    if background_index is None or per_class.size == 1:
        return per_class
    return np.delete(per_class, background_index)


def _mean(values: npt.NDArray[np.generic]) -> float:
    present = values.astype(np.float64)
    present = present[~np.isnan(present)]
    return float(present.mean()) if present.size else float("nan")
