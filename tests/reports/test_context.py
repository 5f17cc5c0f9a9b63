"""Pictures beside a frame in CVAT: what is in them, that legends tell the truth, and awkward sizes."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from annoloop.errors import DataError
from annoloop.masks.classes import ClassTable, class_table
from annoloop.masks.regions import LabelMap
from annoloop.reports.context import LONGEST_PX, NARROWEST_PX, Picture, context_pictures
from annoloop.reports.gallery import ERROR_COLORS

CLASSES = class_table(
    ["background", "car", "tree", "wall"], ["#000000", "#ff0000", "#00ff00", "#0000ff"], background="background"
)
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
GREY = 100

TRUTH = np.zeros((500, 500), np.uint8)
TRUTH[100:200, 100:200] = 1
TRUTH[300:400, 300:400] = 2
PREDICTION = np.zeros((500, 500), np.uint8)
PREDICTION[100:200, 100:200] = 3
PREDICTION[100:200, 300:400] = 2

Pixels = npt.NDArray[np.int16]


def _draw(truth: LabelMap, prediction: LabelMap, classes: ClassTable = CLASSES) -> tuple[Picture, ...]:
    return context_pictures(np.full((*truth.shape, 3), GREY, np.uint8), truth, prediction, classes)


def _pixels(picture: Picture) -> Pixels:
    return np.asarray(Image.open(BytesIO(picture.jpeg))).astype(np.int16)


def _holds(pixels: Pixels, rgb: tuple[int, int, int]) -> bool:
    """Whether a swatch has this colour, as far as JPEG keeps colours; letters are too thin to count."""
    alike = np.abs(pixels - rgb).max(axis=-1) < 25
    return bool(np.lib.stride_tricks.sliding_window_view(alike, (6, 6)).all(axis=(2, 3)).any())


def _legend(picture: Picture, drawn_height: int) -> Pixels:
    return _pixels(picture)[drawn_height:]


def test_three_jpegs_whose_names_are_the_titles_of_panes() -> None:
    pictures = _draw(TRUTH, PREDICTION)
    assert [p.name for p in pictures] == ["1 labels.jpg", "2 prediction.jpg", "3 errors.jpg"]
    assert {Image.open(BytesIO(p.jpeg)).format for p in pictures} == {"JPEG"}


def test_without_labels_the_prediction_is_the_only_picture_and_the_same() -> None:
    image = np.full((*TRUTH.shape, 3), GREY, np.uint8)
    (alone,), (_, beside, _) = context_pictures(image, None, PREDICTION, CLASSES), _draw(TRUTH, PREDICTION)
    assert (alone.name, alone.jpeg) == ("2 prediction.jpg", beside.jpeg)
    with pytest.raises(DataError, match="the image is 500 x 500 px, its label map 40 x 30 px"):
        context_pictures(image, None, PREDICTION[:30, :40], CLASSES)


def test_an_outline_is_stronger_than_its_fill_and_background_is_bare() -> None:
    labels = _pixels(_draw(TRUTH, PREDICTION)[0])
    assert labels[150, 100].tolist() == pytest.approx(RED, abs=60)
    assert labels[150, 150].tolist() == pytest.approx((155, 65, 65), abs=12)
    assert labels[50, 50].tolist() == pytest.approx((GREY,) * 3, abs=3)


def test_errors_lie_where_they_are() -> None:
    errors = _pixels(_draw(TRUTH, PREDICTION)[2])
    for name, (row, column) in {
        "confused": (150, 150),
        "false negative": (350, 350),
        "false positive": (150, 350),
    }.items():
        assert errors[row, column].tolist() == pytest.approx(ERROR_COLORS[name], abs=6)
    assert errors[450, 50].tolist() == pytest.approx((70,) * 3, abs=3)


def test_legends_name_the_classes_to_be_seen_and_no_others() -> None:
    labels, prediction, errors = (_legend(p, 500) for p in _draw(TRUTH, PREDICTION))
    assert [_holds(labels, c) for c in (RED, GREEN, BLUE, WHITE)] == [True, True, False, False]
    assert [_holds(prediction, c) for c in (RED, GREEN, BLUE)] == [False, True, True]
    assert all(_holds(errors, c) for c in ERROR_COLORS.values())


def test_dice_is_told_for_classes_in_labels_or_prediction() -> None:
    errors = _legend(_draw(TRUTH, PREDICTION)[2], 500)
    assert all(_holds(errors, c) for c in (RED, GREEN, BLUE))
    only_car = np.where(TRUTH == 1, TRUTH, 0)
    errors = _legend(_draw(only_car, only_car)[2], 500)
    assert [_holds(errors, c) for c in (RED, GREEN, BLUE)] == [True, False, False]


def test_the_worst_class_comes_first() -> None:
    def first_column(pixels: Pixels, rgb: tuple[int, int, int]) -> int:
        return int(np.flatnonzero((np.abs(pixels - rgb).max(axis=-1) < 25).any(axis=0))[0])

    for worse, better, kept in ((RED, GREEN, 2), (GREEN, RED, 1)):
        errors = _legend(_draw(TRUTH, np.where(kept == TRUTH, TRUTH, 0))[2], 500)
        assert first_column(errors, worse) < first_column(errors, better)


def test_dice_is_counted_on_the_full_maps_however_large() -> None:
    blocks_truth, blocks_prediction = np.zeros((30, 30), np.uint8), np.zeros((30, 30), np.uint8)
    blocks_truth[2:28, 3:9], blocks_prediction[20:30, 3:9] = 1, 1
    legends = [
        _legend(_draw(*(np.kron(m, np.ones((k, k), np.uint8)) for m in (blocks_truth, blocks_prediction)))[2], 1024)
        for k in (40, 75)  # 75: 2250 x 2250 px, more than are counted at a time
    ]
    assert np.array_equal(*legends)
    blocks_prediction[2:10, 3:9] = 1
    better = _draw(*(np.kron(m, np.ones((40, 40), np.uint8)) for m in (blocks_truth, blocks_prediction)))[2]
    assert not np.array_equal(_legend(better, 1024), legends[0])


def test_another_prediction_changes_the_prediction_and_the_errors() -> None:
    before, after = _draw(TRUTH, PREDICTION), _draw(TRUTH, TRUTH)
    assert [a.jpeg == b.jpeg for a, b in zip(before, after, strict=True)] == [True, False, False]
    assert [p.jpeg for p in before] == [p.jpeg for p in _draw(TRUTH, PREDICTION)]


def test_ignored_area_is_hatched_and_in_the_legend() -> None:
    truth = TRUTH.copy()
    truth[200:300] = 255
    labels = _pixels(_draw(truth, PREDICTION)[0])
    inside = labels[220:280, 50:450, 1]
    assert 0.1 < np.mean(inside > 180) < 0.5
    assert 0.3 < np.mean(inside < GREY + 20) < 0.9
    assert _holds(labels[500:], WHITE)


@pytest.mark.parametrize(
    ("size_hw", "drawn_wh"),
    [
        ((200, 200), (400, 400)),
        ((550, 830), (830, 550)),
        ((300, 399), (798, 600)),
        ((1500, 3000), (1024, 512)),
        ((1, 1), (400, 400)),
        ((10, 4000), (1024, 2)),
        ((4000, 10), (2, 1024)),
        ((1, 700), (700, 1)),
        ((700, 1), (1, 700)),
    ],
)
def test_pictures_are_large_enough_to_read_and_not_larger(size_hw: tuple[int, int], drawn_wh: tuple[int, int]) -> None:
    everywhere = np.ones(size_hw, np.uint8)
    for picture in _draw(everywhere, everywhere):
        height, width, _ = _pixels(picture).shape
        assert width == max(drawn_wh[0], NARROWEST_PX, drawn_wh[1] * 3 // 4)
        assert drawn_wh[1] < height < drawn_wh[1] * 4 / 3 + 160
        assert width <= LONGEST_PX


def test_a_small_map_is_enlarged_without_blurring() -> None:
    truth = np.zeros((100, 100), np.uint8)
    truth[50] = 1
    errors = _pixels(_draw(truth, np.zeros_like(truth))[2])
    rows = np.flatnonzero(np.abs(errors[:400, 200] - ERROR_COLORS["false negative"]).max(axis=1) < 25)
    assert rows.tolist() == [200, 201, 202, 203]


def test_a_frame_without_anything_says_so() -> None:
    nothing = np.zeros((500, 500), np.uint8)
    legend = _legend(_draw(nothing, nothing)[0], 500)
    assert (legend > 200).any()
    assert not any(_holds(legend, c) for c in (RED, GREEN, BLUE))


def test_without_background_every_class_is_drawn() -> None:
    classes = class_table(["road", "car"], ["#ff0000", "#00ff00"])
    truth = np.where(TRUTH == 1, 1, 0).astype(np.uint8)
    labels = _pixels(_draw(truth, truth, classes)[0])
    assert labels[50, 50].tolist() == pytest.approx((155, 65, 65), abs=12)
    assert all(_holds(labels[500:], c) for c in (RED, GREEN))


def test_names_in_any_script_and_of_any_length_stay_inside() -> None:
    names = ["δρόμος", "дерево", "été — žluťoučký", "w" * 300]
    legends = []
    for first in names:
        classes = class_table([first, "other"])
        legends.append(_legend(_draw(np.zeros((500, 500), np.uint8), TRUTH // 2, classes)[0], 500))
    for legend in legends:
        assert legend[:, -8:].max() < 60
    assert len({legend.tobytes() for legend in legends}) == len(names)


def test_thirty_classes_take_a_third_of_the_picture_and_the_rest_is_counted() -> None:
    apart = [f"#{40 + i % 3 * 100:02x}{40 + i // 3 % 4 * 60:02x}{40 + i // 12 * 100:02x}" for i in range(30)]
    classes = class_table([f"class number {i}" for i in range(30)], apart)
    truth = np.kron(np.arange(30, dtype=np.uint8).reshape(5, 6), np.ones((100, 100), np.uint8))
    pictures = _draw(truth, np.roll(truth, 9, axis=1), classes)
    for picture in pictures:
        height = _pixels(picture).shape[0]
        assert 500 * 1.25 < height < 500 * 4 / 3 + 30
    labels = _legend(pictures[0], 500)
    named = [c.index for c in classes.classes if _holds(labels, c.rgb)]
    assert 5 < len(named) < 30
    assert named == list(range(len(named)))


@pytest.mark.parametrize("size_hw", [(500, 499), (250, 250)])
def test_maps_of_another_size_are_refused(size_hw: tuple[int, int]) -> None:
    other = np.zeros(size_hw, np.uint8)
    with pytest.raises(DataError, match="px"):
        _draw(TRUTH, other)
    with pytest.raises(DataError, match=r"the image is \d+ x \d+ px, its label map 500 x 500 px"):
        context_pictures(np.zeros((*size_hw, 3), np.uint8), TRUTH, TRUTH, CLASSES)


def test_an_index_that_is_no_class_is_refused() -> None:
    with pytest.raises(DataError, match="prediction holds index 9"):
        _draw(TRUTH, np.full_like(TRUTH, 9))
