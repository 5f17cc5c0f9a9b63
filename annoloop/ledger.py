"""The loop's memory: images, CVAT tasks and their frames, runs, scores and every change of a mask.

All SQL of the package is here; rows leave as dataclasses.  Not here: mask bytes, which lie in the
object store and are named by their sha256.  The fact to know: a mask change is recorded before the
working tree is touched, and ``written`` only after, so an interrupted change can be finished.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from annoloop.database import Database, Row
from annoloop.errors import LedgerError
from annoloop.label_quality import Belief
from annoloop.looks import SIDE, Look
from annoloop.metrics import Confusion
from annoloop.schema import (
    MIGRATIONS,
    BeliefRow,
    ChangeRow,
    FramePlace,
    FrameRow,
    ImageRow,
    IssueRow,
    MaskChange,
    MaskEvent,
    RunRow,
    ScoreRow,
    TaskRow,
)


class Ledger(Database):
    """The SQLite file. Every method is one transaction; ``transaction`` makes several into one."""

    def __init__(self, path: Path) -> None:
        """Open or create the file and bring its schema up to date.

        Raises:
            LedgerError: not a database, a newer schema, or not writable.
        """
        super().__init__(path, MIGRATIONS)

    # images

    def images(self) -> dict[str, ImageRow]:
        """All samples ever seen, by id."""
        rows = self._execute("SELECT * FROM image")
        return {row["sample_id"]: ImageRow(*row) for row in rows}

    def put_images(self, rows: Iterable[ImageRow]) -> None:
        """Insert or update samples."""
        with self.transaction():
            self._execute_many(
                "INSERT INTO image VALUES (?, ?, ?, ?, ?) ON CONFLICT (sample_id) DO UPDATE SET"
                " image_sha256 = excluded.image_sha256, image_stamp = excluded.image_stamp,"
                " mask_sha256 = excluded.mask_sha256, mask_stamp = excluded.mask_stamp",
                [(r.sample_id, r.image_sha256, r.image_stamp, r.mask_sha256, r.mask_stamp) for r in rows],
            )

    def looks(self) -> dict[str, Look]:
        """How every image looks that was ever compared, by its sha256."""
        rows = self._execute("SELECT image_sha256, bits, grey FROM look")
        return {
            sha256: Look(np.frombuffer(bits, np.uint8), np.frombuffer(grey, np.uint8).reshape(SIDE, SIDE))
            for sha256, bits, grey in rows
        }

    def put_looks(self, looks: Mapping[str, Look]) -> None:
        """Remember how images look, by their sha256."""
        with self.transaction():
            self._execute_many(
                "INSERT OR REPLACE INTO look VALUES (?, ?, ?)",
                [(sha256, one.bits.tobytes(), one.grey.tobytes()) for sha256, one in looks.items()],
            )

    # runs

    def add_run(self, *, kind_digest: str, recipe: str, parent_id: int | None, class_digest: str) -> int:
        """Start a run; returns its number."""
        with self.transaction():
            cursor = self._execute(
                "INSERT INTO run (kind_digest, state, recipe, parent_id, class_digest, started_at)"
                " VALUES (?, 'running', ?, ?, ?, ?)",
                (kind_digest, recipe, parent_id, class_digest, _now()),
            )
            return int(cursor.lastrowid or 0)

    def end_run(self, run_id: int, state: str) -> None:
        """Note that a run finished, failed or was stopped."""
        with self.transaction():
            self._execute("UPDATE run SET state = ?, finished_at = ? WHERE id = ?", (state, _now(), run_id))

    def judge_run(self, run_id: int, *, val_dice: float, promoted: bool, verdict: str) -> None:
        """Note the verdict on a finished run."""
        with self.transaction():
            self._execute(
                "UPDATE run SET state = 'finished', finished_at = ?, val_dice = ?, promoted = ?, verdict = ?"
                " WHERE id = ?",
                (_now(), val_dice, int(promoted), verdict, run_id),
            )

    def runs(self) -> list[RunRow]:
        """All runs, oldest first."""
        return [_run(row) for row in self._execute("SELECT * FROM run ORDER BY id")]

    def run(self, run_id: int) -> RunRow:
        """One run.

        Raises:
            LedgerError: there is no such run.
        """
        row = self._execute("SELECT * FROM run WHERE id = ?", (run_id,)).fetchone()
        if row is None:
            raise LedgerError(f"there is no run {run_id}", where=self._path, hint="annoloop log lists the runs")
        return _run(row)

    def current_run(self) -> RunRow | None:
        """The promoted run that is the current model, if any."""
        row = self._execute("SELECT * FROM run WHERE promoted = 1 ORDER BY id DESC LIMIT 1").fetchone()
        return None if row is None else _run(row)

    def unfinished_run(self, kind_digest: str) -> RunRow | None:
        """The newest run of the same kind that was cut off, if no newer run finished since."""
        row = self._execute("SELECT * FROM run WHERE state <> 'failed' ORDER BY id DESC LIMIT 1").fetchone()
        if row is None or row["kind_digest"] != kind_digest or row["state"] == "finished":
            return None
        return _run(row)

    # scores

    def put_scores(self, run_id: int, rows: Iterable[ScoreRow]) -> None:
        """Insert or replace the scores of a run."""
        with self.transaction():
            self._execute_many(
                "INSERT OR REPLACE INTO score VALUES (?, ?, ?, ?, ?, ?)",
                [(run_id, r.sample_id, r.image_sha256, r.mask_sha256, r.dice, _pack(r.confusion)) for r in rows],
            )

    def scores(self, run_id: int) -> dict[str, ScoreRow]:
        """All scores of a run, by sample id."""
        rows = self._execute("SELECT * FROM score WHERE run_id = ?", (run_id,))
        return {
            row["sample_id"]: ScoreRow(
                row["sample_id"],
                row["image_sha256"],
                row["mask_sha256"],
                row["dice"],
                _unpack(row["confusion"]),
            )
            for row in rows
        }

    def beliefs(self, run_id: int) -> list[BeliefRow]:
        """How far a run believes the labels that it was asked about."""
        rows = self._execute(
            "SELECT image_sha256, mask_sha256, out_of_fold, quality, certainty, contradiction FROM belief"
            " WHERE run_id = ?",
            (run_id,),
        )
        return [BeliefRow(r[0], r[1], bool(r[2]), Belief(*map(_or_nan, r[3:]))) for r in map(tuple, rows)]

    def put_beliefs(self, run_id: int, rows: Iterable[BeliefRow]) -> None:
        """Insert or replace beliefs of a run; SQLite stores NaN as NULL."""
        with self.transaction():
            self._execute_many(
                "INSERT OR REPLACE INTO belief VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(run_id, r.image_sha256, r.mask_sha256, int(r.out_of_fold), *astuple(r.belief)) for r in rows],
            )

    # marks

    def marks(self) -> dict[str, str]:
        """When each sample was marked for the next push, by its id."""
        return {row["sample_id"]: row["made_at"] for row in self._execute("SELECT sample_id, made_at FROM mark")}

    def put_marks(self, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
        """Mark samples for the next push, or no longer."""
        with self.transaction():
            self._execute_many("INSERT OR IGNORE INTO mark VALUES (?, ?)", [(name, _now()) for name in add])
            self._execute_many("DELETE FROM mark WHERE sample_id = ?", [(name,) for name in remove])

    # tasks

    def plan_task(self, task: Mapping[str, Any], frames: Sequence[FrameRow], issues: Sequence[IssueRow] = ()) -> int:
        """Write down a task before anything is sent; keys as in ``TaskRow``, state 'planned'."""
        with self.transaction():
            cursor = self._execute(
                "INSERT INTO task (name, plan_digest, state, source, run_id, class_digest, server, created_at,"
                " shape, tolerance_px, min_region_px) VALUES (:name, :plan_digest, 'planned', :source, :run_id,"
                " :class_digest, :server, :created_at, :shape, :tolerance_px, :min_region_px)",
                {**task, "created_at": _now()},
            )
            task_id = int(cursor.lastrowid or 0)
            self._execute_many(
                "INSERT INTO frame (task_id, sample_id, name, score, base_sha256, pushed_sha256, sent_sha256, shapes,"
                " reading) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (task_id, f.sample_id, f.name, f.score, f.base_sha256, f.pushed_sha256, f.sent_sha256,
                     json.dumps(f.shapes), f.reading)
                    for f in frames
                ],
            )  # fmt: skip
            self._execute_many(
                "INSERT INTO issue (task_id, sample_id, number, message, runs) VALUES (?, ?, ?, ?, ?)",
                [(task_id, i.sample_id, i.number, i.message, json.dumps(i.runs)) for i in issues],
            )
            return task_id

    def set_task(self, task_id: int, state: str, cvat_id: int | None) -> None:
        """Note how far a task has come, and its number in CVAT."""
        with self.transaction():
            self._execute("UPDATE task SET state = ?, cvat_id = ? WHERE id = ?", (state, cvat_id, task_id))

    def tasks(self) -> list[TaskRow]:
        """All tasks, oldest first."""
        return [TaskRow(*row) for row in self._execute("SELECT * FROM task ORDER BY id")]

    def half_pushed_tasks(self) -> list[TaskRow]:
        """Tasks whose push was cut off, oldest first."""
        return [task for task in self.tasks() if task.state not in ("open", "done", "lost")]

    def frames(self, task_id: int) -> list[FrameRow]:
        """The images of a task, in the order of the plan's names."""
        rows = self._execute("SELECT * FROM frame WHERE task_id = ? ORDER BY name", (task_id,))
        return [
            FrameRow(
                row["sample_id"], row["name"], row["score"], row["base_sha256"], row["pushed_sha256"],
                row["sent_sha256"], tuple(json.loads(row["shapes"])), row["state"], row["reading"],
            )
            for row in rows
        ]  # fmt: skip

    def samples_in_open_tasks(self, *, other_than: int | None = None) -> set[str]:
        """Ids of samples that wait for correction somewhere."""
        rows = self._execute(
            "SELECT DISTINCT sample_id FROM frame JOIN task ON task.id = task_id"
            " WHERE task.state NOT IN ('done', 'lost') AND frame.state = 'open' AND task.id IS NOT ?",
            (other_than,),
        )
        return {row["sample_id"] for row in rows}

    def corrected(self) -> set[tuple[str, str]]:
        """(sample id, mask) of every version that annotators left or accepted in a finished frame."""
        rows = self._execute("SELECT sample_id, pushed_sha256 FROM frame WHERE state IN ('changed', 'accepted')")
        return {(row["sample_id"], row["pushed_sha256"]) for row in rows}

    def place_frames(self, task_id: int, places: Iterable[tuple[str, int, int]]) -> None:
        """Note where frames are in CVAT: sample id, job, number of the frame in its task."""
        with self.transaction():
            self._execute_many(
                "UPDATE frame SET job = ?, number = ? WHERE task_id = ? AND sample_id = ?",
                [(job, number, task_id, sample_id) for sample_id, job, number in places],
            )

    def open_places(self) -> dict[str, FramePlace]:
        """Where every sample is that waits for correction in a task of CVAT, by its id; the newest task counts."""
        rows = self._execute(
            "SELECT sample_id, server, cvat_id, job, number FROM frame JOIN task ON task.id = task_id"
            " WHERE task.state NOT IN ('done', 'lost') AND frame.state = 'open' AND cvat_id IS NOT NULL"
            " ORDER BY task.id"
        )
        return {row["sample_id"]: FramePlace(*row) for row in rows}

    def put_frames(self, task_id: int, frames: Iterable[FrameRow]) -> None:
        """Bring frames up to date: what was last in step with CVAT, and what became of them."""
        with self.transaction():
            self._execute_many(
                "UPDATE frame SET base_sha256 = ?, pushed_sha256 = ?, shapes = ?, state = ?"
                " WHERE task_id = ? AND sample_id = ?",
                [(f.base_sha256, f.pushed_sha256, json.dumps(f.shapes), f.state, task_id, f.sample_id) for f in frames],
            )

    def issues(self, task_id: int) -> list[IssueRow]:
        """The issues of a task, frame by frame."""
        rows = self._execute("SELECT * FROM issue WHERE task_id = ? ORDER BY sample_id, number", (task_id,))
        return [
            IssueRow(r["sample_id"], r["number"], r["message"], tuple(json.loads(r["runs"])), r["cvat_id"], r["state"])
            for r in rows
        ]

    def put_issues(self, task_id: int, issues: Iterable[IssueRow]) -> None:
        """Note the issues' numbers in CVAT and what became of them."""
        with self.transaction():
            self._execute_many(
                "UPDATE issue SET cvat_id = ?, state = ? WHERE task_id = ? AND sample_id = ? AND number = ?",
                [(i.cvat_id, i.state, task_id, i.sample_id, i.number) for i in issues],
            )

    # mask changes

    def add_change(self, kind: str, task_id: int | None, changes: Sequence[MaskChange]) -> int:
        """Record masks that are about to be replaced or removed; returns the change's number."""
        with self.transaction():
            cursor = self._execute(
                "INSERT INTO change (kind, task_id, made_at) VALUES (?, ?, ?)", (kind, task_id, _now())
            )
            change_id = int(cursor.lastrowid or 0)
            self._execute_many(
                "INSERT INTO mask_change (change_id, sample_id, old_sha256, new_sha256) VALUES (?, ?, ?, ?)",
                [(change_id, c.sample_id, c.old_sha256, c.new_sha256) for c in changes],
            )
            return change_id

    def unwritten(self) -> list[tuple[int, MaskChange]]:
        """Changes that were recorded but whose file may not have been replaced yet."""
        rows = self._execute(
            "SELECT change_id, sample_id, old_sha256, new_sha256 FROM mask_change WHERE written = 0"
            " ORDER BY change_id, sample_id"
        )
        return [(row["change_id"], MaskChange(*row[1:])) for row in rows]

    def mark_written(self, change_id: int, sample_id: str) -> None:
        """Note that a mask file has been replaced or removed."""
        with self.transaction():
            self._execute(
                "UPDATE mask_change SET written = 1 WHERE change_id = ? AND sample_id = ?",
                (change_id, sample_id),
            )

    def changes(self) -> list[ChangeRow]:
        """All pulls and undos, oldest first."""
        rows = self._execute(
            "SELECT change.*, (SELECT count(*) FROM mask_change WHERE change_id = change.id) AS masks"
            " FROM change ORDER BY id"
        )
        return [ChangeRow(*row) for row in rows]

    def mask_events(self) -> list[MaskEvent]:
        """Every change of every mask, oldest first."""
        rows = self._execute(
            "SELECT sample_id, change_id, kind, made_at, cvat_id, old_sha256, new_sha256 FROM mask_change"
            " JOIN change ON change.id = change_id LEFT JOIN task ON task.id = task_id ORDER BY change_id, sample_id"
        )
        return [MaskEvent(*row) for row in rows]

    def task_that_wrote(self, sample_id: str, mask_sha256: str) -> int | None:
        """The task, by its number in CVAT, whose pull made this version of a mask."""
        row = self._execute(
            "SELECT task.cvat_id FROM mask_change JOIN change ON change.id = change_id JOIN task ON task.id = task_id"
            " WHERE kind = 'pull' AND sample_id = ? AND new_sha256 = ? ORDER BY change_id DESC LIMIT 1",
            (sample_id, mask_sha256),
        ).fetchone()
        return None if row is None else row["cvat_id"]

    def mask_changes(self, change_id: int) -> list[MaskChange]:
        """The masks of one change."""
        rows = self._execute(
            "SELECT sample_id, old_sha256, new_sha256 FROM mask_change WHERE change_id = ? ORDER BY sample_id",
            (change_id,),
        )
        return [MaskChange(*row) for row in rows]

    def mark_undone(self, change_id: int, by: int) -> None:
        """Note that a pull was undone."""
        with self.transaction():
            self._execute("UPDATE change SET undone_by = ? WHERE id = ?", (by, change_id))


def _run(row: Row) -> RunRow:
    values = dict(row)
    return RunRow(**{**values, "promoted": bool(values["promoted"])})


def _pack(counts: Confusion) -> bytes:
    return zlib.compress(np.ascontiguousarray(counts, dtype="<i8").tobytes())


def _unpack(blob: bytes) -> Confusion:
    flat = np.frombuffer(zlib.decompress(blob), dtype="<i8").astype(np.int64)
    side = int(np.sqrt(flat.size))
    return flat.reshape(side, side)


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
