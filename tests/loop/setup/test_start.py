"""``annoloop init``: the layouts it knows, what it finds odd, and a file that loads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from annoloop.data.config import FILE_NAME, load
from annoloop.data.images import IndexImage, encode_index_png, write_atomic
from annoloop.data.mmseg_folders import list_samples
from annoloop.errors import ConfigError, DataError
from annoloop.loop.setup.start import InitReport, init
from annoloop.simulation.made_data import COLORS, NAMES, MadeData


def _pair(root: Path, image: str, mask: str, values: tuple[int, ...] = (0, 0, 0, 0, 0, 0, 0, 0, 0, 1)) -> None:
    (root / image).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (len(values), 1)).save(root / image)
    write_atomic(root / mask, encode_index_png(IndexImage(np.array([values], np.uint8))))


def _samples(report: InitReport) -> list[str]:
    """Ids of the samples that the written file finds, each with its mask."""
    listing = list_samples(load(report.file).data)
    assert listing.faults == ()
    return [s.id for s in listing.samples]


def test_the_made_data_are_found_as_they_are(made: MadeData, tmp_path: Path) -> None:
    report = init(made.root, tmp_path, classes=NAMES, palette=COLORS)
    assert report.file == tmp_path / FILE_NAME
    assert report.images == {"train": 3, "val": 2, "test": 1}
    config = load(report.file)
    assert config.data.root == made.root
    assert config.table().names == NAMES
    assert [c.color for c in config.table().classes] == list(COLORS)
    assert config.background == "background"
    assert len(_samples(report)) == 6


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("img_dir/train/a.png", "ann_dir/train/a.png"),
        ("images/training/a.jpg", "annotations/training/a.png"),
        ("images/train/a.jpg", "masks/train/a_mask.png"),
        ("images/train/sub/a.jpg", "labels/train/sub/a.png"),
        ("leftImg8bit/train/x/a_leftImg8bit.png", "gtFine/train/x/a_leftImg8bit_gtFine_labelTrainIds.png"),
    ],
)
def test_the_usual_layouts_are_found(tmp_path: Path, image: str, mask: str) -> None:
    _pair(tmp_path / "data", image, mask)
    report = init(tmp_path / "data", tmp_path)
    assert report.images == {"train": 1}
    assert len(_samples(report)) == 1


def test_lists_of_stems_are_found(tmp_path: Path) -> None:
    _pair(tmp_path, "JPEGImages/a.jpg", "SegmentationClass/a.png")
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\n")
    assert _samples(init(tmp_path, tmp_path)) == ["train/a"]


def test_a_folder_without_splits_is_train(tmp_path: Path) -> None:
    _pair(tmp_path, "images/a.jpg", "masks/a.png")
    assert _samples(init(tmp_path, tmp_path)) == ["train/a"]


def test_classes_come_from_meta_json(tmp_path: Path) -> None:
    _pair(tmp_path, "img_dir/train/a.png", "ann_dir/train/a.png")
    (tmp_path / "meta.json").write_text(json.dumps({"classes": ["road", "car"], "palette": [[1, 2, 3], [255, 0, 0]]}))
    table = load(init(tmp_path, tmp_path).file).table()
    assert table.names == ("road", "car")
    assert table.classes[0].color == "#010203"
    assert table.background is None


def test_made_up_classes_are_said_to_be_made_up(tmp_path: Path) -> None:
    _pair(tmp_path, "img_dir/train/a.png", "ann_dir/train/a.png", (0, 1, 3, 255))
    report = init(tmp_path, tmp_path)
    assert load(report.file).table().names == ("background", "class_1", "class_2", "class_3")
    assert any("class names were not given" in odd for odd in report.odd)
    assert any("no pixel of class_2" in odd for odd in report.odd)


@pytest.mark.parametrize(
    ("values", "classes", "message"),
    [
        ((0, 1, 2, 9), ("a", "b"), "masks hold indices beyond the classes: [2, 9]"),
        ((0, 0, 0, 0), ("a", "b"), "every mask is all 0"),
        ((0, 0, 0, 0), ("a", "b"), "no pixel of b"),
        ((0, 0, 0, 0, 0, 0, 0, 0, 0, 1), ("a", "b"), "index 0 covers 90% of the pixels"),
    ],
)
def test_what_looks_odd_is_said(
    tmp_path: Path, values: tuple[int, ...], classes: tuple[str, ...], message: str
) -> None:
    _pair(tmp_path, "img_dir/train/a.png", "ann_dir/train/a.png", values)
    assert any(message in odd for odd in init(tmp_path, tmp_path, classes=classes).odd)


def test_files_that_cannot_be_paired_or_read_are_said(tmp_path: Path) -> None:
    _pair(tmp_path, "img_dir/train/a.png", "ann_dir/train/a.png")
    _pair(tmp_path, "img_dir/train/b.png", "ann_dir/train/b.png")
    Image.new("RGB", (3, 2), "red").save(tmp_path / "ann_dir/train/b.png")
    Image.new("RGB", (3, 2)).save(tmp_path / "img_dir/train/c.png")
    odd = "\n".join(init(tmp_path, tmp_path).odd)
    assert f"{tmp_path}/ann_dir/train/b.png: a mask has one 8-bit channel" in odd
    assert f"{tmp_path}/img_dir/train/c.png: no mask" in odd


def test_many_faults_of_a_kind_are_told_in_short(tmp_path: Path) -> None:
    _pair(tmp_path, "img_dir/train/a.png", "ann_dir/train/a.png")
    for i in range(9):
        Image.new("RGB", (3, 2)).save(tmp_path / f"img_dir/train/b{i}.png")
    odd = init(tmp_path, tmp_path).odd
    assert sum("no mask" in line for line in odd) == 3
    assert "6 more: missing mask (fault)" in odd


def test_an_existing_file_is_not_replaced_unless_forced(tmp_path: Path) -> None:
    _pair(tmp_path, "img_dir/train/a.png", "ann_dir/train/a.png")
    (tmp_path / FILE_NAME).write_text("mine")
    with pytest.raises(ConfigError, match="is there already") as caught:
        init(tmp_path, tmp_path)
    assert caught.value.where == str(tmp_path / FILE_NAME)
    assert (tmp_path / FILE_NAME).read_text() == "mine"
    assert load(init(tmp_path, tmp_path, force=True).file).project == tmp_path.name


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder") as caught:
        init(tmp_path / "no", tmp_path)
    assert caught.value.where == str(tmp_path / "no")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), "the folder is empty"),
        (("notes.md",), "no images; seen: *.md 1"),
        (("img_dir/a.png", "img_dir/b.png"), "no image has a mask; seen: img_dir/*.png 2"),
        (("img_dir/a.jpg", "ann_dir/z.png"), "no image has a mask; seen: ann_dir/*.png 1, img_dir/*.jpg 1"),
    ],
)
def test_a_refusal_says_what_was_seen(tmp_path: Path, files: tuple[str, ...], message: str) -> None:
    (tmp_path / "data").mkdir()
    for name in files:
        path = tmp_path / "data" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("#") if path.suffix == ".md" else Image.new("L", (3, 2)).save(path)
    with pytest.raises(DataError) as caught:
        init(tmp_path / "data", tmp_path)
    assert message in caught.value.message
    assert caught.value.where == str(tmp_path / "data")
    assert caught.value.hint
    assert not (tmp_path / FILE_NAME).exists()


def test_colours_must_be_as_many_as_classes(made: MadeData, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="2 colours for 5 classes"):
        init(made.root, tmp_path, classes=NAMES, palette=("#000000", "#ffffff"))


def test_a_meta_json_that_is_no_json_is_named(tmp_path: Path) -> None:
    _pair(tmp_path, "img_dir/train/a.png", "ann_dir/train/a.png")
    (tmp_path / "meta.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read") as caught:
        init(tmp_path, tmp_path)
    assert caught.value.where == str(tmp_path / "meta.json")


def test_a_project_beside_its_data_can_be_moved_with_it(tmp_path: Path) -> None:
    _pair(tmp_path / "one" / "data", "img_dir/train/a.png", "ann_dir/train/a.png")
    report = init(tmp_path / "one" / "data", tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "two")
    assert load(tmp_path / "two" / FILE_NAME).data.root == tmp_path / "two" / "data"
    assert str(report.config.data.root) == "data"
