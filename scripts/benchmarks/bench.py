"""The one table against the peers: conversion, scoring, start-up and scale, all measured in the same run.

Every way runs in a process of its own, whose imports are not counted, and the ways of a table take turns.  The
fact to know: times are per image, because slow peers get fewer images than annoloop; the columns say how many.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

from bench_child import Answer, ChildFailed, Plan, ask, timed_command
from bench_data import Data, add_predictions, large_maps, own_data, small_files
from bench_environment import peers_python
from bench_table import Against, Measured, Row, Skipped, Times, compare, in_turns, number, parser, remark, said, show
from rich.console import Console

from annoloop.compute.launch import usable_cores

FEW_MPX, HELD_MPX, MANY_MPX, BACK_MPX = 2, 8, 40, 136
"""Megapixels for a way that takes seconds for each image, for what is held in memory, for one process, and for
annoloop on the way back: as many large maps as it takes to use all cores."""

IN_MEMORY = 2
"""Repetitions in one turn of a way that takes milliseconds."""

ALL_CORES, ONE_CORE = "all cores", "one process"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Way:
    """How to measure one way: ``images`` images by a call that answers seconds."""

    name: str
    images: int
    measure: Callable[[], Answer]


@dataclass(frozen=True, slots=True)
class Bench:
    """What all sections share."""

    folder: Path
    turns: int
    say: Say

    def way(self, name: str, module: str, function: str, plan: Plan) -> Way:
        """A way in this environment; FiftyOne's database, if it starts one, is the bench's own."""
        own = {"FIFTYONE_DATABASE_DIR": str(self.folder / "mongo"), "FIFTYONE_DO_NOT_TRACK": "true"}
        return Way(name, len(plan.pairs), lambda: ask(sys.executable, module, function, plan, own))

    def peer(self, name: str, plan: Plan) -> Way:
        """A way in the environment of the peers."""
        python, missing = peers_python(name, self.say)

        def measure() -> Answer:
            if missing is not None:
                raise ChildFailed(missing)
            return ask(python, "ways_peers", name, plan)

        return Way(name, len(plan.pairs), measure)

    def out(self) -> Path:
        """A new folder to write into."""
        return Path(tempfile.mkdtemp(dir=self.folder))

    def measured(self, section: str, ways: Sequence[Way]) -> dict[str, Measured]:
        """All ways in turns; one that fails is left out of the later turns, and said."""
        failed: dict[str, Skipped] = {}

        def once(way: Way) -> Answer | None:
            if way.name in failed:
                return None
            self.say(f"{section}: {way.name}")
            try:
                return way.measure()
            except ChildFailed as error:
                self.say(f"SKIPPED {way.name}: {error}")
                failed[way.name] = Skipped(way.name, str(error))
                return None

        answers = in_turns({way.name: partial(once, way) for way in ways}, self.turns)
        return {way.name: failed.get(way.name) or _times(way, answers[way.name]) for way in ways}


@dataclass(frozen=True, slots=True)
class Pair:
    """Which of the measured ways make a row, and what we ask of ourselves."""

    ours: str
    other: str
    against: Against = "peer"
    goal: float | None = None
    memory_goal: float | None = None


def masks_to_coco(bench: Bench, data: Data) -> Iterator[Row]:
    """From PNGs to a written JSON."""
    plan, peer, few = (data.plan(bench.out(), mpx) for mpx in (None, MANY_MPX, FEW_MPX))
    ways = [
        bench.way(f"annoloop, {ALL_CORES}", "ways_convert", "our_masks_to_coco", plan),
        bench.way(f"annoloop, {ONE_CORE}", "ways_convert", "our_masks_to_coco", replace(peer, workers=1)),
        bench.way("pycocotools, per class", "ways_convert", "pycocotools_per_class", peer),
        bench.way("pycocotools, per object", "ways_convert", "pycocotools_per_object", few),
        bench.way("FiftyOne, per class", "ways_convert", "fiftyone_per_class", few),
        bench.peer("datumaro", peer),
        bench.peer("supervision", few),
        bench.way(f"Pillow decoding the PNGs, {ALL_CORES}", "ways_convert", "decoding", plan),
        bench.way(f"Pillow decoding the PNGs, {ONE_CORE}", "ways_convert", "decoding", replace(peer, workers=1)),
        bench.way("decoding them as annoloop does", "ways_convert", "our_decoding", replace(peer, workers=1)),
    ]
    goals = {(ALL_CORES, "pycocotools, per class"): 5.0, (ALL_CORES, "pycocotools, per object"): 20.0}
    pairs = []
    for cores in (ALL_CORES, ONE_CORE):
        ours = f"annoloop, {cores}"
        pairs += [Pair(ours, way.name, goal=goals.get((cores, way.name))) for way in ways[2:7]]
        pairs.append(Pair(ours, f"Pillow decoding the PNGs, {cores}", "floor", 1.5))
    pairs.append(Pair(f"annoloop, {ONE_CORE}", ways[-1].name, "floor"))
    yield from _rows(bench, f"masks to COCO: {data.title}", ways, pairs)


def coco_to_masks(bench: Bench, data: Data) -> Iterator[Row]:
    """From a JSON to written PNGs."""
    plan, peer, few = (data.plan(bench.out(), mpx) for mpx in (BACK_MPX, MANY_MPX, FEW_MPX))
    files = {
        name: _made(bench, function, one)
        for name, function, one in (
            ("all", "our_masks_to_coco", plan),
            ("few", "our_masks_to_coco", few),
            ("class", "pycocotools_per_class", peer),
        )
    }
    ways = [
        bench.way("annoloop", "ways_convert", "our_coco_to_masks", replace(plan, coco=files["all"])),
        bench.way("pycocotools, per class", "ways_convert", "pycocotools_to_masks", replace(peer, coco=files["class"])),
        bench.way("pycocotools, per object", "ways_convert", "pycocotools_to_masks", replace(few, coco=files["few"])),
        bench.way(f"Pillow encoding the PNGs, {ALL_CORES}", "ways_convert", "encoding", peer),
        bench.way(f"Pillow encoding the PNGs, {ONE_CORE}", "ways_convert", "encoding", replace(peer, workers=1)),
    ]
    pairs = [
        Pair("annoloop", "pycocotools, per class"),
        Pair("annoloop", "pycocotools, per object"),
        Pair("annoloop", f"Pillow encoding the PNGs, {ALL_CORES}", "floor", 2),
        Pair("annoloop", f"Pillow encoding the PNGs, {ONE_CORE}", "floor"),
    ]
    yield from _rows(bench, f"COCO to masks: {data.title}", ways, pairs)


def scores(bench: Bench, data: Data) -> Iterator[Row]:
    """Confusion and Dice of each image, in memory; then from files, as a whole evaluation does it."""
    plan = data.plan(bench.out(), HELD_MPX, most=64)
    held = replace(plan, repeat=IN_MEMORY)
    ways = [
        bench.way("annoloop, confusion", "ways_score", "our_confusion", held),
        bench.way("np.bincount", "ways_score", "bincount", held),
        bench.way("annoloop, confusion and Dice", "ways_score", "our_dice", held),
        bench.way("mmseg IoUMetric", "ways_score", "mmseg", held),
        bench.peer("torchmetrics", held),
    ]
    pairs = [
        Pair("annoloop, confusion", "np.bincount", goal=3),
        Pair("annoloop, confusion and Dice", "mmseg IoUMetric", goal=30),
        Pair("annoloop, confusion and Dice", "torchmetrics"),
    ]
    yield from _rows(bench, f"scoring in memory: {data.title}", ways, pairs)
    add_predictions(plan)
    ways = [
        bench.way("annoloop, evaluate", "ways_score", "our_files", plan),
        bench.way("FiftyOne, evaluate_segmentations", "ways_score", "fiftyone", plan),
        bench.way(f"decoding both PNGs, {ONE_CORE}", "ways_score", "decoding_both", plan),
    ]
    pairs = [Pair(ways[0].name, ways[1].name), Pair(ways[0].name, ways[2].name, "floor")]
    yield from _rows(bench, f"scoring files: {data.title}", ways, pairs)


def in_memory(bench: Bench, data: Data) -> Iterator[Row]:
    """Label maps to COCO's and CVAT's masks and back, without files."""
    plan = replace(data.plan(bench.out(), HELD_MPX), repeat=IN_MEMORY)
    few = replace(data.plan(bench.out(), FEW_MPX), repeat=1)
    ways = [
        bench.way("annoloop, masks to COCO", "ways_convert", "our_coco_masks", plan),
        bench.way("pycocotools, per class", "ways_convert", "pycocotools_masks_per_class", plan),
        bench.way("annoloop, masks to CVAT", "ways_score", "our_cvat", plan),
        bench.way("cvat_sdk encode_mask", "ways_score", "cvat_sdk", few),
        bench.way("annoloop, CVAT to masks", "ways_score", "our_cvat_back", plan),
        bench.way("cvat_sdk decode_mask", "ways_score", "cvat_sdk_back", few),
    ]
    pairs = [
        Pair("annoloop, masks to COCO", "pycocotools, per class", goal=5),
        Pair("annoloop, masks to CVAT", "cvat_sdk encode_mask"),
        Pair("annoloop, CVAT to masks", "cvat_sdk decode_mask"),
    ]
    yield from _rows(bench, f"in memory: {data.title}", ways, pairs)


def start_up(bench: Bench) -> Iterator[Row]:
    """From the command line to the answer."""
    project = small_files(bench.out(), 20).folder
    annoloop = str(Path(sys.executable).with_name("annoloop"))
    commands = {
        "annoloop --help": [annoloop, "--help"],
        "annoloop status": [annoloop, "status", "--project", str(project)],
        "import fiftyone": [sys.executable, "-c", "import fiftyone"],
        "import mmseg.apis": [sys.executable, "-c", "import mmseg.apis"],
    }
    own = {"FIFTYONE_DATABASE_DIR": str(bench.folder / "mongo"), "FIFTYONE_DO_NOT_TRACK": "true"}
    ways = [Way(name, 1, partial(timed_command, command, own)) for name, command in commands.items()]
    ours, others = list(commands)[:2], list(commands)[2:]
    yield from _rows(bench, "start-up", ways, [Pair(one, other) for one in ours for other in others])


def scale(bench: Bench, counts: Sequence[int]) -> Iterator[Row]:
    """Time per image and memory of one process for ever more small files, against a tenth of them."""
    sets = {count: small_files(bench.out(), count) for count in counts}
    kinds = {"masks to COCO": ("ways_convert", "our_masks_to_coco"), "evaluate": ("ways_score", "our_files")}
    plans = {count: replace(data.plan(bench.out()), workers=1) for count, data in sets.items()}
    for plan in plans.values():
        add_predictions(plan)
    for kind, (module, function) in kinds.items():
        names = {count: f"{kind}, {count} files" for count in counts}
        ways = [bench.way(names[count], module, function, plans[count]) for count in counts]
        pairs = [Pair(names[count], names[fewer], "floor", 1.2, memory_goal=1.5) for fewer, count in pairwise(counts)]
        yield from _rows(bench, f"scale: {sets[counts[0]].title.partition(' ')[2]}", ways, pairs)


def _rows(bench: Bench, section: str, ways: Sequence[Way], pairs: Sequence[Pair]) -> Iterator[Row]:
    measured = bench.measured(section, ways)
    for pair in pairs:
        ours = measured[pair.ours]
        if isinstance(ours, Skipped):
            raise SystemExit(f"{section}: {ours.way} cannot be measured: {ours.reason}")
        yield compare(
            section, ours, measured[pair.other], against=pair.against, goal=pair.goal, memory_goal=pair.memory_goal
        )


def _times(way: Way, answers: Sequence[Answer | None]) -> Times:
    found = [answer for answer in answers if answer is not None]
    peaks = [answer.peak_mb for answer in found if answer.peak_mb is not None]
    return Times(way.name, way.images, tuple(one.seconds for one in found), max(peaks) if peaks else None)


def _made(bench: Bench, function: str, plan: Plan) -> str:
    """The COCO file that a way makes, as the beginning of the way back."""
    target = bench.out()
    bench.way(function, "ways_convert", function, replace(plan, out=str(target))).measure()
    return str(next(target.iterdir()))


def machine() -> str:
    """This machine in words."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{usable_cores()} cores {model or platform.machine()}, Python {platform.python_version()}"


