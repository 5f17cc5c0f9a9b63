"""``annoloop undo``: the masks of a pull back as they were before it (law 3)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from annoloop.data.images import read_bytes
from annoloop.errors import DataError, LedgerError
from annoloop.project.project import Project
from annoloop.project.schema import ChangeRow, MaskChange


@dataclass(frozen=True, slots=True)
class UndoReport:
    """Which pull was undone, whose masks were brought back and whose first masks were removed (sample ids)."""

    change: int
    pulled_at: str
    restored: tuple[str, ...]
    removed: tuple[str, ...]


def undo(project: Project, *, force: bool = False) -> UndoReport:
    """Undo the newest pull that is not undone yet; undo again for the one before it.

    Raises:
        LedgerError: there is nothing to undo.
        DataError: a mask was edited or deleted since; ``force`` goes back all the same, its bytes go into history.
    """
    change = _newest(project)
    masks = project.ledger.mask_changes(change.id)
    edited = [m.sample_id for m in masks if project.mask_sha256(m.sample_id) != m.new_sha256]
    if edited and not force:
        raise DataError(
            f"{len(edited)} masks were edited since that pull: {', '.join(edited[:5])}; nothing was written",
            hint="--force restores the older masks all the same; today's stay in the history",
        )
    back = [MaskChange(m.sample_id, _keep_present(project, m.sample_id), m.old_sha256) for m in masks]
    with project.ledger.transaction():
        undoing = project.change_masks("undo", change.task_id, back)
        project.ledger.mark_undone(change.id, undoing)
        _step_back(project, change, back)
    done = project.write_masks()
    return UndoReport(change.id, change.made_at, done.written, done.removed)


def _newest(project: Project) -> ChangeRow:
    for change in reversed(project.ledger.changes()):
        if change.kind == "pull" and change.undone_by is None:
            return change
    raise LedgerError("there is no pull to undo", where=project.path.parent)


def _keep_present(project: Project, sample_id: str) -> str | None:
    path = project.mask_path(sample_id)
    return project.keep_object(read_bytes(path)) if path.exists() else None


def _step_back(project: Project, change: ChangeRow, back: list[MaskChange]) -> None:
    """The frames' masks on disk are the older ones again, so that the task can be pulled once more."""
    if change.task_id is None:
        return
    older = {m.sample_id: m.new_sha256 for m in back}
    frames = project.ledger.frames(change.task_id)
    project.ledger.put_frames(
        change.task_id, [replace(f, base_sha256=older[f.sample_id]) for f in frames if f.sample_id in older]
    )
