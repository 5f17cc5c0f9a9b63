"""Folders of masks to one COCO file and back, bit by bit (law 1), and what is in the way stays (law 3)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from annoloop.compute.workers import processes
from annoloop.data.config import DataConfig
from annoloop.data.images import IndexImage, encode_index_png, read_index_png, write_atomic
from annoloop.data.mmseg_folders import decode_label_map, list_samples, read_label_map
from annoloop.errors import DataError
from annoloop.loop.conversion.coco import from_coco, to_coco
from annoloop.masks.classes import class_table
from annoloop.masks.regions import LabelMap
from annoloop.project.project import Project
from annoloop.simulation.made_data import COLORS, NAMES, MadeData

CLASSES = class_table(["road", "car"], ["#101010", "#ff0000"])
MADE_CLASSES = class_table(NAMES, COLORS, background="background")


def _data(root: Path, **details: Any) -> DataConfig:
    return DataConfig(root=root, image_suffix=".png", splits={"train": "train"}, **details)


def _write(root: Path, stem: str, values: np.ndarray) -> None:
    write_atomic(root / "ann_dir" / "train" / f"{stem}.png", encode_index_png(IndexImage(values)))
    path = root / "img_dir" / "train" / f"{stem}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", values.shape[::-1]).save(path)


def test_made_masks_come_back_byte_by_byte(made: MadeData, tmp_path: Path) -> None:
    data = DataConfig(root=made.root, image_suffix=".png", splits={s: s for s in ("train", "val", "test")})
    samples = list_samples(data).samples
    told = to_coco(samples, data, MADE_CLASSES, tmp_path / "coco.json")
    assert (told.images, told.without_mask) == (6, ())
    read = from_coco(tmp_path / "coco.json", tmp_path / "masks")
    assert (read.images, read.annotations, read.written, read.unchanged) == (6, told.annotations, 6, 0)
    assert read.classes == NAMES
    assert read.notes == ()
    for sample in samples:
        assert sample.mask is not None
        assert (tmp_path / "masks" / f"{sample.id}.png").read_bytes() == sample.mask.read_bytes()


def test_a_second_run_decodes_only_masks_that_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for number in range(5):
        _write(tmp_path, str(number), rng.integers(0, 2, (8, 9), np.uint8))
    data, out = _data(tmp_path), tmp_path / "coco.json"
    assert to_coco(list_samples(data).samples, data, CLASSES, out).kept == 0
    first = out.read_bytes()
    assert to_coco(list_samples(data).samples, data, CLASSES, out).kept == 5
    assert out.read_bytes() == first

    _write(tmp_path, "1", np.zeros((8, 9), np.uint8))
    _write(tmp_path, "3", rng.integers(0, 2, (4, 5), np.uint8))
    _write(tmp_path, "0a", rng.integers(0, 2, (8, 9), np.uint8))
    (tmp_path / "ann_dir" / "train" / "4.png").unlink()
    decoded: list[str] = []

    def decode(stored: bytes, data: DataConfig, where: object) -> LabelMap:
        decoded.append(Path(str(where)).stem)
        return decode_label_map(stored, data, where)

    monkeypatch.setattr("annoloop.loop.conversion.coco.decode_label_map", decode)
    assert to_coco(list_samples(data).samples, data, CLASSES, out).kept == 2
    assert decoded == ["0a", "1", "3"]
    again = out.read_bytes()
    to_coco(list_samples(data).samples, data, CLASSES, tmp_path / "anew.json")
    assert again == (tmp_path / "anew.json").read_bytes()


@pytest.mark.usefixtures("spread_early")
def test_several_processes_write_the_same_file_as_one_and_name_a_broken_mask(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(70):
        _write(tmp_path, f"{number:03d}", rng.integers(0, 2, (8, 9), np.uint8))
    data = _data(tmp_path)
    samples = list_samples(data).samples
    for workers in (1, 2):
        with processes(workers):
            to_coco(samples, data, CLASSES, tmp_path / f"{workers}.json")
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()
    for workers in (1, 2):
        with processes(workers):
            read = from_coco(tmp_path / "1.json", tmp_path / f"masks{workers}", data)
        assert read.written == 70
        for sample in samples:
            assert sample.mask is not None
            back = tmp_path / f"masks{workers}" / f"{sample.id}.png"
            assert np.array_equal(read_index_png(back).values, read_index_png(sample.mask).values)
    target = tmp_path / "masks2" / f"{samples[50].id}.png"
    write_atomic(target, encode_index_png(IndexImage(np.full((8, 9), 7, np.uint8))))
    with processes(2), pytest.raises(DataError, match=r"050\.png: is there already with other pixels"):
        from_coco(tmp_path / "1.json", tmp_path / "masks2", data)
    mask = tmp_path / "ann_dir" / "train" / "050.png"
    mask.write_bytes(mask.read_bytes()[:60])
    with processes(2), pytest.raises(DataError, match=r"050\.png: cannot be read"):
        to_coco(samples, data, CLASSES, tmp_path / "3.json")
    assert not (tmp_path / "3.json").exists()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    hnp.arrays(
        np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 1, 2, 3, 200, 255])
    ),
    st.booleans(),
)
def test_the_files_are_bit_identical_with_and_without_reduce_zero_label(
    tmp_path_factory: pytest.TempPathFactory, stored: np.ndarray, reduce: bool
) -> None:
    folder = tmp_path_factory.mktemp("convert")
    # 255 reads as ignore, as 0 does, and ignore is written as 0: only a mask that is there already keeps it.
    values = np.where(stored == 255, 0, stored) if reduce else stored
    data = _data(folder, reduce_zero_label=reduce)
    _write(folder, "sub/a", values)
    classes = class_table([f"c{i}" for i in range(201)])
    to_coco(list_samples(data).samples, data, classes, folder / "coco.json")
    from_coco(folder / "coco.json", folder / "out", data)
    assert np.array_equal(read_index_png(folder / "out" / "train" / "sub" / "a.png").values, values)


def test_a_second_run_changes_nothing(made: MadeData, tmp_path: Path) -> None:
    data = DataConfig(root=made.root, image_suffix=".png", splits={"val": "val"})
    to_coco(list_samples(data).samples, data, MADE_CLASSES, tmp_path / "coco.json")
    from_coco(tmp_path / "coco.json", tmp_path / "masks")
    stamps = [p.stat().st_mtime_ns for p in sorted((tmp_path / "masks").rglob("*.png"))]
    again = from_coco(tmp_path / "coco.json", tmp_path / "masks")
    assert (again.written, again.unchanged) == (0, 2)
    assert [p.stat().st_mtime_ns for p in sorted((tmp_path / "masks").rglob("*.png"))] == stamps


def test_a_mask_that_is_in_the_way_is_named_and_stays(made: MadeData, tmp_path: Path) -> None:
    data = DataConfig(root=made.root, image_suffix=".png", splits={"val": "val"})
    to_coco(list_samples(data).samples, data, MADE_CLASSES, tmp_path / "coco.json")
    mine = tmp_path / "masks" / "val" / "0001.png"
    write_atomic(mine, encode_index_png(IndexImage(np.ones((40, 56), np.uint8))))
    before = mine.read_bytes()
    with pytest.raises(DataError, match="is there already with other pixels") as caught:
        from_coco(tmp_path / "coco.json", tmp_path / "masks")
    assert caught.value.where == str(mine)
    assert mine.read_bytes() == before


def test_images_without_a_mask_are_reported(tmp_path: Path) -> None:
    _write(tmp_path, "a", np.zeros((3, 5), np.uint8))
    _write(tmp_path, "b", np.zeros((3, 5), np.uint8))
    (tmp_path / "ann_dir" / "train" / "b.png").unlink()
    data = _data(tmp_path)
    told = to_coco(list_samples(data).samples, data, CLASSES, tmp_path / "coco.json")
    assert (told.images, told.without_mask) == (1, ("train/b",))


def test_nothing_to_convert_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image with a mask to convert"):
        to_coco([], _data(tmp_path), CLASSES, tmp_path / "coco.json")
    assert not (tmp_path / "coco.json").exists()


def test_a_mask_with_an_unknown_index_is_named_and_no_file_is_written(tmp_path: Path) -> None:
    _write(tmp_path, "a", np.full((3, 5), 2, np.uint8))
    data = _data(tmp_path)
    with pytest.raises(DataError, match=r"index out of range: 2 \(15 px\)") as caught:
        to_coco(list_samples(data).samples, data, CLASSES, tmp_path / "coco.json")
    assert caught.value.where == str(tmp_path / "ann_dir" / "train" / "a.png")
    assert not (tmp_path / "coco.json").exists()


# foreign files


def _file(folder: Path, **changes: Any) -> Path:
    document = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 4, "width": 6}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 3, 1, 3, 3, 1, 3]]}],
        "categories": [{"id": 1, "name": "car"}],
    }
    path = folder / "coco.json"
    path.write_text(json.dumps({**document, **changes}))
    return path


def test_a_foreign_file_becomes_masks_over_a_background(tmp_path: Path) -> None:
    read = from_coco(_file(tmp_path), tmp_path / "out")
    assert read.classes == ("background", "car")
    assert np.count_nonzero(read_index_png(tmp_path / "out" / "a.png").values == 1) == 4


SQUARE: list[Any] = [[1, 1, 3, 1, 3, 3, 1, 3]]
TWO = [{"id": 1, "name": "car"}, {"id": 2, "name": "tree"}]


def _annotation(number: int, **changes: Any) -> dict[str, Any]:
    return {"id": number, "image_id": 1, "category_id": 1, "segmentation": SQUARE, **changes}


def test_overlaps_of_classes_are_told_with_image_and_annotations(tmp_path: Path) -> None:
    annotations = [_annotation(1), _annotation(2), _annotation(3, category_id=2)]
    file = _file(tmp_path, annotations=annotations, categories=TWO)
    read = from_coco(file, tmp_path / "out")
    assert read.notes == (
        "1 overlaps between classes in 1 images, 4 px, the later annotation won (or --overlap small-over-large):"
        " a.jpg: 3 (tree) over 2 (car), 4 px",
        "1 annotations are left without a pixel by that: a.jpg: 2 (car) under 3 (tree)",
    )
    assert (read.overlap_px, len(read.overlaps)) == (4, 1)
    annotations[1]["segmentation"] = [[1, 1, 2, 1, 2, 3, 1, 3]]
    file = _file(tmp_path, annotations=annotations[1:], categories=TWO)
    from_coco(file, tmp_path / "small", overlap="small-over-large")
    assert np.bincount(read_index_png(tmp_path / "small" / "a.png").values.ravel()).tolist() == [20, 2, 2]


def test_what_is_left_out_is_counted_by_kind(tmp_path: Path) -> None:
    bad = [_annotation(2, segmentation=[[1, 2]]), _annotation(3, segmentation="x"), _annotation(4, image_id=9)]
    read = from_coco(_file(tmp_path, annotations=[_annotation(1), *bad]), tmp_path / "out")
    assert (read.written, read.annotations) == (1, 1)
    assert sorted(read.counts.values()) == [1, 1, 1]
    assert read.notes[0].startswith("1 segmentations or parts of one that cannot be read, left out: annotation 3")


def test_an_image_of_which_nothing_can_be_read_gets_no_mask(tmp_path: Path) -> None:
    images = [{"id": i, "file_name": f"{i}.jpg", "height": 4, "width": 6} for i in (1, 2)]
    file = _file(tmp_path, images=images, annotations=[_annotation(1), _annotation(2, image_id=2, segmentation="x")])
    read = from_coco(file, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["1.png"]
    assert read.counts["images of which nothing can be read, left out"] == 1


def _images(folder: Path, *names: str, size: tuple[int, int] = (6, 4), **how: Any) -> Path:
    for name in names:
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(folder / "images" / name, **how)
    return folder / "images"


def test_missing_images_are_told(tmp_path: Path) -> None:
    read = from_coco(_file(tmp_path), tmp_path / "out", images_dir=tmp_path)
    assert read.notes == (f"1 images that are not in {tmp_path}: a.jpg",)


def test_a_size_is_compared_with_the_image_and_a_turned_one_named(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    images = _images(tmp_path, "a.jpg", exif=exif)
    with pytest.raises(DataError, match=r"a\.jpg: the file says 6 x 4 px, the image is 4 x 6 \(turned by its EXIF"):
        from_coco(_file(tmp_path), tmp_path / "out", images_dir=images)
    assert not (tmp_path / "out").exists()
    assert from_coco(_file(tmp_path), tmp_path / "out").written == 1


def test_a_size_that_is_missing_is_taken_from_the_image(tmp_path: Path) -> None:
    file = _file(tmp_path, images=[{"id": 1, "file_name": "a.jpg"}])
    with pytest.raises(DataError, match="1 images without a size that is possible, left out") as caught:
        from_coco(file, tmp_path / "out")
    assert str(caught.value.hint).startswith("--images DIR")
    read = from_coco(file, tmp_path / "out", images_dir=_images(tmp_path, "a.jpg"))
    assert read.notes == ("1 images without a size, taken from --images: a.jpg",)
    assert read_index_png(tmp_path / "out" / "a.png").values.shape == (4, 6)


PATHS = [
    "images/x/a.jpg", "x\\a.jpg", "../../upload/x/a.jpg", "/home/me/x/a.jpg", "C:\\Users\\me\\x\\a.jpg", "https://h/x/a.jpg",
]  # fmt: skip


@pytest.mark.parametrize("name", PATHS)
def test_a_path_of_another_machine_means_the_image_with_its_tail(tmp_path: Path, name: str) -> None:
    images = _images(tmp_path, "x/a.jpg", "y/a.jpg")
    file = _file(tmp_path, images=[{"id": 1, "file_name": name, "height": 4, "width": 6}])
    assert from_coco(file, tmp_path / "out", images_dir=images).notes == ()
    assert (tmp_path / "out" / "x" / "a.png").is_file()


def test_a_name_that_several_images_have_is_told(tmp_path: Path) -> None:
    images = _images(tmp_path, "x/a.jpg", "y/a.jpg")
    with pytest.raises(DataError, match=r"several files have, left out: a.jpg may be x/a.jpg or y/a.jpg") as caught:
        from_coco(_file(tmp_path), tmp_path / "out", images_dir=images)
    assert caught.value.hint == f"--images {images}/x, or whichever of x, y it is"


def test_two_images_never_share_a_mask(tmp_path: Path) -> None:
    names = ("a.jpg", "a.png", "b.jpg", "b.bmp")
    images = [{"id": i, "file_name": name, "height": 4, "width": 6} for i, name in enumerate(names)]
    with pytest.raises(DataError, match=r"a\.jpg and a\.png would have the same mask") as caught:
        from_coco(_file(tmp_path, images=images, annotations=[]), tmp_path / "out")
    assert "b.jpg and b.bmp" in caught.value.message
    assert not (tmp_path / "out").exists()


def test_a_file_of_shares_is_refused_with_one_sentence(tmp_path: Path) -> None:
    shares = [_annotation(i, segmentation=[[0.1, 0.1, 0.5, 0.1, 0.5, 0.6]]) for i in range(3)]
    with pytest.raises(DataError, match="3 annotations with coordinates of 0 to 1"):
        from_coco(_file(tmp_path, annotations=shares), tmp_path / "out")


@pytest.mark.parametrize("segmentation", [[], "zz"])
def test_a_file_of_which_nothing_can_be_painted_makes_no_masks(tmp_path: Path, segmentation: object) -> None:
    """Not of its images without annotations either: they would say background everywhere."""
    images = [{"id": i, "file_name": f"{i}.jpg", "height": 4, "width": 6} for i in (1, 2)]
    file = _file(tmp_path, images=images, annotations=[_annotation(1, segmentation=segmentation)])
    with pytest.raises(DataError, match="nothing in it can be used"):
        from_coco(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_image_without_annotations_is_background(tmp_path: Path) -> None:
    images = [{"id": i, "file_name": f"{i}.jpg", "height": 4, "width": 6} for i in (1, 2)]
    assert from_coco(_file(tmp_path, images=images), tmp_path / "out").written == 2
    assert not read_index_png(tmp_path / "out" / "2.png").values.any()
    assert from_coco(_file(tmp_path, images=images, annotations=[]), tmp_path / "none").written == 2


@pytest.mark.parametrize("name", ["../a.jpg", "x/../../a.jpg", "/etc/a.jpg"])
def test_a_name_that_leaves_the_folder_is_refused_with_what_helps(tmp_path: Path, name: str) -> None:
    images = [{"id": 1, "file_name": name, "height": 4, "width": 6}]
    with pytest.raises(DataError, match="points outside the folder") as caught:
        from_coco(_file(tmp_path, images=images), tmp_path / "out")
    assert caught.value.where == str(tmp_path / "coco.json")
    assert "--strip-folders" in str(caught.value.hint)
    assert not (tmp_path / "out").exists()
    from_coco(_file(tmp_path, images=images), tmp_path / "out", strip_folders=True)
    assert (tmp_path / "out" / "a.png").is_file()


@pytest.mark.parametrize("name", [".", "/"])
def test_a_name_that_names_no_file_is_refused(tmp_path: Path, name: str) -> None:
    images = [{"id": 1, "file_name": name, "height": 4, "width": 6}]
    with pytest.raises(DataError, match="file_name"):
        from_coco(_file(tmp_path, images=images), tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "no object at the top"),
        (b"{}", "no lists .images., .annotations."),
        (b"\xff\xfe", "read"),
    ],
)
def test_a_file_that_is_not_coco_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "coco.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        from_coco(path, tmp_path / "out")
    assert caught.value.where == str(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read") as caught:
        from_coco(tmp_path / "no.json", tmp_path / "out")
    assert caught.value.where == str(tmp_path / "no.json")


def test_categories_beyond_the_classes_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="category 'car' is no class"):
        from_coco(_file(tmp_path), tmp_path / "out", classes=class_table(["road"]))
    assert not (tmp_path / "out").exists()


def test_a_category_named_ignore_is_the_ignore_index(tmp_path: Path) -> None:
    from_coco(_file(tmp_path, categories=[{"id": 1, "name": "ignore"}]), tmp_path / "out")
    assert np.unique(read_index_png(tmp_path / "out" / "a.png").values).tolist() == [0, 255]


def test_a_projects_masks_come_back_as_its_label_maps(project: Project, tmp_path: Path) -> None:
    data, samples = project.config.data, project.samples()
    to_coco(samples, data, project.classes, tmp_path / "coco.json")
    from_coco(tmp_path / "coco.json", tmp_path / "out", data, project.classes)
    for sample in samples:
        assert sample.mask is not None
        back = read_label_map(tmp_path / "out" / f"{sample.id}.png", data)
        assert np.array_equal(back, read_label_map(sample.mask, data))
