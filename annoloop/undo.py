"""``annoloop undo``: the masks of a pull back as they were before it (law 3)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from annoloop.errors import DataError, LedgerError
from annoloop.images import file_sha256
from annoloop.project import Project
from annoloop.schema import ChangeRow, MaskChange


@dataclass(frozen=True, slots=True)
class UndoReport:
    """Which pull was undone, and whose masks were brought back (sample ids)."""

    change: int
    pulled_at: str
    restored: tuple[str, ...]
    kept: tuple[str, ...]


def undo(project: Project, *, force: bool = False) -> UndoReport:
    """Undo the newest pull that is not undone yet; undo again for the one before it.

    Raises:
        LedgerError: there is nothing to undo.
        DataError: a mask was edited since; ``force`` restores it all the same, its bytes go into history.
    """
    change = _newest(project)
    masks = [m for m in project.ledger.mask_changes(change.id) if m.old_sha256 is not None]
    new = [m.sample_id for m in project.ledger.mask_changes(change.id) if m.old_sha256 is None]
    edited = [m.sample_id for m in masks if file_sha256(project.mask_path(m.sample_id)) != m.new_sha256]
    if edited and not force:
        raise DataError(
            f"{len(edited)} masks were edited since that pull: {', '.join(edited[:5])}; nothing was written",
            hint="--force restores the older masks all the same; today's stay in the history",
        )
    back = [MaskChange(m.sample_id, _keep_present(project, m.sample_id), str(m.old_sha256)) for m in masks]
    with project.ledger.transaction():
        undoing = project.change_masks("undo", change.task_id, back)
        project.ledger.mark_undone(change.id, undoing)
        _step_back(project, change, back)
    restored = project.write_masks().written
    return UndoReport(change.id, change.made_at, restored, tuple(new))


def _newest(project: Project) -> ChangeRow:
    for change in reversed(project.ledger.changes()):
        if change.kind == "pull" and change.undone_by is None:
            return change
    raise LedgerError("there is no pull to undo", where=project.path.parent)


def _keep_present(project: Project, sample_id: str) -> str:
    return project.keep_object(project.mask_path(sample_id).read_bytes())


def _step_back(project: Project, change: ChangeRow, back: list[MaskChange]) -> None:
    """The frames' masks on disk are the older ones again, so that the task can be pulled once more."""
    if change.task_id is None:
        return
    older = {m.sample_id: m.new_sha256 for m in back}
    frames = project.ledger.frames(change.task_id)
    project.ledger.put_frames(
        change.task_id, [replace(f, base_sha256=older[f.sample_id]) for f in frames if f.sample_id in older]
    )
