"""``annoloop log``: the history of the loop, round by round, with mDice."""

from __future__ import annotations

from dataclasses import dataclass

from annoloop.project.project import Project


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One thing that happened: a training with its mDice and verdict, a push, a pull or an undo.

    ``round``: of a pull or undo, its number among them, from 1; ``annoloop export data --round`` takes it.
    """

    at: str
    what: str
    run: int | None = None
    val_dice: float | None = None
    promoted: bool | None = None
    task: int | None = None
    masks: int | None = None
    note: str = ""
    round: int | None = None


def log(project: Project) -> list[LogEntry]:
    """All entries, oldest first."""
    ledger = project.ledger
    tasks = ledger.tasks()
    cvat_ids = {t.id: t.cvat_id for t in tasks}
    entries = [
        LogEntry(
            r.started_at,
            "retrain",
            run=r.id,
            val_dice=r.val_dice,
            promoted=r.promoted if r.state == "finished" else None,
            note=r.verdict or r.state,
        )
        for r in ledger.runs()
    ]
    entries += [
        LogEntry(
            t.created_at, "push", run=t.run_id, task=t.cvat_id, masks=ledger.frame_states(t.id).total(), note=t.name
        )
        for t in tasks
    ]
    entries += [
        LogEntry(
            c.made_at,
            c.kind,
            task=None if c.task_id is None else cvat_ids[c.task_id],
            masks=c.masks,
            note="undone" if c.undone_by is not None else "",
            round=number,
        )
        for number, c in enumerate(ledger.changes(), 1)
    ]
    return sorted(entries, key=lambda e: e.at)
