"""Working time: what the page of a job says of its user's doings, and its export as CSV.

The page posts events; the server adds up the time between neighbours of one job, unless it is 100 s or more, and keeps
the sum as an event ``send:working_time``.  Only that is kept here.  An export is a background request, done at once.
"""

from __future__ import annotations

import csv
import io
import uuid
from datetime import datetime
from itertools import pairwise
from typing import Any

from annoloop.sandbox import access
from annoloop.sandbox.calls import Answer, Call
from annoloop.sandbox.refusals import invalid, unknown_request
from annoloop.sandbox.store import Row, now, written

_PAUSE_MS = 100_000
"""From so long a gap on nobody counts as having worked meanwhile."""

_SCOPE = "send:working_time"
_COLUMNS = (
    "scope", "obj_name", "obj_id", "obj_val", "source", "timestamp", "count", "duration", "project_id", "task_id",
    "job_id", "user_id", "user_name", "user_email", "org_id", "org_slug", "payload",
)  # fmt: skip


def create(call: Call) -> Answer:
    """POST ``{events: [{scope, timestamp, job_id, ...}], timestamp}``: the time between them is kept by job."""
    sent = call.body.get("events")
    if not isinstance(sent, list) or not all(isinstance(one, dict) for one in sent):
        raise invalid("events: this field is required.")
    by_job: dict[int, list[datetime]] = {}
    for one in sent:
        if isinstance(one.get("job_id"), int):
            by_job.setdefault(one["job_id"], []).append(_moment(one.get("timestamp")))
    for job_id, moments in by_job.items():
        job, ordered = access.the_job(call, job_id), sorted(moments)
        gaps = [(b - a).total_seconds() * 1000 for a, b in pairwise(ordered)]
        call.store.insert(
            "events",
            task_id=job["task_id"],
            job_id=job_id,
            user_id=call.user.id,
            timestamp=written(ordered[-1]),
            duration_ms=round(sum(gap for gap in gaps if gap < _PAUSE_MS)),
        )
    return Answer(201, call.body)


def export(call: Call) -> Answer:
    """POST; the query has ``task_id``, ``job_id``, ``user_id``, ``from``, ``to``: a request whose result is a CSV."""
    wanted = {key: call.asked_id(key) for key in ("task_id", "job_id", "user_id")}
    given = {key: number for key, number in wanted.items() if number is not None}
    rows = [row for row in call.store.select("event_rows", **given) if _may_see(call, row)]
    begin, end = (_text_of(call.query.get(key)) for key in ("from", "to"))
    rows = [row for row in rows if (begin or "") <= row["timestamp"] and (end is None or row["timestamp"] <= end)]
    request_id = f"action=export&target=events&id={uuid.uuid4()}"
    call.store.insert("exports", request_id=request_id, owner_id=call.user.id, content=_csv(rows), created_date=now())
    return Answer(202, {"rq_id": request_id})


def request(call: Call, request_id: str) -> Answer | None:
    """GET of the background request of an export; None where it is none of them."""
    row = call.store.find("exports", request_id=request_id, owner_id=call.user.id)
    if row is None:
        return None
    nothing = ("project_id", "task_id", "job_id", "format", "lightweight")
    return Answer(
        200,
        {
            "id": request_id,
            "status": "finished",
            "message": "",
            "progress": 1.0,
            "operation": {"type": "export:events", "target": "events", **dict.fromkeys(nothing)},
            **dict.fromkeys(("created_date", "started_date", "finished_date"), row["created_date"]),
            "expiry_date": None,
            "owner": {"id": call.user.id, "username": call.user.user["username"]},
            "result_url": f"{call.base_url}/api/events/file?rq_id={row['id']}",
            "result_id": None,
        },
    )


def read(call: Call) -> Answer:
    """GET: the CSV of an export."""
    row = call.store.find("exports", id=call.asked_id("rq_id"), owner_id=call.user.id)
    if row is None:
        raise unknown_request()
    return Answer(200, row["content"].encode(), "text/csv")


def _may_see(call: Call, row: Row) -> bool:
    """A user sees what they did themselves, an administrator all of it."""
    return access.may(call, row, ("user_id",))


def _moment(text: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        raise invalid(f"timestamp: {text!r} is no moment") from None
    if moment.tzinfo is None:
        raise invalid(f"timestamp: {text!r} has no time zone")
    return moment


def _text_of(text: str | None) -> str | None:
    return None if not text else written(_moment(text))


def _csv(rows: list[Row]) -> str:
    stream = io.StringIO()
    table = csv.DictWriter(stream, _COLUMNS, restval="")
    table.writeheader()
    for row in rows:
        known = {key: row[key] for key in ("timestamp", "project_id", "task_id", "job_id", "user_id")}
        table.writerow(
            {**known, "scope": _SCOPE, "source": "client", "count": 1, "duration": row["duration_ms"],
             "user_name": row["username"], "payload": "{}"}
        )  # fmt: skip
    return stream.getvalue()
