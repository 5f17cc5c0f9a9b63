"""How long an annotator waits for the model of ``annoloop serve``: the first call on an image, and every one after it.

The model is made, not trained: the network, the pipeline and the number of classes cost, the weights do not.  Over
HTTP, as CVAT calls; images of one megapixel that are all different, so that none is remembered.
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

from made_model import add_made_model  # noqa: E402
from running_loop import make_project, train_here  # noqa: E402

from annoloop.compute.launch import usable_cores  # noqa: E402
from annoloop.data.config import FILE_NAME  # noqa: E402
from annoloop.project.project import Project  # noqa: E402
from annoloop.serving.server import serve  # noqa: E402

GOAL_S = 1.0


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
    """The rows, and where they were measured."""

    recipe: str
    side_px: int
    cores: int
    load: float
    goal_s: float
    rows: tuple[Row, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 where the goal is missed."""
    parser = argparse.ArgumentParser(description="How long an annotator waits for the model of annoloop serve.")
    parser.add_argument("--recipe", default="unet_lite0", help="default: %(default)s, what auto takes")
    parser.add_argument("--images", type=int, default=40, help="default: %(default)s")
    parser.add_argument("--side", type=int, default=1000, help="px; default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="annoloop-bench-") as folder:
        report = measured(Path(folder), options.recipe, options.images, options.side)
    print(json.dumps(asdict(report), indent=2)) if options.json else show(report)
    return int(report.rows[0].p95_s > GOAL_S)


def measured(folder: Path, recipe: str, images: int, side: int) -> Report:
    """Serve a made model and call it."""
    make_project(folder, "http://127.0.0.1:1", name="bench")
    train_here(folder)
    with Project(folder / FILE_NAME) as project:
        add_made_model(project, recipe=recipe)
        with serve(project, listen="127.0.0.1:0") as session:
            url = session.report.url
            called(url, photo(0, side), {})  # the first call of all warms caches up
            kinds: dict[str, list[tuple[float, float]]] = {"a new image": [], "the same again": [], "a click on it": []}
            for number in range(1, images + 1):
                image = photo(number, side)
                kinds["a new image"].append(timed(url, image, {}))
                kinds["the same again"].append(timed(url, image, {}))
                kinds["a click on it"].append(timed(url, image, {"pos_points": [[side / 2, side / 3]]}))
    rows = tuple(row(what, np.array(times)) for what, times in kinds.items())
    return Report(recipe, side, usable_cores(), os.getloadavg()[0], GOAL_S, rows)


def row(what: str, times: npt.NDArray[np.float64]) -> Row:
    """Of seconds on the clock and of all cores, (N, 2)."""
    clock, cpu = times.T
    return Row(what, len(times), float(np.median(clock)), float(np.quantile(clock, 0.95)), float(np.median(cpu)))


def timed(url: str, image: bytes, more: dict[str, object]) -> tuple[float, float]:
    """Seconds of one call, and what this process and its children used of the cores meanwhile."""
    before = used_s()
    return called(url, image, more), used_s() - before


def used_s() -> float:
    """Seconds of all cores."""
    here = psutil.Process()
    return sum(times.user + times.system for one in (here, *here.children()) for times in (one.cpu_times(),))


def photo(number: int, side: int) -> bytes:
    """A JPEG of blurred noise, as large as a photograph's."""
    rng = np.random.default_rng(number)
    small = Image.fromarray(rng.integers(0, 255, (side // 8, side // 8, 3), dtype=np.uint8))
    stream = io.BytesIO()
    small.resize((side, side), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def called(url: str, image: bytes, more: dict[str, object]) -> float:
    """Seconds of one call, the answer read to its end."""
    body = json.dumps({"image": base64.b64encode(image).decode(), **more}).encode()
    began = time.perf_counter()
    with urllib.request.urlopen(urllib.request.Request(url, body)) as response:  # noqa: S310 - our own address
        response.read()
    return time.perf_counter() - began


def show(report: Report) -> None:
    """The table."""
    title = f"{report.recipe}, {report.side_px} x {report.side_px} px, {report.cores} cores, load {report.load:.1f}"
    table = Table("call", "calls", "median", "95 of 100 within", "of all cores together", title=title)
    for one in report.rows:
        clock = f"{one.median_s:.2f} s", f"{one.p95_s:.2f} s"
        table.add_row(one.what, str(one.calls), *clock, f"{one.cpu_s:.2f} s")
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
