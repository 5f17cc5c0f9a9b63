"""``/data`` of tasks and jobs: the upload protocol, frames, chunks, previews and their description.

The protocol is CVAT's: Upload-Start, then multipart requests or pieces, then Upload-Finish, which
answers the id of a background request to poll.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from annoloop.sandbox import access, answers, creation, media, uploads
from annoloop.sandbox.calls import Answer, Call
from annoloop.sandbox.refusals import Refusal, invalid, invalid_field, missing_field, server_error
from annoloop.sandbox.store import Row, now

_NOT_SERVED = (
    "cloud_storage_id", "frame_filter", "job_file_mapping", "remote_files", "server_files", "start_frame",
    "stop_frame", "validation_params",
)  # fmt: skip


def send(call: Call) -> Answer:
    """POST: one step of an upload, told by the header that it carries."""
    task = access.the_task(call, call.id)
    if call.store.find("requests", task_id=task["id"]):
        raise Refusal(400, "Adding more data is not supported")
    if "upload-start" in call.headers:
        uploads.incoming(call.store.task_folder(task["id"]))
        return Answer(202, b"", None)
    if "upload-length" in call.headers:
        return _announce(call, task["id"])
    uploads.receive(call.store.task_folder(task["id"]), call.uploads)
    if "upload-multiple" in call.headers:
        return Answer(200, b"", None)
    return _finish(call, task)


def _announce(call: Call, task_id: int) -> Answer:
    piecewise, name = uploads.begin(call.store.task_folder(task_id), call.user.id, call.headers)
    location = f"{call.base_url}/api/tasks/{task_id}/data/{piecewise.file_id}"
    headers = {"Location": location, "Upload-Filename": name, "Upload-Offset": "0", **_TUS}
    return Answer(201, b"", None, headers)


_TUS = {
    "Tus-Resumable": "1.0.0",
    "Tus-Version": "1.0.0",
    "Tus-Extension": "",
    "Tus-Max-Size": "26843545600",
}


def append(call: Call) -> Answer:
    """PATCH of an announced file: the next piece."""
    offset = call.headers.get("upload-offset", "")
    if not offset.isdecimal():
        raise invalid("Upload-Offset is required")
    end = _announced(call).append(int(offset), call.content)
    return Answer(204, b"", None, {"Upload-Offset": str(end), **_TUS})


def offset(call: Call) -> Answer:
    """HEAD of an announced file: how far it has come."""
    piecewise = _announced(call)
    headers = {"Upload-Offset": str(piecewise.offset), "Upload-Length": str(piecewise.length), **_TUS}
    return Answer(200, b"", None, headers)


def _announced(call: Call) -> uploads.Piecewise:
    task = access.the_task(call, call.id)
    return uploads.resume(call.store.task_folder(task["id"]), str(call.path_params["file_id"]))


def _finish(call: Call, task: Row) -> Answer:
    spec = _data_spec(call.body)
    uploads.incoming(call.store.task_folder(task["id"]))
    call.store.insert("requests", task_id=task["id"], owner_id=call.user.id, created_date=now())
    # the worker's first step needs the transaction that this request still holds, so it waits for it
    call.sandbox.worker.submit(creation.run, call.sandbox, task["id"], spec)
    return Answer(202, {"rq_id": answers.request_id(task["id"])})


def _data_spec(body: Row) -> creation.DataSpec:
    for key in _NOT_SERVED:
        if body.get(key):
            raise invalid_field(key, "annoloop sandbox: not part of the stand-in")
    if "image_quality" not in body:
        raise missing_field("image_quality")
    sorting = body.get("sorting_method", "lexicographical")
    if sorting not in media.SORTINGS:
        raise invalid_field("sorting_method", f'"{sorting}" is not a valid choice.')
    return creation.DataSpec(
        image_quality=int(body["image_quality"]),
        chunk_size=int(body["chunk_size"]) if body.get("chunk_size") else None,
        sorting=sorting,
        file_order=tuple(body.get("upload_file_order") or ()),
    )


def task_frames(call: Call) -> tuple[Row, list[Row]]:
    """A task with its frames."""
    task = access.the_task(call, call.id)
    return task, _frames(call, task, 0, None)


def job_frames(call: Call) -> tuple[Row, list[Row]]:
    """The task of a job, with the job's frames."""
    job = access.the_job(call, call.id)
    task = call.store.find("task_rows", id=job["task_id"])
    assert task is not None
    return task, _frames(call, task, job["start_frame"], job["stop_frame"])


