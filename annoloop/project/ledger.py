"""The loop's memory: images, runs, scores, beliefs and marks; with the journal's tasks and mask changes, all of it.

All SQL of the package is here and in ``journal.py``; rows leave as dataclasses.  Not here: mask bytes, which lie in
the object store and are named by their sha256.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import astuple
from pathlib import Path

import numpy as np

from annoloop.errors import LedgerError
from annoloop.metrics.label_quality import Belief
from annoloop.metrics.perceptual_hash import SIDE, Look
from annoloop.metrics.ranking import Candidate
from annoloop.metrics.scores import Confusion, wrong_px
from annoloop.project.database import Row, now
from annoloop.project.journal import Journal
from annoloop.project.rows import BeliefRow, Census, FactRow, ImageRow, RunRow, ScoreRow
from annoloop.project.schema import MIGRATIONS

_FIRST_PAGE = 1000
"""Rows; each page is twice as long as the one before."""


class Ledger(Journal):
    """The SQLite file. Every method is one transaction; ``transaction`` makes several into one."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open or create the file and bring its schema up to date; ``read_only`` as in ``Database``.

        Raises:
            LedgerError: not a database, a newer schema, or not writable.
        """
        super().__init__(path, MIGRATIONS, {"wrong_px": lambda blob: wrong_px(_unpack(blob))}, read_only=read_only)

    # images

    def images(self, ids: Collection[str] | None = None) -> dict[str, ImageRow]:
        """Of all samples ever seen, or of these, what is known, by id."""
        rows = self._select("image.* FROM image WHERE TRUE", key="sample_id", keys=ids)
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

    def looks(self, image_sha256s: Collection[str] | None = None) -> dict[str, Look]:
        """How the images look that were ever compared, or these of them, by sha256."""
        rows = self._select("look.* FROM look WHERE TRUE", key="image_sha256", keys=image_sha256s)
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

    def fact_stamps(self) -> dict[str, str]:
        """With which stamps ``eda`` saw each sample, by its id."""
        return {row["sample_id"]: row["stamps"] for row in self._execute("SELECT sample_id, stamps FROM fact")}

    def facts(self, ids: Collection[str]) -> list[FactRow]:
        """What ``eda`` saw in these samples."""
        return [FactRow(*row) for row in self._select("fact.* FROM fact WHERE TRUE", key="sample_id", keys=ids)]

    def put_facts(self, rows: Iterable[FactRow]) -> None:
        """Insert or replace what ``eda`` saw."""
        with self.transaction():
            self._execute_many(
                "INSERT OR REPLACE INTO fact VALUES (?, ?, ?, ?)",
                [(r.sample_id, r.stamps, r.image_sha256, r.facts) for r in rows],
            )

    def census(self, place: str) -> Census | None:
        """What the folders of a place held when they were last listed."""
        row = self._execute("SELECT stamps, images, labelled FROM census WHERE place = ?", (place,)).fetchone()
        return None if row is None else Census(json.loads(row["stamps"]), row["images"], row["labelled"])

    def put_census(self, place: str, census: Census) -> None:
        """Remember what the folders of a place hold."""
        with self.transaction():
            self._execute(
                "INSERT OR REPLACE INTO census VALUES (?, ?, ?, ?)",
                (place, json.dumps(census.stamps), census.images, census.labelled),
            )

    # runs

    def add_run(
        self, *, kind_digest: str, recipe: str, parent_id: int | None, class_digest: str, above: int = 0
    ) -> int:
        """Start a run; returns its number, which is higher than ``above`` and than every one before."""
        with self.transaction():
            cursor = self._execute(
                "INSERT INTO run (id, kind_digest, state, recipe, parent_id, class_digest, started_at)"
                " SELECT max(coalesce(max(id), 0), ?) + 1, ?, 'running', ?, ?, ?, ? FROM run",
                (above, kind_digest, recipe, parent_id, class_digest, now()),
            )
            return int(cursor.lastrowid or 0)

    def put_run_config(self, run_id: int, config_sha256: str) -> None:
        """Note which bytes a run's resolved config has."""
        with self.transaction():
            self._execute("UPDATE run SET config_sha256 = ? WHERE id = ?", (config_sha256, run_id))

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
                "INSERT OR REPLACE INTO score VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        run_id,
                        r.sample_id,
                        r.image_sha256,
                        r.mask_sha256,
                        r.dice,
                        _pack(r.confusion),
                        wrong_px(r.confusion),
                    )
                    for r in rows
                ],
            )

    def scores(self, run_id: int, ids: Collection[str] | None = None) -> dict[str, ScoreRow]:
        """The scores of a run on all samples, or on these, by sample id."""
        rows = self._select("score.* FROM score WHERE run_id = ?", (run_id,), key="sample_id", keys=ids)
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

    def unscored(self, run_id: int, ids: Collection[str]) -> set[str]:
        """Those of some samples whose image or mask is another than a run was scored on, or that it was never."""
        if not ids:
            return set()
        # Sorted alike, both are read once side by side, which takes half the time of looking up each.
        between = "sample_id BETWEEN :first AND :last"
        rows = self._execute(
            f"SELECT sample_id, image_sha256, mask_sha256 FROM image WHERE {between}"  # noqa: S608 - of our own words
            " EXCEPT"
            f" SELECT sample_id, image_sha256, mask_sha256 FROM score WHERE run_id = :run AND {between}"
            " ORDER BY sample_id, image_sha256, mask_sha256",
            {"run": run_id, "first": min(ids), "last": max(ids)},
        )
        return {row["sample_id"] for row in rows}.intersection(ids)

    def worst_first(self, run_id: int, ids: Collection[str] | None = None) -> Iterator[Candidate]:
        """All samples that a run was scored on, or these of them, by Dice.

        They are read in pages, and only as far as somebody asks for more.  A query left open instead would refuse
        our next change as soon as another process has made one.
        """
        what = "sample_id, dice, wrong_px FROM score WHERE run_id = ?"
        start, size = 0, _FIRST_PAGE
        while True:
            order = f"ORDER BY dice, wrong_px DESC, sample_id LIMIT {size} OFFSET {start}"
            page = self._select(what, (run_id,), key="sample_id", keys=ids, order=order).fetchall()
            yield from (Candidate(*row) for row in page)
            if len(page) < size:
                return
            start, size = start + size, 2 * size

    def beliefs(self, run_id: int, image_sha256s: Collection[str] | None = None) -> list[BeliefRow]:
        """How far a run believes the labels that it was asked about, of all images or of these."""
        rows = self._select(
            "image_sha256, mask_sha256, out_of_fold, quality, certainty, contradiction FROM belief WHERE run_id = ?",
            (run_id,),
            key="image_sha256",
            keys=image_sha256s,
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