def measure(options: argparse.Namespace, folder: Path, say: Say) -> Iterator[Row]:
    """All rows, section by section, or those of the one that was asked for."""
    bench = Bench(folder, options.turns, say)
    if options.only in (None, *ON_DATA):
        say("making data")
        sets = [large_maps(folder / "maps", options.maps)]
        if options.data is not None:
            sets.append(own_data(folder / "own", options.data.resolve()))
        for data in sets:
            for name in ON_DATA if options.only is None else (options.only,):
                yield from ON_DATA[name](bench, data)
    if options.only in (None, "start-up"):
        yield from start_up(bench)
    if options.only in (None, "scale"):
        yield from scale(bench, (100, 1_000, 10_000) if options.scale else (100, 1_000))


ON_DATA: dict[str, Callable[[Bench, Data], Iterator[Row]]] = {
    "to-coco": masks_to_coco,
    "from-coco": coco_to_masks,
    "scores": scores,
    "memory": in_memory,
}

COLUMNS: dict[str, Callable[[Row], str]] = {
    "annoloop": lambda row: row.task,
    "images": lambda row: str(row.images),
    "ms/image": lambda row: number(row.ms),
    "peak MB": lambda row: number(row.peak_mb),
    "beside": lambda row: row.other,
    "images ": lambda row: "" if row.other_images is None else str(row.other_images),
    "ms/image ": lambda row: number(row.other_ms),
    "peak MB ": lambda row: number(row.other_peak_mb),
    "ratio": said,
    "": remark,
}


def main() -> None:
    found = parser(__doc__)
    found.add_argument("data", nargs="?", type=Path, help="data in mmseg layout, measured beside the made maps")
    found.add_argument("--maps", type=int, default=200, help="made maps of 2048 x 1024 px")
    found.add_argument(
        "--turns", type=int, choices=range(2, 21), metavar="N", default=3, help="how often every way has its turn"
    )
    found.add_argument("--scale", action="store_true", help="10 000 small files, too")
    found.add_argument("--only", choices=[*ON_DATA, "start-up", "scale"], help="one section")
    options = found.parse_args()
    screen = Console(stderr=True, highlight=False)
    with tempfile.TemporaryDirectory(prefix="annoloop-bench-") as name:
        rows = list(measure(options, Path(name), lambda text: screen.print(text, style="dim")))
    show(machine(), rows, COLUMNS, options.json, group=lambda row: row.section)


if __name__ == "__main__":
    os.environ.setdefault("COLUMNS", "190")
    main()
