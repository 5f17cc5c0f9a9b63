"""Which images are shown and why, and what is cut out and framed around an error."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from annoloop.data.config import DataConfig
from annoloop.data.images import IndexImage, encode_index_png
from annoloop.masks.classes import class_table
from annoloop.metrics.examination import Area, Observation, no_tally
from annoloop.metrics.label_quality import Belief
from annoloop.metrics.scores import Confusion
from annoloop.reports.diagnosis import Before, Case, Diagnosis, Files
from annoloop.reports.error_galleries import CHANGED, Gallery, Shot, change_galleries, draw, galleries, window

CLASSES = class_table(["background", "disc", "ring"], background="background")
FILES = Files(*[Path("none")] * 4, None)
BELIEVED = Belief(quality=0.9, certainty=0.9, contradiction=0.0)


def counts(disc: tuple[int, int] = (0, 0), ring: tuple[int, int] = (0, 0)) -> Confusion:
    """Right and missed pixels of both classes."""
    return np.array([[50, 0, 0], [disc[1], disc[0], 0], [ring[1], 0, ring[0]]], np.int64)


def case(name: str, dice: float = 0.5, counted: Confusion | None = None, corrected: bool = False) -> Case:
    return Case(name, FILES, dice, counts() if counted is None else counted, corrected)


def shown(cases: list[Case], observations: list[Observation] | None = None, show: int = 2) -> dict[str, Gallery]:
    nothing = [Observation({}, BELIEVED)] * len(cases)
    diagnosis = Diagnosis(tuple(cases), tuple(nothing if observations is None else observations), no_tally(3))
    return {one.title: one for one in galleries(diagnosis, CLASSES, "val", show)}


def names(gallery: Gallery) -> list[str]:
    return [shot.case.sample_id for shot in gallery.shots]


def test_best_and_worst_are_those_by_dice_and_ties_go_by_name() -> None:
    found = shown([case("c", 0.9), case("b", 0.1), case("a", 0.1), case("d", 0.4)])
    assert names(found["Worst images"]) == ["a", "b"]
    assert names(found["Best images"]) == ["c", "d"]


def test_of_each_class_the_worst_image_is_shown_the_worst_class_first() -> None:
    cases = [
        case("a", counted=counts(disc=(0, 2))),
        case("b", counted=counts(disc=(0, 90), ring=(60, 40))),
        case("c", counted=counts(ring=(90, 10))),
        case("d", counted=np.array([[50, 0, 9], [0, 0, 0], [0, 0, 0]])),  # a ring where none is labelled
    ]
    gallery = shown(cases)["Worst of each class"]
    assert names(gallery) == ["b", "b"]
    assert [shot.caption.partition(":")[0] for shot in gallery.shots] == ["disc", "ring"]


def test_the_largest_areas_come_first_and_say_what_they_are() -> None:
    areas = [Area(px, (0, 0, 5, 5), 1, 0, 0.91) for px in (10, 1240, 70)]
    observations = [Observation({"false negative": area}, BELIEVED) for area in areas]
    found = shown([case("a"), case("b"), case("c")], observations)
    assert names(found["Biggest false negatives (missed)"]) == ["b", "c"]
    assert found["Biggest false negatives (missed)"].shots[0].area == areas[1]
    assert (
        "1\u202f240 px of disc taken for background, confidence 0.91"
        in found["Biggest false negatives (missed)"].shots[0].caption
    )
    assert found["Biggest false positives (invented)"].shots == ()


def test_labels_that_look_wrong_are_suspected_unless_annotators_corrected_them() -> None:
    said = ((0.2, 0.9, 0.3), (0.2, 0.8, 0.7), (0.3, 0.3, 0.1), (0.9, 0.9, 0.0))
    wrong, worse, hard, fine = (Observation({}, Belief(*numbers)) for numbers in said)
    cases = [case("a"), case("b"), case("c"), case("d"), case("e", corrected=True)]
    gallery = shown(cases, [wrong, worse, hard, fine, worse])["Suspected label errors"]
    assert names(gallery) == ["b", "a"]
    assert "contradicts 70 % of the objects" in gallery.shots[0].caption
    assert gallery.about.startswith("2 labels")
    assert "The model was not trained on these labels." in gallery.about
    assert gallery.command == "annoloop push --worst 20 --by contradiction --split val"
    assert shown([case("d")], [fine])["Suspected label errors"].command is None


def test_what_changed_most_comes_first_and_what_stayed_is_in_neither() -> None:
    steps = {f"{n:02d}": step for n, step in enumerate([0.0, 0.1, 0.2, 0.3, 0.15, 0.25, 0.05, -0.2, -0.4])}
    pairs = [(case(name, 0.5 + step), Before(0.5, counts(), Path("none"))) for name, step in steps.items()]
    better, worse = change_galleries(pairs, 2, 1)
    assert names(better) == ["03", "05", "02", "04", "01"]
    assert len(better.shots) == CHANGED
    assert names(worse) == ["08", "07"]


@given(st.data())
def test_a_window_lies_in_the_image_and_holds_its_box(data: st.DataObject) -> None:
    height, width = data.draw(st.tuples(st.integers(1, 3000), st.integers(1, 3000)))
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    right, bottom = data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))
    shown_ltrb = window((left, top, right, bottom), (height, width))
    assert 0 <= shown_ltrb[0] <= left < right <= shown_ltrb[2] <= width
    assert 0 <= shown_ltrb[1] <= top < bottom <= shown_ltrb[3] <= height


def opened(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


@pytest.fixture
def big(tmp_path: Path) -> Case:
    """A grey image 1000 x 1500 px with a missed disc, 40 x 40 px, at (900, 700), and an older run that found it."""
    truth = np.zeros((1000, 1500), np.uint8)
    truth[700:740, 900:940] = 1
    for name, label_map in (("mask", truth), ("old", truth), ("new", np.zeros_like(truth))):
        (tmp_path / f"{name}.png").write_bytes(encode_index_png(IndexImage(label_map)))
    Image.new("RGB", (1500, 1000), (128, 128, 128)).save(tmp_path / "image.png")
    files = Files(tmp_path / "image.png", tmp_path / "mask.png", tmp_path / "new.png", tmp_path / "none.png", None)
    return Case("val/big", files, 0.0, counts(), corrected=False, before=Before(1.0, counts(), tmp_path / "old.png"))


def test_an_error_in_a_large_image_is_shown_close_by_and_framed(big: Case, tmp_path: Path) -> None:
    shot = Shot(big, "", Area(1600, (900, 700, 940, 740), 1, 0, 0.9))
    pictures = draw(shot, DataConfig(root=tmp_path, splits={"val": "val"}), CLASSES, 480)
    assert list(pictures) == ["image", "truth", "prediction", "errors"]
    errors = opened(pictures["errors"])
    assert errors.shape == (256, 256, 3)
    assert errors[128, 128].tolist() == pytest.approx([230, 159, 0], abs=12)  # missed, in the middle
    assert errors[106:109, 128].max() > 230  # the frame's white line, above it
    assert errors[20, 20].max() < 120


def test_a_change_is_shown_as_truth_before_after_and_what_is_wrong_now(big: Case, tmp_path: Path) -> None:
    shot = Shot(big, "", before=big.before)
    pictures = draw(shot, DataConfig(root=tmp_path, splits={"val": "val"}), CLASSES, 300)
    assert list(pictures) == ["truth", "before", "after", "errors after"]
    assert opened(pictures["before"]).shape == (200, 300, 3)
    assert np.abs(opened(pictures["before"]).astype(int) - opened(pictures["truth"])).max() == 0
    assert np.abs(opened(pictures["after"]).astype(int) - 128).max() < 3


def test_small_pictures_are_enlarged_in_whole_steps(tmp_path: Path) -> None:
    (tmp_path / "map.png").write_bytes(encode_index_png(IndexImage(np.zeros((20, 30), np.uint8))))
    Image.new("RGB", (30, 20)).save(tmp_path / "image.png")
    small = Case("val/s", Files(tmp_path / "image.png", *[tmp_path / "map.png"] * 3, None), 1.0, counts(), False)
    pictures = draw(Shot(small, ""), DataConfig(root=tmp_path, splits={"val": "val"}), CLASSES, 100)
    assert {opened(uri).shape for uri in pictures.values()} == {(60, 90, 3)}
