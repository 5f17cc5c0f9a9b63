"""Tasks, and the background requests that fill them."""

from __future__ import annotations

from annoloop.sandbox import access, answers, checks, events, labels, listing, organizations
from annoloop.sandbox.answers import Answers
from annoloop.sandbox.calls import EMPTY, Answer, Call
from annoloop.sandbox.refusals import invalid, invalid_field, unknown_request
from annoloop.sandbox.store import Row, now

_MOST_REPLICAS = 10
_TEXTS = ("bug_tracker", "subset")


def of_list(call: Call) -> Answer:
    """GET: the newest first."""
    render = call.answers.task
    url = call.url
    return Answer(200, listing.listed(access.my_tasks(call), listing.TASKS, call.query, url, render))


def create(call: Call) -> Answer:
    """POST: a task without frames, with its own labels or in a project."""
    body = call.body
    name, new, project_id = checks.name(body), checks.new_labels(body), body.get("project_id")
    if project_id is not None and new:
        raise invalid("Task must have only one of Label set or project_id")
    if project_id is not None:
        if call.store.find("projects", id=project_id) is None:
            raise invalid("Project matching query does not exist.")
        organizations.check_same(call, access.the_project(call, project_id))
    moment = now()
    task_id = call.store.insert(
        "tasks",
        name=name,
        project_id=project_id,
        organization_id=call.workspace.organization_id,
        owner_id=call.user.id,
        overlap=body.get("overlap"),
        consensus_replicas=_replicas(body),
        segment_size=body.get("segment_size") or 0,
        created_date=moment,
        updated_date=moment,
        **access.assigned(call, "assignee_id"),
        **{key: body[key] for key in _TEXTS if key in body},
    )
    labels.add(call.store, {"task_id": task_id}, new)
    return _answer(call, task_id, 201)


def _replicas(body: Row) -> int:
    """How many more times each job is made; one copy would tell nothing."""
    count = body.get("consensus_replicas") or 0
    if type(count) is not int or count < 0 or count == 1 or count > _MOST_REPLICAS:
        raise invalid_field("consensus_replicas", f"Must be 0, or from 2 to {_MOST_REPLICAS}.")
    return count


def _answer(call: Call, task_id: int, status: int = 200) -> Answer:
    row = access.the_task(call, task_id)
    return Answer(status, call.answers.task(row))


def read(call: Call) -> Answer:
    """GET: one task."""
    return _answer(call, call.id)


def update(call: Call) -> Answer:
    """PATCH: name, assignee, texts; labels only where the task has its own."""
    task, body = access.the_task(call, call.id), call.body
    if "name" in body:
        checks.text(body, "name")
    if task["project_id"] is None:
        labels.change(call.store, {"task_id": task["id"]}, body.get("labels") or [])
    values = {key: body[key] for key in ("name", *_TEXTS) if key in body}
    call.store.update("tasks", task["id"], **values, **access.assigned(call, "assignee_id"), updated_date=now())
    return _answer(call, task["id"])


def delete(call: Call) -> Answer:
    """DELETE: with its jobs, annotations and images."""
    call.store.drop_task(access.the_task(call, call.id)["id"])
    return EMPTY


def _my_requests(call: Call) -> list[Row]:
    rows = call.store.select("request_rows", **call.workspace.where)
    remembered = [row for row in rows if row["expiry_date"] is None or row["expiry_date"] > now()]
    return access.visible(call, remembered, ("owner_id",))


def requests(call: Call) -> Answer:
    """GET: the background requests that are still remembered, newest first."""
    return Answer(200, listing.listed(_my_requests(call), listing.REQUESTS, call.query, call.url, Answers.request))


def request(call: Call) -> Answer:
    """GET: one of them."""
    exported = events.request(call, str(call.path_params["id"]))
    if exported is not None:
        return exported
    for row in _my_requests(call):
        if answers.request_id(row["task_id"]) == call.path_params["id"]:
            return Answer(200, Answers.request(row))
    raise unknown_request()
