"""What CVAT is to hear of issues: that their area was corrected, or that this was undone.

Not here: what settles an issue (``corrections.py``).  The fact to know: the ledger says first what CVAT is to hear, and
only after CVAT has heard it that it knows; so what was not told is told by the next pull, however this one ended.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from annoloop.cvat.server import CvatServer
from annoloop.progress import Say, Track, silent
from annoloop.project.project import Project

_KNOWN = {"settled": "resolved", "unsettled": "open"}
"""What an issue is once CVAT has heard of it."""


@dataclass(frozen=True, slots=True)
class Notices:
    """How many issues of a task CVAT has just heard of: that they are resolved, and that they are open again."""

    resolved: int = 0
    reopened: int = 0


def tell_cvat(project: Project, server: CvatServer, task_id: int, say: Say, track: Track = silent) -> Notices:
    """Tell CVAT of a task's issues what it does not know yet; what fails is said and stays to be told."""
    untold = [i for i in project.ledger.issues(task_id) if i.state in _KNOWN and i.cvat_id is not None]
    if not untold:
        return Notices()
    wanted = {issue.cvat_id: issue.state == "settled" for issue in untold if issue.cvat_id is not None}
    told, failure = server.issues.set_resolved(wanted, track)
    if failure is not None:
        rest = len(untold) - len(told)
        say(f"{rest} issues could not be brought up to date, the next pull tries again: {failure.message}")
    known = [issue for issue in untold if issue.cvat_id in told]
    project.ledger.put_issues(task_id, [replace(issue, state=_KNOWN[issue.state]) for issue in known])
    resolved = sum(issue.state == "settled" for issue in known)
    return Notices(resolved, len(known) - resolved)
