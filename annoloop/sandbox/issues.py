"""Issues on frames of a job, and the comments below them.

The message of a new issue is its first comment. Whether the frame exists is not checked: CVAT does
not check it either.
"""

from __future__ import annotations

import json

from annoloop.sandbox import access, checks, listing
from annoloop.sandbox.calls import EMPTY, Answer, Call
from annoloop.sandbox.refusals import invalid, invalid_field, missing, missing_field
from annoloop.sandbox.store import Row, now


def of_list(call: Call) -> Answer:
    """GET: the newest first."""
    mine = {job["id"] for job in access.my_jobs(call)}
    rows = [row for row in call.store.select("issue_rows") if row["job_id"] in mine]
    render = call.answers.issue
    return Answer(200, listing.listed(rows, listing.ISSUES, call.query, call.url, render))


def create(call: Call) -> Answer:
    """POST ``{job, frame, position, message}``."""
    body = call.body
    for field in ("frame", "position", "job", "message"):
        if field not in body:
            raise missing_field(field)
    message, position = checks.text(body, "message"), _position(body)
    if call.store.find("jobs", id=body["job"]) is None:
        raise invalid("Job matching query does not exist.")
    job = access.the_job(call, body["job"])
    moment = now()
    issue_id = call.store.insert(
        "issues",
        job_id=job["id"],
        frame=body["frame"],
        position=position,
        owner_id=call.user.id,
        created_date=moment,
        updated_date=moment,
        **_assignee(call),
    )
    _comment(call, issue_id, message)
    return _answer(call, issue_id, 201)


def _position(body: Row) -> str:
    position = body["position"]
    if not isinstance(position, list) or not set(map(type, position)) <= {int, float}:
        raise invalid_field("position", "A list of numbers is required.")
    return json.dumps([float(value) for value in position])


def _assignee(call: Call) -> Row:
    # an issue does not remember when it was handed over
    columns = access.assigned(call, "assignee")
    return {"assignee_id": columns["assignee_id"]} if columns else {}


def _the_issue(call: Call, issue_id: int) -> Row:
    row = call.store.find("issue_rows", id=issue_id)
    if row is None:
        raise missing("Issue")
    access.the_job(call, row["job_id"])
    return row


def _answer(call: Call, issue_id: int, status: int = 200) -> Answer:
    row = _the_issue(call, issue_id)
    return Answer(status, call.answers.issue(row))


def read(call: Call) -> Answer:
    """GET: one issue."""
    return _answer(call, call.id)


def update(call: Call) -> Answer:
    """PATCH: resolved, position, assignee."""
    issue, body = _the_issue(call, call.id), call.body
    values: Row = {"updated_date": now(), **_assignee(call)}
    if "resolved" in body:
        values["resolved"] = int(bool(body["resolved"]))
    if "position" in body:
        values["position"] = _position(body)
    call.store.update("issues", issue["id"], **values)
    return _answer(call, issue["id"])


def delete(call: Call) -> Answer:
    """DELETE: with its comments."""
    call.store.delete("issues", id=_the_issue(call, call.id)["id"])
    return EMPTY


def _comment(call: Call, issue_id: int, message: str) -> int:
    moment = now()
    return call.store.insert(
        "comments",
        issue_id=issue_id,
        owner_id=call.user.id,
        message=message,
        created_date=moment,
        updated_date=moment,
    )


def comments(call: Call) -> Answer:
    """GET: the newest first."""
    mine = {job["id"] for job in access.my_jobs(call)}
    rows = [row for row in call.store.select("comment_rows") if row["job_id"] in mine]
    render = call.answers.comment
    return Answer(200, listing.listed(rows, listing.COMMENTS, call.query, call.url, render))


def create_comment(call: Call) -> Answer:
    """POST ``{issue, message}``."""
    for field in ("issue", "message"):
        if field not in call.body:
            raise missing_field(field)
    message = checks.text(call.body, "message")
    if call.store.find("issues", id=call.body["issue"]) is None:
        raise invalid("Issue matching query does not exist.")
    issue = _the_issue(call, call.body["issue"])
    return _comment_answer(call, _comment(call, issue["id"], message), 201)


def _the_comment(call: Call, comment_id: int) -> Row:
    row = call.store.find("comment_rows", id=comment_id)
    if row is None:
        raise missing("Comment")
    access.the_job(call, row["job_id"])
    return row


def _comment_answer(call: Call, comment_id: int, status: int = 200) -> Answer:
    row = _the_comment(call, comment_id)
    return Answer(status, call.answers.comment(row))


def read_comment(call: Call) -> Answer:
    """GET: one comment."""
    return _comment_answer(call, call.id)


def update_comment(call: Call) -> Answer:
    """PATCH: the message."""
    comment = _the_comment(call, call.id)
    if "message" in call.body:
        message = checks.text(call.body, "message")
        call.store.update("comments", comment["id"], message=message, updated_date=now())
    return _comment_answer(call, comment["id"])


def delete_comment(call: Call) -> Answer:
    """DELETE: one comment."""
    call.store.delete("comments", id=_the_comment(call, call.id)["id"])
    return EMPTY
