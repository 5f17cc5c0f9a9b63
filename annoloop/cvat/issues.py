"""IssueBoard: the issues on the frames of a task, pinned for annotators and resolved again.

Not here: what an issue says (``loop/exchange/planning.py``).  The fact to know: CVAT makes an issue twice that is sent
twice, so what is there is looked at before anything is pinned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from annoloop.cvat.session import TRIES, Session
from annoloop.cvat.wire import Issue, JobInfo, issue_info
from annoloop.errors import CvatError
from annoloop.progress import Track, silent

_AT_ONCE = 8
"""Small requests that are on their way at the same time."""


class IssueBoard:
    """The issues of a server's tasks."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def of_task(self, task_id: int) -> list[Issue]:
        """The issues of a task, without their messages."""
        return [issue_info(i) for i in self.session.pages("issues", task_id=task_id)]

    def pin(
        self, task_id: int, wanted: Sequence[Issue], jobs: Sequence[JobInfo], track: Track = silent
    ) -> dict[Issue, int]:
        """Pin issues on frames of a task with these jobs, each once, however often this is begun; their numbers.

        Two issues are the same if frame and position are.
        """
        job_of = {issue: next(job.id for job in jobs if issue.frame in job.frames) for issue in wanted}
        for attempt in range(1, TRIES + 1):
            there = {(i.frame, i.position): i.id for i in self.of_task(task_id) if i.id is not None}
            missing = [issue for issue in wanted if (issue.frame, issue.position) not in there]
            if not missing:
                return {issue: there[issue.frame, issue.position] for issue in wanted}
            failed = self._pin_all([(job_of[issue], issue) for issue in missing], track)
            if failed is not None and (attempt == TRIES or not failed.transient):
                raise failed
        raise CvatError(
            f"{len(missing)} issues were taken but are not there", where=f"{self.session.url}/tasks/{task_id}"
        )

    def set_resolved(
        self, wanted: Mapping[int, bool], track: Track = silent
    ) -> tuple[frozenset[int], CvatError | None]:
        """Resolve issues, or open them again, several at a time; safe to repeat.

        Args:
            wanted: by number, whether an issue is to be resolved.

        Returns:
            Those of which CVAT knows now, also where somebody has deleted them; and the first failure, if any.
        """

        def tell(issue_id: int) -> CvatError | None:
            try:
                self.session.call("PATCH", f"issues/{issue_id}", {"resolved": wanted[issue_id]}, repeatable=True)
            except CvatError as error:
                return None if error.status == 404 else error
            return None

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            outcomes = dict(zip(wanted, track(pool.map(tell, wanted), "telling CVAT", len(wanted)), strict=True))
        failed = [error for error in outcomes.values() if error is not None]
        return frozenset(number for number, error in outcomes.items() if error is None), next(iter(failed), None)

    def _pin_all(self, wanted: Sequence[tuple[int, Issue]], track: Track) -> CvatError | None:
        """Try to pin them all; the first failure, if any."""

        def pin(job_id: int, issue: Issue) -> CvatError | None:
            body = {"job": job_id, "frame": issue.frame, "position": list(issue.position), "message": issue.message}
            try:
                self.session.call("POST", "issues", body)
            except CvatError as error:
                return error
            return None

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            outcomes = pool.map(lambda one: pin(*one), wanted)
            failures = [error for error in track(outcomes, "pinning issues", len(wanted)) if error is not None]
        # One that will not work the next time either says more than one that might.
        return min(failures, key=lambda error: error.transient, default=None)
