"""mmseg folders to samples: pairing, stored values to classes and back, and every fault with its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from annoloop.data.config import DataConfig
from annoloop.data.images import IndexImage, encode_index_png, write_atomic
from annoloop.data.mmseg_folders import (
    Sample,
    check_label_map,
    check_samples,
    count_samples,
    is_mask,
    list_samples,
    read_label_map,
    to_label_map,
    to_stored,
)
from annoloop.errors import DataError
from annoloop.masks.classes import class_table

CLASSES = class_table(["background", "car", "tree"], background="background")
PLAIN = DataConfig(root=Path(), splits={"train": "train"})
REDUCED = DataConfig(root=Path(), splits={"train": "train"}, reduce_zero_label=True)

SIZE_HW = (4, 6)


def _data(root: Path, **details: Any) -> DataConfig:
    return DataConfig(**{"root": root, "image_suffix": ".png", "splits": {"train": "train"}, **details})


def _image(root: Path, name: str, size_hw: tuple[int, int] = SIZE_HW) -> Path:
    path = root / "img_dir" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size_hw[::-1]).save(path)
    return path


def _mask(root: Path, name: str, value: int = 0) -> Path:
    path = root / "ann_dir" / name
    write_atomic(path, encode_index_png(IndexImage(np.full(SIZE_HW, value, np.uint8))))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data set with two good samples, one in a sub-folder."""
    for stem in ("train/a", "train/sub/b"):
        _image(tmp_path, f"{stem}.png")
        _mask(tmp_path, f"{stem}.png", 1)
    return tmp_path


# pairing


def test_a_mask_is_found_through_links_and_a_broken_link_or_a_folder_is_none(root: Path, tmp_path: Path) -> None:
    (root / "ann_dir/train/sub").rename(tmp_path / "elsewhere")
    (root / "ann_dir/train/sub").symlink_to(tmp_path / "elsewhere")
    for name in ("broken", "folder", "link", "none"):
        _image(root, f"train/{name}.png")
    (root / "ann_dir/train/broken.png").symlink_to(tmp_path / "nowhere.png")
    (root / "ann_dir/train/folder.png").mkdir()
    (root / "ann_dir/train/link.png").symlink_to(root / "ann_dir/train/a.png")
    found = {one.id: one.mask is not None for one in list_samples(_data(root), strays=False).samples}
    assert found == {"train/a": True, "train/broken": False, "train/folder": False, "train/link": True,
                     "train/none": False, "train/sub/b": True}  # fmt: skip
    assert count_samples(_data(root), "train") == (6, 3)


def test_samples_are_counted_as_they_are_listed(root: Path) -> None:
    _image(root, "train/c.png")
    (root / "some.txt").write_text("train/c\ntrain/sub/b\ntrain/gone\n")
    for place, expected in (("train", (3, 2)), ("some.txt", (3, 1)), ("train/sub", (1, 1))):
        data = _data(root, splits={"train": place})
        samples = list_samples(data).samples
        assert count_samples(data, "train") == expected
        assert (len(samples), sum(one.mask is not None for one in samples)) == expected
    with pytest.raises(DataError, match="no such folder"):
        count_samples(_data(root, splits={"val": "val"}), "val")


def test_samples_are_paired_by_stem_and_sorted(root: Path) -> None:
    listing = list_samples(_data(root))
    assert listing.faults == ()
    assert [s.id for s in listing.samples] == ["train/a", "train/sub/b"]
    one = root / "img_dir/train/sub/b.png"
    assert listing.samples[1] == Sample("train/sub/b", one, root / "ann_dir/train/sub/b.png", "train")


def test_suffixes_are_those_of_the_configuration(root: Path) -> None:
    _image(root, "val/c_leftImg8bit.png")
    _mask(root, "val/c_labelTrainIds.png")
    data = _data(root, image_suffix="_leftImg8bit.png", mask_suffix="_labelTrainIds.png", splits={"val": "val"})
    listing = list_samples(data)
    assert [s.id for s in listing.samples] == ["val/c"]
    assert listing.samples[0].mask == root / "ann_dir/val/c_labelTrainIds.png"


