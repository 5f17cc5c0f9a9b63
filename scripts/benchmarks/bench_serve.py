"""How long an annotator waits for the model of ``annoloop serve``: the first call on an image, and every one after it.

The model is trained for a moment on made data, and asked about images of one megapixel that are pieced together from
such data, some hundred objects each: regions cost, too, and noise would have thousands.  Over HTTP, as CVAT calls; all
images are different, so that none is remembered.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil
from PIL import Image
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from running_loop import make_project, train_here  # noqa: E402

from annoloop.compute.launch import usable_cores  # noqa: E402
from annoloop.data.config import FILE_NAME  # noqa: E402
from annoloop.data.images import read_image  # noqa: E402
from annoloop.loop.retrain import retrain  # noqa: E402
from annoloop.loop.training_request import RetrainRequest  # noqa: E402
from annoloop.project.project import Project  # noqa: E402
from annoloop.serving.server import serve  # noqa: E402

GOAL_S = 1.0
TRAINED = 200
"""Iterations: enough that most of what is predicted has a shape."""


@dataclass(frozen=True)
class Row:
    """Seconds of one kind of call; ``cpu_s``: those of all cores together, which a busy machine changes little."""

    what: str
    calls: int
    median_s: float
    p95_s: float
    cpu_s: float


@dataclass(frozen=True)
class Report:
    """The rows, and where they were measured; ``regions``: that were found in an image, in the middle."""

    recipe: str
    side_px: int
    cores: int
    load: float
    goal_s: float
    regions: float
    rows: tuple[Row, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 where the goal is missed."""
    parser = argparse.ArgumentParser(description="How long an annotator waits for the model of annoloop serve.")
    parser.add_argument("--recipe", default="auto", help="default: %(default)s, a unet_lite0")
    parser.add_argument("--images", type=int, default=40, help="default: %(default)s")
    parser.add_argument("--side", type=int, default=1000, help="px; default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="annoloop-bench-") as folder:
        report = measured(Path(folder), options.recipe, options.images, options.side)
    print(json.dumps(asdict(report), indent=2)) if options.json else show(report)
    return int(report.rows[0].p95_s > GOAL_S)


def measured(folder: Path, recipe: str, images: int, side: int) -> Report:
    """Train, serve and call."""
    make_project(folder, "http://127.0.0.1:1", name="bench", counts={"train": 40, "val": 4}, size_hw=(96, 96))
    train_here(folder)
    with Project(folder / FILE_NAME) as project:
        asked = RetrainRequest(recipe=recipe, iterations=TRAINED, allow_missing_classes=True)
        retrain(project, asked)
        pieces = [read_image(sample.image) for sample in project.samples(["train"])]
        with serve(project, listen="127.0.0.1:0") as session:
            url = session.report.url
            called(url, photo(pieces, 0, side), {})  # the first call of all warms caches up
            found = []
            kinds: dict[str, list[tuple[float, float]]] = {"a new image": [], "the same again": [], "a click on it": []}
            for number in range(1, images + 1):
                image = photo(pieces, number, side)
                kinds["a new image"].append(timed(url, image, {}))
                kinds["the same again"].append(timed(url, image, {}))
                found.append(len(json.loads(called(url, image, {})[1])))
                kinds["a click on it"].append(timed(url, image, {"pos_points": [[side / 2, side / 3]]}))
    rows = tuple(row(what, np.array(times)) for what, times in kinds.items())
    return Report(recipe, side, usable_cores(), os.getloadavg()[0], GOAL_S, float(np.median(found)), rows)


def row(what: str, times: npt.NDArray[np.float64]) -> Row:
    """Of seconds on the clock and of all cores, (N, 2)."""
    clock, cpu = times.T
    return Row(what, len(times), float(np.median(clock)), float(np.quantile(clock, 0.95)), float(np.median(cpu)))


def timed(url: str, image: bytes, more: dict[str, object]) -> tuple[float, float]:
    """Seconds of one call, and what this process and its children used of the cores meanwhile."""
    before = used_s()
    return called(url, image, more)[0], used_s() - before


def used_s() -> float:
    """Seconds of all cores."""
    here = psutil.Process()
    return sum(times.user + times.system for one in (here, *here.children()) for times in (one.cpu_times(),))


def photo(pieces: Sequence[npt.NDArray[np.uint8]], number: int, side: int) -> bytes:
    """A JPEG of small pictures side by side, other ones for each number."""
    across = -(-side // len(pieces[0]))
    drawn = np.random.default_rng(number).integers(0, len(pieces), (across, across))
    whole = np.concatenate([np.concatenate([pieces[i] for i in row], axis=1) for row in drawn])
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(whole[:side, :side])).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def called(url: str, image: bytes, more: dict[str, object]) -> tuple[float, bytes]:
    """Seconds of one call, the answer read to its end, and the answer."""
    body = json.dumps({"image": base64.b64encode(image).decode(), **more}).encode()
    began = time.perf_counter()
    with urllib.request.urlopen(urllib.request.Request(url, body)) as response:  # noqa: S310 - our own address
        answer = response.read()
    return time.perf_counter() - began, answer


def show(report: Report) -> None:
    """The table."""
    title = f"{report.recipe}, {report.side_px} x {report.side_px} px, {report.cores} cores, load {report.load:.1f}"
    title += f", {report.regions:.0f} regions an image"
    table = Table("call", "calls", "median", "95 of 100 within", "of all cores together", title=title)
    for one in report.rows:
        clock = f"{one.median_s:.2f} s", f"{one.p95_s:.2f} s"
        table.add_row(one.what, str(one.calls), *clock, f"{one.cpu_s:.2f} s")
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
