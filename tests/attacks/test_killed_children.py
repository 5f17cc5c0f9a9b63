"""Whole commands killed by SIGKILL just before or after one of their flushes and renames: the same command finishes.

The kill sits in a wrapper around the command line, not in the product.  ANNOLOOP_LONG_TESTS=1 tries every moment.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from running_loop import add_model, make_project, mask_bytes, opened

from annoloop.cli.demo import Server
from annoloop.data.config import FILE_NAME
from annoloop.data.mmseg_folders import read_label_map
from annoloop.loop.pull import pull
from annoloop.loop.push import push
from annoloop.project.project import Project
from annoloop.selection.request import PushRequest
from annoloop.simulation.annotator import annotate

LONG = os.environ.get("ANNOLOOP_LONG_TESTS") == "1"
FEW = 3
"""Moments of each command in a short run, the first and the last among them."""

WRAPPER = """
import os, signal, sys
from annoloop.data import durable

die_at, moments = int(os.environ["DIE_AT"]), 0

def moment():
    global moments
    moments += 1
    if moments == die_at:
        os.kill(os.getpid(), signal.SIGKILL)

def deadly(owner, name):
    whole = getattr(owner, name)
    def wrapped(*arguments, **details):
        moment()
        result = whole(*arguments, **details)
        moment()
        return result
    setattr(owner, name, wrapped)

for owner, name in ((os, "fsync"), (os, "replace"), (os, "link"), (durable, "exchange"), (durable, "flush_disk")):
    deadly(owner, name)
