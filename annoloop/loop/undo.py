"""``annoloop undo``: the masks of a pull back as they were before it (law 3), and its issues open again.

The fact to know: an undo that was cut off is finished as soon as the project is opened, and stays untold until the same
command has told its end, which then does not undo another pull.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from annoloop.cvat.server import CvatServer
from annoloop.data.images import read_bytes
from annoloop.errors import DataError, LedgerError
from annoloop.loop.exchange.notices import tell_cvat
from annoloop.progress import Say, unsaid
from annoloop.project.project import Project
from annoloop.project.rows import ChangeRow, MaskChange


@dataclass(frozen=True, slots=True)
class UndoReport:
    """Which pull was undone, whose masks were brought back and whose first masks were removed (sample ids).

    ``issues_reopened``: of which CVAT knows that they are open again; ``issues_to_reopen``: of which it will hear with
    the next pull.  ``resumed``: an earlier undo was cut off and is finished now.
    """

    change: int
    pulled_at: str
    restored: tuple[str, ...]
    removed: tuple[str, ...]
    issues_reopened: int = 0
    issues_to_reopen: int = 0
    resumed: bool = False


def undo(project: Project, *, force: bool = False, server: CvatServer | None = None, say: Say = unsaid) -> UndoReport:
    """Undo the newest pull that is not undone yet; undo again for the one before it.

    Args:
        server: is told that the issues which the pull resolved are open again; without one the next pull tells.

    Raises:
        LedgerError: there is nothing to undo, or an older mask is missing in the history or damaged.
        DataError: a mask was edited or deleted since; ``force`` goes back all the same, its bytes go into history.
    """
    report = _with_issues(project, _cut_off(project) or _undo(project, force), server, say)
    for change in project.ledger.changes():
        if change.id == report.change and change.undone_by is not None:
            project.ledger.mark_told(change.undone_by)
    return report


def to_tell(project: Project) -> bool:
    """Whether undoing will have something to tell CVAT."""
    newest = _cut_off(project) or _newest(project)
    if newest is None:
        return False
    number = newest.change if isinstance(newest, UndoReport) else newest.id
    task = next((one.task_id for one in project.ledger.changes() if one.id == number), None)
    return task is not None and any(
        issue.settled_by == number and issue.state in ("resolved", "unsettled") for issue in project.ledger.issues(task)
    )


def _undo(project: Project, force: bool) -> UndoReport:
    change = _newest(project)
    if change is None:
        raise LedgerError("there is no pull to undo", where=project.path.parent)
    masks = project.ledger.mask_changes(change.id)
    edited = [m.sample_id for m in masks if project.mask_sha256(m.sample_id) != m.new_sha256]
    if edited and not force:
        raise DataError(
            f"{len(edited)} masks were edited since that pull: {', '.join(edited[:5])}; nothing was written",
            hint="--force restores the older masks all the same; today's stay in the history",
        )
    for mask in masks:  # looked at now: a hole in the history is to be known before anything is recorded
        if mask.old_sha256 is not None:
            project.object_bytes(mask.old_sha256)
    back = [MaskChange(m.sample_id, _keep_present(project, m.sample_id), m.old_sha256) for m in masks]
    with project.ledger.transaction():
        undoing = project.change_masks("undo", change.task_id, back)
        project.ledger.mark_undone(change.id, undoing)
        _step_back(project, change, back)
    done = project.write_masks()
    return UndoReport(change.id, change.made_at, done.written, done.removed)


def _cut_off(project: Project) -> UndoReport | None:
    """The undo of which nobody has heard the end, whose masks are in place by now, if there is one."""
    changes = project.ledger.changes()
    undoing = next((one for one in reversed(changes) if one.kind == "undo" and not one.told), None)
    if undoing is None:
        return None
    undone = next(one for one in changes if one.undone_by == undoing.id)
    masks = project.ledger.mask_changes(undoing.id)
    restored = tuple(mask.sample_id for mask in masks if mask.new_sha256 is not None)
    removed = tuple(mask.sample_id for mask in masks if mask.new_sha256 is None)
    return UndoReport(undone.id, undone.made_at, restored, removed, resumed=True)


def _newest(project: Project) -> ChangeRow | None:
    pulls = [one for one in project.ledger.changes() if one.kind == "pull" and one.undone_by is None]
    return pulls[-1] if pulls else None


def _keep_present(project: Project, sample_id: str) -> str | None:
    path = project.mask_path(sample_id)
    return project.keep_object(read_bytes(path)) if path.exists() else None


def _step_back(project: Project, change: ChangeRow, back: list[MaskChange]) -> None:
    """The frames' masks on disk are the older ones again, and nobody asked for the newer ones; issues are open."""
    if change.task_id is None:
        return
    older = {m.sample_id: m.new_sha256 for m in back}
    frames = [f for f in project.ledger.frames(change.task_id) if f.sample_id in older]
    project.ledger.put_frames(
        change.task_id, [replace(f, base_sha256=older[f.sample_id], state="undone") for f in frames]
    )
    issues = [i for i in project.ledger.issues(change.task_id) if i.settled_by == change.id]
    after = {"settled": "open", "resolved": "unsettled"}
    project.ledger.put_issues(change.task_id, [replace(i, state=after.get(i.state, i.state)) for i in issues])


def _with_issues(project: Project, report: UndoReport, server: CvatServer | None, say: Say) -> UndoReport:
    """Tell CVAT, where it can be told."""
    task = next(one.task_id for one in project.ledger.changes() if one.id == report.change)
    if task is None:
        return report
    reopened = 0 if server is None else tell_cvat(project, server, task, say).reopened
    left = sum(issue.state == "unsettled" for issue in project.ledger.issues(task))
    return replace(report, issues_reopened=reopened, issues_to_reopen=left)
