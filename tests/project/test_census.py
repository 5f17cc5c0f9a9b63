"""Counting images and masks: as listing them would, and without listing what is as it was."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from annoloop.errors import DataError
from annoloop.loop.status import status
from annoloop.project.census import census
from annoloop.project.project import Project

HOUR_NS = 3600 * 10**9


def counts(project: Project) -> dict[str, tuple[int, int]]:
    return {split: (one.images, one.labelled) for split, one in census(project).items()}


def listed(project: Project) -> dict[str, tuple[int, int]]:
    """The same, name by name."""
    found = {}
    for split in project.config.data.splits:
        samples = project.samples([split])
        found[str(split)] = (len(samples), sum(one.mask is not None for one in samples))
    return found


def settle(project: Project) -> None:
    """All folders have been as they are for an hour."""
    for folder, _, _ in os.walk(project.config.data.root):
        then = time.time_ns() - HOUR_NS
        os.utime(folder, ns=(then, then))


def add(project: Project, sample_id: str, *, mask: bool = True) -> None:
    source = project.samples(["train"])[0]
    assert source.mask is not None
    for path, old in ((project.image_path(sample_id), source.image), (project.mask_path(sample_id), source.mask)):
        path.parent.mkdir(parents=True, exist_ok=True)
        if mask or old is source.image:
            path.write_bytes(old.read_bytes())


def test_it_counts_as_listing_does_whatever_changes(project: Project) -> None:
    settle(project)
    before = counts(project)
    assert counts(project) == before == listed(project)
    add(project, "train/new")
    assert counts(project)["train"] == (before["train"][0] + 1, before["train"][1] + 1)
    settle(project)
    counts(project)
    add(project, "train/below/deep/new", mask=False)
    assert counts(project) == listed(project)
    settle(project)
    counts(project)
    project.mask_path("train/new").unlink()
    assert counts(project) == listed(project)
    assert status(project).labelled["train"] == before["train"][1]


def test_a_folder_as_it_was_is_not_listed_again(project: Project) -> None:
    settle(project)
    before = counts(project)
    folders = [project.image_path("train/new").parent, project.mask_path("train/new").parent]
    then = [folder.stat().st_mtime_ns for folder in folders]
    add(project, "train/new")
    for folder, ns in zip(folders, then, strict=True):
        os.utime(folder, ns=(ns, ns))
    assert counts(project) == before != listed(project), "nobody looked at the names"


def test_a_folder_that_changed_just_now_is_listed_every_time(project: Project) -> None:
    settle(project)
    add(project, "train/new")
    counts(project)
    folder = project.image_path("train/new").parent
    now = folder.stat()
    project.image_path("train/new").unlink()
    os.utime(folder, ns=(now.st_mtime_ns, now.st_mtime_ns))  # as on a file system with coarse times
    assert counts(project) == listed(project)


def test_a_link_is_looked_at_every_time(project: Project, tmp_path: Path) -> None:
    away = tmp_path / "away.png"
    mask = project.samples(["train"])[0].mask
    assert mask is not None
    mask.rename(away)
    mask.symlink_to(away)
    settle(project)
    before = counts(project)
    assert before == listed(project)
    away.unlink()
    assert counts(project)["train"] == (before["train"][0], before["train"][1] - 1)


def test_another_suffix_is_another_question(project: Project) -> None:
    settle(project)
    counts(project)
    data = project.config.data.model_copy(update={"mask_suffix": ".none"})
    project.config = project.config.model_copy(update={"data": data})
    assert counts(project)["train"][1] == 0


def test_a_list_of_stems_and_its_masks_are_counted(project: Project) -> None:
    data = project.config.data
    stems = data.root / "some.txt"
    stems.write_text("".join(f"train/{one.id.partition('/')[2]}\n" for one in project.samples(["train"])))
    data = data.model_copy(update={"splits": {"train": "some.txt"}})
    project.config = project.config.model_copy(update={"data": data})
    then = time.time_ns() - HOUR_NS
    os.utime(stems, ns=(then, then))
    settle(project)
    before = counts(project)["train"]
    assert counts(project)["train"] == before == listed(project)["train"]
    assert before[1] > 0
    stems.write_text(stems.read_text().partition("\n")[0])
    assert counts(project)["train"] == (1, 1)


def test_a_folder_that_is_gone_is_an_error(project: Project) -> None:
    settle(project)
    counts(project)
    folder = project.image_path("train/new").parent
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(DataError, match="no such folder"):
        census(project)