def test_a_list_of_stems_is_a_split(root: Path) -> None:
    (root / "splits").mkdir()
    (root / "splits/train.txt").write_text("train/sub/b\n\n train/a \r\n")
    listing = list_samples(_data(root, splits={"train": "splits/train.txt"}))
    assert [s.id for s in listing.samples] == ["train/train/a", "train/train/sub/b"]
    assert all(s.image.is_file() and s.mask and s.mask.is_file() for s in listing.samples)
    assert listing.faults == ()


def test_images_of_the_pool_need_no_mask(root: Path) -> None:
    _image(root, "new/c.png")
    listing = list_samples(_data(root, splits={"train": "train", "pool": "new"}))
    assert listing.samples[-1] == Sample("pool/c", root / "img_dir/new/c.png", None, "pool")
    assert listing.faults == ()


def test_a_missing_folder_is_named(root: Path) -> None:
    with pytest.raises(DataError, match="no such folder") as caught:
        list_samples(_data(root, splits={"val": "val"}))
    assert caught.value.where == str(root / "img_dir" / "val")
    assert "data.splits.val" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"a\nb\na\n", "duplicate stems in the list: a"),
    ],
)
def test_a_list_that_cannot_be_used_is_named(root: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (root / "train.txt").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        list_samples(_data(root, splits={"train": "train.txt"}))
    assert caught.value.where == str(root / "train.txt")


def _faults(data: DataConfig) -> list[tuple[str, str]]:
    return [(f.kind, f.where) for f in list_samples(data).faults]


def test_an_empty_split_is_a_fault(root: Path) -> None:
    (root / "img_dir/val").mkdir()
    assert _faults(_data(root, splits={"train": "train", "val": "val"})) == [("empty split", "val")]


def test_a_missing_mask_is_a_fault_with_both_files(root: Path) -> None:
    image = _image(root, "train/c.png")
    (fault,) = list_samples(_data(root)).faults
    assert (fault.kind, fault.where) == ("missing mask", str(image))
    assert str(root / "ann_dir/train/c.png") in fault.message


def test_a_mask_without_an_image_is_a_fault(root: Path) -> None:
    mask = _mask(root, "train/sub/lost.png")
    assert _faults(_data(root)) == [("mask without image", str(mask))]


def test_a_listed_image_that_is_missing_is_a_fault(root: Path) -> None:
    (root / "train.txt").write_text("train/a\ntrain/gone\n")
    faults = _faults(_data(root, splits={"train": "train.txt"}))
    assert ("missing image", str(root / "img_dir/train/gone.png")) in faults


def test_duplicate_stems_and_other_suffixes_are_faults(root: Path) -> None:
    twin, other = _image(root, "train/a.jpg"), _image(root, "train/z.bmp")
    assert _faults(_data(root)) == [("duplicate stem", str(twin)), ("other suffix", str(other))]


# stored values


stored_images = st.builds(
    IndexImage,
    hnp.arrays(np.uint8, (3, 5), elements=st.sampled_from([0, 1, 2, 3, 254, 255])),
    st.none() | st.just(bytes(range(256)) * 3),
)


@given(stored_images, st.sampled_from([PLAIN, REDUCED]))
def test_what_nobody_changed_keeps_its_stored_value_and_palette(stored: IndexImage, data: DataConfig) -> None:
    again = to_stored(to_label_map(stored, data), data, stored)
    assert np.array_equal(again.values, stored.values)
    assert again.palette == stored.palette


@given(
    stored_images,
    hnp.arrays(np.uint8, (3, 5), elements=st.sampled_from([0, 1, 2, 253, 255])),
    st.sampled_from([PLAIN, REDUCED]),
    st.booleans(),
)
def test_to_label_map_is_the_inverse_of_to_stored(
    previous: IndexImage, label_map: np.ndarray, data: DataConfig, anew: bool
) -> None:
    stored = to_stored(label_map, data, None if anew else previous)
    assert np.array_equal(to_label_map(stored, data), label_map)
    untouched = to_label_map(previous, data) == label_map
    if not anew:
        assert np.array_equal(stored.values[untouched], previous.values[untouched])


def test_reduce_zero_label_is_mmsegs() -> None:
    stored = np.arange(256, dtype=np.uint8)[None]
    theirs = stored.copy()  # as mmseg's LoadAnnotations does it
    theirs[theirs == 0] = 255
    theirs = theirs - 1
    theirs[theirs == 254] = 255
    assert np.array_equal(to_label_map(IndexImage(stored), REDUCED), theirs)


def test_a_new_ignored_pixel_is_stored_as_0_where_zero_is_reduced() -> None:
    assert to_stored(np.array([[255, 0]], np.uint8), REDUCED, None).values.tolist() == [[0, 1]]


# checks


def test_a_good_label_map_passes() -> None:
    check_label_map(np.array([[0, 1, 2], [255, 0, 0]], np.uint8), (2, 3), CLASSES, "m.png")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[0, 1]], "mask is 2 x 1 px, its image 3 x 2"),
        ([[0, 1, 7], [7, 9, 0]], r"index out of range: 7 \(2 px\), 9 \(1 px\); classes are 0 … 2, ignore 255"),
    ],
)
def test_a_label_map_that_does_not_fit_is_named(values: list[list[int]], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        check_label_map(np.array(values, np.uint8), (2, 3), CLASSES, "m.png")
    assert caught.value.where == "m.png"


def _spoil(root: Path, how: str) -> Path:
    """Make one file of the sample train/a unusable; returns it."""
    image, mask = root / "img_dir/train/a.png", root / "ann_dir/train/a.png"
    match how:
        case "truncated mask":
            mask.write_bytes(mask.read_bytes()[:45])
        case "truncated image":
            image.write_bytes(image.read_bytes()[:45])
            return image
        case "RGB mask":
            Image.new("RGB", SIZE_HW[::-1], "red").save(mask)
        case "16-bit mask":
            Image.fromarray(np.full(SIZE_HW, 3000, np.uint16)).save(mask)
        case "wrong size":
            Image.new("L", SIZE_HW).save(mask)
        case "index out of range":
            _mask(root, "train/a.png", 3)
        case "no image at all":
            image.write_text("hello")
            return image
    return mask


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("truncated mask", "cannot be read"),
        ("truncated image", "cannot be read"),
        ("RGB mask", "has mode RGB"),
        ("16-bit mask", "holds numbers up to 3000"),
        ("wrong size", "mask is 4 x 6 px, its image 6 x 4"),
        ("index out of range", "index out of range: 3 (24 px)"),
        ("no image at all", "cannot be read"),
    ],
)
def test_check_samples_names_the_one_file_that_is_wrong(root: Path, how: str, message: str) -> None:
    spoiled = _spoil(root, how)
    data = _data(root)
    (fault,) = check_samples(list_samples(data).samples, data, CLASSES)
    assert (fault.kind, fault.where) == ("unusable", str(spoiled))
    assert message in fault.message
    assert str(fault) == f"{spoiled}: {fault.message}"


