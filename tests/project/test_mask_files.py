"""Masks in the working tree when something else is wrong too: a damaged history, data that are away, another program
that saves at the same moment, links, pipes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from annoloop.cli.main import run
from annoloop.data import durable
from annoloop.data.images import IndexImage, encode_index_png, read_bytes, sha256
from annoloop.errors import DataError, LedgerError
from annoloop.loop import plan
from annoloop.project import mask_files
from annoloop.project.project import Project, Recovered
from annoloop.project.rows import MaskChange

SAMPLE, OTHER = "train/0000", "train/0001"


def _png(value: int) -> bytes:
    return encode_index_png(IndexImage(np.full((40, 56), value, np.uint8)))


NEW, MINE, LATER = _png(3), _png(1), _png(2)


def _change(project: Project, *sample_ids: str, new: bytes | None = NEW) -> None:
    """Recorded, not yet written."""
    project.scan(project.samples())
    changes = []
    for sample_id in sample_ids or (SAMPLE,):
        path = project.mask_path(sample_id)
        old = project.keep_object(path.read_bytes()) if path.exists() else None
        changes.append(MaskChange(sample_id, old, None if new is None else project.keep_object(new)))
    project.change_masks("pull", None, changes)


def _object(project: Project, data: bytes) -> Path:
    digest = sha256(data)
    return project.state_dir / "masks" / digest[:2] / f"{digest}.png"


def _local(project: Project, sample_id: str = SAMPLE) -> Path:
    path = project.mask_path(sample_id)
    assert isinstance(path, Path)
    return path


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[:-9],
    "bit flipped": lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:],
    "emptied": lambda data: b"",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_object_is_written_anew_before_its_mask_goes(project: Project, damage: str) -> None:
    old = _local(project).read_bytes()
    project.keep_object(old)
    _object(project, old).write_bytes(DAMAGE[damage](old))
    _change(project)
    assert project.write_masks().written == (SAMPLE,)
    assert project.object_bytes(sha256(old)) == old


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_change_whose_objects_are_damaged_is_not_recorded(project: Project, damage: str) -> None:
    old, project_rows = project.keep_object(_local(project).read_bytes()), project.scan(project.samples())
    new = project.keep_object(NEW)
    _object(project, NEW).write_bytes(DAMAGE[damage](NEW))
    with pytest.raises(LedgerError, match="altered"):
        project.change_masks("pull", None, [MaskChange(SAMPLE, old, new)])
    assert project.ledger.changes() == []
    assert project.scan(project.samples()) == project_rows


def test_a_project_with_a_hole_in_its_history_opens_and_is_not_changed(
    project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    _change(project, SAMPLE, OTHER)
    _object(project, NEW).unlink()
    project.close()
    folder = str(project.path.parent)
    for command in (["status"], ["log"]):
        assert run([*command, "--project", folder]) == 0
        said = capfd.readouterr().err
        assert "the mask history has a hole" in said
        assert "restore .annoloop/masks from a backup" in said
    assert run(["undo", "--project", folder]) == 5
    assert "cannot be put in place" in capfd.readouterr().err
    with Project(project.path) as again:
        assert again.recovered is not None
        assert len(again.recovered.unfinished) == 2
        for sample_id in (SAMPLE, OTHER):  # what the hint says: given up by an edit
            _local(project, sample_id).write_bytes(MINE)
        with again.locked("pull"):
            assert again.recovered == Recovered(conflicts=(SAMPLE, OTHER))
    assert _local(project).read_bytes() == MINE


def test_a_hole_that_is_mended_is_finished(project: Project) -> None:
    _change(project)
    _object(project, NEW).rename(project.state_dir / "aside")
    with Project(project.path) as again:
        assert again.recovered is not None
        assert len(again.recovered.unfinished) == 1
        (project.state_dir / "aside").rename(_object(project, NEW))
        with again.locked("pull"):
            assert again.recovered.written == (SAMPLE,)
    assert _local(project).read_bytes() == NEW


@pytest.mark.parametrize("left", ["nothing", "an empty mount point"])
def test_data_that_are_away_are_no_edit(project: Project, capfd: pytest.CaptureFixture[str], left: str) -> None:
    _change(project, SAMPLE, OTHER)
    project.close()
    root, away = Path(str(project.config.data.root)), project.path.parent / "away"
    root.rename(away)
    if left != "nothing":
        root.mkdir()
    with Project(project.path) as again:
        assert again.recovered is not None
        assert (again.recovered.conflicts, len(again.recovered.unfinished)) == ((), 2)
        with pytest.raises(LedgerError, match="the data are not"), again.locked("pull"):
            pass
        with pytest.raises(DataError, match="the data are not"):
            again.write_masks()
        assert len(again.ledger.unwritten()) == 2
    run(["log", "--project", str(project.path.parent)])
    assert "mount the disk or bring the data back" in capfd.readouterr().err
    if root.exists():
        assert list(root.iterdir()) == []
        root.rmdir()
    away.rename(root)
    with Project(project.path) as again:
        assert again.recovered == Recovered(written=(SAMPLE, OTHER))
    assert [_local(project, one).read_bytes() for one in (SAMPLE, OTHER)] == [NEW, NEW]


@pytest.mark.parametrize("new", [NEW, None])
def test_first_masks_wait_for_the_data_too(project: Project, new: bytes | None) -> None:
    if new is not None:
        _local(project).unlink()
    _change(project, new=new)
    root = Path(str(project.config.data.root))
    root.rename(project.path.parent / "away")
    with pytest.raises(DataError, match="the data are not"):
        project.write_masks()
    assert not root.exists()
    (project.path.parent / "away").rename(root)
    project.write_masks()
    assert (_local(project).read_bytes() if new else _local(project).exists()) == (new or False)


def test_a_mask_that_was_deleted_stays_open_until_somebody_says_what_it_means(project: Project) -> None:
    _change(project)
    _local(project).unlink()
    with pytest.raises(DataError, match="is not there") as caught:
        project.write_masks()
    assert "put any file there" in str(caught.value.hint)
    assert len(project.ledger.unwritten()) == 1
    _local(project).touch()
    assert project.write_masks().conflicts == (SAMPLE,)
    assert _local(project).read_bytes() == b""


# another program saves at the same moment


def _saves_before(monkeypatch: pytest.MonkeyPatch, path: Path, *saves: bytes) -> None:
    """Another program puts its files there just before each exchange."""
    exchange, left = durable.exchange, list(saves)

    def late(one: Path, other: Path) -> bool:
        if left:
            beside = path.with_name("editor.tmp")
            beside.write_bytes(left.pop(0))
            beside.rename(path)
        return exchange(one, other)

    monkeypatch.setattr(durable, "exchange", late)


@pytest.mark.parametrize("saves", [(MINE,), (MINE, LATER)])
def test_a_save_just_before_the_mask_is_replaced_stays_and_is_kept(
    project: Project, monkeypatch: pytest.MonkeyPatch, saves: tuple[bytes, ...]
) -> None:
    _change(project)
    _saves_before(monkeypatch, _local(project), *saves)
    assert project.write_masks() == Recovered(conflicts=(SAMPLE,))
    assert _local(project).read_bytes() == saves[-1]
    for data in saves:
        assert project.object_bytes(sha256(data)) == data
    assert not list(_local(project).parent.glob(".*"))


def test_a_save_is_seen_where_files_cannot_change_places(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    _change(project)

    def cannot(one: Path, other: Path) -> bool:
        _local(project).write_bytes(MINE)
        return False

    monkeypatch.setattr(durable, "exchange", cannot)
    assert project.write_masks().conflicts == (SAMPLE,)
    assert _local(project).read_bytes() == MINE
    monkeypatch.setattr(durable, "exchange", lambda one, other: False)
    _change(project)
    assert project.write_masks().written == (SAMPLE,)
    assert _local(project).read_bytes() == NEW


def test_a_first_mask_gives_way_to_one_that_was_just_made(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    _local(project).unlink()
    _change(project)
    stage = durable.stage

    def late(path: Path, data: bytes) -> Path:
        path.write_bytes(MINE)
        return stage(path, data)

    monkeypatch.setattr(durable, "stage", late)
    assert project.write_masks().conflicts == (SAMPLE,)
    assert _local(project).read_bytes() == MINE


def test_a_mask_that_is_to_go_stays_where_it_was_just_saved(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    _change(project, new=None)
    stage = durable.stage

    def late(path: Path, data: bytes) -> Path:
        path.write_bytes(MINE)
        monkeypatch.setattr(durable, "stage", stage)
        return stage(path, data)

    monkeypatch.setattr(durable, "stage", late)
    assert project.write_masks().conflicts == (SAMPLE,)
    assert _local(project).read_bytes() == MINE
    assert project.object_bytes(sha256(MINE)) == MINE


class _Killed(BaseException):
    """Nothing in between catches it."""


@pytest.mark.parametrize("new", [NEW, None])
def test_a_save_that_a_killed_process_took_out_is_put_back(
    project: Project, monkeypatch: pytest.MonkeyPatch, new: bytes | None
) -> None:
    _change(project, new=new)
    path = _local(project)

    def killed(place: object) -> bytes:
        shutil.copytree(path.parent, project.path.parent / "as it was")
        raise _Killed

    if new is None:
        stage = durable.stage
        monkeypatch.setattr(durable, "stage", lambda place, data: (path.write_bytes(MINE), stage(place, data))[1])
        monkeypatch.setattr(mask_files, "read_bytes", killed)
    else:
        _saves_before(monkeypatch, path, MINE)
        monkeypatch.setattr(mask_files, "read_bytes", killed)
    with pytest.raises(_Killed):
        project.write_masks()
    shutil.rmtree(path.parent)
    (project.path.parent / "as it was").rename(path.parent)
    monkeypatch.undo()
    with Project(project.path) as again:
        assert again.recovered == Recovered(conflicts=(SAMPLE,))
        assert again.object_bytes(sha256(MINE)) == MINE
    assert path.read_bytes() == MINE
    assert not list(path.parent.glob(".*"))


def test_half_a_mask_of_ours_is_cleared_away(project: Project) -> None:
    _change(project)
    rest = _local(project).with_name(f".{_local(project).name}.x1y2.part")
    rest.write_bytes(NEW[:50])
    assert project.write_masks().written == (SAMPLE,)
    assert not rest.exists()


# links, and what is no file


def test_a_mask_that_is_a_link_is_written_through_it_and_undone_too(project: Project, tmp_path: Path) -> None:
    path, target = _local(project), tmp_path / "elsewhere" / "a.png"
    target.parent.mkdir()
    old = path.read_bytes()
    path.rename(target)
    path.symlink_to(target)
    for new in (NEW, old):
        _change(project, new=new)
        assert project.write_masks().written == (SAMPLE,)
        assert path.readlink() == target
        assert target.read_bytes() == new
    assert [p.name for p in target.parent.iterdir()] == ["a.png"]


@pytest.mark.parametrize("kind", ["a pipe", "a folder", "a device"])
def test_what_is_no_file_is_an_error_at_once(project: Project, kind: str) -> None:
    path = _local(project)
    path.unlink()
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    for read in (read_bytes, lambda one: project.mask_sha256(SAMPLE)):
        with pytest.raises(DataError, match=f"it is {kind}, no file") as caught:
            read(path)
        assert caught.value.where == str(path)


@pytest.mark.parametrize("command", [["convert", "to-coco", "--out", "c.json"], ["browse", "--export", "gallery"]])
def test_a_command_is_not_held_up_by_a_pipe_in_place_of_an_image(
    project: Project, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.chdir(project.path.parent)
    image = project.image_path(SAMPLE)
    assert isinstance(image, Path)
    samples = project.samples(["train"])
    image.unlink()
    os.mkfifo(image)
    assert [sample.id for sample in plan._usable(samples)] == [OTHER, "train/0002"]
    project.close()
    assert run(command) == 4
    assert f"{image}: cannot be read (it is a pipe, no file)" in capfd.readouterr().err


# stamps


def test_a_mask_rewritten_with_the_same_size_and_time_is_read_again(project: Project) -> None:
    samples = project.samples()
    first = project.scan(samples)[SAMPLE]
    path = _local(project)
    before, data = path.stat(), path.read_bytes()
    with path.open("r+b") as stream:  # as rsync --inplace -t
        stream.write(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert project.scan(samples)[SAMPLE].mask_sha256 == sha256(path.read_bytes()) != first.mask_sha256


# the ledger is gone


@pytest.mark.parametrize("how", ["gone", "empty"])
@pytest.mark.parametrize("left", ["runs", "masks", "predictions"])
def test_a_ledger_that_is_gone_is_not_made_anew_beside_what_it_knew(project: Project, how: str, left: str) -> None:
    project.close()
    for file in project.state_dir.glob("ledger.db*"):
        file.unlink()
    if how == "empty":
        (project.state_dir / "ledger.db").touch()
    (project.state_dir / left / "0001").mkdir(parents=True)
    with pytest.raises(LedgerError, match=f"the ledger is {how}, but there are {left} beside it") as caught:
        Project(project.path)
    assert "restore ledger.db from a backup; or, to begin anew, move" in str(caught.value.hint)
    project.state_dir.rename(project.path.parent / "moved away")
    Project(project.path).close()


def test_a_new_run_takes_no_folder_that_is_there(project: Project) -> None:
    (project.run_dir(4)).mkdir(parents=True)
    index_png, _ = project.prediction_paths(6, "ab" * 32)
    index_png.parent.mkdir(parents=True)
    assert project.highest_run_folder() == 6
    details = {"kind_digest": "k", "recipe": "unet_tiny", "class_digest": project.classes.digest}
    assert project.ledger.add_run(**details, parent_id=None, above=project.highest_run_folder()) == 7
    assert project.ledger.add_run(**details, parent_id=None) == 8