def _frames(call: Call, task: Row, start: int, stop: int | None) -> list[Row]:
    rows = call.store.select("frames", task_id=task["id"])
    return rows[start : None if stop is None else stop + 1]


def meta(task: Row, frames: Sequence[Row], _call: Call) -> Answer:
    """GET ``data/meta``; CVAT breaks where a task has no data."""
    if not frames:
        raise server_error()
    start, stop = frames[0]["number"], frames[-1]["number"]
    return Answer(200, answers.frames_meta(task, frames, start, stop))


def set_meta(task: Row, frames: Sequence[Row], call: Call) -> Answer:
    """PATCH ``data/meta``: ``deleted_frames`` is the whole list, for the frames of this task or job."""
    wanted = set(call.body.get("deleted_frames", ()))
    unknown = sorted(wanted - {row["number"] for row in frames})
    if unknown:
        numbers = ", ".join(map(str, unknown))
        raise invalid_field("deleted_frames", f"Unknown frames {numbers} requested for removal")
    changed = [{**row, "deleted": int(row["number"] in wanted)} for row in frames]
    for row in changed:
        call.store.update("frames", row["id"], deleted=row["deleted"])
    call.store.touch_task(task["id"], task["project_id"])
    return meta(task, changed, call)


def read(task: Row, frames: Sequence[Row], call: Call) -> Answer:
    """GET ``data``: a frame, a chunk of frames or the context images of a frame."""
    kind, number = call.query.get("type"), call.query.get("number", "")
    quality = call.query.get("quality", "compressed")
    if kind not in ("frame", "chunk", "context_image"):
        raise invalid("Data type not specified or not supported")
    if not number.isdecimal():
        raise invalid("Number should be an integer")
    if kind == "chunk":
        return _chunk(call, task, frames, int(number), quality)
    frame = next((row for row in frames if row["number"] == int(number)), None)
    if frame is None:
        span = f"[0, {task['size'] or 0}]"
        raise Refusal(400, f"Invalid frame '{number}'. The frame number should be in the {span} range")
    if kind == "context_image":
        return _context(call, task, frame)
    content, media_type = media.frame_bytes(_path(call, task, frame["name"]), quality, task["image_quality"])
    return Answer(200, content, media_type)


def _path(call: Call, task: Row, name: str) -> Path:
    return call.store.task_folder(task["id"]) / "images" / name


def _chunk(call: Call, task: Row, frames: Sequence[Row], number: int, quality: str) -> Answer:
    size = task["chunk_size"] or 1
    rows = [row for row in frames if row["number"] // size == number]
    if not rows:
        raise Refusal(400, f"Invalid chunk number '{number}'")
    paths = [_path(call, task, row["name"]) for row in rows]
    return Answer(200, media.chunk(paths, quality, task["image_quality"]), "application/zip")


def _context(call: Call, task: Row, frame: Row) -> Answer:
    names = json.loads(frame["related"])
    content = media.context([_path(call, task, name) for name in names])
    # CVAT sends the empty zip without a type
    return Answer(200, content, "application/zip" if names else None)


def preview(task: Row, frames: Sequence[Row], call: Call) -> Answer:
    """GET ``preview``: the first frame, small."""
    if not frames:
        raise Refusal(404, {"detail": "Not found."})
    return Answer(200, media.preview(_path(call, task, frames[0]["name"])), "image/jpeg")
