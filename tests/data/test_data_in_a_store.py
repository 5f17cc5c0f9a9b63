"""A project whose data lie in an object store does what it does on a local disk, byte for byte (laws 1 to 4)."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import numpy as np
import pytest
from running_loop import Loop, add_model, make_project, mask_bytes, opened
from store import Store, contents, gets

from annoloop.app.browse import export
from annoloop.cli.demo import Server
from annoloop.cli.main import run
from annoloop.compute.workers import processes
from annoloop.data.config import FILE_NAME, load, render
from annoloop.data.images import IndexImage, encode_index_png, remove, write_atomic
from annoloop.data.storage import RemotePath
from annoloop.eda.eda import eda
from annoloop.errors import DataError, StoreError
from annoloop.loop.conversion.coco import from_coco, to_coco
from annoloop.loop.retrain import retrain
from annoloop.loop.setup.start import init
from annoloop.loop.status import status
from annoloop.loop.training_request import RetrainRequest
from annoloop.loop.undo import undo
from annoloop.project.project import Project
from annoloop.project.rows import MaskChange
from annoloop.reports.as_json import to_plain
from annoloop.selection.scoring import score
from annoloop.simulation.annotator import annotate
from annoloop.simulation.made_data import COLORS, NAMES, MadeData

COUNTS = {"train": 6, "val": 3, "test": 2}


@pytest.fixture
def pair(tmp_path: Path, store: Store) -> Iterator[tuple[Project, Project]]:
    """The same project twice: with its data on the local disk, and in a store."""
    for name in ("here", "there"):
        make_project(tmp_path / name, "http://127.0.0.1:9", name="store-test", counts=COUNTS)
    store.move_data(tmp_path / "there")
    with Project(tmp_path / "here" / FILE_NAME) as here, Project(tmp_path / "there" / FILE_NAME) as there:
        yield here, there


@pytest.fixture
def far_loop(tmp_path: Path, sandbox: Server, store: Store) -> Iterator[Loop]:
    """The fixture ``loop`` with its data in a store."""
    made = make_project(tmp_path, sandbox.url, name=f"test-{uuid4().hex[:8]}", segment_size=3)
    store.move_data(tmp_path)
    with opened(tmp_path, sandbox) as (project, cvat):
        add_model(project, made.truth)
        yield Loop(tmp_path, made.truth, sandbox, project, cvat)


def test_init_finds_in_a_store_what_it_finds_on_disk(made: MadeData, tmp_path: Path, store: Store) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    root = store.put(made.root, "steel")
    here = init(made.root, tmp_path / "here", classes=NAMES, palette=COLORS)
    there = init(root, tmp_path / "there", classes=NAMES, palette=COLORS)
    assert (there.images, there.odd, there.config.project) == (here.images, here.odd, "steel")
    loaded = load(there.file)
    assert loaded.data == load(here.file).data.model_copy(update={"root": root})
    with pytest.raises(DataError, match="no such folder"):
        init(root / "img_dir" / "no", tmp_path / "there", force=True)


def test_lists_of_stems_are_read_in_a_store_and_what_cannot_be_paired_is_told_alike(
    pair: tuple[Project, Project],
) -> None:
    told = []
    for project in pair:
        root = project.config.data.root
        write_atomic(root / "splits" / "train.txt", b"train/0000\ntrain/0001\ntrain/none\n")
        write_atomic(root / "img_dir" / "val" / "other.webp", b"")
        write_atomic(root / "ann_dir" / "val" / "stray.png", b"")
        remove(root / "ann_dir" / "val" / "0000.png")
        splits = {"train": "splits/train.txt", "val": "val"}
        project.config = project.config.model_copy(
            update={"data": project.config.data.model_copy(update={"splits": splits})}
        )
        listing, counted = project.listing(), status(project)
        assert (counted.images, counted.labelled) == ({"train": 3, "val": 3}, {"train": 2, "val": 2})
        told.append(([s.id for s in listing.samples], [str(f).replace(str(root), "") for f in listing.faults]))
    assert told[0] == told[1]
    assert len(told[0][1]) == 5


def test_masks_become_the_same_coco_file_and_come_back_into_the_store(
    pair: tuple[Project, Project], tmp_path: Path, store: Store
) -> None:
    here, there = pair
    out = RemotePath(f"{store.url}/out/coco.json")
    for project, file in ((here, tmp_path / "coco.json"), (there, out)):
        to_coco(project.samples(), project.config.data, project.classes, file)
    assert out.read_bytes() == (tmp_path / "coco.json").read_bytes()
    again = to_coco(there.samples(), there.config.data, there.classes, out)
    assert (again.kept, out.read_bytes()) == (11, (tmp_path / "coco.json").read_bytes())
    masks = RemotePath(f"{store.url}/masks")
    images = there.config.data.root / "img_dir"
    assert from_coco(out, masks, there.config.data, there.classes, images_dir=images).written == 11
    assert contents(masks) == contents(here.config.data.root / "ann_dir")
    assert from_coco(out, masks, there.config.data, there.classes, images_dir=images).notes == ()
    target = masks / "train" / "0000.png"
    write_atomic(target, encode_index_png(IndexImage(np.full((48, 64), 7, np.uint8))))
    with pytest.raises(DataError, match=r"0000\.png: is there already with other pixels"):
        from_coco(out, masks, there.config.data, there.classes)
    assert remove(target)


@pytest.mark.usefixtures("spread_early")
def test_several_processes_read_and_write_a_store_as_one_does(tmp_path: Path, store: Store) -> None:
    for name in ("here", "there"):
        make_project(tmp_path / name, "http://127.0.0.1:9", name="many", counts={"train": 12}, size_hw=(32, 40))
    store.move_data(tmp_path / "there")
    with Project(tmp_path / "here" / FILE_NAME) as here, Project(tmp_path / "there" / FILE_NAME) as there:
        with processes(2):
            to_coco(there.samples(), there.config.data, there.classes, tmp_path / "there.json")
            from_coco(tmp_path / "there.json", RemotePath(f"{store.url}/masks"), there.config.data, there.classes)
        to_coco(here.samples(), here.config.data, here.classes, tmp_path / "here.json")
        assert (tmp_path / "there.json").read_bytes() == (tmp_path / "here.json").read_bytes()
        assert contents(RemotePath(f"{store.url}/masks")) == contents(here.config.data.root / "ann_dir")
        image = next(iter(here.samples())).mask
        assert isinstance(image, Path)
        broken = there.mask_path("train/0007")
        write_atomic(broken, image.read_bytes()[:40])
        with processes(2), pytest.raises(DataError, match=r"s3://.*0007\.png: cannot be read"):
            to_coco(there.samples(), there.config.data, there.classes, tmp_path / "no.json")


def test_eda_finds_the_same(pair: tuple[Project, Project]) -> None:
    reports = []
    for project in pair:
        root = project.config.data.root
        write_atomic(project.mask_path("val/0001"), project.mask_path("val/0000").read_bytes()[:60])
        write_atomic(project.image_path("test/0001"), project.image_path("test/0000").read_bytes())
        reports.append(str(to_plain(eda(project))).replace(str(root), "ROOT"))
    assert reports[0] == reports[1]
    assert "unreadable mask" in reports[0]


def test_a_store_that_goes_away_is_one_error_and_not_a_finding_for_every_file(pair: tuple[Project, Project]) -> None:
    there = pair[1]
    bucket = str(there.config.data.root).removeprefix("s3://").partition("/")[0]

    def deleted(items: Iterable[Any], title: str, total: int | None = None) -> Iterator[Any]:
        fsspec.filesystem("s3").rm(bucket, recursive=True)
        return iter(items)

    with pytest.raises(StoreError, match="no such bucket"):
        eda(there, track=deleted)


def test_scores_are_the_same_and_only_what_changed_is_read_again(
    pair: tuple[Project, Project], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="werkzeug")
    scored = []
    for name, project in zip(("here", "there"), pair, strict=True):
        run_id = add_model(project, tmp_path / name / "truth")
        scored.append(score(project, project.ledger.run(run_id), project.samples()))
    assert [(s.sample.id, s.score.dice, s.score.confusion.tolist()) for s in scored[0]] == [
        (s.sample.id, s.score.dice, s.score.confusion.tolist()) for s in scored[1]
    ]
    assert [(s.row.image_sha256, s.row.mask_sha256) for s in scored[0]] == [
        (s.row.image_sha256, s.row.mask_sha256) for s in scored[1]
    ]
    there = pair[1]
    gets(caplog)
    before = there.scan(there.samples())
    assert gets(caplog) == []
    write_atomic(there.mask_path("val/0001"), contents(there.config.data.root)["ann_dir/val/0002.png"])
    gets(caplog)
    after = there.scan(there.samples())
    assert [name.rpartition("/ann_dir/")[2] for name in gets(caplog)] == ["val/0001.png"]
    assert {name for name in after if after[name] != before[name]} == {"val/0001"}


def test_corrected_masks_arrive_in_the_store_and_undo_brings_the_old_ones_back(far_loop: Loop) -> None:
    project, before = far_loop.project, mask_bytes(far_loop.project)
    pushed = far_loop.push()
    annotate(project, far_loop.cvat, pushed.task, far_loop.truth)
    report = far_loop.pull(pushed.task)
    assert set(report.changed) == {f.sample_id for f in pushed.frames}
    for sample_id in report.changed:
        assert np.array_equal(far_loop.label_map(sample_id), far_loop.true_map(sample_id))
    for change in project.ledger.mask_changes(project.ledger.changes()[-1].id):
        assert change.old_sha256 is not None
        assert project.object_bytes(change.old_sha256) == before[change.sample_id], "the history holds the old bytes"
    assert set(undo(project).restored) == set(report.written)
    assert mask_bytes(project) == before


def test_labels_that_nobody_touches_stay_and_an_edit_in_the_store_is_a_conflict(far_loop: Loop) -> None:
    before = mask_bytes(far_loop.project)
    pushed = far_loop.push(source="label")
    far_loop.complete(pushed.task)
    assert far_loop.pull(pushed.task).edited_px == 0
    assert mask_bytes(far_loop.project) == before
    pushed = far_loop.push(worst=1)
    annotate(far_loop.project, far_loop.cvat, pushed.task, far_loop.truth)
    edited = far_loop.project.mask_path(pushed.frames[0].sample_id)
    theirs = encode_index_png(IndexImage(np.full((48, 64), 2, np.uint8)))
    write_atomic(edited, theirs)
    with pytest.raises(DataError, match="edited"):
        far_loop.pull(pushed.task)
    assert edited.read_bytes() == theirs


def test_what_was_cut_off_between_the_ledger_and_the_store_is_finished(pair: tuple[Project, Project]) -> None:
    there = pair[1]
    there.scan(there.samples())
    place = there.mask_path("train/0000")
    assert isinstance(place, RemotePath)
    old, new = (there.keep_object(there.mask_path(f"train/000{i}").read_bytes()) for i in (0, 1))
    there.change_masks("pull", None, [MaskChange("train/0000", old, new)])
    with Project(there.path) as again:
        assert again.recovered is not None
        assert again.recovered.written == ("train/0000",)
    assert place.read_bytes() == there.object_bytes(new)


@pytest.mark.slow
def test_a_model_is_trained_on_data_in_a_store_and_its_folds_too(pair: tuple[Project, Project], tmp_path: Path) -> None:
    file = tmp_path / "there" / FILE_NAME
    config = load(file)
    train = config.train.model_copy(update={"recipe": "unet_tiny", "device": "cpu"})
    file.write_text(render(config.model_copy(update={"train": train})), encoding="utf-8")
    with Project(file) as there:
        report = retrain(there, RetrainRequest(allow_missing_classes=True, iterations=4, folds=2))
        assert report.promoted
        assert (report.train_images, report.val_images, report.out_of_fold) == (6, 3, 6)
        assert export(there, tmp_path / "page").scored == 3


def test_the_command_line_takes_urls(
    made: MadeData, tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    root = store.put(made.root, "steel")
    project = ["--project", str(tmp_path)]
    assert run(["init", str(root), "--classes", ",".join(NAMES), *project]) == 0
    assert run(["convert", "to-coco", "--out", f"{root}/all.json", *project]) == 0
    assert run(["convert", "from-coco", f"{root}/all.json", "--out", f"{root}/again", *project]) == 0
    assert contents(root / "again") == contents(made.root / "ann_dir")
    assert run(["status", "--json", *project]) == 0
    assert '"train": 3' in capsys.readouterr().out
    assert run(["eda", "--out", f"{root}/page.html", *project]) == 2
    assert run(["init", "s3://me:hidden@bucket/x", *project, "--force"]) == 3
    assert run(["init", "s3://no-such-bucket/x", *project, "--force"]) == 10
    shown = capsys.readouterr().err
    assert "with credentials in it" in shown
    assert "no such bucket" in shown
    assert "here a path on the local disk is meant" in shown
    assert "hidden" not in shown
    shutil.rmtree(tmp_path / ".annoloop")
