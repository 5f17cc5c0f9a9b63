"""Annotations of a job, or of a task as all its jobs: read, replaced, created, updated, deleted.

They are kept as the JSON text that a GET returns, so megabytes of mask runs are encoded once and
never parsed again. A shape on a frame that no job has is dropped without a word, as CVAT does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from annoloop.sandbox import access, checks
from annoloop.sandbox.calls import EMPTY, Answer, Call, encoded
from annoloop.sandbox.refusals import Refusal, invalid
from annoloop.sandbox.store import Row, Store

Texts = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Scope:
    """What one request is about: the jobs, the labels that they may use, and whether it is a task."""

    store: Store
    jobs: list[Row]
    labels: Mapping[int, list[Row]]
    """The attributes of each label, by its id."""

    def jobs_of(self, item: Row) -> list[Row]:
        """The jobs that get an item: its own, or every one with its frame (overlapping segments)."""
        own = self.kept(item.get("id"))
        if own is not None:
            return [job for job in self.jobs if job["id"] == own["job_id"]]
        return [job for job in self.jobs if job["start_frame"] <= item["frame"] <= job["stop_frame"]]

    def kept(self, annotation_id: int | None) -> Row | None:
        """The stored annotation with this id, if it belongs to these jobs."""
        row = self.store.find("annotations", id=annotation_id) if annotation_id is not None else None
        return row if row is not None and row["job_id"] in {job["id"] for job in self.jobs} else None


def task_scope(call: Call) -> Scope:
    """The scope of ``/api/tasks/{id}/annotations``: its jobs, without their replicas."""
    task = access.the_task(call, call.id)
    return _scope(
        call.store, task["id"], task["project_id"], call.store.select("jobs", task_id=task["id"], parent_job_id=None)
    )


def job_scope(call: Call) -> Scope:
    """The scope of ``/api/jobs/{id}/annotations``."""
    job = access.the_job(call, call.id)
    return _scope(call.store, job["task_id"], job["project_id"], [job])


def _scope(store: Store, task_id: int, project_id: int | None, jobs: list[Row]) -> Scope:
    where = {"task_id": task_id} if project_id is None else {"project_id": project_id}
    labels = store.select("labels", **where)
    jobs = [{**job, "project_id": project_id} for job in jobs]
    return Scope(store, jobs, {label["id"]: json.loads(label["attributes"]) for label in labels})


def read(scope: Scope, _call: Call) -> Answer:
    """GET."""
    texts: Texts = {kind: [] for kind in checks.KINDS}
    for job in scope.jobs:
        for row in scope.store.select("annotations", job_id=job["id"]):
            head = f'{{"id": {row["id"]}, "label_id": {row["label_id"]}, '
            texts[row["kind"]].append(head + row["body"][1:])
    return _labeled_data(texts)


def replace(scope: Scope, call: Call) -> Answer:
    """PUT: what was there goes, what was sent comes."""
    data = _checked_data(scope, call.body, allow_ids=False)
    _clear(scope)
    return _labeled_data(_save(scope, data))


def clear(scope: Scope, _call: Call) -> Answer:
    """DELETE: all of them."""
    _clear(scope)
    return EMPTY


def _clear(scope: Scope) -> None:
    for job in scope.jobs:
        scope.store.delete("annotations", job_id=job["id"])
        scope.store.touch_job(job)


def patch(scope: Scope, call: Call) -> Answer:
    """PATCH with ``action=create|update|delete``."""
    action = _ACTIONS.get(call.query.get("action", ""))
    if action is None:
        raise invalid("Please specify a correct 'action' for the request")
    return _labeled_data(action(scope, call.body))


def _create(scope: Scope, body: Row) -> Texts:
    return _save(scope, _checked_data(scope, body, allow_ids=False))


def _update(scope: Scope, body: Row) -> Texts:
    # an item without an id is created: this is how cvat-sdk's update_annotations() adds shapes
    return _save(scope, _checked_data(scope, body, allow_ids=True))


def _delete(scope: Scope, body: Row) -> Texts:
    data = _checked_data(scope, body, allow_ids=True)
    for item in (item for items in data.values() for item in items):
        row = scope.kept(item.get("id"))
        if row is not None:
            scope.store.delete("annotations", id=row["id"])
    for job in scope.jobs:
        scope.store.touch_job(job)
    return {kind: [json.dumps(item) for item in items] for kind, items in data.items()}


_ACTIONS: Mapping[str, Callable[[Scope, Row], Texts]] = {
    "create": _create,
    "update": _update,
    "delete": _delete,
}


def _checked_data(scope: Scope, body: Row, *, allow_ids: bool) -> dict[str, list[Row]]:
    data = checks.labeled_data(body, allow_ids=allow_ids)
    for item in (item for items in data.values() for item in items):
        if item["label_id"] not in scope.labels:
            raise invalid(f"label_id `{item['label_id']}` is invalid")
        item["attributes"] = _attributes(item["attributes"], scope.labels[item["label_id"]])
    return data


def _attributes(sent: list[Row], specs: list[Row]) -> list[Row]:
    """A value for every attribute of a label: what was sent, or what a shape begins with."""
    values = {one.get("spec_id"): one.get("value") for one in sent}
    strange = values.keys() - {spec["id"] for spec in specs}
    if strange:
        raise invalid(f"spec_id `{strange.pop()}` is invalid")
    return [{"spec_id": spec["id"], "value": str(values.get(spec["id"], spec["default_value"]))} for spec in specs]


def _save(scope: Scope, data: dict[str, list[Row]]) -> Texts:
    texts: Texts = {kind: [] for kind in checks.KINDS}
    touched: dict[int, Row] = {}
    for kind, items in data.items():
        for item in items:
            for job in scope.jobs_of(item):
                touched[job["id"]] = job
                texts[kind].append(_saved(scope, kind, item, job))
    for job in touched.values():
        scope.store.touch_job(job)
    return texts


def _saved(scope: Scope, kind: str, item: Row, job: Row) -> str:
    """Write one item and return it as CVAT echoes it: the numbers as they were sent."""
    sent = {key: value for key, value in item.items() if key not in ("id", "label_id")}
    echo = json.dumps(sent)
    values = {
        "job_id": job["id"],
        "label_id": item["label_id"],
        "kind": kind,
        "frame": item["frame"],
        "body": _as_returned(sent, echo),
    }
    annotation_id = item.get("id")
    if scope.kept(annotation_id) is not None:
        assert annotation_id is not None
        scope.store.update("annotations", annotation_id, **values)
    else:
        annotation_id = scope.store.insert("annotations", **values)
    return f'{{"id": {annotation_id}, "label_id": {item["label_id"]}, {echo[1:]}'


def _as_returned(item: Row, text: str) -> str:
    # points come back as floats; most clients send floats, and then one text serves twice
    if "points" not in item or set(map(type, item["points"])) <= {float}:
        return text
    return json.dumps({**item, "points": list(map(float, item["points"]))})


def _labeled_data(texts: Texts) -> Answer:
    parts = (f'"{kind}": [{", ".join(items)}]' for kind, items in texts.items())
    return encoded(f'{{"version": 0, {", ".join(parts)}}}')


def task_read(call: Call) -> Answer:
    """GET of a task, which must have frames."""
    scope = task_scope(call)
    if not scope.jobs:
        raise Refusal(400, "Exporting annotations from a task without data is not allowed")
    return read(scope, call)
