"""Projects and annotation guides."""

from __future__ import annotations

from annoloop.sandbox import access, checks, labels, listing
from annoloop.sandbox.answers import Answers
from annoloop.sandbox.calls import EMPTY, Answer, Call
from annoloop.sandbox.refusals import invalid, missing, server_error
from annoloop.sandbox.store import Row, now

_TEXTS = ("bug_tracker",)


def of_list(call: Call) -> Answer:
    """GET: the newest first."""
    render = call.answers.project
    url = call.url
    return Answer(200, listing.listed(access.my_projects(call), listing.PROJECTS, call.query, url, render))


def create(call: Call) -> Answer:
    """POST: a project with its labels."""
    name, new = checks.name(call.body), checks.new_labels(call.body)
    moment = now()
    project_id = call.store.insert(
        "projects",
        name=name,
        organization_id=call.workspace.organization_id,
        owner_id=call.user.id,
        created_date=moment,
        updated_date=moment,
        **access.assigned(call, "assignee_id"),
        **{key: call.body[key] for key in _TEXTS if key in call.body},
    )
    labels.add(call.store, {"project_id": project_id}, new)
    return _answer(call, project_id, 201)


def _answer(call: Call, project_id: int, status: int = 200) -> Answer:
    row = access.the_project(call, project_id)
    return Answer(status, call.answers.project(row))


def read(call: Call) -> Answer:
    """GET: one project."""
    return _answer(call, call.id)


def update(call: Call) -> Answer:
    """PATCH: name, assignee, bug tracker and labels."""
    project, body = access.the_project(call, call.id), call.body
    if "name" in body:
        checks.text(body, "name")
    labels.change(call.store, {"project_id": project["id"]}, body.get("labels") or [])
    values = {key: body[key] for key in ("name", *_TEXTS) if key in body}
    call.store.update("projects", project["id"], updated_date=now(), **values, **access.assigned(call, "assignee_id"))
    return _answer(call, project["id"])


def delete(call: Call) -> Answer:
    """DELETE: with all its tasks."""
    project = access.the_project(call, call.id)
    for task in call.store.select("tasks", project_id=project["id"]):
        call.store.drop_task(task["id"])
    call.store.delete("projects", id=project["id"])
    return EMPTY


def create_guide(call: Call) -> Answer:
    """POST: the one guide of a project or a task."""
    homes = {key: call.body[key] for key in ("project_id", "task_id") if call.body.get(key) is not None}
    if len(homes) != 1:
        raise invalid("One of project_id or task_id must be specified")
    _check_home(call, homes)
    if call.store.find("guides", **homes):
        raise server_error()  # CVAT breaks on a second one
    moment, markdown = now(), call.body.get("markdown") or ""
    guide_id = call.store.insert("guides", **homes, markdown=markdown, created_date=moment, updated_date=moment)
    return Answer(201, the_guide(call, guide_id))


def _check_home(call: Call, row: Row) -> None:
    if row.get("task_id") is not None:
        access.the_task(call, row["task_id"])
    else:
        access.the_project(call, row["project_id"])


def the_guide(call: Call, guide_id: int) -> Row:
    """A guide that the caller may see."""
    row = call.store.find("guides", id=guide_id)
    if row is None:
        raise missing("AnnotationGuide")
    _check_home(call, row)
    return Answers.guide(row)


def read_guide(call: Call) -> Answer:
    """GET: a guide."""
    return Answer(200, the_guide(call, call.id))


def update_guide(call: Call) -> Answer:
    """PATCH: its text."""
    guide = the_guide(call, call.id)
    markdown = call.body.get("markdown", guide["markdown"])
    call.store.update("guides", guide["id"], markdown=markdown, updated_date=now())
    return Answer(200, the_guide(call, guide["id"]))


def delete_guide(call: Call) -> Answer:
    """DELETE: a guide."""
    call.store.delete("guides", id=the_guide(call, call.id)["id"])
    return EMPTY
