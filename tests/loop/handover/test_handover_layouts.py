"""Labels are handed over from data of any layout: stored values, prefixes, folders in stems, a pool, 16 bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_rounds import of_round

from annoloop.api.handover import compare, export_data, take_snapshot
from annoloop.compute.workers import processes
from annoloop.data.config import FILE_NAME, composed, render
from annoloop.data.images import IndexImage, encode_index_png, read_bytes, write_atomic
from annoloop.data.mmseg_folders import decode_label_map, read_label_map, to_stored
from annoloop.errors import DataError
from annoloop.loop.conversion.coco import to_coco
from annoloop.loop.handover import export
from annoloop.loop.setup.start import init
from annoloop.masks.regions import LabelMap
from annoloop.project.project import Project
from annoloop.project.rows import MaskChange

LAYOUTS: dict[str, dict[str, Any]] = {
    "values": {"values": {255: 1, 128: 2}},
    "reduced": {"reduce_zero_label": True},
    "names": {
        "image_dir": {"train": "train/images", "val": "images/val"},
        "mask_dir": {"train": "train/masks", "val": "masks/val"},
        "image_prefix": "img_", "mask_prefix": "seg_", "image_suffix": [".png", ".jpg"], "mask_suffix": "_label.png",
        "splits": {"train": ".", "val": "."},
    },
    "one folder": {"image_dir": "all", "mask_dir": "all", "mask_suffix": "_mask.png", "image_suffix": ".jpg"},
    "tiff": {"mask_suffix": ".tif", "image_suffix": ".png"},
}  # fmt: skip


def made(folder: Path, layout: dict[str, Any], **settings: Any) -> Project:
    data = {"root": "data", "image_suffix": ".png", "splits": {"train": "train", "val": "val"}} | layout
    classes = [{"name": name} for name in ("floor", "wall", "roof")]
    config = composed(project="made", data=data, classes=classes, background="floor", **settings)
    write_atomic(folder / FILE_NAME, render(config).encode())
    loaded = Project(folder / FILE_NAME)
    rng = np.random.default_rng(0)
    for split in loaded.config.data.splits:
        for stem in ("a", "deep/b", "c.d"):
            place = loaded.config.data.place(split)
            image = Path(str(loaded.config.data.root)) / place.images / place.image_names(stem)[0]
            image.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (9, 14, 3), np.uint8)).save(image)
            if split != "pool":
                stored = to_stored(drawn(loaded, rng), loaded.config.data, None)
                write_mask(loaded, f"{split}/{stem}", stored)
    return loaded


def drawn(project: Project, rng: np.random.Generator) -> LabelMap:
    label_map = rng.integers(0, 3, (9, 14)).astype(project.classes.dtype)
    label_map[0, 0] = project.classes.ignore_index
    return label_map


def encoded(stored: IndexImage) -> bytes:
    return encode_index_png(stored)


def write_mask(project: Project, name: str, stored: IndexImage) -> None:
    write_atomic(project.mask_path(name), encoded(stored))


@pytest.fixture
def pulled(tmp_path: Path) -> Callable[..., Project]:
    def make(layout: dict[str, Any], **settings: Any) -> Project:
        project = made(tmp_path / "first", layout, **settings)
        samples = [one for one in project.samples() if one.mask is not None]
        project.scan(samples)
        changes = []
        for sample in samples[:2]:
            assert sample.mask is not None
            new = to_stored(drawn(project, np.random.default_rng(5)), project.config.data, None)
            old, now = project.keep_object(read_bytes(sample.mask)), project.keep_object(encoded(new))
            changes.append(MaskChange(sample.id, old, now))
        project.change_masks("pull", None, changes)
        project.write_masks()
        return project

    return make


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_export_of_any_layout_is_a_data_set(pulled: Callable[..., Project], tmp_path: Path, layout: str) -> None:
    check_handed_over(pulled(LAYOUTS[layout]), tmp_path)


def test_masks_of_16_bits(pulled: Callable[..., Project], tmp_path: Path) -> None:
    check_handed_over(pulled({}, ignore_index=65535), tmp_path)


def test_images_of_the_pool_go_along(pulled: Callable[..., Project], tmp_path: Path) -> None:
    project = pulled({"splits": {"train": "train", "pool": "pool"}})
    report = export_data(project, "mmseg", tmp_path / "out", images="copy")
    assert (report.masks, report.images) == (3, 6)
    assert len(list((tmp_path / "out/img_dir/pool").rglob("*.png"))) == 3
    init(tmp_path / "out", tmp_path / "second")
    with Project(tmp_path / "second" / FILE_NAME) as second:
        assert {one.id for one in second.samples()} == {one.id for one in project.samples()}


def check_handed_over(project: Project, folder: Path) -> None:
    for number in (0, 1):
        ours = {name: decode_label_map(d, project.config.data, name) for name, d in of_round(project, number).items()}
        out = folder / f"out{number}"
        export_data(project, "mmseg", out, round_number=number)
        init(out, folder / f"second{number}")
        with Project(folder / f"second{number}" / FILE_NAME) as second:
            theirs = {one.id: read_label_map(one.mask, second.config.data) for one in second.samples() if one.mask}
        assert theirs.keys() == ours.keys()
        for name, label_map in theirs.items():
            valid = ours[name] != project.classes.ignore_index
            assert np.array_equal(label_map[valid], ours[name][valid])
            assert (label_map[~valid] == second.classes.ignore_index).all()
    for to, name in (("coco", "x.json"), ("cvat", "x.zip"), ("yolo", "yolo")):
        export_data(project, to, folder / name, round_number=0)  # type: ignore[arg-type]
    kept = take_snapshot(project, out=folder / "kept", round_number=0, copy=True)
    kept.manifest.rename(folder / "manifest-elsewhere.json")
    report = compare(project, str(folder / "kept"), 1)  # a folder of masks, named as the project's
    again = compare(project, str(folder / "manifest-elsewhere.json"), 1)
    assert report.compared == again.compared == 6
    assert report.changed == again.changed == 2
    assert report.changed_px == again.changed_px > 0


def test_a_mask_that_cannot_be_used_leaves_nothing_behind(pulled: Callable[..., Project], tmp_path: Path) -> None:
    project = pulled({})
    write_atomic(project.mask_path("val/a"), encoded(IndexImage(np.zeros((3, 5), np.uint8))))
    before = sorted(tmp_path.rglob("*"))
    for to in ("mmseg", "yolo", "coco", "cvat"):
        with pytest.raises(DataError, match="mask is 5 x 3 px"):
            export_data(project, to, tmp_path / "out")  # type: ignore[arg-type]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_mask_that_is_changed_meanwhile_is_noticed(
    pulled: Callable[..., Project], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = pulled({})

    def meanwhile(*given: Any, **options: Any) -> Any:
        write_atomic(project.mask_path("val/a"), encoded(IndexImage(np.zeros((9, 14), np.uint8))))
        return to_coco(*given, **options)

    monkeypatch.setattr(export, "to_coco", meanwhile)
    with pytest.raises(DataError, match="changed meanwhile: val/a"):
        export_data(project, "coco", tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()
    export_data(project, "coco", tmp_path / "out.json")


@pytest.mark.usefixtures("spread_early")
def test_many_masks_go_to_other_processes(pulled: Callable[..., Project], tmp_path: Path) -> None:
    project = pulled({"values": {255: 1, 128: 2}})
    with processes(2):
        export_data(project, "mmseg", tmp_path / "out", round_number=0)
        take_snapshot(project, "before", copy=True)
        for sample in project.samples():
            write_mask(project, sample.id, to_stored(np.zeros((9, 14), np.uint8), project.config.data, None))
        report = compare(project, "before", "now")
    assert report.changed == 6
    assert report.px == 6 * 9 * 14
