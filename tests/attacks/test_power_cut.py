"""The power goes at every flush of pull, undo and from-coco: what the ledger calls written is there afterwards.

The disk is a model: of a file stays what it held when it was last flushed, under the names that its folder had when
that was last flushed.  The ledger lies on another disk, which keeps everything: SQLite flushes as it must, and a row
that came too early is then seen.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import ProjectFactory

from annoloop.data import durable
from annoloop.data.images import file_sha256, sha256
from annoloop.loop.conversion import mask_folder
from annoloop.loop.conversion.coco import from_coco, to_coco
from annoloop.loop.undo import undo
from annoloop.project.project import Project
from annoloop.project.rows import MaskChange

Inode = tuple[int, int]


@dataclass
class Disk:
    """What of a tree of files is there after a power cut."""

    root: Path
    contents: dict[Inode, bytes] = field(default_factory=dict)
    names: dict[Inode, dict[str, Inode]] = field(default_factory=dict)
    held: list[int] = field(default_factory=list)
    flushes: int = 0
    at_flush: Callable[[], None] = lambda: None

    def keep_all(self) -> None:
        """All that is there now stays."""
        for folder, _, files in os.walk(self.root):
            self.keep(os.open(folder, os.O_RDONLY))
            for name in files:
                self.keep(os.open(Path(folder) / name, os.O_RDONLY))

    def keep(self, handle: int) -> None:
        """What was flushed; its handle stays open, so that no other file is given its inode."""
        self.held.append(handle)
        about = os.fstat(handle)
        inode = (about.st_dev, about.st_ino)
        path = Path(f"/proc/self/fd/{handle}")
        if stat.S_ISDIR(about.st_mode):
            entries = [(entry.name, entry.stat(follow_symlinks=False)) for entry in os.scandir(path)]
            self.names[inode] = {name: (one.st_dev, one.st_ino) for name, one in entries}
        else:
            self.contents[inode] = path.read_bytes()

    def after_a_cut(self, target: Path) -> None:
        """Make ``target`` what the tree is after a power cut now."""
        about = self.root.stat()
        self._restore((about.st_dev, about.st_ino), target)

    def _restore(self, folder: Inode, target: Path) -> None:
        target.mkdir(parents=True)
        for name, inode in self.names.get(folder, {}).items():
            if inode in self.names or self._is_folder(inode):
                self._restore(inode, target / name)
            else:
                (target / name).write_bytes(self.contents.get(inode, b""))

    def _is_folder(self, inode: Inode) -> bool:
        return any(
            (one := Path(folder).stat()) and (one.st_dev, one.st_ino) == inode for folder, *_ in os.walk(self.root)
        )

    @contextmanager
    def forgetting(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """From here on only what is flushed stays; before and after each flush ``at_flush`` is called."""
        fsync, self.flushes = os.fsync, 0
        self.keep_all()

        def flushed(handle: int) -> None:
            if not Path(f"/proc/self/fd/{handle}").readlink().is_relative_to(self.root):
                return fsync(handle)
            self.flushes += 1
            self.at_flush()
            self.keep(os.dup(handle))
            fsync(handle)
            return self.at_flush()

        def flushed_whole(folder: Path) -> None:
            self.flushes += 1
            self.at_flush()
            self.keep_all()

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", flushed)
            patch.setattr(durable, "flush_disk", flushed_whole)
            patch.setattr(mask_folder, "flush_disk", flushed_whole)
            try:
                yield
            finally:
                self.at_flush()
                for handle in self.held:
                    os.close(handle)
                self.held.clear()


def _cut(project: Project, disk: Disk, target: Path) -> Path:
    """The project as it is after a power cut now; its ledger is whole."""
    shutil.rmtree(target, ignore_errors=True)
    disk.after_a_cut(target)
    state = target / ".annoloop"
    state.mkdir(exist_ok=True)
    for file in project.state_dir.glob("ledger.db*"):
        shutil.copy(file, state / file.name)
    return target / project.path.name


def _check(config: Path) -> None:
    """What the ledger calls written is there, and opening finishes the rest; nothing is lost."""
    with Project(config) as again:
        assert again.recovered is not None
        assert (again.recovered.conflicts, again.recovered.unfinished) == ((), ())
        newest: dict[str, str | None] = {}
        for event in again.ledger.mask_events():
            newest[event.sample_id] = event.new_sha256
            for digest in filter(None, (event.old_sha256, event.new_sha256)):
                assert sha256(again.object_bytes(digest)) == digest
        for sample_id, digest in newest.items():
            assert again.mask_sha256(sample_id) == digest
        assert not list(Path(str(again.config.data.root)).rglob("*.part"))


def _pull(project: Project, masks: dict[str, bytes]) -> None:
    """As pull does it: objects, row, files."""
    project.scan(project.samples())
    changes = []
    for sample_id, new in masks.items():
        path = project.mask_path(sample_id)
        old = project.keep_object(path.read_bytes()) if path.exists() else None
        changes.append(MaskChange(sample_id, old, project.keep_object(new)))
    project.change_masks("pull", None, changes)
    project.write_masks()


def _masks(project: Project) -> dict[str, bytes]:
    """Other masks for all samples: those of their neighbours."""
    files = [s.mask.read_bytes() for s in project.samples() if isinstance(s.mask, Path)]
    return {s.id: data for s, data in zip(project.samples(), files[1:] + files[:1], strict=True)}


@pytest.mark.parametrize("first", [False, True], ids=["replaced", "first masks"])
def test_what_pull_and_undo_call_written_is_there_after_a_power_cut(
    project_factory: ProjectFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    project = project_factory("project")
    masks = _masks(project)
    if first:
        shutil.rmtree(Path(str(project.config.data.root)) / project.config.data.mask_dir)
    disk, cuts = Disk(project.path.parent), []

    def cut() -> None:
        at_flush, disk.at_flush = disk.at_flush, lambda: None
        _check(_cut(project, disk, tmp_path / "cut"))
        cuts.append(disk.flushes)
        disk.at_flush = at_flush

    disk.at_flush = cut
    for action in (lambda: _pull(project, masks), lambda: undo(project)):
        with disk.forgetting(monkeypatch):
            action()
    assert len(cuts) > 50


def test_a_history_that_is_begun_is_there_after_a_power_cut(
    project_factory: ProjectFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = project_factory("project")
    disk = Disk(project.path.parent)
    with disk.forgetting(monkeypatch):
        digest = project.keep_object(b"a mask")
        disk.after_a_cut(tmp_path / "cut")
    assert file_sha256(tmp_path / "cut" / ".annoloop" / "masks" / digest[:2] / f"{digest}.png") == digest


def test_what_from_coco_says_it_has_written_is_there_and_what_was_cut_off_is_written_anew(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, place = project.config.data, tmp_path / "place"
    place.mkdir()
    to_coco(project.samples(), data, project.classes, tmp_path / "coco.json")
    disk = Disk(place)
    cuts: list[Path] = []

    def cut() -> None:
        cuts.append(tmp_path / f"cut{len(cuts)}")
        disk.after_a_cut(cuts[-1])

    disk.at_flush = cut
    with disk.forgetting(monkeypatch):
        assert from_coco(tmp_path / "coco.json", place / "out", data, project.classes).written == 6
    whole = {p.relative_to(place): p.read_bytes() for p in place.rglob("*.png")}
    assert {p.relative_to(cuts[-1]): p.read_bytes() for p in cuts[-1].rglob("*.png")} == whole
    for number, folder in enumerate(cuts):
        for mask in (p for n, p in enumerate(sorted(whole)) if n % 2 == number % 2):
            (folder / mask).parent.mkdir(parents=True, exist_ok=True)
            (folder / mask).write_bytes(b"")  # the name was on disk, the bytes were not
        from_coco(tmp_path / "coco.json", folder / "out", data, project.classes)
        assert {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*.png")} == whole
