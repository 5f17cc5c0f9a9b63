"""Does choosing pay?  Labels are damaged on purpose, and rounds of correction go to chosen images or to random ones.

Every arm of a seed starts from a copy of the same project after the same first training; the annotator gives
back the undamaged masks, through the embedded CVAT.  Length is counted in iterations, so a busy machine
changes nothing but the time.  Rows are written after every step and a killed run goes on where it was: a step
works in a folder that gets its name only when it is done.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from annoloop.cli.demo import running_sandbox
from annoloop.cvat.credentials import Credentials
from annoloop.cvat.server import CvatServer, connect
from annoloop.data.config import FILE_NAME, CvatConfig, load, render
from annoloop.data.images import encode_index_png, read_index_png, write_atomic
from annoloop.data.mmseg_folders import read_label_map, to_stored
from annoloop.errors import AnnoloopError, ConfigError
from annoloop.loop.evaluate import evaluate
from annoloop.loop.pull import pull
from annoloop.loop.push import push
from annoloop.loop.retrain import retrain
from annoloop.loop.setup.start import init
from annoloop.loop.training_request import RetrainRequest
from annoloop.project.project import Project
from annoloop.selection.request import PushRequest
from annoloop.simulation.annotator import annotate
from annoloop.simulation.damage import damage_share
from annoloop.simulation.made_data import COLORS, NAMES, make_data

RANDOM = "random"
MADE_IMAGES = {"train": 60, "val": 24, "test": 40}
DATA, TRUTH, EXCHANGED = "data", "truth", "exchanged.json"
LEAST_PX = 16
"""Smaller components are not damaged: nobody would find them, nor mind."""


@dataclass(frozen=True)
class Plan:
    """What is measured; rows of another plan cannot be continued."""

    data: str | None
    by: tuple[str, ...]
    source: str
    recipe: str
    iterations: int
    rounds: int
    share: float
    damaged: float


@dataclass(frozen=True)
class Exchange:
    """One task, pushed, corrected and pulled: its images, and how many of them had a damaged label."""

    chosen: int = 0
    hits: int = 0


@dataclass(frozen=True)
class Row:
    """One model: Dice on the clean test split of it and of the current model after it was judged."""

    arm: str
    seed: int
    round: int
    chosen: int
    hits: int
    damaged_left: int
    test_dice: float
    current_dice: float
    promoted: bool


class Rows:
    """The rows that there are, and their file."""

    def __init__(self, file: Path, plan: Plan) -> None:
        self._file, self._plan = file, plan
        self.all: list[Row] = []
        if file.exists():
            told = json.loads(file.read_text(encoding="utf-8"))
            if told["plan"] != json.loads(json.dumps(asdict(plan))):
                raise ConfigError("holds rows of another plan", where=file, hint="--out names another file")
            self.all = [Row(**row) for row in told["rows"]]

    def has(self, arm: str, seed: int, number: int) -> bool:
        return any((row.arm, row.seed, row.round) == (arm, seed, number) for row in self.all)

    def add(self, row: Row) -> None:
        self.all.append(row)
        told = {"plan": asdict(self._plan), "rows": [asdict(one) for one in self.all]}
        write_atomic(self._file, json.dumps(told, indent=1).encode())


def measure(plan: Plan, seeds: int, rows: Rows, folder: Path, console: Console) -> None:
    """Run what is missing, seed by seed and arm by arm."""
    for seed in range(seeds):
        first = folder / f"seed-{seed}" / "first"
        if not first.exists():
            with _in_the_making(first) as part:
                _begin(plan, part, seed)
        _train(plan, rows, first, "first", seed, 0, console)
        for arm in (*plan.by, RANDOM):
            _run_arm(plan, rows, first, arm, seed, console)


def _run_arm(plan: Plan, rows: Rows, first: Path, arm: str, seed: int, console: Console) -> None:
    before = first
    for number in range(1, plan.rounds + 1):
        after = first.parent / f"{arm.replace(':', '-')}-{number}"
        if not after.exists():
            with _in_the_making(after, copy_of=before) as part:
                exchanged = _exchange(plan, part, f"{arm} seed {seed} round {number}", arm)
                (part / EXCHANGED).write_text(json.dumps(asdict(exchanged)), encoding="utf-8")
        _train(plan, rows, after, arm, seed, number, console)
        before = after


@contextmanager
def _in_the_making(folder: Path, copy_of: Path | None = None) -> Iterator[Path]:
    """A folder under another name until all is done in it; what a killed run left of it goes."""
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    if copy_of is None:
        part.mkdir(parents=True)
    else:
        shutil.copytree(copy_of, part)
    yield part
    part.rename(folder)


def _begin(plan: Plan, folder: Path, seed: int) -> None:
    """A project on a copy of the data, its true masks beside it, with damaged labels in the training split."""
    if plan.data is None:
        made = make_data(folder, MADE_IMAGES, damaged_share=0.0, seed=seed)
        file = init(made.root, folder, classes=NAMES, palette=COLORS).file
    else:
        shutil.copytree(plan.data, folder / DATA)
        file = init(folder / DATA, folder).file
    config = load(file)
    data = config.data.model_copy(update={"root": Path(DATA)})
    train = config.train.model_copy(update={"recipe": plan.recipe, "seed": seed})
    write_atomic(file, render(config.model_copy(update={"data": data, "train": train})).encode())
    with Project(file) as project:
        _keep_truth(project, folder / TRUTH)
        _damage(project, plan.damaged, seed)


def _keep_truth(project: Project, truth: Path) -> None:
    for sample in project.samples():
        if sample.mask is not None:
            write_atomic(truth / f"{sample.id}{project.config.data.mask_suffix}", sample.mask.read_bytes())


def _damage(project: Project, share: float, seed: int) -> None:
    data = project.config.data
    masks = {sample.id: sample.mask for sample in project.samples(["train"]) if sample.mask is not None}
    wrong = damage_share(
        tuple(masks),
        lambda name: read_label_map(masks[name], data),
        project.classes,
        share=share,
        seed=seed,
        least_px=LEAST_PX,
    )
    for name, one in wrong:
        stored = to_stored(one.label_map, data, read_index_png(masks[name]))
        write_atomic(masks[name], encode_index_png(stored))


def _exchange(plan: Plan, folder: Path, name: str, arm: str) -> Exchange:
    """Push a share of the training images, have them corrected to the truth, and pull."""
    with running_sandbox(folder / "sandbox") as server:
        file = folder / FILE_NAME
        config = load(file)
        data = config.data.model_copy(update={"root": Path(DATA)})
        settings = {"project": name, "data": data, "cvat": CvatConfig(url=server.url)}
        write_atomic(file, render(config.model_copy(update=settings)).encode())
        with Project(file) as project, connect(project.config.cvat, Credentials(token=server.token)) as cvat:
            exchanged = _correct(project, cvat, plan, folder / TRUTH, arm)
    shutil.rmtree(folder / "sandbox")
    return exchanged


def _correct(project: Project, cvat: CvatServer, plan: Plan, truth: Path, arm: str) -> Exchange:
    damaged = _damaged(project, truth)
    request = PushRequest(
        worst=max(1, round(plan.share * len(project.samples(["train"])))),
        by=plan.by[0] if arm == RANDOM else arm,
        random_share=1.0 if arm == RANDOM else 0.0,
        source=plan.source,  # type: ignore[arg-type]
        context=False,
        issues_per_frame=0,
    )
    pushed = push(project, cvat, request)
    assert pushed.task is not None
    annotate(project, cvat, pushed.task, truth)
    pull(project, cvat, task=pushed.task)
    chosen = {frame.sample_id for frame in pushed.frames}
    assert not chosen & _damaged(project, truth), "the annotator's masks are the true ones"
    return Exchange(len(chosen), len(chosen & damaged))


def _damaged(project: Project, truth: Path) -> set[str]:
    """The training images whose mask is not the true one."""
    data = project.config.data
    return {
        sample.id
        for sample in project.samples(["train"])
        if sample.mask is not None
        and not np.array_equal(
            read_label_map(sample.mask, data), read_label_map(truth / f"{sample.id}{data.mask_suffix}", data)
        )
    }


def _train(plan: Plan, rows: Rows, folder: Path, arm: str, seed: int, number: int, console: Console) -> None:
    """The training that follows an exchange, and its row; one that was cut off goes on."""
    if rows.has(arm, seed, number):
        return
    console.print(f"seed {seed}, {arm}, round {number}: training", style="dim")
    with Project(folder / FILE_NAME) as project:
        finished = [run for run in project.ledger.runs() if run.state == "finished"]
        if len(finished) <= number:  # else the run was killed between the training and its row
            # The arms are compared on the same test images: an image that leaked into them helps all alike.
            retrain(project, RetrainRequest(iterations=plan.iterations, allow_test_images=True))
        run = project.ledger.runs()[-1]
        exchanged = Exchange(**json.loads((folder / EXCHANGED).read_text())) if number else Exchange()
        left = len(_damaged(project, folder / TRUTH))
        row = Row(
            arm=arm,
            seed=seed,
            round=number,
            chosen=exchanged.chosen,
            hits=exchanged.hits,
            damaged_left=left,
            test_dice=_test_dice(project, run.id),
            current_dice=_test_dice(project, None),
            promoted=run.promoted,
        )
    rows.add(row)


def _test_dice(project: Project, run_id: int | None) -> float:
    return evaluate(project, run_id=run_id, splits=("test",), show=0).splits["test"].scores.mean_dice


def table(rows: Sequence[Row]) -> Table:
    """Every row, and per arm and round their mean over the seeds."""
    found = Table("arm", "seed", "round", box=None)
    for column in ("chosen", "of them damaged", "damaged left", "test mDice", "of the current model", "promoted"):
        found.add_column(column, justify="right")
    for row in rows:
        numbers = (row.chosen, row.hits, row.damaged_left)
        found.add_row(
            row.arm, str(row.seed), str(row.round), *map(str, numbers), f"{row.test_dice:.4f}",
            f"{row.current_dice:.4f}", "yes" if row.promoted else "no",
        )  # fmt: skip
    found.add_section()
    for arm, number in dict.fromkeys((row.arm, row.round) for row in rows):
        same = [row for row in rows if (row.arm, row.round) == (arm, number)]
        whole = np.mean([(row.chosen, row.hits, row.damaged_left) for row in same], axis=0)
        dice = np.mean([(row.test_dice, row.current_dice) for row in same], axis=0)
        promoted = f"{sum(row.promoted for row in same)} of {len(same)}"
        numbers = [f"{value:.1f}" for value in whole] + [f"{value:.4f}" for value in dice]
        found.add_row(arm, "mean", str(number), *numbers, promoted, style="bold")
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path, help="data in mmseg layout; default: made data")
    parser.add_argument("--by", action="append", help="criterion of push; one arm each; default: dice")
    parser.add_argument("--source", choices=["prediction", "label"], default="prediction")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--share", type=float, default=0.15, help="of the training images, corrected in a round")
    parser.add_argument("--damaged", type=float, default=0.3, help="of the training masks, damaged at the beginning")
    parser.add_argument("--recipe", default="unet_tiny")
    parser.add_argument("--iterations", type=int, default=200, help="of every training")
    parser.add_argument("--out", type=Path, default=Path(".cache/bench-loop.json"), help="rows; projects lie beside")
    return parser.parse_args()


def main() -> None:
    options = _options()
    data = None if options.data is None else str(options.data.resolve())
    by = tuple(dict.fromkeys(options.by or ["dice"]))
    plan = Plan(
        data, by, options.source, options.recipe, options.iterations, options.rounds, options.share, options.damaged
    )
    try:
        rows = Rows(options.out, plan)
        measure(plan, options.seeds, rows, options.out.with_suffix("").resolve(), Console(stderr=True))
    except AnnoloopError as error:
        sys.exit(f"error: {error}")
    Console(width=int(os.environ.get("COLUMNS", "120"))).print(table(rows.all))


if __name__ == "__main__":
    main()
