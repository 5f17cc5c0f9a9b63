"""The ledger at scale: made rows of many images and runs, and how long status, push and pull wait for it.

Only the ledger's side of a command is timed; to list a million files and to look at each takes seconds by itself
and is the disk's.  ``--files`` makes the files too, empty ones, and times the whole of ``annoloop status``.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from annoloop.data.config import FILE_NAME
from annoloop.loop.setup.start import init
from annoloop.loop.status import status
from annoloop.metrics.scores import wrong_px
from annoloop.project.project import Project
from annoloop.project.rows import MaskChange
from annoloop.simulation.made_data import COLORS, NAMES, make_data

NOISY = 1.5
"""Slowest by fastest repetition from which on a row is called noisy."""

FAST_MS = 1.0
"""What takes less is not called noisy: any other process of the machine is longer than it."""

WORST = 50
OPEN_TASKS = 10
SIDE = 6


@dataclass(frozen=True)
class Row:
    asked: str
    ms: float
    noisy: bool


@dataclass(frozen=True)
class Report:
    images: int
    runs: int
    tasks: int
    ledger_mb: float
    rows: tuple[Row, ...]


# making


def sha256(kind: int, number: int) -> str:
    """Made up, but as long as a true one, and in no order."""
    return f"{(number * 11400714819323198485 + kind) % 2**64:016x}" * 4


def names_of(images: int) -> list[str]:
    """One image of ten is of val; sorted, as a project lists them."""
    return sorted(f"{'val' if i % 10 == 9 else 'train'}/{i:07d}" for i in range(images))


def confusions(rng: np.random.Generator) -> list[tuple[bytes, int]]:
    """Some matrices, packed as the ledger packs them, and their wrong pixels."""
    found = []
    for _ in range(512):
        counts = rng.integers(0, 4000, (SIDE, SIDE))
        found.append((zlib.compress(counts.astype("<i8").tobytes()), wrong_px(counts)))
    return found


def score_rows(run: int, names: list[str], packed: list[tuple[bytes, int]]) -> Iterator[tuple[object, ...]]:
    """Dice with four digits, so that many are the same."""
    dice = np.round(np.random.default_rng(run).beta(8, 2, len(names)), 4)
    for i, name in enumerate(names):
        blob, px = packed[(i * run) % len(packed)]
        yield run, name, sha256(0, i), sha256(1, i), float(dice[i]), blob, px


def fill(path: Path, names: list[str], runs: int, tasks: int) -> None:
    """Rows in bulk: without a journal of SQLite's own, and the indexes last."""
    db = sqlite3.connect(path, isolation_level=None)
    for setting in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -1000000", "foreign_keys = OFF"):
        db.execute(f"PRAGMA {setting}")
    indexes = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL").fetchall()
    db.execute("BEGIN")
    for name, _ in indexes:
        db.execute(f"DROP INDEX {name}")
    images = ((name, sha256(0, i), "1:2:3", sha256(1, i), "1:2:3") for i, name in enumerate(names))
    db.executemany("INSERT INTO image VALUES (?, ?, ?, ?, ?)", images)
    packed = confusions(np.random.default_rng(0))
    for run in range(1, runs + 1):
        made = (run, f"2026-{run:04d}")
        db.execute("INSERT INTO run VALUES (?, 'k', 'finished', 'r', NULL, 'c', ?, 'then', 0.5, 1, 'better')", made)
        db.executemany("INSERT INTO score VALUES (?, ?, ?, ?, ?, ?, ?)", score_rows(run, names, packed))
    fill_tasks(db, names, runs, tasks)
    for _, sql in indexes:
        db.execute(sql)
    db.execute("COMMIT")
    db.execute("PRAGMA journal_mode = WAL")
    db.close()


def fill_tasks(db: sqlite3.Connection, names: list[str], run: int, tasks: int) -> None:
    """Tasks of ``WORST`` images each, all pulled but for the newest ``OPEN_TASKS``."""
    rng = np.random.default_rng(1)
    shapes = json.dumps([f"class:{'0' * 32}"] * 12)
    for task in range(1, tasks + 1):
        done = task <= tasks - OPEN_TASKS
        ours = [int(i) for i in rng.choice(len(names), WORST, replace=False)]
        row = (task, f"task {task}", "done" if done else "open", run, task)
        db.execute("INSERT INTO task VALUES (?, ?, 'p', ?, 'prediction', ?, 'c', 'x', ?, 'then', 'mask', 0, 0)", row)
        state = "changed" if done else "open"
        frames = ((task, names[i], sha256(1, i), sha256(1, i), shapes, state, sha256(1, i)) for i in ours)
        db.executemany(
            "INSERT INTO frame (task_id, sample_id, name, base_sha256, pushed_sha256, shapes, state, sent_sha256)"
            " VALUES (?, ?2, ?2, ?3, ?4, ?5, ?6, ?7)",
            frames,
        )
        if done:
            db.execute("INSERT INTO change VALUES (?1, 'pull', ?1, NULL, ?2)", (task, f"2026-{task:04d}"))
            changed = ((task, names[i], sha256(2, i), sha256(1, i)) for i in ours)
            db.executemany("INSERT INTO mask_change VALUES (?, ?, ?, ?, 1)", changed)


