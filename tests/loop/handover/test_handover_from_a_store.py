"""Labels whose files lie in an object store are handed over as those on a local disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from running_loop import make_project
from store import Store

from annoloop.api.handover import compare, export_data, take_snapshot
from annoloop.data.config import FILE_NAME
from annoloop.errors import ConfigError
from annoloop.project.project import Project

COUNTS = {"train": 3, "val": 2}


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_it_is_as_on_a_local_disk(tmp_path: Path, store: Store) -> None:
    for name in ("here", "there"):
        make_project(tmp_path / name, "http://127.0.0.1:9", name="store-test", counts=COUNTS)
    store.move_data(tmp_path / "there")
    for name in ("here", "there"):
        out = tmp_path / f"out-{name}"
        with Project(tmp_path / name / FILE_NAME) as project:
            for to in ("mmseg", "yolo"):
                export_data(project, to, out / to, images="copy", round_number=0)  # type: ignore[arg-type]
            export_data(project, "coco", out / "labels.json")
            take_snapshot(project, out=out / "kept", copy=True)
            report = compare(project, str(out / "kept"), "now", out=tmp_path / f"{name}.html")
            assert (report.compared, report.same) == (5, 5)
    assert files_of(tmp_path / "out-here") == files_of(tmp_path / "out-there")
    with Project(tmp_path / "there" / FILE_NAME) as far:
        with pytest.raises(ConfigError, match="cannot be linked"):
            export_data(far, "mmseg", tmp_path / "linked", images="link")
        assert export_data(far, "mmseg", tmp_path / "bare").images == 0
