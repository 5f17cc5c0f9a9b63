"""Working time as a CVAT server with analytics knows it: minutes per job and user, from an export of its events.

Not here: what the minutes are compared with (``loop/effort.py``).  The fact to know: the server adds up the time from
one doing in a job to the next, unless it is 100 s or more: a pause is no work; minutes are sound by job, not by frame.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote, urlsplit

from annoloop.cvat.answers import Answer
from annoloop.cvat.session import Session
from annoloop.errors import CvatError
from annoloop.progress import Track, silent

_SCOPE = "send:working_time"
_MS_PER_MINUTE = 60_000
_LONGEST_MS = 1000 * 60 * 60 * 24 * 366
"""No job takes a year of work: a larger number is none."""


@dataclass(frozen=True, slots=True)
class WorkingTime:
    """How long a user worked in a job, in minutes."""

    job: int
    user: str
    minutes: float


def working_times(session: Session, task_id: int, since: datetime, track: Track = silent) -> list[WorkingTime]:
    """The working time of each user in each job of a task, from a moment on.

    Raises:
        CvatError: the server keeps no events, shows this account none, or failed.
    """
    query = {"task_id": task_id, "from": since.isoformat()}
    asked = session.call("POST", "events/export", repeatable=True, **query)
    where = f"{session.url}/api/events/export"
    request_id = Answer(asked, where)["rq_id"].text()
    if not session.wait_for(request_id, track):
        raise CvatError("the server forgot the export of events", where=where)
    result = session.read(f"requests/{quote(request_id, safe='')}")["result_url"]
    # Behind a proxy a server may not know its own name; whatever it says, our credentials are for this one alone.
    where_to = urlsplit(result.text())
    _, is_api, path = where_to.path.partition("/api/")
    if not is_api:
        raise result.refused("is no address of CVAT's API")
    file = session.file(f"{path}?{where_to.query}" if where_to.query else path)
    return read_working_times(file.decode("utf-8", "replace").splitlines(), task_id)


def read_working_times(lines: Iterable[str], task_id: int) -> list[WorkingTime]:
    """The sums of an exported CSV; rows of other tasks and other events count for nothing.

    >>> head = "scope,timestamp,duration,task_id,job_id,user_name"
    >>> read_working_times([head, "send:working_time,t,90000,3,7,ann", "load:job,t,9,3,7,ann"], 3)
    [WorkingTime(job=7, user='ann', minutes=1.5)]

    Raises:
        CvatError: the columns that are needed are not there.
    """
    table = csv.DictReader(io.StringIO("\n".join(lines)))
    needed = {"scope", "duration", "task_id", "job_id"}
    if not needed <= set(table.fieldnames or ()):
        raise CvatError(f"the exported events lack {', '.join(sorted(needed - set(table.fieldnames or ())))}")
    totals: dict[tuple[int, str], float] = {}
    for row in table:
        if row["scope"] != _SCOPE or _whole(row["task_id"]) != task_id:
            continue
        job, duration = _whole(row["job_id"]), _whole(row["duration"])
        if job is not None and duration is not None and duration <= _LONGEST_MS:
            key = job, row.get("user_name") or ""
            totals[key] = totals.get(key, 0) + duration / _MS_PER_MINUTE
    return [WorkingTime(job, user, minutes) for (job, user), minutes in sorted(totals.items())]


def _whole(text: str | None) -> int | None:
    """A number, which an export of a database may write as 7 or 7.0."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return int(number) if number >= 0 and number.is_integer() else None
