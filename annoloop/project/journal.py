"""What goes to annotators and what comes back: tasks with their frames and issues, and every change of a mask.

One half of the ledger; the other, images, runs and scores, is ``ledger.py``.  The fact to know: a mask change is
recorded before the working tree is touched, and ``written`` only after, so an interrupted change can be finished.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from annoloop.masks.tiling import Tile
from annoloop.project.database import Database, now
from annoloop.project.rows import (
    ChangeRow,
    FramePlace,
    FrameRow,
    IssueRow,
    MaskChange,
    MaskEvent,
    ProposalRow,
    TaskRow,
)


class Journal(Database):
    """The tables of tasks and mask changes. Every method is one transaction."""

    # tasks

    def plan_task(
        self,
        task: Mapping[str, Any],
        frames: Sequence[FrameRow],
        issues: Sequence[IssueRow] = (),
        proposals: Sequence[ProposalRow] = (),
    ) -> int:
        """Write down a task before anything is sent; keys as in ``TaskRow``, state 'planned'."""
        with self.transaction():
            cursor = self._execute(
                "INSERT INTO task (name, plan_digest, state, source, run_id, class_digest, server, created_at,"
                " shape, tolerance_px, min_region_px) VALUES (:name, :plan_digest, 'planned', :source, :run_id,"
                " :class_digest, :server, :created_at, :shape, :tolerance_px, :min_region_px)",
                {**task, "created_at": now()},
            )
            task_id = int(cursor.lastrowid or 0)
            self._execute_many(
                "INSERT INTO frame (task_id, sample_id, name, score, base_sha256, pushed_sha256, sent_sha256, shapes,"
                " reading, label_sha256, tiles) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (task_id, f.sample_id, f.name, f.score, f.base_sha256, f.pushed_sha256, f.sent_sha256,
                     json.dumps(f.shapes), f.reading, f.label_sha256, _packed(f.tiles))
                    for f in frames
                ],
            )  # fmt: skip
            self._execute_many(
                "INSERT INTO issue (task_id, sample_id, number, message, runs) VALUES (?, ?, ?, ?, ?)",
                [(task_id, i.sample_id, i.number, i.message, json.dumps(i.runs)) for i in issues],
            )
            self._execute_many(
                "INSERT INTO proposal (task_id, number, sample_id, labelled, becomes, runs, confidence, weight)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (task_id, p.number, p.sample_id, p.labelled, p.becomes, json.dumps(p.runs), p.confidence, p.weight)
                    for p in proposals
                ],
            )
            return task_id

    def set_task(self, task_id: int, state: str, cvat_id: int | None) -> None:
        """Note how far a task has come, and its number in CVAT."""
        with self.transaction():
            self._execute(
                "UPDATE task SET state = ?, cvat_id = ?,"
                " opened_at = coalesce(opened_at, CASE ? WHEN 'open' THEN ? END) WHERE id = ?",
                (state, cvat_id, state, now(), task_id),
            )

    def tasks(self) -> list[TaskRow]:
        """All tasks, oldest first."""
        return [TaskRow(*row) for row in self._execute("SELECT * FROM task ORDER BY id")]

    def tasks_on(self, server: str) -> list[TaskRow]:
        """Tasks that a server, by its address, has given a number, oldest first."""
        return [task for task in self.tasks() if task.cvat_id is not None and task.server == server]

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
                row["label_sha256"], _tiles(row["tiles"]),
            )
            for row in rows
        ]  # fmt: skip

    def frame_states(self, task_id: int) -> Counter[str]:
        """How many images of a task are in which state."""
        rows = self._execute("SELECT state, count(*) AS frames FROM frame WHERE task_id = ? GROUP BY state", (task_id,))
        return Counter({row["state"]: row["frames"] for row in rows})

    # CROSS JOIN has SQLite begin with the few tasks that are open; it does not know how many are.

    def samples_in_open_tasks(self, *, other_than: int | None = None, among: Collection[str] | None = None) -> set[str]:
        """Ids of samples that wait for correction somewhere; of all samples, or of these."""
        rows = self._select(
            "sample_id FROM task CROSS JOIN frame WHERE task_id = task.id"
            " AND task.state NOT IN ('done', 'lost') AND frame.state = 'open' AND task.id IS NOT ?",
            (other_than,),
            key="sample_id",
            keys=among,
        )
        return {row["sample_id"] for row in rows}

    def corrected(self) -> set[tuple[str, str]]:
        """(sample id, mask) of every version that annotators left or accepted in a finished frame.

        Not of reviews: a verdict is on a region, and says nothing of the rest of the mask.
        """
        rows = self._execute(
            "SELECT sample_id, pushed_sha256 FROM frame WHERE state IN ('changed', 'accepted')"
            " AND NOT EXISTS (SELECT 1 FROM task WHERE id = task_id AND source = 'proposals')"
        )
        return {(sample_id, mask_sha256) for sample_id, mask_sha256 in rows}

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
            "SELECT sample_id, server, cvat_id, job, number FROM task CROSS JOIN frame ON task_id = task.id"
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
            IssueRow(
                r["sample_id"], r["number"], r["message"], tuple(json.loads(r["runs"])), r["cvat_id"], r["state"],
                r["settled_by"],
            )
            for r in rows
        ]  # fmt: skip

    def tasks_with_untold_issues(self) -> set[int]:
        """Tasks with issues of which CVAT has not heard yet that they are settled, or no longer."""
        rows = self._execute("SELECT task_id FROM issue WHERE state IN ('settled', 'unsettled')")
        return {row["task_id"] for row in rows}

    def put_issues(self, task_id: int, issues: Iterable[IssueRow]) -> None:
        """Note the issues' numbers in CVAT and what became of them."""
        with self.transaction():
            self._execute_many(
                "UPDATE issue SET cvat_id = ?, state = ?, settled_by = ?"
                " WHERE task_id = ? AND sample_id = ? AND number = ?",
                [(i.cvat_id, i.state, i.settled_by, task_id, i.sample_id, i.number) for i in issues],
            )

    # proposals

    def proposals(self, task_id: int) -> list[ProposalRow]:
        """The proposals of a review, heaviest first."""
        rows = self._execute("SELECT * FROM proposal WHERE task_id = ? ORDER BY number", (task_id,))
        return [_proposal(row) for row in rows]

    def refused_proposals(self) -> list[ProposalRow]:
        """All that somebody answered without accepting it."""
        return [_proposal(r) for r in self._execute("SELECT * FROM proposal WHERE verdict IN ('reject', 'wrong too')")]

    def put_verdicts(self, task_id: int, verdicts: Mapping[int, str]) -> None:
        """Note what was answered, by the numbers of the proposals."""
        with self.transaction():
            self._execute_many(
                "UPDATE proposal SET verdict = ? WHERE task_id = ? AND number = ?",
                [(verdict, task_id, number) for number, verdict in verdicts.items()],
            )

    # mask changes

    def add_change(self, kind: str, task_id: int | None, changes: Sequence[MaskChange]) -> int:
        """Record masks that are about to be replaced or removed; returns the change's number."""
        with self.transaction():
            cursor = self._execute(
                "INSERT INTO change (kind, task_id, made_at, told) VALUES (?, ?, ?, ?)",
                (kind, task_id, now(), kind != "undo"),
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

    def mark_told(self, change_id: int) -> None:
        """Note that whoever asked for an undo has heard what came of it."""
        with self.transaction():
            self._execute("UPDATE change SET told = 1 WHERE id = ?", (change_id,))

    def masks_changed_since(self, moment: str) -> int:
        """How many masks pulls and undos left other than they were at a moment, as it is stored in a row."""
        rows = self._execute(
            "SELECT sample_id, old_sha256, new_sha256 FROM mask_change"
            " WHERE change_id IN (SELECT id FROM change WHERE made_at > ?) ORDER BY change_id",
            (moment,),
        )
        before: dict[str, str | None] = {}
        now_there: dict[str, str | None] = {}
        for sample_id, old, new in rows:
            before.setdefault(sample_id, old)
            now_there[sample_id] = new
        return sum(now_there[name] != old for name, old in before.items())

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


def _packed(tiles: Sequence[Tile]) -> str | None:
    return json.dumps([[one.box_ltrb, one.core_ltrb] for one in tiles]) if tiles else None


def _tiles(stored: str | None) -> tuple[Tile, ...]:
    return tuple(Tile(tuple(box), tuple(core)) for box, core in json.loads(stored or "[]"))


def _proposal(row: Any) -> ProposalRow:
    return ProposalRow(
        row["sample_id"], row["number"], row["labelled"], row["becomes"], tuple(json.loads(row["runs"])),
        row["confidence"], row["weight"], row["verdict"],
    )  # fmt: skip
