"""``export data`` and ``snapshot``, used as a stranger would use them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from test_rounds import change, of_round, on_disk

from annoloop.data.config import FILE_NAME
from annoloop.data.images import file_sha256
from annoloop.data.mmseg_folders import decode_label_map, read_label_map
from annoloop.errors import ConfigError, DataError, LedgerError
from annoloop.loop.conversion.cvat_masks import from_cvat
from annoloop.loop.conversion.yolo import from_yolo
from annoloop.loop.handover import manifest
from annoloop.loop.handover.export import export_data
from annoloop.loop.handover.snapshot import snapshot
from annoloop.loop.setup.start import init
from annoloop.loop.undo import undo
from annoloop.masks.regions import LabelMap
from annoloop.project.project import Project


@pytest.fixture
def changed(project: Project) -> Project:
    """Three rounds: a pull, a pull, and the second one undone."""
    a, b, c = sorted(on_disk(project))[:3]
    change(project, {a: 1, b: 2})
    change(project, {b: 1, c: None})
    undo(project)
    return project


def label_maps(project: Project, number: int | None) -> dict[str, LabelMap]:
    return {name: decode_label_map(data, project.config.data, name) for name, data in of_round(project, number).items()}


@pytest.mark.parametrize("images", ["link", "copy"])
@pytest.mark.parametrize("number", [0, 1, 2, None])
def test_another_project_is_made_of_an_mmseg_export(
    changed: Project, tmp_path: Path, number: int | None, images: str
) -> None:
    report = export_data(changed, tmp_path / "out", "mmseg", round_number=number, images=images)  # type: ignore[arg-type]
    init(tmp_path / "out", tmp_path / "second")
    with Project(tmp_path / "second" / FILE_NAME) as second:
        theirs = {one.id: read_label_map(one.mask, second.config.data) for one in second.samples() if one.mask}
        assert second.classes.names == changed.classes.names
        assert [one.color for one in second.classes.classes] == [one.color for one in changed.classes.classes]
    ours = label_maps(changed, number)
    assert theirs.keys() == ours.keys()
    assert all(np.array_equal(theirs[name], ours[name]) for name in ours)
    assert report.masks == report.images == len(ours)
    linked = [path for path in (tmp_path / "out").glob("img_dir/**/*") if path.is_symlink()]
    assert len(linked) == (len(ours) if images == "link" else 0)


def test_the_manifest_has_the_hash_of_every_file(changed: Project, tmp_path: Path) -> None:
    for to in ("mmseg", "yolo"):
        report = export_data(changed, tmp_path / to, to, round_number=1)  # type: ignore[arg-type]
        files = manifest.read(report.manifest).files
        there = {path.relative_to(tmp_path / to).as_posix(): path for path in (tmp_path / to).rglob("*.*")}
        assert files == {name: file_sha256(path) for name, path in there.items() if name != "manifest.json"}
    masks = {one.id: one.mask for one in manifest.read(report.manifest).samples}
    assert masks == {name: file_sha256_of(data) for name, data in of_round(changed, 1).items()}


def file_sha256_of(data: bytes) -> str:
    from annoloop.data.images import sha256

    return sha256(data)


@pytest.mark.parametrize("number", [0, 2])
def test_pycocotools_reads_a_coco_export(changed: Project, tmp_path: Path, number: int) -> None:
    export_data(changed, tmp_path / "labels.json", "coco", round_number=number)
    coco = COCO(str(tmp_path / "labels.json"))
    classes, ours = changed.classes, label_maps(changed, number)
    assert {one["file_name"].rpartition(".")[0] for one in coco.imgs.values()} == ours.keys()
    for image in coco.imgs.values():
        painted = np.full((image["height"], image["width"]), classes.fill_index)
        for one in coco.loadAnns(coco.getAnnIds([image["id"]])):
            painted[coco.annToMask(one) == 1] = classes.index_of(coco.cats[one["category_id"]]["name"])
        assert np.array_equal(painted, ours[image["file_name"].rpartition(".")[0]])


def test_a_cvat_export_is_read_back(changed: Project, tmp_path: Path) -> None:
    export_data(changed, tmp_path / "masks.zip", "cvat", round_number=2)
    from_cvat(tmp_path / "masks.zip", tmp_path / "back", changed.config.data, changed.classes)
    ours = label_maps(changed, 2)
    back = {name: read_label_map(tmp_path / "back" / back_name(changed, name), changed.config.data) for name in ours}
    assert all(np.array_equal(back[name], ours[name]) for name in ours)
    assert len(list((tmp_path / "back").rglob("*.png"))) == len(ours)


def back_name(project: Project, sample_id: str) -> str:
    found = project.mask_path(sample_id)
    return f"{sample_id.partition('/')[0]}/{found.name}"


def test_a_yolo_export_is_read_back(changed: Project, tmp_path: Path) -> None:
    report = export_data(changed, tmp_path / "yolo", "yolo", round_number=1, images="copy")
    assert any(note.startswith("lossy") for note in report.notes)
    from_yolo(tmp_path / "yolo", tmp_path / "back", changed.config.data, changed.classes)
    ours = label_maps(changed, 1)
    for name, label_map in ours.items():
        back = read_label_map(next((tmp_path / "back").rglob(f"{name}.png")), changed.config.data)
        assert (back != label_map).mean() < 0.05


def test_nothing_is_overwritten(changed: Project, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    for force in (False, True):
        with pytest.raises(DataError, match="did not make"):
            export_data(changed, out, "mmseg", force=force)
    (out / "mine.txt").unlink()
    first = export_data(changed, out, "mmseg", round_number=1)
    with pytest.raises(DataError, match="is there already") as error:
        export_data(changed, out, "mmseg", round_number=2)
    assert "--force" in str(error.value.hint)
    second = export_data(changed, out, "mmseg", round_number=2, force=True)
    assert first.content_sha256 != second.content_sha256 == manifest.read(out / "manifest.json").content_sha256
    (out / "notes.txt").write_text("mine")
    (out / "meta.json").write_text("{}")
    with pytest.raises(DataError, match=r"did not make: notes.txt; .*otherwise: meta.json"):
        export_data(changed, out, "mmseg", force=True)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_no_file_is_overwritten(changed: Project, tmp_path: Path) -> None:
    out = tmp_path / "labels.json"
    out.write_text("mine")
    with pytest.raises(DataError, match="no manifest says"):
        export_data(changed, out, "coco", force=True)
    out.unlink()
    export_data(changed, out, "coco", round_number=0)
    with pytest.raises(DataError, match="is there already"):
        export_data(changed, out, "coco")
    export_data(changed, out, "coco", force=True)
    out.write_text(out.read_text() + " ")
    with pytest.raises(DataError, match="changed since"):
        export_data(changed, out, "coco", force=True)
    with pytest.raises(DataError, match="is a folder"):
        export_data(changed, tmp_path, "cvat")


def test_what_cannot_be_is_refused(changed: Project, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="beside which no images"):
        export_data(changed, tmp_path / "x.json", "coco", images="copy")
    with pytest.raises(LedgerError, match="no round 9"):
        export_data(changed, tmp_path / "x", "mmseg", round_number=9)
    with pytest.raises(ConfigError, match="no split 'tran'"):
        export_data(changed, tmp_path / "x", "mmseg", splits=["tran"])
    with pytest.raises(ConfigError, match="has its files"):
        export_data(changed, changed.config.data.root / "ann_dir/train/x", "mmseg")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="has its files"):
        snapshot(changed, out=Path(str(changed.config.data.root)) / "img_dir/val/x", copy=True)
    (tmp_path / "file").write_text("mine")
    for to in ("mmseg", "coco"):
        with pytest.raises(DataError, match="which is a file"):
            export_data(changed, tmp_path / "file/x", to)  # type: ignore[arg-type]
        with pytest.raises(DataError, match="cannot be written"):
            export_data(changed, tmp_path / ("x" * 300), to)  # type: ignore[arg-type]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "project"]


def test_a_snapshot_is_the_same_as_long_as_the_labels_are(changed: Project, tmp_path: Path) -> None:
    first = snapshot(changed, round_number=1)
    text = first.manifest.read_bytes()
    again = snapshot(changed)  # round 3, of which the undo made round 1 again
    assert (first.is_new, again.is_new, again.folder) == (True, False, first.folder)
    assert first.manifest.read_bytes() == text
    assert snapshot(changed, round_number=2).folder != first.folder
    lines = [line for line in text.decode().splitlines() if line.startswith('{"id"')]
    assert len(lines) == 6
    assert [json.loads(line.rstrip(","))["id"] for line in lines] == sorted(on_disk(changed))


def test_a_snapshot_with_its_masks(changed: Project, tmp_path: Path) -> None:
    report = snapshot(changed, out=tmp_path / "kept", copy=True, round_number=2)
    copies = {
        path.relative_to(tmp_path / "kept").as_posix(): path.read_bytes() for path in tmp_path.glob("kept/**/*.png")
    }
    assert copies == {f"ann_dir/{name}.png": data for name, data in of_round(changed, 2).items()}
    assert report.copied == len(copies) == 5
    assert not snapshot(changed, out=tmp_path / "kept", copy=True, round_number=2).is_new
    with pytest.raises(DataError, match="is there already"):
        snapshot(changed, out=tmp_path / "kept")
    next(tmp_path.glob("kept/**/*.png")).write_bytes(b"mine")
    with pytest.raises(DataError, match="made otherwise"):
        snapshot(changed, out=tmp_path / "kept", force=True)


@pytest.mark.parametrize("name", ["3", "now", "a/b", "..", "", "-x", "a b"])
def test_a_name_that_cannot_be(changed: Project, name: str) -> None:
    with pytest.raises(ConfigError):
        snapshot(changed, name)
