"""What CVAT says and hears: its answers as dataclasses, our requests and its refusals as JSON and words.

Pure functions on an ``Answer`` or decoded JSON; no network, no SDK (``server.py``).  Shapes and error bodies are as a
2.54 server sends them: an error may be an object, a list, a bare string or a page of HTML.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import Literal

from annoloop.cvat.answers import LONGEST_SIDE_PX, Answer, Json
from annoloop.masks.classes import ClassTable, default_color

MOST_FRAMES = 1 << 21
"""No task has a frame of a higher number: whatever walks through the frames of a job comes to an end."""

_OLDEST = (2, 54)


@dataclass(frozen=True, slots=True)
class About:
    """The server's version, ours, and who we are to it."""

    server_version: str
    sdk_version: str
    username: str

    @property
    def note(self) -> str | None:
        """One line where the server is known, or likely, not to fit; newer and older SDKs are fine with it."""
        numbers = [int(part) for part in self.server_version.split(".")[:2] if part.isascii() and part.isdecimal()]
        if len(numbers) < 2 or len(self.server_version) > 40 or (numbers[0] == 2 and tuple(numbers) >= _OLDEST):
            return None
        return (
            f"CVAT {self.server_version} with cvat-sdk {self.sdk_version}: annoloop needs CVAT 2, release 2.54 or later"
        )