def test_check_samples_says_nothing_about_good_data(root: Path) -> None:
    data = _data(root)
    assert list(check_samples(list_samples(data).samples, data, CLASSES)) == []


def test_a_missing_mask_file_is_named(root: Path) -> None:
    with pytest.raises(DataError, match="file is missing") as caught:
        read_label_map(root / "ann_dir/no.png", PLAIN)
    assert caught.value.where == str(root / "ann_dir/no.png")


@pytest.mark.parametrize(
    ("details", "masks", "images"),
    [
        ({}, ["ann_dir/train/a.png", "ann_dir/train/x.tif"], ["img_dir/train/a.png", "elsewhere/a.png"]),
        (
            {"image_dir": "all", "mask_dir": "all", "mask_suffix": "_mask.png"},
            ["all/train/a_mask.png"],
            ["all/train/a.png"],
        ),
        ({"image_dir": ".", "mask_dir": "labels"}, ["labels/train/a.png"], ["train/a.png", "a.png"]),
        ({"image_dir": "all/photos", "mask_dir": "all"}, ["all/train/a.png"], ["all/photos/train/a.png"]),
        (
            {"image_dir": "s", "mask_dir": "s", "mask_prefix": "m_", "image_suffix": ".jpg"},
            ["s/train/m_a.png"],
            ["s/train/m_a.jpg", "s/train/a.png"],
        ),
    ],
)
def test_a_mask_is_told_from_an_image_by_its_place_and_name(
    details: dict[str, Any], masks: list[str], images: list[str]
) -> None:
    places = [_data(Path(), **details).place("train")]
    assert [name for name in (*masks, *images) if is_mask(name, places)] == masks
