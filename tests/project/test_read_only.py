"""A project that may only be looked at: what looks works, what changes is refused, and no byte of it changes."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from running_loop import add_model, make_project

from annoloop.cli.main import run
from annoloop.data.config import FILE_NAME
from annoloop.data.images import file_sha256
from annoloop.project import project as module
from annoloop.project.ledger import Ledger
from annoloop.project.project import Project


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = make_project(tmp_path / "project", "http://127.0.0.1:9", name="read-only")
    with Project(tmp_path / "project" / FILE_NAME) as project:
        add_model(project, made.truth)
    monkeypatch.setattr(module, "_may_write", lambda _: False)
    return tmp_path / "project"


def _bytes(folder: Path) -> dict[str, str]:
    return {str(path): file_sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    "line",
    [
        ["status"],
        ["log"],
        ["eda", "--out", "{out}/eda.html"],
        ["convert", "to-coco", "--out", "{out}/val.json"],
        ["doctor", "--no-measure"],
        ["export", "data", "--round", "0", "--to", "mmseg", "--out", "{out}/mmseg"],
        ["snapshot", "--out", "{out}/kept", "--copy"],
        ["diff", "0", "now"],
        ["diff", "run:1", "now", "--out", "{out}/diff.html"],
    ],
)
def test_it_can_be_looked_at(folder: Path, tmp_path: Path, line: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CVAT_ACCESS_TOKEN", "none")
    before = _bytes(folder)
    assert run([*(word.format(out=tmp_path) for word in line), "--project", str(folder)]) == 0
    assert _bytes(folder) == before


@pytest.mark.parametrize("line", [["undo"], ["eda"], ["snapshot"], ["evaluate"], ["push", "--worst", "2", "--dry-run"]])
def test_it_cannot_be_changed(folder: Path, line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    before = _bytes(folder)
    assert run([*line, "--project", str(folder)]) == 3
    assert "read-only" in capsys.readouterr().err
    assert _bytes(folder) == before


def test_what_waits_in_the_log_of_the_ledger_is_seen(tmp_path: Path) -> None:
    def begun(ledger: Ledger, digest: str) -> int:
        return ledger.add_run(kind_digest=digest, recipe="unet", parent_id=None, class_digest="c")

    with Ledger(tmp_path / "ledger.db") as writing:
        first = begun(writing, "a")
        assert (tmp_path / "ledger.db-wal").stat().st_size > 0, "its newest row is in the log only"
        with Ledger(tmp_path / "ledger.db", read_only=True) as reading:
            assert [run.id for run in reading.runs()] == [first]
            begun(reading, "b")
            assert len(reading.runs()) == 2
        assert [run.id for run in writing.runs()] == [first]


def test_what_is_no_ledger_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(Exception, match="cannot be opened") as caught:
        Ledger(tmp_path / "ledger.db", read_only=True)
    assert isinstance(caught.value.__cause__, sqlite3.Error)
