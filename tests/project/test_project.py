"""A project on disk: nothing is lost (law 3), killed anywhere and opened again (law 4), one command at a time."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from conftest import ProjectFactory

from annoloop.data.config import FILE_NAME, render
from annoloop.data.images import IndexImage, encode_index_png, file_sha256, sha256
from annoloop.data.mmseg_folders import read_label_map
from annoloop.errors import ConfigError, DataError, LedgerError
from annoloop.project.project import Project, Recovered, open_project
from annoloop.project.rows import MaskChange

T = TypeVar("T")

SAMPLE = "train/0000"
NEW_MASK = encode_index_png(IndexImage(np.full((40, 56), 3, np.uint8)))


def _change(project: Project, sample_id: str = SAMPLE, new: bytes = NEW_MASK) -> MaskChange:
    """A change whose objects are in the history, as pull prepares it."""
    path = project.mask_path(sample_id)
    old = project.keep_object(path.read_bytes()) if path.exists() else None
    return MaskChange(sample_id, old, project.keep_object(new))


def _replace(project: Project, *changes: MaskChange) -> Recovered:
    project.scan(project.samples())
    project.change_masks("pull", None, changes)
    return project.write_masks()


def _leftovers(project: Project) -> list[Path]:
    return list(project.config.data.root.rglob("*.part"))


# the model


def test_pretrained_weights_are_a_word_or_a_file_beside_the_project(project: Project) -> None:
    (project.path.parent / "backbone.pth").write_bytes(b"weights")
    assert [project.pretrained(word) for word in ("auto", "none")] == ["auto", "none"]
    assert project.pretrained("backbone.pth") == str(project.path.parent / "backbone.pth")
    with pytest.raises(ConfigError, match=r"nowhere\.pth is no file of weights"):
        project.pretrained("nowhere.pth")


# the history


def test_a_replaced_mask_is_in_the_history_before_and_after(project: Project) -> None:
    path = project.mask_path(SAMPLE)
    before = path.read_bytes()
    assert _replace(project, _change(project)) == Recovered(written=(SAMPLE,))
    assert path.read_bytes() == NEW_MASK
    assert project.object_bytes(sha256(before)) == before
    assert project.object_bytes(sha256(NEW_MASK)) == NEW_MASK
    assert (project.object_label_map(sha256(NEW_MASK)) == 3).all()
    assert project.ledger.unwritten() == []


def test_a_mask_that_was_not_there_is_written(project: Project) -> None:
    project.scan(project.samples())
    project.mask_path(SAMPLE).unlink()
    change = _change(project)
    assert change.old_sha256 is None
    assert _replace(project, change).written == (SAMPLE,)
    assert project.mask_path(SAMPLE).read_bytes() == NEW_MASK


def test_a_mask_edited_in_between_is_left_alone_and_reported(project: Project) -> None:
    change = _change(project)
    mine = encode_index_png(IndexImage(np.full((40, 56), 1, np.uint8)))
    project.mask_path(SAMPLE).write_bytes(mine)
    assert _replace(project, change) == Recovered(conflicts=(SAMPLE,))
    assert project.mask_path(SAMPLE).read_bytes() == mine
    assert project.ledger.unwritten() == []


def test_a_change_needs_its_objects_first(project: Project) -> None:
    project.scan(project.samples())
    with pytest.raises(LedgerError, match=f"mask {'0' * 12} is not in the history") as caught:
        project.change_masks("pull", None, [replace(_change(project), new_sha256="0" * 64)])
    assert caught.value.where == SAMPLE
    assert project.ledger.changes() == []


def _object_path(project: Project, digest: str) -> Path:
    return project.state_dir / "masks" / digest[:2] / f"{digest}.png"


def test_an_altered_object_is_detected(project: Project) -> None:
    digest = project.keep_object(NEW_MASK)
    path = _object_path(project, digest)
    path.write_bytes(NEW_MASK[:-1] + b"?")
    with pytest.raises(LedgerError, match="the mask history was altered") as caught:
        project.object_bytes(digest)
    assert caught.value.where == str(path)
    assert "restore .annoloop/masks from a backup" in str(caught.value.hint)


def test_a_missing_object_is_a_hole_in_the_history(project: Project) -> None:
    digest = project.keep_object(NEW_MASK)
    _object_path(project, digest).unlink()
    with pytest.raises(LedgerError, match="the mask history has a hole: file is missing") as caught:
        project.object_bytes(digest)
    assert caught.value.where == str(_object_path(project, digest))


def test_an_altered_object_never_reaches_the_working_tree(project: Project) -> None:
    before = project.mask_path(SAMPLE).read_bytes()
    change = _change(project)
    _object_path(project, change.new_sha256).write_bytes(b"nonsense")
    with pytest.raises(LedgerError, match="altered"):
        _replace(project, change)
    assert project.mask_path(SAMPLE).read_bytes() == before


def test_the_same_bytes_are_kept_once(project: Project) -> None:
    digest = project.keep_object(NEW_MASK)
    stamp = _object_path(project, digest).stat().st_mtime_ns
    assert project.keep_object(NEW_MASK) == digest
    assert _object_path(project, digest).stat().st_mtime_ns == stamp


# killed anywhere

KILL = {
    "after the objects": "",
    "after the ledger row": "project.change_masks('pull', None, changes)",
    "before the first file is in place": (
        "project.change_masks('pull', None, changes)\n"
        "durable.exchange = lambda *names: die()\nproject.write_masks()"
    ),
    "between the file and its mark": (
        "project.change_masks('pull', None, changes)\nexchange = durable.exchange\n"
        "durable.exchange = lambda *names: (exchange(*names), die())\nproject.write_masks()"
    ),
    "between the first file and the second": (
        "project.change_masks('pull', None, changes)\nmark = project.ledger.mark_written\n"
        "project.ledger.mark_written = lambda *names: (mark(*names), die())\nproject.write_masks()"
    ),
}  # fmt: skip

CHILD = """
import os, signal, sys
from pathlib import Path
import numpy as np
from annoloop.data import durable
from annoloop.data.images import IndexImage, encode_index_png
from annoloop.project.project import Project
from annoloop.project.rows import MaskChange