@dataclass(frozen=True, slots=True)
class AttributeSpec:
    """An attribute that every shape of a label has, before it is on a server: text, or one of some words; the first is
    what a shape begins with."""

    name: str
    kind: Literal["text", "radio"]
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LabelSpec:
    """A label as it is asked for."""

    name: str
    color: str
    attributes: tuple[AttributeSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class Label:
    """A label on the server; ``attributes``: their numbers there, by their names."""

    id: int
    name: str
    color: str
    attributes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """A task on the server; ``size`` is its number of frames, 0 as long as it has no data."""

    id: int
    name: str
    project_id: int | None
    size: int


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: its index in the task, its name and its size as the server shows it."""

    index: int
    name: str
    size_hw: tuple[int, int]
    deleted: bool


@dataclass(frozen=True, slots=True)
class JobInfo:
    """A job: frames ``start`` to ``stop``, both inclusive."""

    id: int
    start: int
    stop: int
    stage: str
    state: str
    assignee: str | None
    parent: int | None = None
    """Of a replica: the number of the job whose frames it repeats for another annotator."""
    updated: str | None = None
    """When something of it was last changed, as an ISO text."""

    @property
    def finished(self) -> bool:
        return self.state == "completed"

    @property
    def frames(self) -> range:
        return range(self.start, self.stop + 1)


@dataclass(frozen=True, slots=True)
class Shape:
    """An annotation as CVAT keeps it; ``points`` of a mask as in ``runs.to_cvat_runs``.

    ``attributes``: (number of the attribute, value); they are not part of ``shape_digest``.
    """

    frame: int
    label_id: int
    kind: str
    points: tuple[float, ...]
    z_order: int = 0
    rotation: float = 0.0
    source: str = "manual"
    id: int | None = None
    attributes: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Issue:
    """A remark pinned on a frame; ``position`` left, top, right, bottom in px."""

    frame: int
    position: tuple[float, ...]
    message: str
    id: int | None = None
    resolved: bool = False


@dataclass(frozen=True, slots=True)
class Stray:
    """Something drawn on a frame that no mask can be made of: its kind in CVAT's word, and why."""

    frame: int
    kind: str
    reason: str
    id: int | None


@dataclass(frozen=True, slots=True)
class Tag:
    """A label on a whole frame, without an area."""

    frame: int
    label_id: int


@dataclass(frozen=True, slots=True)
class JobAnnotations:
    """All that is on the frames of a job: what has an area, what has none, and tags.

    A track is one stray on each frame that it spans.  Whether a mask lies in its image is not known here.
    """

    shapes: tuple[Shape, ...]
    strays: tuple[Stray, ...]
    tags: tuple[Tag, ...]


def shape_digest(shape: Shape, label: str) -> str:
    """What an annotator can change about a shape, as ``label:digest``; an edit keeps the shape's id."""
    points = ",".join(map(_number, shape.points))
    content = f"{shape.kind}|{label}|{shape.z_order}|{shape.rotation:g}|{points}"
    return f"{label}:{sha256(content.encode()).hexdigest()[:32]}"


@lru_cache(maxsize=1 << 12)  # the runs of masks are mostly the same few numbers
def _number(value: float) -> str:
    """One text for 3 and 3.0, as servers send either."""
    number = float(value)  # a whole number of Python 3.11 has no is_integer
    return str(int(number)) if number.is_integer() else repr(number)


def digest_label(digest: str) -> str:
    """The label's name in a shape's digest."""
    return digest.rpartition(":")[0]


def class_labels(classes: ClassTable) -> list[LabelSpec]:
    """A label for each class that annotators can draw."""
    specs = []
    for index in classes.drawn_indices:
        color = "#ffffff" if index == classes.ignore_index else classes.classes[index].color
        # CVAT's own exports cannot tell a black label from background.
        specs.append(LabelSpec(classes.label_of(index), default_color(index) if color == "#000000" else color))
    return specs


def label_bodies(labels: Iterable[LabelSpec]) -> list[Json]:
    return [
        {"name": one.name, "color": one.color, "attributes": [_attribute_body(a) for a in one.attributes]}
        for one in labels
    ]


def _attribute_body(one: AttributeSpec) -> Json:
    return {
        "name": one.name,
        "input_type": one.kind,
        "mutable": False,
        "default_value": one.values[0],
        "values": list(one.values),
    }


def task_info(task: Answer) -> TaskInfo:
    project, size = task.get("project_id"), task.get("size")
    return TaskInfo(
        task["id"].whole(), task["name"].text(), None if project is None else project.whole(),
        0 if size is None else size.whole(),
    )  # fmt: skip


def job_info(job: Answer) -> JobInfo:
    assignee, parent, updated = job.get("assignee"), job.get("parent_job_id"), job.get("updated_date")
    start = job["start_frame"].whole(high=MOST_FRAMES)
    return JobInfo(
        job["id"].whole(), start, job["stop_frame"].whole(start, MOST_FRAMES), job["stage"].text(),
        job["state"].text(), None if assignee is None else assignee["username"].text(),
        None if parent is None else parent.whole(), None if updated is None else updated.text(),
    )  # fmt: skip


def issue_info(issue: Answer) -> Issue:
    # Its message is its first comment, which costs a request of its own.
    return Issue(
        issue["frame"].whole(high=MOST_FRAMES), issue["position"].numbers(), "", issue["id"].whole(),
        issue["resolved"].flag(),
    )  # fmt: skip


def label_info(label: Answer) -> Label:
    attributes = label.get("attributes")
    known = [] if attributes is None else attributes.items()
    return Label(
        label["id"].whole(), label["name"].text(), label["color"].text(),
        {one["name"].text(): one["id"].whole() for one in known},
    )  # fmt: skip


def frame_infos(meta: Answer) -> list[Frame]:
    found = meta.get("deleted_frames")
    deleted = {one.whole(high=MOST_FRAMES) for one in (found.items() if found is not None else ())}
    return [
        Frame(
            i, f["name"].text(), (f["height"].whole(1, LONGEST_SIDE_PX), f["width"].whole(1, LONGEST_SIDE_PX)),
            i in deleted,
        )
        for i, f in enumerate(meta["frames"].items())
    ]  # fmt: skip


def shape_request(shapes: Iterable[Shape]) -> Json:
    return {"version": 0, "tags": [], "tracks": [], "shapes": [_shape_body(s) for s in shapes]}


def _shape_body(shape: Shape) -> Json:
    body = {
        "type": shape.kind,
        "frame": shape.frame,
        "label_id": shape.label_id,
        "points": list(shape.points),
        "z_order": shape.z_order,
        "rotation": shape.rotation,
        "occluded": False,
        "group": 0,
        "source": shape.source,
        "attributes": [{"spec_id": number, "value": value} for number, value in shape.attributes],
    }
    return body if shape.id is None else {**body, "id": shape.id}


def said(body: bytes | str | None) -> str:
    """What an error body says: an object, a list, a bare string or a page of HTML."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else (body or "")
    try:
        content = json.loads(text)
    except ValueError:
        return "" if text.lstrip().startswith("<") else first_line(text)
    if isinstance(content, dict) and set(content) == {"detail"}:
        return str(content["detail"])
    return first_line(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False))


def first_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    # A failed request carries a whole traceback; what happened stands in its last line.
    line = lines[-1] if lines and lines[0].startswith("Traceback") else (lines[0] if lines else "")
    return line if len(line) <= 300 else line[:300] + "…"