def make_files(project: Project, names: list[str]) -> None:
    for name in names:
        for path in (project.image_path(name), project.mask_path(name)):
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))


# measuring


def timed(asked: str, action: Callable[[], object], repetitions: int) -> Row:
    """Median, after one turn that nobody counts."""
    action()
    taken = []
    for _ in range(repetitions):
        began = time.perf_counter()
        action()
        taken.append((time.perf_counter() - began) * 1000)
    middle = statistics.median(taken)
    return Row(asked, middle, middle > FAST_MS and max(taken) / min(taken) > NOISY)


def choose(project: Project, run: int, names: dict[str, None]) -> list[str]:
    """What ``push --worst 50`` asks, in its order; that all scores fit is looked up for every image."""
    ledger = project.ledger
    away = ledger.samples_in_open_tasks() | {name for name, _ in ledger.corrected()}
    stale = ledger.unscored(run, names)
    worst = (one.sample_id for one in ledger.worst_first(run) if one.sample_id in names)
    chosen = list(islice((name for name in worst if name not in away and name not in stale), WORST))
    rows = ledger.images(chosen)
    ledger.looks([row.image_sha256 for row in rows.values()])
    ledger.beliefs(run, [row.image_sha256 for row in rows.values()])
    return chosen


def pulled(project: Project, task: int) -> None:
    """What a pull of one task asks and records; every mask is noted by itself, as after its file was written."""
    ledger = project.ledger
    ledger.tasks()
    ledger.tasks_with_settled_issues()
    rows = ledger.frames(task)
    for row in rows:
        ledger.task_that_wrote(row.sample_id, row.pushed_sha256)
    with ledger.transaction():
        ledger.put_frames(task, [replace(row, state="changed") for row in rows])
        ledger.set_task(task, "open", task)
        changes = [MaskChange(row.sample_id, row.base_sha256, row.pushed_sha256) for row in rows]
        change = ledger.add_change("pull", task, changes)
    for _, one in ledger.unwritten():
        ledger.mark_written(change, one.sample_id)
    ledger.samples_in_open_tasks(other_than=task, among=[row.sample_id for row in rows])


def measure(project: Project, names: list[str], options: argparse.Namespace) -> tuple[Row, ...]:
    train = dict.fromkeys(one for one in names if one.startswith("train/"))
    run, ledger = options.runs, project.ledger
    repeat = options.repetitions
    files = f", {2 * options.images} files" if options.files else ", ledger only"
    rows = [] if not options.files else [listed(project)]
    rows += [
        timed(f"status{files}", lambda: status(project), repeat),
        timed("push --worst 50, all of it", lambda: choose(project, run, train), repeat),
        timed("  of it: which scores fit no longer", lambda: ledger.unscored(run, train), repeat),
        timed("  of it: the worst 50", lambda: list(islice(ledger.worst_first(run), WORST)), repeat),
        timed("pull of 50 frames", lambda: pulled(project, options.tasks), repeat),
        timed("what is known of all files", lambda: ledger.images(names), 1),
    ]
    return tuple(rows)


def listed(project: Project) -> Row:
    """The first status, which has to list the folders."""
    began = time.perf_counter()
    status(project)
    return Row("status, folders listed", (time.perf_counter() - began) * 1000, noisy=False)


def run_bench(folder: Path, options: argparse.Namespace) -> Report:
    made = make_data(folder, {"train": 1, "val": 1}, size_hw=(48, 64))
    file = init(made.root, folder, classes=NAMES, palette=COLORS).file
    names = names_of(options.images)
    with Project(file):
        pass  # makes the tables
    began = time.perf_counter()
    fill(folder / ".annoloop" / "ledger.db", names, options.runs, options.tasks)
    with Project(folder / FILE_NAME) as project:
        if options.files:
            make_files(project, names)
        print(f"made in {time.perf_counter() - began:.0f} s", file=sys.stderr)
        time.sleep(3)  # a folder that changed just now is listed anew
        size_mb = (folder / ".annoloop" / "ledger.db").stat().st_size / 2**20
        return Report(options.images, options.runs, options.tasks, size_mb, measure(project, names, options))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=500, help="of 50 images each")
    parser.add_argument("--files", action="store_true", help="make the images' and masks' files, too")
    parser.add_argument("--folder", type=Path, help="where to make everything; default: the system's for short-lived")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        report = run_bench(Path(folder), options)
    if options.json:
        print(json.dumps(asdict(report), indent=2))
        return
    table = Table("asked", "ms", "", box=None)
    for row in report.rows:
        table.add_row(row.asked, f"{row.ms:.1f}", "too noisy to tell" if row.noisy else "")
    title = f"{report.images} images, {report.runs} runs, {report.tasks} tasks, ledger {report.ledger_mb:.0f} MB"
    Console(width=100).print(title, table)


if __name__ == "__main__":
    main()