def die():
    os.kill(os.getpid(), signal.SIGKILL)

project = Project(Path(sys.argv[1]))
project.scan(project.samples())
new = project.keep_object(encode_index_png(IndexImage(np.full((40, 56), 3, np.uint8))))
changes = [MaskChange(i, project.keep_object(project.mask_path(i).read_bytes()), new)
           for i in ("train/0000", "train/0001")]
"""


@pytest.mark.parametrize("moment", KILL)
def test_a_killed_change_is_finished_at_the_next_opening(project: Project, moment: str) -> None:
    paths = [project.mask_path(i) for i in ("train/0000", "train/0001")]
    before = [p.read_bytes() for p in paths]
    code = f"{CHILD}\n{KILL[moment]}\ndie()\n"
    child = subprocess.run([sys.executable, "-c", code, str(project.path)], capture_output=True, text=True)
    assert child.returncode == -signal.SIGKILL, child.stderr
    for path, old in zip(paths, before, strict=True):
        assert path.read_bytes() in (old, NEW_MASK)  # never half a PNG
    with Project(project.path) as again:
        finished = moment != "after the objects"
        assert [p.read_bytes() for p in paths] == ([NEW_MASK] * 2 if finished else before)
        assert len(again.ledger.changes()) == finished
        assert again.ledger.unwritten() == []
        assert again.recovered.conflicts == ()
        for old in before:
            assert finished is False or again.object_bytes(sha256(old)) == old
        assert [s.id for s in again.samples()] == [s.id for s in project.samples()]
    with Project(project.path) as third:
        assert third.recovered == Recovered()


def test_a_file_edited_after_the_kill_is_left_alone(project: Project) -> None:
    code = f"{CHILD}\n{KILL['after the ledger row']}\ndie()\n"
    subprocess.run([sys.executable, "-c", code, str(project.path)], capture_output=True)
    mine = encode_index_png(IndexImage(np.full((40, 56), 1, np.uint8)))
    project.mask_path("train/0001").write_bytes(mine)
    with Project(project.path) as again:
        assert again.recovered == Recovered(written=("train/0000",), conflicts=("train/0001",))
    assert project.mask_path("train/0001").read_bytes() == mine


def test_a_full_disk_is_told_and_the_change_is_finished_later(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = project.mask_path(SAMPLE).read_bytes()
    change = _change(project)
    project.scan(project.samples())
    project.change_masks("pull", None, [change])

    def full(handle: int) -> None:
        with Path("/dev/full").open("wb", buffering=0) as device:
            device.write(b"x")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(DataError, match="the disk is full; nothing was overwritten"):
            project.write_masks()
    assert project.mask_path(SAMPLE).read_bytes() == before
    assert _leftovers(project) == []
    with Project(project.path) as again:
        assert again.recovered.written == (SAMPLE,)


# one command at a time

HOLDER = """
import sys
from pathlib import Path
from annoloop.project.project import Project
with Project(Path(sys.argv[1])) as project, project.locked("pull"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_command_is_told_who_holds_the_project(project: Project) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(project.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with pytest.raises(LedgerError, match=f"another annoloop is at work here: pull, pid {child.pid}") as caught:
            project.locked("push").__enter__()
        assert caught.value.hint == "wait until it is done, or stop it"
    finally:
        child.kill()
        child.communicate()
    with project.locked("push"):  # the lock went with its process
        assert "push, pid" in (project.state_dir / "lock").read_text()


def test_the_lock_is_free_again_afterwards(project: Project) -> None:
    for command in ("push", "pull"):
        with project.locked(command):
            assert (project.state_dir / "lock").read_text().startswith(f"{command}, pid ")


# samples


def test_samples_come_split_by_split(project: Project) -> None:
    assert [s.id for s in project.samples()] == [
        "train/0000", "train/0001", "train/0002", "val/0000", "val/0001", "test/0000",
    ]  # fmt: skip
    assert [s.id for s in project.samples(["test", "val"])] == ["val/0000", "val/0001", "test/0000"]


def test_a_split_that_is_not_there_is_refused_with_those_that_are(project: Project) -> None:
    with pytest.raises(ConfigError, match="no split 'tset'") as caught:
        project.samples(["tset"])
    assert caught.value.hint == "splits: train, val, test"


def test_paths_of_a_sample_are_those_of_its_files(project: Project) -> None:
    for sample in project.samples():
        assert project.image_path(sample.id) == sample.image
        assert project.mask_path(sample.id) == sample.mask
    with pytest.raises(ConfigError, match="no split 'pool'"):
        project.mask_path("pool/x")


def test_a_scan_sees_what_changed_and_reads_nothing_twice(project: Project) -> None:
    samples = project.samples()
    first = project.scan(samples)
    assert first[SAMPLE].mask_sha256 == file_sha256(project.mask_path(SAMPLE))
    assert project.ledger.images() == first
    project.mask_path(SAMPLE).write_bytes(NEW_MASK)
    second = project.scan(samples)
    assert second[SAMPLE].mask_sha256 == sha256(NEW_MASK)
    assert {i: row for i, row in second.items() if i != SAMPLE} == {i: r for i, r in first.items() if i != SAMPLE}

    # Same size, mtime and inode: the known hash stands, the file is not opened.
    known = replace(second[SAMPLE], mask_sha256="f" * 64)
    project.ledger.put_images([known])
    assert project.scan(samples)[SAMPLE] == known


def test_a_scan_of_a_missing_file_names_it(project: Project) -> None:
    samples = project.samples()
    samples[0].image.unlink()
    with pytest.raises(DataError, match="file is missing") as caught:
        project.scan(samples)
    assert caught.value.where == str(samples[0].image)


# opening


def test_a_project_is_found_from_a_folder_inside_it(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.config.data.root / "img_dir")
    with open_project(None) as found:
        assert found.path == project.path
    with open_project(project.path.parent) as found:
        assert found.classes == project.classes


def test_two_projects_do_not_know_each_other(project_factory: ProjectFactory) -> None:
    one, two = project_factory("one"), project_factory("two")
    _replace(one, _change(one))
    assert read_label_map(two.mask_path(SAMPLE), two.config.data).max() < 5
    assert two.ledger.changes() == []
    assert two.mask_path(SAMPLE).read_bytes() != NEW_MASK


def test_a_model_of_other_classes_is_not_the_current_one(project: Project) -> None:
    run = project.ledger.add_run(
        kind_digest="k", recipe="unet_tiny", parent_id=None, class_digest=project.classes.digest
    )
    project.ledger.judge_run(run, val_dice=0.5, promoted=True, verdict="first")
    current = project.current_run()
    assert current is not None
    assert current.id == run
    renamed = project.config.model_copy(
        update={"classes": tuple(c.model_copy(update={"name": f"{c.name}s"}) for c in project.config.classes),
                "background": "backgrounds"}
    )  # fmt: skip
    (project.path.parent / FILE_NAME).write_text(render(renamed))
    with Project(project.path) as again:
        assert again.current_run() is None


def test_a_job_takes_its_settings_from_the_configuration(project: Project, tmp_path: Path) -> None:
    job = project.job("train", tmp_path, recipe=project.recipe("unet_tiny"), iterations=7)
    assert (job.kind, job.run_dir, job.iterations) == ("train", tmp_path, 7)
    assert job.class_names == project.classes.names
    assert job.recipe.is_file()


def test_a_recipe_beside_the_project_file_wins(project: Project) -> None:
    mine = project.path.parent / "mine.py"
    mine.write_text("model = dict()")
    assert project.recipe("mine.py") == mine
    with pytest.raises(ConfigError):
        project.recipe("no_such_recipe")


def test_a_prediction_that_was_not_made_is_named(project: Project) -> None:
    with pytest.raises(DataError, match="file is missing") as caught:
        project.prediction(3, "ab" * 32)
    assert "/predictions/0003/ab/" in str(caught.value.where)


def test_report_folders_are_made(project: Project) -> None:
    assert project.report_dir("worst").is_dir()
    assert project.best_checkpoint(7) == project.run_dir(7) / "best.pth"
    assert project.run_dir(7).name == "0007"
