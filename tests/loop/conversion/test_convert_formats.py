"""A project's masks as YOLO text and as CVAT's zip, there and back; the folders and zips of other people."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from annoloop.cli.main import run
from annoloop.data.config import DataConfig
from annoloop.data.images import read_index_png
from annoloop.data.mmseg_folders import list_samples, read_label_map
from annoloop.errors import DataError
from annoloop.loop.conversion.coco import from_coco, to_coco
from annoloop.loop.conversion.cvat_masks import from_cvat, to_cvat
from annoloop.loop.conversion.yolo import from_yolo, to_yolo
from annoloop.masks.classes import class_table
from annoloop.project.project import Project

# CVAT's zip


def test_a_projects_masks_come_back_from_cvats_zip(project: Project, tmp_path: Path) -> None:
    data, samples, file = project.config.data, project.samples(), tmp_path / "masks.zip"
    told = to_cvat(samples, data, project.classes, file)
    assert (told.images, told.without_mask) == (len(samples), ())
    read = from_cvat(file, tmp_path / "out", data, project.classes)
    assert (read.written, read.unchanged, read.notes, read.classes) == (len(samples), 0, (), project.classes.names)
    for sample in samples:
        assert sample.mask is not None
        back = read_label_map(tmp_path / "out" / f"{sample.id}.png", data)
        assert np.array_equal(back, read_label_map(sample.mask, data))
    assert from_cvat(file, tmp_path / "out", data, project.classes).unchanged == len(samples)
    own = from_cvat(file, tmp_path / "own")
    assert set(own.classes) == set(project.classes.names)


def _zip(path: Path, label_map: str, **masks: np.ndarray) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("labelmap.txt", label_map)
        file.writestr("ImageSets/Segmentation/default.txt", "a\nb\nnone\n")
        for name, values in masks.items():
            with file.open(f"SegmentationClass/{name}.png", "w") as stream:
                Image.fromarray(values).save(stream, "PNG")
    return path


LABELS = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ndisc:9,8,7::\ncrack:1,2,3::\n"
A = np.array([[[0, 0, 0], [9, 8, 7]]], np.uint8)
B = np.array([[[0, 0, 0], [1, 2, 3]]], np.uint8)


def test_a_zip_of_cvat_is_read_with_its_own_classes(tmp_path: Path) -> None:
    read = from_cvat(_zip(tmp_path / "m.zip", LABELS, a=A, b=B), tmp_path / "out")
    assert read.classes == ("background", "disc", "crack")
    assert read_index_png(tmp_path / "out" / "b.png").values.tolist() == [[0, 2]]
    assert read.notes == ("1 images that are listed, but have no mask: none",)


def test_a_mask_with_labels_that_are_no_class_is_left_out(tmp_path: Path) -> None:
    classes = class_table(["bg", "disc"], background="bg")
    file = _zip(tmp_path / "m.zip", LABELS, a=A, b=B)
    read = from_cvat(file, tmp_path / "out", classes=classes)
    assert read_index_png(tmp_path / "out" / "a.png").values.tolist() == [[0, 1]]
    assert "1 masks with labels that are no class, left out: SegmentationClass/b.png: crack" in read.notes
    with pytest.raises(DataError, match="labels that are no class"):
        from_cvat(_zip(tmp_path / "b.zip", LABELS, b=B), tmp_path / "none", classes=classes)
    assert not (tmp_path / "none").exists()


def test_a_file_that_is_no_such_zip_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.zip"
    for make, message in (
        (lambda: path.unlink(missing_ok=True), "cannot be read"),
        (lambda: path.write_text("no zip"), "cannot be read as a zip"),
        (lambda: zipfile.ZipFile(path, "w").close(), "no labelmap.txt"),
    ):
        make()
        with pytest.raises(DataError, match=message) as caught:
            from_cvat(path, tmp_path / "out")
        assert caught.value.where == str(path)
    with zipfile.ZipFile(_zip(path, LABELS), "a") as file:
        file.writestr("SegmentationClass/../../x.png", b"x")
    with pytest.raises(DataError, match="points outside the folder"):
        from_cvat(path, tmp_path / "out")


# YOLO


def _with_images(project: Project, folder: Path) -> Path:
    shutil.copytree(project.config.data.root / "img_dir", folder / "images")
    return folder


def test_a_projects_masks_come_back_from_yolo_text(project: Project, tmp_path: Path) -> None:
    data, samples, folder = project.config.data, project.samples(), tmp_path / "yolo"
    told = to_yolo(samples, data, project.classes, folder, tolerance_px=0)
    assert (told.images, told.loss_px) == (len(samples), 0)
    assert sorted(path.name for path in folder.iterdir()) == ["data.yaml", "labels"]
    read = from_yolo(_with_images(project, folder), tmp_path / "out", data, project.classes)
    assert (read.written, read.notes, read.objects) == (len(samples), (), told.objects)
    ignored = 0
    for sample in samples:
        assert sample.mask is not None
        before = read_label_map(sample.mask, data)
        back = read_label_map(tmp_path / "out" / f"{sample.id}.png", data)
        assert (back == before)[before != project.classes.ignore_index].all()
        ignored += int(((back != before) & (before == project.classes.ignore_index)).sum())
    assert ignored == told.ignored_px
    assert from_yolo(folder, tmp_path / "own").classes == ("background", *told.classes)


def test_what_is_lost_is_told_and_other_lines_are_never_overwritten(project: Project, tmp_path: Path) -> None:
    samples, data = project.samples(), project.config.data
    told = to_yolo(samples, data, project.classes, tmp_path, tolerance_px=6)
    assert told.loss_px > 0
    assert to_yolo(samples, data, project.classes, tmp_path, tolerance_px=6) == told
    with pytest.raises(DataError, match="is there already with other lines"):
        to_yolo(samples, data, project.classes, tmp_path, tolerance_px=0)


def _yolo(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".jpg"):
            Image.new("RGB", (10, 8)).save(path)
        elif name.endswith(".yaml"):
            path.write_text("names: [disc]\ntrain: ../train/images\n")
        else:
            path.write_text("0 0.2 0.25 0.6 0.25 0.6 0.75 0.2 0.75\n")


LAYOUTS = {
    "images and labels above": ("images/train/a.jpg", "labels/train/a.txt", "train/a.png"),
    "splits above": ("train/images/a.jpg", "train/labels/a.txt", "train/a.png"),
    "beside each other": ("a.jpg", "a.txt", "a.png"),
    "labels elsewhere": ("pictures/a.jpg", "labels/a.txt", "a.png"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_label_file_finds_its_image(tmp_path: Path, layout: str) -> None:
    image, text, mask = LAYOUTS[layout]
    _yolo(tmp_path / "y", image, text, "data.yaml")
    (tmp_path / "y" / "README.txt").write_text("hello")
    read = from_yolo(tmp_path / "y", tmp_path / "out")
    assert (read.written, read.notes, read.classes) == (1, (), ("background", "disc"))
    assert np.count_nonzero(read_index_png(tmp_path / "out" / mask).values) == 16


def test_what_has_no_partner_is_told(tmp_path: Path) -> None:
    _yolo(tmp_path, "images/a.jpg", "images/b.jpg", "labels/a.txt", "labels/c.txt", "classes.txt")
    (tmp_path / "classes.txt").write_text("disc\nblock\n")
    read = from_yolo(tmp_path, tmp_path / "out")
    assert read.notes == (
        "1 label files without an image, left out: labels/c.txt",
        "1 images without a label file, which get no mask: images/b.jpg",
    )
    (tmp_path / "classes.txt").unlink()
    with pytest.raises(DataError, match="no names of classes"):
        from_yolo(tmp_path, tmp_path / "out")


def test_the_commands_go_there_and_back(project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = ["--project", str(project.path.parent)]
    assert run(["convert", "to-yolo", "--out", str(tmp_path / "y"), *at]) == 0
    assert "lossy:" in capsys.readouterr().out
    _with_images(project, tmp_path / "y")
    assert run(["convert", "from-yolo", str(tmp_path / "y"), "--out", str(tmp_path / "my"), *at]) == 0
    assert run(["convert", "to-cvat", "--out", str(tmp_path / "c.zip"), *at]) == 0
    assert run(["convert", "from-cvat", str(tmp_path / "c.zip"), "--out", str(tmp_path / "mc"), "--own-classes"]) == 0
    assert "masks written to" in capsys.readouterr().out


# identity of what is stored, whatever the values mean and whatever kind of file holds them


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 7)), elements=st.sampled_from([0, 128, 255])),
    st.sampled_from([".png", ".tif", ".bmp"]),
    st.sampled_from(["coco", "cvat", "yolo"]),
)
def test_stored_values_come_back_in_their_own_kind_of_file(
    tmp_path_factory: pytest.TempPathFactory, stored: np.ndarray, suffix: str, way: str
) -> None:
    root = tmp_path_factory.mktemp("values")
    data = DataConfig(root=root, image_suffix=".png", mask_suffix=suffix, splits={"train": "train"},
                      values={0: 0, 128: 2, 255: 1})  # fmt: skip
    classes = class_table(["background", "car", "tree"], background="background")
    (root / "img_dir/train").mkdir(parents=True)
    (root / "ann_dir/train").mkdir(parents=True)
    Image.new("RGB", stored.shape[::-1]).save(root / "img_dir/train/a.png")
    Image.fromarray(stored).save(root / f"ann_dir/train/a{suffix}")
    samples = list_samples(data).samples
    if way == "coco":
        to_coco(samples, data, classes, root / "c.json")
        from_coco(root / "c.json", root / "out", data, classes)
    elif way == "cvat":
        to_cvat(samples, data, classes, root / "c.zip")
        from_cvat(root / "c.zip", root / "out", data, classes)
    else:
        to_yolo(samples, data, classes, root / "y", tolerance_px=0)
        from_yolo(root / "y", root / "out", data, classes, images_dir=root / "img_dir")
    with Image.open(root / f"out/train/a{suffix}") as image:
        assert image.format == {".png": "PNG", ".tif": "TIFF", ".bmp": "BMP"}[suffix]
        assert np.array_equal(np.asarray(image.convert("L")), stored)
