"""Jobs: what a person annotates. Stage and state are set here and nowhere else."""

from __future__ import annotations

from annoloop.sandbox import access, checks, listing
from annoloop.sandbox.calls import Answer, Call
from annoloop.sandbox.refusals import forbidden
from annoloop.sandbox.store import Row, now

_FIELDS = frozenset({"stage", "state", "assignee"})


def of_list(call: Call) -> Answer:
    """GET: the newest first."""
    render = call.answers.job
    url = call.url
    return Answer(200, listing.listed(access.my_jobs(call), listing.JOBS, call.query, url, render))


def read(call: Call) -> Answer:
    """GET: one job."""
    row = access.the_job(call, call.id)
    return Answer(200, call.answers.job(row))


def update(call: Call) -> Answer:
    """PATCH: stage, state, assignee. A new stage makes the state ``new`` unless that is sent, too."""
    job, body = access.the_job(call, call.id), call.body
    if not body.keys() <= _FIELDS:
        raise forbidden("Attempted to update an unknown field")
    if "stage" in body or "assignee" in body:
        access.require_boss(call, job)
    checks.choice(body, "stage", checks.STAGES)
    checks.choice(body, "state", checks.STATES)
    values = {key: body[key] for key in ("stage", "state") if key in body}
    if values.get("stage", job["stage"]) != job["stage"]:
        values.setdefault("state", "new")
    call.store.update("jobs", job["id"], updated_date=now(), **values, **_assigned(call))
    call.store.touch_task(job["task_id"], job["project_id"])
    return read(call)


def _assigned(call: Call) -> Row:
    if "assignee" not in call.body:
        return {}
    user_id = call.body["assignee"]
    if user_id is not None and call.store.find("users", id=user_id) is None:
        raise forbidden()
    return {"assignee_id": user_id, "assignee_updated_date": now()}