from annoloop.loop.conversion import coco as convert
convert.flush_disk = durable.flush_disk
from annoloop.cli.main import run
code = run(sys.argv[1:])
print(f"moments: {moments}", file=sys.stderr)
sys.stdout.flush()
sys.exit(code)
"""


@dataclass(frozen=True)
class Ended:
    code: int
    said: str

    @property
    def moments(self) -> int:
        return int(self.said.rpartition("moments: ")[2])


def child(*arguments: object, die_at: int = 0, env: Mapping[str, str] | None = None) -> Ended:
    """One command in a process of its own, which kills itself at a moment; 0: never."""
    command = [sys.executable, "-c", WRAPPER, *map(str, arguments), "--workers", "1"]
    if arguments[0] in ("pull", "undo"):
        command = command[:-2]
    settled = {**os.environ, "DIE_AT": str(die_at), **(env or {})}
    done = subprocess.run(command, env=settled, capture_output=True, text=True, timeout=120, check=False)
    return Ended(done.returncode, done.stderr)


def chosen(moments: int) -> Iterator[int]:
    """All moments, or a few of them."""
    count = moments if LONG else min(FEW, moments)
    yield from sorted({round(one) for one in np.linspace(1, moments, count)})


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# with a server


@dataclass(frozen=True)
class Place:
    folder: Path
    truth: Path
    server: Server

    def child(self, command: str, die_at: int = 0) -> Ended:
        return child(command, "--project", self.folder, die_at=die_at, env={"CVAT_ACCESS_TOKEN": self.server.token})


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, sandbox: Server) -> Place:
    folder = tmp_path_factory.mktemp("template")
    made = make_project(folder, sandbox.url, name="template")
    with opened(folder, sandbox) as (project, _):
        add_model(project, made.truth)
    return Place(folder, made.truth, sandbox)


def annotated(template: Place, folder: Path) -> tuple[Place, dict[str, bytes], tuple[str, ...]]:
    """A copy whose task is finished in CVAT; its masks before the pull, and the samples that were pushed."""
    shutil.copytree(template.folder, folder)
    settings = folder / FILE_NAME
    settings.write_text(settings.read_text().replace("project: template", f"project: child-{uuid4().hex[:8]}"))
    place = Place(folder, folder / template.truth.relative_to(template.folder), template.server)
    with opened(folder, place.server) as (project, cvat):
        before = mask_bytes(project)
        report = push(project, cvat, PushRequest(worst=3, source="prediction"))
        assert report.task is not None
        annotate(project, cvat, report.task, place.truth)
    return place, before, tuple(frame.sample_id for frame in report.frames)


def check_pulled(place: Place, before: dict[str, bytes], pushed: tuple[str, ...]) -> None:
    with Project(place.folder / FILE_NAME) as project:
        assert [change.kind for change in project.ledger.changes()] == ["pull"]
        assert project.ledger.unwritten() == []
        for sample_id, old in before.items():
            mask = project.mask_path(sample_id)
            assert isinstance(mask, Path)
            if sample_id in pushed:
                truth = read_label_map(place.truth / f"{sample_id}.png", project.config.data)
                assert np.array_equal(read_label_map(mask, project.config.data), truth)
                row = next(one for one in project.ledger.mask_changes(1) if one.sample_id == sample_id)
                assert project.object_bytes(str(row.old_sha256)) == old
            else:
                assert mask.read_bytes() == old
        assert not list(Path(str(project.config.data.root)).rglob("*.part"))


def test_a_pull_that_is_killed_is_finished_by_the_same_command(template: Place, tmp_path: Path) -> None:
    whole, *expected = annotated(template, tmp_path / "whole")
    ended = whole.child("pull")
    assert ended.code == 0, ended.said
    check_pulled(whole, *expected)  # type: ignore[arg-type]
    for moment in chosen(ended.moments):
        place, *expected = annotated(template, tmp_path / f"{moment}")
        assert place.child("pull", moment).code == -signal.SIGKILL
        again = place.child("pull")
        assert again.code == 0, f"moment {moment}: {again.said}"
        check_pulled(place, *expected)  # type: ignore[arg-type]


def test_an_undo_that_is_killed_is_finished_by_the_same_command(template: Place, tmp_path: Path) -> None:
    place, before, _ = annotated(template, tmp_path / "pulled")
    with opened(place.folder, place.server) as (project, cvat):
        pull(project, cvat)
    kept = tmp_path / "kept"
    shutil.copytree(place.folder, kept)
    ended = place.child("undo")
    assert ended.code == 0, ended.said
    for moment in chosen(ended.moments):
        shutil.rmtree(place.folder)
        shutil.copytree(kept, place.folder)
        assert place.child("undo", moment).code == -signal.SIGKILL
        again = place.child("undo")
        with Project(place.folder / FILE_NAME) as project:
            assert [change.kind for change in project.ledger.changes()] == ["pull", "undo"]
            assert mask_bytes(project) == before
            assert not list(Path(str(project.config.data.root)).rglob("*.part"))
        # Killed after its last mark, all was done: then there is nothing left to undo.
        assert again.code == 0, f"moment {moment}: {again.said}"


# without


def test_a_conversion_that_is_killed_is_finished_by_the_same_command(project: Project, tmp_path: Path) -> None:
    folder = project.path.parent
    project.close()
    whole = tmp_path / "whole"
    whole.mkdir()
    to_coco = child("convert", "to-coco", "--project", folder, "--out", whole / "coco.json")
    assert to_coco.code == 0, to_coco.said
    from_coco = child("convert", "from-coco", whole / "coco.json", "--project", folder, "--out", whole / "masks")
    assert from_coco.code == 0, from_coco.said
    expected = files(whole)
    assert len(expected) == 7
    for steps, arguments, out in (
        (to_coco, ("convert", "to-coco", "--project", folder), "coco.json"),
        (from_coco, ("convert", "from-coco", whole / "coco.json", "--project", folder), "masks"),
    ):
        for moment in chosen(steps.moments):
            here = tmp_path / f"{out}-{moment}"
            here.mkdir()
            assert child(*arguments, "--out", here / out, die_at=moment).code == -signal.SIGKILL
            again = child(*arguments, "--out", here / out)
            assert again.code == 0, f"moment {moment}: {again.said}"
            assert files(here) == {name: data for name, data in expected.items() if name.startswith(out)}


def test_an_eda_that_is_killed_is_finished_by_the_same_command(project: Project, tmp_path: Path) -> None:
    folder = project.path.parent
    project.close()
    kept = tmp_path / "kept"
    shutil.copytree(folder, kept)
    ended = child("eda", "--project", folder)
    assert ended.code == 0, ended.said
    (page,) = folder.rglob("eda.json")
    expected = json.loads(page.read_text())
    for moment in chosen(ended.moments):
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)
        assert child("eda", "--project", folder, die_at=moment).code == -signal.SIGKILL
        again = child("eda", "--project", folder)
        assert again.code == 0, f"moment {moment}: {again.said}"
        assert json.loads(page.read_text()) == expected
