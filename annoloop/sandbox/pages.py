"""Plain HTML for a browser: what this server is, its tasks, and a task's frames with their masks.

For looking only: nobody can draw here, that is what CVAT is for. A browser signs in by the password
dialog (HTTP Basic). All text of users is escaped.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from html import escape

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from annoloop.errors import DataError
from annoloop.masks.run_lengths import from_cvat_runs
from annoloop.sandbox import access, answers
from annoloop.sandbox.calls import Answer, Call
from annoloop.sandbox.labels import of_task
from annoloop.sandbox.refusals import missing
from annoloop.sandbox.store import Row

_HTML = "text/html; charset=utf-8"
_MASK_OPACITY = 0.5
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
th, td { border-bottom: 1px solid #ddd; padding: .35rem .6rem; text-align: left; vertical-align: top }
img { max-height: 10rem; image-rendering: pixelated }
.note { background: #fff6d6; padding: .6rem 1rem }
.deleted { color: #999; text-decoration: line-through }
"""


def _page(title: str, body: str) -> Answer:
    note = f"{answers.NAME}: for trying and testing on this machine. Corrections are drawn in a real CVAT."
    html = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<style>{_STYLE}</style><h1>{escape(title)}</h1><p class="note">{note}</p>{body}</html>'
    )
    return Answer(200, html.encode(), _HTML)


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of cells that are HTML already."""
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{lines}</table>"


def refused(status: int) -> Answer:
    """What a browser sees instead of a page."""
    advice = {
        401: "Sign in with the username and the password that it printed at its start.",
        404: "There is no such page.",
    }
    return _page("annoloop sandbox", f"<p>{advice.get(status, 'This cannot be shown.')}</p>")


def index(call: Call) -> Answer:
    """GET /: the tasks, newest first."""
    rows = sorted(access.my_tasks(call), key=lambda row: -int(row["id"]))
    cells = [
        (
            f'<a href="/tasks/{row["id"]}">{row["id"]}</a>',
            escape(row["name"]),
            escape(row["project_name"] or ""),
            str(row["size"] or 0),
            f"{row['completed_count']} of {row['job_count']}",
        )
        for row in rows
    ]
    heads = ("task", "name", "project", "frames", "jobs accepted")
    return _page("annoloop sandbox", _table(heads, cells) if cells else "<p>No tasks yet.</p>")


def task(call: Call) -> Answer:
    """GET /tasks/{id}: its jobs, and its frames with what is drawn on them."""
    row = access.the_task(call, call.id)
    jobs = call.store.select("job_rows", task_id=row["id"])
    counts = _shape_counts(call, jobs)
    job_cells = [
        (str(job["id"]), job["stage"], job["state"], escape(job["assignee"] or ""), _span(job)) for job in jobs
    ]
    frame_cells = [_frame_cells(frame, counts) for frame in call.store.select("frames", task_id=row["id"])]
    body = (
        f"<p>Project: {escape(row['project_name'] or 'none')}. <a href='/'>All tasks</a></p><h2>Jobs</h2>"
        + _table(("job", "stage", "state", "assignee", "frames"), job_cells)
        + "<h2>Frames</h2>"
        + _table(("frame", "name", "size", "shapes", "masks"), frame_cells)
    )
    return _page(f"Task {row['id']}: {row['name']}", body)


def _span(job: Row) -> str:
    return f"{job['start_frame']} to {job['stop_frame']}"


def _shape_counts(call: Call, jobs: list[Row]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for job in jobs:
        for shape in call.store.select("annotations", job_id=job["id"], kind="shapes"):
            counts[shape["frame"]] = counts.get(shape["frame"], 0) + 1
    return counts


def _frame_cells(frame: Row, counts: dict[int, int]) -> tuple[str, ...]:
    number, name = frame["number"], escape(frame["name"])
    return (
        str(number),
        f'<span class="deleted">{name}</span> (deleted)' if frame["deleted"] else name,
        f"{frame['width']} x {frame['height']}",
        str(counts.get(number, 0)),
        f'<img loading="lazy" alt="frame {number}" src="/tasks/{frame["task_id"]}/frames/{number}.jpg">',
    )


def frame(call: Call) -> Answer:
    """GET /tasks/{id}/frames/{number}.jpg: a frame with its masks in the colours of their labels."""
    row = access.the_task(call, call.id)
    number = str(call.path_params["number"])
    found = call.store.find("frames", task_id=row["id"], number=int(number)) if number.isdecimal() else None
    if found is None:
        raise missing("Frame")
    colors = {label["id"]: label["color"] for label in of_task(call.store, row["id"], row["project_id"])}
    path = call.store.task_folder(row["id"]) / "images" / found["name"]
    with Image.open(path) as image:
        pixels = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    for shape in _shapes(call, row["id"], found["number"]):
        _draw(pixels, json.loads(shape["body"]), colors[shape["label_id"]])
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return Answer(200, buffer.getvalue(), "image/jpeg")


def _shapes(call: Call, task_id: int, number: int) -> list[Row]:
    jobs = call.store.select("jobs", task_id=task_id, parent_job_id=None)
    where = {"kind": "shapes", "frame": number}
    return [row for job in jobs for row in call.store.select("annotations", job_id=job["id"], **where)]


def _draw(pixels: npt.NDArray[np.uint8], shape: Row, color: str) -> None:
    if shape["type"] != "mask":
        return
    try:
        region = from_cvat_runs(shape["points"], 0, pixels.shape[:2])
    except DataError:  # stored without a look, as CVAT does: there is nothing to draw
        return
    if region is not None:
        left, top, right, bottom = region.box_ltrb
        window = pixels[top:bottom, left:right]
        rgb = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)])
        window[region.bits] = (1 - _MASK_OPACITY) * window[region.bits] + _MASK_OPACITY * rgb
