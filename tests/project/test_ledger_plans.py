"""How SQLite finds what is asked most often: by an index, whatever the number of images."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from annoloop.project.ledger import Ledger
from annoloop.project.rows import FrameRow, ImageRow, MaskChange, ScoreRow

SHA = "1" * 64
NAMES = [f"train/{name}" for name in "abc"]
IMAGES = [ImageRow(name, SHA, "10:20:30", SHA, "1:2:3") for name in NAMES]
SCORES = [ScoreRow(name, SHA, SHA, 0.5, np.eye(2, dtype=np.int64)) for name in NAMES]
FRAMES = [FrameRow(name, name, 0.5, SHA, SHA, SHA, ()) for name in NAMES]
TASK = {"name": "worst 3", "plan_digest": "p", "source": "prediction", "run_id": None, "class_digest": "c",
        "server": "http://x", "shape": "mask", "tolerance_px": 0.0, "min_region_px": 0}  # fmt: skip


PARTIAL = ("tasks_at_work", "corrected", "unwritten", "settled")
"""Indexes of few rows, which are all asked for."""


@dataclass
class Plans:
    """What SQLite would do for every statement since the last ``clear``, in its own words."""

    steps: list[str] = field(default_factory=list)

    def of_scans(self) -> list[str]:
        """Steps that pass over a table or sort rows; keys that were asked for are a table to SQLite, too."""
        meant = ("SCAN asked VIRTUAL TABLE", *(f"INDEX {name}" for name in PARTIAL))
        slow = [one for one in self.steps if "SCAN" in one or "TEMP B-TREE" in one]
        return [one for one in slow if not any(name in one for name in meant)]


class Explained(Ledger):
    """The ledger itself, and a note of every plan."""

    def __init__(self, path: Path) -> None:
        self.plans = Plans()
        super().__init__(path)

    def _execute(self, sql: str, values: Sequence[object] | Mapping[str, object] = ()) -> sqlite3.Cursor:
        self._explain(sql, values)
        return super()._execute(sql, values)

    def _execute_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        rows = list(rows)
        if rows:
            self._explain(sql, rows[0])
        super()._execute_many(sql, rows)

    def _explain(self, sql: str, values: Sequence[object] | Mapping[str, object]) -> None:
        if sql.lstrip().startswith(("SELECT", "UPDATE", "DELETE", "INSERT OR REPLACE", "WITH")):
            self.plans.steps += [row["detail"] for row in self._db.execute(f"EXPLAIN QUERY PLAN {sql}", values)]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Explained]:
    """One run, one open task, one pull."""
    with Explained(tmp_path / "ledger.db") as opened:
        opened.put_images(IMAGES)
        opened.add_run(kind_digest="k", recipe="r", parent_id=None, class_digest="c")
        opened.put_scores(1, SCORES)
        opened.plan_task(TASK, FRAMES)
        opened.add_change("pull", 1, [MaskChange(NAMES[0], SHA, SHA)])
        opened.plans.steps.clear()
        yield opened


HOT: dict[str, Callable[[Ledger], object]] = {
    "the worst": lambda one: list(one.worst_first(1)),
    "scores by name": lambda one: one.scores(1, NAMES),
    "what is not scored yet": lambda one: one.unscored(1, NAMES),
    "images by name": lambda one: one.images(NAMES),
    "looks by content": lambda one: one.looks([SHA]),
    "beliefs by content": lambda one: one.beliefs(1, [SHA]),
    "who waits": lambda one: one.samples_in_open_tasks(),
    "who of some waits elsewhere": lambda one: one.samples_in_open_tasks(other_than=1, among=NAMES),
    "where they wait": lambda one: one.open_places(),
    "frames by state": lambda one: one.frame_states(1),
    "masks changed since": lambda one: one.masks_changed_since("2026"),
    "who is corrected": lambda one: one.corrected(),
    "what was cut off": lambda one: one.unwritten(),
    "what CVAT is to hear": lambda one: one.tasks_with_untold_issues(),
    "issues of a task": lambda one: one.issues(1),
    "who wrote a mask": lambda one: one.task_that_wrote(NAMES[0], SHA),
    "masks of a change": lambda one: one.mask_changes(1),
    "a pull's frames": lambda one: one.put_frames(1, FRAMES),
    "a mask was written": lambda one: one.mark_written(1, NAMES[0]),
    "a count of folders": lambda one: one.census("x"),
}


@pytest.mark.parametrize("asked", HOT)
def test_what_is_asked_often_passes_over_no_table(ledger: Explained, asked: str) -> None:
    HOT[asked](ledger)
    assert ledger.plans.steps
    assert ledger.plans.of_scans() == []


def test_the_worst_are_read_one_by_one_from_an_index_that_tells_all(ledger: Explained) -> None:
    worst = ledger.worst_first(1)
    assert next(worst).sample_id == NAMES[0]
    assert ledger.plans.steps == ["SEARCH score USING COVERING INDEX worst_first (run_id=?)"]


def test_what_fits_no_longer_is_found_reading_images_and_scores_side_by_side(ledger: Explained) -> None:
    ledger.unscored(1, NAMES)
    assert ledger.plans.steps[0] == "MERGE (EXCEPT)"


@pytest.mark.parametrize(
    ("index", "asked"),
    [
        ("worst_first", "the worst"),
        ("corrected", "who is corrected"),
        ("unwritten", "what was cut off"),
        ("settled", "what CVAT is to hear"),
        ("tasks_at_work", "who waits"),
        ("changes_by_time", "masks changed since"),
        ("changes_of_a_mask", "who wrote a mask"),
    ],
)
def test_without_its_index_a_question_passes_over_a_table(ledger: Explained, index: str, asked: str) -> None:
    ledger._db.execute(f"DROP INDEX {index}")
    HOT[asked](ledger)
    assert ledger.plans.of_scans()
