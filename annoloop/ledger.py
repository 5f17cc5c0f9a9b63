"""The loop's memory: images, runs, scores, beliefs and marks; with the journal's tasks and mask changes, all of it.

All SQL of the package is here and in ``journal.py``; rows leave as dataclasses.  Not here: mask bytes, which lie in
the object store and are named by their sha256.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import astuple
from pathlib import Path

import numpy as np

from annoloop.database import Row, now
from annoloop.errors import LedgerError
from annoloop.journal import Journal
from annoloop.label_quality import Belief
from annoloop.looks import SIDE, Look
from annoloop.metrics import Confusion
from annoloop.schema import MIGRATIONS, BeliefRow, ImageRow, RunRow, ScoreRow


class Ledger(Journal):
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
                (kind_digest, recipe, parent_id, class_digest, now()),
            )
            return int(cursor.lastrowid or 0)

    def end_run(self, run_id: int, state: str) -> None:
        """Note that a run finished, failed or was stopped."""
        with self.transaction():
            self._execute("UPDATE run SET state = ?, finished_at = ? WHERE id = ?", (state, now(), run_id))

    def judge_run(self, run_id: int, *, val_dice: float, promoted: bool, verdict: str) -> None:
        """Note the verdict on a finished run."""
        with self.transaction():
            self._execute(
                "UPDATE run SET state = 'finished', finished_at = ?, val_dice = ?, promoted = ?, verdict = ?"
                " WHERE id = ?",
                (now(), val_dice, int(promoted), verdict, run_id),
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
            self._execute_many("INSERT OR IGNORE INTO mark VALUES (?, ?)", [(name, now()) for name in add])
            self._execute_many("DELETE FROM mark WHERE sample_id = ?", [(name,) for name in remove])


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
