"""Labels of projects and tasks: listed, renamed, added, deleted.

Deleting a label deletes its annotations. A task in a project has the project's labels and none of
its own; labels that are sent for it are ignored, as on CVAT.
"""

from __future__ import annotations

import json

from annoloop.sandbox import access, checks, listing
from annoloop.sandbox.answers import Answers
from annoloop.sandbox.calls import EMPTY, Answer, Call
from annoloop.sandbox.refusals import Refusal, missing
from annoloop.sandbox.store import Row, Store

MOST_ATTRIBUTES = 1000
"""Of one label; more are not part of the stand-in."""


def of_list(call: Call) -> Answer:
    """GET: the labels of one project, task or job, or all that the caller may see."""
    url = call.url
    return Answer(200, listing.listed(_asked_for(call), listing.LABELS, call.query, url, Answers.label))


def _asked_for(call: Call) -> list[Row]:
    job_id, task_id, project_id = map(call.asked_id, ("job_id", "task_id", "project_id"))
    if job_id is not None:
        job = access.the_job(call, job_id)
        return of_task(call.store, job["task_id"], job["project_id"])
    if task_id is not None:
        task = access.the_task(call, task_id)
        return of_task(call.store, task["id"], task["project_id"])
    if project_id is not None:
        return call.store.select("labels", project_id=access.the_project(call, project_id)["id"])
    projects = {row["id"] for row in access.my_projects(call)}
    tasks = {row["id"] for row in access.my_tasks(call)}
    rows = call.store.select("labels")
    return [row for row in rows if row["project_id"] in projects or row["task_id"] in tasks]


def of_task(store: Store, task_id: int, project_id: int | None) -> list[Row]:
    """The labels that a task uses: its own or its project's."""
    if project_id is None:
        return store.select("labels", task_id=task_id)
    return store.select("labels", project_id=project_id)


def _the_label(call: Call) -> Row:
    row = call.store.find("labels", id=call.id)
    if row is None:
        raise missing("Label")
    if row["project_id"] is None:
        access.the_task(call, row["task_id"])
    else:
        access.the_project(call, row["project_id"])
    return row


def read(call: Call) -> Answer:
    """GET: one label."""
    return Answer(200, Answers.label(_the_label(call)))


def update(call: Call) -> Answer:
    """PATCH: a new name or colour."""
    row = _the_label(call)
    change(call.store, _home(row), [{**call.body, "id": row["id"]}])
    return read(call)


def delete(call: Call) -> Answer:
    """DELETE: with its annotations."""
    call.store.delete("labels", id=_the_label(call)["id"])
    return EMPTY


def _home(row: Row) -> dict[str, int]:
    key = "task_id" if row["project_id"] is None else "project_id"
    return {key: row[key]}


def add(store: Store, home: dict[str, int], items: list[Row]) -> None:
    """Add checked labels to a project or task: ``home`` is ``{"project_id": ...}`` or ``task_id``."""
    for item in items:
        label_id = store.insert("labels", **home, **{**item, "attributes": "[]"})
        # Their numbers are unique among all labels, as CVAT's are.
        numbered = [{"id": label_id * MOST_ATTRIBUTES + i, **one} for i, one in enumerate(item["attributes"])]
        store.update("labels", label_id, attributes=json.dumps(numbered))


def change(store: Store, home: dict[str, int], items: list[Row]) -> None:
    """What ``labels`` of a PATCH says: with an id renamed, coloured or deleted; without one, added.

    Raises:
        Refusal: 404 for an id from elsewhere, 400 if two labels would have one name.
    """
    for item in items:
        if item.get("id") is None:
            add(store, home, checks.new_labels({"labels": [item]}))
        else:
            _change_one(store, home, item)
    checks.unique_names(row["name"] for row in store.select("labels", **home))


def _change_one(store: Store, home: dict[str, int], item: Row) -> None:
    row = store.find("labels", id=item["id"], **home)
    if row is None:
        raise Refusal(404, {"detail": f"Not found label with id #{item['id']} to change"})
    if item.get("deleted"):
        store.delete("labels", id=row["id"])
        return
    if "name" in item:
        checks.text(item, "name")
    values = {key: item[key] for key in ("name", "color", "type") if item.get(key)}
    if values:
        store.update("labels", row["id"], **values)
