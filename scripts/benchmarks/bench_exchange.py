"""Push and pull of a few hundred images against the embedded CVAT, beside the plain cvat-sdk way, in one run.

The peer is what one would write with cvat-sdk alone: one task from local files, ``encode_mask`` per object,
``set_annotations``; then ``get_annotations`` and ``decode_mask``.  It keeps no record, verifies nothing and shows
the annotator nothing but the masks.  Each way runs in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from bench_table import parser, show
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from running_loop import add_model, make_project, opened

from annoloop.cli.demo import Server, running_sandbox
from annoloop.data.mmseg_folders import read_label_map
from annoloop.loop.pull import pull
from annoloop.loop.push import push
from annoloop.selection.request import PushRequest
from annoloop.selection.scoring import score

SIZE_HW = (550, 830)


@dataclass(frozen=True)
class Row:
    way: str
    push_s: float
    pull_s: float
    shapes: int
    calls_per_frame: float
    peak_mb: float
    changed_px: int


def counted() -> list[str]:
    """The requests of this process from now on."""
    from urllib3.connectionpool import HTTPConnectionPool

    calls: list[str] = []
    whole = HTTPConnectionPool.urlopen

    def urlopen(self: HTTPConnectionPool, method: str, url: str, *arguments: object, **named: object) -> object:
        calls.append(f"{method} {url}")
        return whole(self, method, url, *arguments, **named)  # type: ignore[arg-type]

    HTTPConnectionPool.urlopen = urlopen  # type: ignore[assignment, method-assign]
    return calls


def ours(way: str, folder: Path, server: Server, images: int, **details: object) -> Row:
    with opened(folder, server) as (project, cvat):
        calls, began = counted(), time.perf_counter()
        request = PushRequest(worst=images, source="label", **details)  # type: ignore[arg-type]
        report = push(project, cvat, request)
        push_s, pushed_calls = time.perf_counter() - began, len(calls)
        assert report.task is not None
        for job in cvat.jobs(report.task):
            cvat.set_job(job.id, state="completed")
        began, before = time.perf_counter(), len(calls)
        (pulled,) = pull(project, cvat, task=report.task)
        pull_s = time.perf_counter() - began
        shapes = sum(sum(frame.shapes.values()) for frame in report.frames)
        per_frame = (pushed_calls + len(calls) - before) / images
        return Row(way, push_s, pull_s, shapes, per_frame, _peak_mb(), pulled.edited_px)


def plain_sdk(folder: Path, server: Server, images: int) -> Row:
    from cvat_sdk import make_client, models
    from cvat_sdk.core.proxies.tasks import ResourceType
    from cvat_sdk.masks import decode_mask, encode_mask

    logging.disable(logging.WARNING)
    with opened(folder, server) as (project, _):
        samples = project.samples(["train"])[:images]
        names = project.classes.names[1:]
        masks = {s.image.name: read_label_map(s.mask, project.config.data) for s in samples if s.mask is not None}
    calls, began = counted(), time.perf_counter()
    with make_client(server.url, access_token=server.token) as client:
        client.config.status_check_period = 0.05  # type: ignore[assignment]
        spec = {"name": "peer", "labels": [{"name": name} for name in names]}
        task = client.tasks.create_from_data(
            spec,
            [str(s.image) for s in samples],
            resource_type=ResourceType.LOCAL,
            data_params={"image_quality": 100},
        )
        ids = {label.name: label.id for label in task.get_labels()}
        shapes = []
        for number, frame in enumerate(task.get_frames_info()):
            for index, name in enumerate(names, 1):
                components, count = ndimage.label(masks[frame.name] == index, structure=np.ones((3, 3)))
                for k in range(1, count + 1):
                    shapes.append(
                        models.LabeledShapeRequest(
                            frame=number, label_id=ids[name], type="mask", points=encode_mask(components == k)
                        )
                    )
        task.set_annotations(models.LabeledDataRequest(shapes=shapes))
        push_s, began, pushed_calls = time.perf_counter() - began, time.perf_counter(), len(calls)
        frames, index_of = task.get_frames_info(), {ids[name]: index for index, name in enumerate(names, 1)}
        back = [np.zeros((frame.height, frame.width), np.uint8) for frame in frames]
        for shape in task.get_annotations().shapes:
            frame = frames[shape.frame]
            mask = decode_mask(shape.points, image_width=frame.width, image_height=frame.height)
            back[shape.frame][mask] = index_of[shape.label_id]
        changed = sum(
            int(np.count_nonzero(mask != masks[frame.name])) for mask, frame in zip(back, frames, strict=True)
        )
        pull_s = time.perf_counter() - began
    calls_per_frame = (pushed_calls + len(calls) - pushed_calls) / images
    return Row("cvat-sdk, plain", push_s, pull_s, len(shapes), calls_per_frame, _peak_mb(), changed)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_child(measure: Callable[[], Row]) -> Row:
    """Measure in a forked child; its answer comes through a pipe."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with os.fdopen(writer, "w") as stream:
                json.dump(asdict(measure()), stream)
        except BaseException as error:
            sys.stderr.write(f"{error!r}\n")
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        answer = stream.read()
    os.waitpid(pid, 0)
    return Row(**json.loads(answer))


def measure(images: int) -> list[Row]:
    bare, dressed = {"context": False, "issues_per_frame": 0}, {"context": True, "issues_per_frame": 2}
    ways: list[tuple[str, Callable[[Path, Server], Row]]] = [
        ("peer", lambda folder, server: plain_sdk(folder, server, images)),
        ("bare", lambda folder, server: ours("annoloop, masks alone", folder, server, images, **bare)),
        ("all", lambda folder, server: ours("annoloop, with context and issues", folder, server, images, **dressed)),
        ("poly", lambda folder, server: ours("annoloop, polygons", folder, server, images, shape="polygon", **bare)),
    ]  # fmt: skip
    rows = []
    with (
        tempfile.TemporaryDirectory(prefix="annoloop-bench-") as name,
        running_sandbox(Path(name) / "sandbox") as server,
    ):
        for way, run in ways:
            folder = Path(name) / way
            folder.mkdir()
            made = make_project(folder, server.url, name=way, counts={"train": images, "val": 1}, size_hw=SIZE_HW)
            with opened(folder, server) as (project, _):
                add_model(project, made.truth)
                run_row = project.current_run()
                assert run_row is not None
                score(project, run_row, project.samples(["train"]))
            rows.append(in_child(lambda run=run, folder=folder: run(folder, server)))  # type: ignore[misc]
    return rows


COLUMNS: dict[str, Callable[[Row], str]] = {
    "way": lambda row: row.way,
    "push s": lambda row: f"{row.push_s:.2f}",
    "pull s": lambda row: f"{row.pull_s:.2f}",
    "shapes": lambda row: str(row.shapes),
    "calls a frame": lambda row: f"{row.calls_per_frame:.2f}",
    "peak MB": lambda row: f"{row.peak_mb:.0f}",
    "px changed": lambda row: str(row.changed_px),
}


def main() -> None:
    found = parser(__doc__)
    found.add_argument("--images", type=int, default=300)
    options = found.parse_args()
    title = f"{options.images} made images of {SIZE_HW[1]} x {SIZE_HW[0]} px, there and back untouched"
    show(title, measure(options.images), COLUMNS, options.json)


if __name__ == "__main__":
    main()
