"""``annoloop init`` on masks as people have them: black and white, smoothed, JPEG, TIFF, with another first class."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from annoloop.data.config import FILE_NAME, load
from annoloop.data.mmseg_folders import list_samples, read_label_map
from annoloop.errors import ConfigError, DataError
from annoloop.loop.setup.start import InitReport, init, values_of

SIZE_HW = (32, 40)


def _image(root: Path, name: str, seed: int = 0) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*SIZE_HW, 3), dtype=np.uint8)).save(path)


def _mask(root: Path, name: str, values: tuple[int, ...], **how: Any) -> None:
    """Stripes of values from left to right; ``blur`` in px."""
    columns = np.array(values, np.uint8)[np.arange(SIZE_HW[1]) * len(values) // SIZE_HW[1]]
    picture = Image.fromarray(np.broadcast_to(columns, SIZE_HW).copy())
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.filter(ImageFilter.GaussianBlur(how.get("blur", 0))).convert(how.get("mode", "L")).save(path)


def _data(root: Path, values: tuple[int, ...], suffix: str = ".png", count: int = 3, **how: Any) -> Path:
    for i in range(count):
        _image(root, f"images/{i}.jpg", i)
        _mask(root, f"masks/{i}{suffix}", values, **how)
    return root


def _labels(report: InitReport) -> list[int]:
    data = load(report.file).data
    found = [read_label_map(s.mask, data) for s in list_samples(data).samples if s.mask is not None]
    return sorted(np.unique(np.stack(found)).tolist())


@pytest.mark.parametrize("mode", ["L", "RGB", "LA"])
def test_black_and_white_masks_are_named_and_mapped_when_asked(tmp_path: Path, mode: str) -> None:
    root = _data(tmp_path / "data", (0, 255), mode=mode)
    odd = "\n".join(init(root, tmp_path).odd)
    assert "black and white masks: they hold only 0 and 255" in odd
    assert "--values 255=1" in odd
    report = init(root, tmp_path, classes=("background", "house"), values={255: "house"}, force=True)
    assert load(report.file).data.values == {255: 1}
    assert not any("black and white" in one for one in report.odd)
    assert _labels(report) == [0, 1]


@pytest.mark.parametrize(("suffix", "blur"), [(".png", 1.0), (".jpg", 0.0)])
def test_smoothed_and_jpeg_masks_are_thresholded_only_when_asked(tmp_path: Path, suffix: str, blur: float) -> None:
    root = _data(tmp_path / "data", (0, 255), suffix, blur=blur)
    if suffix == ".jpg":
        with pytest.raises(DataError, match="masks are JPEGs, which are lossy") as caught:
            init(root, tmp_path)
        assert f"annoloop init {root} --values 255=1" in (caught.value.hint or "")
    else:
        assert any("smoothed outlines" in one for one in init(root, tmp_path).odd)
    report = init(root, tmp_path, values={255: 1}, force=True)
    assert load(report.file).data.nearest
    assert any("nearest of 0, 255" in one for one in report.notes)
    assert _labels(report) == [0, 1]


def test_values_that_mean_nothing_are_told(tmp_path: Path) -> None:
    report = init(_data(tmp_path / "data", (0, 1, 255)), tmp_path, values={255: 1})
    assert any("data.values does not name: 1 (" in one for one in report.odd)


@pytest.mark.parametrize("suffix", [".tif", ".bmp", ".TIFF"])
def test_masks_of_other_formats_are_taken_as_they_are(tmp_path: Path, suffix: str) -> None:
    report = init(_data(tmp_path / "data", (0, 1, 2), suffix), tmp_path)
    assert load(report.file).data.mask_suffix == suffix
    assert _labels(report) == [0, 1, 2]


def test_masks_beyond_8_bits_are_refused_with_their_highest_value(tmp_path: Path) -> None:
    for i in range(3):
        _image(tmp_path / "data", f"images/{i}.jpg", i)
        (tmp_path / "data/masks").mkdir(exist_ok=True)
        wide = np.repeat(np.array([0, 700, 6000], np.uint16), 300).reshape(30, 30)
        Image.fromarray(wide).save(tmp_path / f"data/masks/{i}.png")
    with pytest.raises(DataError, match="masks hold numbers up to 6000"):
        init(tmp_path / "data", tmp_path)


@pytest.mark.parametrize(
    ("classes", "reduced"),
    [(("road", "car"), True), (("background", "car"), False), (("a", "b", "c"), False), ((), False)],
)
def test_zero_is_ignored_where_it_is_no_class_of_the_list(
    tmp_path: Path, classes: tuple[str, ...], reduced: bool
) -> None:
    report = init(_data(tmp_path / "data", (0, 1, 2)), tmp_path, classes=classes)
    assert load(report.file).data.reduce_zero_label is reduced
    assert any("reduce_zero_label: true" in one for one in report.notes) is reduced
    if reduced:
        assert _labels(report) == [0, 1, 255]
        kept = init(tmp_path / "data", tmp_path, classes=classes, reduce_zero_label=False, force=True)
        assert not load(kept.file).data.reduce_zero_label


def test_one_of_two_mask_sets_is_taken_always_the_same_and_the_other_by_an_option(tmp_path: Path) -> None:
    for i in range(3):
        _image(tmp_path / "data", f"images/{i}.jpg", i)
        for who in ("ah", "vk"):
            _mask(tmp_path / "data", f"labels/{i}.{who}.png", (0, 1))
    report = init(tmp_path / "data", tmp_path)
    assert report.config.data.mask_suffix == ".ah.png"
    assert any("each image has 2 masks: *.ah.png" in one and "--masks to choose" in one for one in report.notes)
    other = init(tmp_path / "data", tmp_path, masks=".vk.png", force=True)
    assert other.config.data.mask_suffix == ".vk.png"
    with pytest.raises(DataError, match="no image and mask sets fit --masks nobody; there are:\n  images/") as caught:
        init(tmp_path / "data", tmp_path, masks="nobody", force=True)
    assert "labels/*.vk.png" in caught.value.message


def test_two_images_with_one_mask_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    root = _data(tmp_path / "data", (0, 1))
    _image(root, "images/1.png")
    _image(root, "images/7.png")
    _mask(root, "masks/7.png", (0, 1))
    with pytest.raises(DataError, match="two images have one mask"):
        init(root, tmp_path)
    assert not (tmp_path / FILE_NAME).exists()


def test_a_val_share_is_drawn_alike_each_time_and_near_duplicates_stay_together(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for i in range(10):
        _image(root, f"images/a{i}.jpg", i // 2)  # two of a kind
        _mask(root, f"masks/a{i}.png", (0, 1))
    assert any("--val-share" in one for one in init(root, tmp_path).notes)
    report = init(root, tmp_path, val_share=0.4, force=True)
    assert report.images == {"train": 6, "val": 4}
    val = (root / "splits/val.txt").read_text().split()
    kinds = {int(name[1:]) // 2 for name in val}
    assert len(val) == 2 * len(kinds)
    for list_ in (root / "splits").iterdir():
        list_.unlink()
    again = init(root, tmp_path, val_share=0.4, force=True)
    assert (root / "splits/val.txt").read_text().split() == val
    third = init(root, tmp_path, val_share=0.4, force=True)
    assert third.images == again.images
    with pytest.raises(ConfigError, match="a share between 0 and 1"):
        init(root, tmp_path, val_share=1.5, force=True)


def test_train_is_what_the_lists_leave(tmp_path: Path) -> None:
    root = _data(tmp_path / "data", (0, 1), count=5)
    (root / "valid.txt").write_text("3.jpg\n4.jpg\n")
    report = init(root, tmp_path)
    assert report.images == {"train": 3, "val": 2}
    assert (root / "train.txt").read_text().split() == ["0", "1", "2"]


def test_a_coco_file_is_answered_with_the_command_that_converts_it(tmp_path: Path) -> None:
    root = tmp_path / "my data"
    _image(root, "images/a.jpg")
    (root / "annotations").mkdir()
    (root / "annotations/all.json").write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    with pytest.raises(DataError) as caught:
        init(root, tmp_path)
    assert caught.value.hint is not None
    assert f"annoloop convert from-coco '{root}/annotations/all.json' --out '{root}/masks'" in caught.value.hint
    assert f"--images '{root}/images'" in caught.value.hint


def test_colours_come_from_the_palette_of_the_masks(tmp_path: Path) -> None:
    root = _data(tmp_path / "data", (0, 1))
    for mask in (root / "masks").iterdir():
        with Image.open(mask) as image:
            values = np.asarray(image)
        picture = Image.fromarray(values)
        picture.putpalette([1, 2, 3, 255, 0, 0])
        picture.save(mask)
    assert [c.color for c in init(root, tmp_path).config.classes] == ["#010203", "#ff0000"]


@pytest.mark.parametrize("text", ["255", "65536=1", "x=1", "=1", "255="])
def test_a_value_that_is_none_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="is not like 255=1"):
        values_of([text])


def test_an_unknown_class_of_a_value_is_guessed(tmp_path: Path) -> None:
    root = _data(tmp_path / "data", (0, 255))
    with pytest.raises(ConfigError, match="no class is named 'hose'; did you mean 'house'"):
        init(root, tmp_path, classes=("background", "house"), values={255: "hose"})


def test_droppings_are_no_images(tmp_path: Path) -> None:
    root = _data(tmp_path / "data", (0, 1))
    for name in ("images/._0.jpg", "images/.DS_Store", "images/Thumbs.db", "masks/.ipynb_checkpoints/0.png"):
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"no picture")
    report = init(root, tmp_path)
    assert report.images == {"train": 3}
    assert not any("._" in one or "Thumbs" in one for one in report.odd)
