"""The background request that turns uploaded files into the frames and jobs of a task.

Slow work (unpacking, looking into images) happens outside the transaction; what comes of it is
written in one. A creation that fails, or that a restart cut off, leaves a task without frames.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from annoloop.sandbox import media
from annoloop.sandbox.calls import Sandbox
from annoloop.sandbox.store import Row, Store, now


@dataclass(frozen=True, slots=True)
class DataSpec:
    """How the client wants its files to become frames."""

    image_quality: int
    chunk_size: int | None
    sorting: str
    file_order: tuple[str, ...]


_DEFAULT_CHUNK_SIZE = 72


def forget_cut_off(sandbox: Sandbox) -> None:
    """Mark what a stopped server left in work as failed: nobody will finish it."""
    for row in sandbox.store.select("requests", finished_date=None):
        _fail(sandbox, row["task_id"], "the server was stopped while it worked on this request")


def run(sandbox: Sandbox, task_id: int, spec: DataSpec) -> None:
    """Make the frames of a task; the outcome is the status of its request."""
    store = sandbox.store
    try:
        _mark(store, task_id, status="started", started_date=now())
        if sandbox.stopping.wait(sandbox.request_delay_s):
            return  # the next start says that it was cut off
        _write(sandbox, task_id, spec, _frames(store.task_folder(task_id), spec))
    except Exception as error:  # whatever it is, the client polls until it hears about it
        _fail(sandbox, task_id, f"{type(error).__name__}: {error}")


def _frames(folder: Path, spec: DataSpec) -> list[media.Media]:
    images = folder / "images"
    names = media.unpack(folder / "incoming", images)
    return media.inspect(images, media.ordered(names, spec.sorting, spec.file_order or names))


def _mark(store: Store, task_id: int, **values: object) -> None:
    with store.transaction():
        request = store.find("requests", task_id=task_id)
        if request is not None:
            store.update("requests", request["id"], **values)


def _finished(sandbox: Sandbox, status: str) -> dict[str, str]:
    return {"status": status, "finished_date": now(), "expiry_date": now(sandbox.request_expiry_s)}


def _fail(sandbox: Sandbox, task_id: int, message: str) -> None:
    # who hears that it failed finds nothing of it on disk
    shutil.rmtree(sandbox.store.task_folder(task_id), ignore_errors=True)
    _mark(sandbox.store, task_id, message=message, **_finished(sandbox, "failed"))


def _write(sandbox: Sandbox, task_id: int, spec: DataSpec, frames: Sequence[media.Media]) -> None:
    store = sandbox.store
    with store.transaction():
        task = store.find("tasks", id=task_id)
        if task is None:  # deleted in the meantime
            shutil.rmtree(store.task_folder(task_id), ignore_errors=True)
            return
        for number, frame in enumerate(frames):
            store.insert(
                "frames",
                task_id=task_id,
                number=number,
                name=frame.name,
                width=frame.width,
                height=frame.height,
                related=json.dumps(frame.related),
            )
        _size_task(store, task, spec, len(frames))
        request = store.find("requests", task_id=task_id)
        assert request is not None
        store.update("requests", request["id"], **_finished(sandbox, "finished"))


def _size_task(store: Store, task: Row, spec: DataSpec, size: int) -> None:
    segment_size = min(task["segment_size"] or size, size)
    overlap = min(task["overlap"] or 0, segment_size // 2)
    moment = now()
    for start, stop in segments(size, segment_size, overlap):
        job = {"task_id": task["id"], "start_frame": start, "stop_frame": stop}
        job |= {"created_date": moment, "updated_date": moment}
        parent_id = store.insert("jobs", **job)
        for _ in range(task["consensus_replicas"]):
            store.insert("jobs", **job, parent_job_id=parent_id)
    store.update(
        "tasks",
        task["id"],
        size=size,
        segment_size=segment_size,
        overlap=overlap,
        image_quality=spec.image_quality,
        chunk_size=spec.chunk_size or _DEFAULT_CHUNK_SIZE,
        chunks_updated_date=moment,
    )
    store.touch_task(task["id"], task["project_id"])


def segments(size: int, segment_size: int, overlap: int) -> list[tuple[int, int]]:
    """First and last frame (inclusive) of each job.

    >>> segments(40, 15, 5)
    [(0, 14), (10, 24), (20, 34), (30, 39)]
    """
    starts = range(0, size, segment_size - overlap)
    return [(start, min(start + segment_size, size) - 1) for start in starts if start == 0 or start + overlap < size]
