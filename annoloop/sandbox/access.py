"""Who may touch what: the row of an id in the path, or the refusal that CVAT would send.

Staff, the owner and the assignee of a task or its project, and the owner of its organization may do
everything with it; the assignee of a job may see and annotate that job and nothing around it. Missing
rows are 404 before they are 403.
"""

from __future__ import annotations

from annoloop.sandbox.calls import Call
from annoloop.sandbox.refusals import forbidden, invalid, missing
from annoloop.sandbox.store import Row, now

_PROJECT_PEOPLE = ("owner_id", "assignee_id", "organization_owner_id")
_TASK_PEOPLE = (*_PROJECT_PEOPLE, "project_owner_id")
_JOB_BOSSES = ("task_owner_id", "task_assignee_id", "project_owner_id", "organization_owner_id")


def may(call: Call, row: Row, people: tuple[str, ...]) -> bool:
    """Whether the caller is staff or one of these people of a row."""
    return bool(call.user.user["is_staff"]) or call.user.id in [row[key] for key in people]


def visible(call: Call, rows: list[Row], people: tuple[str, ...]) -> list[Row]:
    """The rows that the caller may see in a list."""
    return [row for row in rows if may(call, row, people)]


def the_project(call: Call, project_id: int) -> Row:
    """A project that the caller may use."""
    row = call.store.find("project_rows", id=project_id)
    if row is None:
        raise missing("Project")
    if not may(call, row, _PROJECT_PEOPLE):
        raise forbidden()
    return row


def the_task(call: Call, task_id: int) -> Row:
    """A task that the caller may use."""
    row = call.store.find("task_rows", id=task_id)
    if row is None:
        raise missing("Task")
    if not may(call, row, _TASK_PEOPLE):
        raise forbidden()
    return row


def the_job(call: Call, job_id: int) -> Row:
    """A job that the caller may annotate."""
    row = call.store.find("job_rows", id=job_id)
    if row is None:
        raise missing("Job")
    if not may(call, row, ("assignee_id", *_JOB_BOSSES)):
        raise forbidden()
    return row


def require_boss(call: Call, job: Row) -> None:
    """Refuse what the assignee of a job may not do: hand it on, change its stage."""
    if not may(call, job, _JOB_BOSSES):
        raise forbidden()


def my_projects(call: Call) -> list[Row]:
    """Projects for a list."""
    return visible(call, call.store.select("project_rows", **call.workspace.where), _PROJECT_PEOPLE)


def my_tasks(call: Call) -> list[Row]:
    """Tasks for a list."""
    return visible(call, call.store.select("task_rows", **call.workspace.where), _TASK_PEOPLE)


def my_jobs(call: Call) -> list[Row]:
    """Jobs for a list."""
    return visible(call, call.store.select("job_rows", **call.workspace.where), ("assignee_id", *_JOB_BOSSES))


def assigned(call: Call, field: str) -> Row:
    """The columns that change when the body names an assignee; none if it does not.

    Raises:
        Refusal: 400, there is no such user.
    """
    if field not in call.body:
        return {}
    user_id = call.body[field]
    if user_id is not None and call.store.find("users", id=user_id) is None:
        raise invalid(f'Invalid pk "{user_id}" - object does not exist.')
    return {"assignee_id": user_id, "assignee_updated_date": now()}
