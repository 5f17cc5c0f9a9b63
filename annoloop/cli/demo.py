"""``annoloop demo``: the whole loop on made data against the sandbox, on real parts.

Nothing is chosen by the test split: it is scored once per model, and the scores are only reported.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from annoloop.cvat.credentials import Credentials
from annoloop.cvat.server import CvatServer, connect
from annoloop.data.config import FILE_NAME, CvatConfig, TrainConfig, load, render
from annoloop.errors import ConfigError, CvatError
from annoloop.loop.evaluate import EvaluateReport, evaluate
from annoloop.loop.pull import pull
from annoloop.loop.push import push
from annoloop.loop.retrain import RetrainReport, retrain
from annoloop.loop.setup.start import init
from annoloop.loop.training_request import RetrainRequest
from annoloop.progress import Track, silent
from annoloop.project.project import Project
from annoloop.selection.request import PushRequest
from annoloop.selection.scoring import Watch, unwatched
from annoloop.simulation.annotator import annotate
from annoloop.simulation.made_data import COLORS, NAMES, MadeData, make_data

IMAGES = {"train": 60, "val": 24, "test": 40}
ROUNDS = 2
PUSHED = 15
FIRST_ITERATIONS = 400
NEXT_ITERATIONS = 250

_MARKER = ".annoloop-demo"


@dataclass(frozen=True, slots=True)
class Server:
    """A running sandbox: where it listens, and the token that opens it."""

    url: str
    token: str


@dataclass(frozen=True, slots=True)
class DemoRound:
    """One model: scores as fractions of 1; masks corrected and pixels edited before its training."""

    run: int
    promoted: bool
    verdict: str
    val_dice: float
    test_dice: float
    masks_corrected: int
    px_edited: int
    damaged_among_pushed: int


@dataclass(frozen=True, slots=True)
class DemoReport:
    """The loop's outcome; Dice of the current model before and after, on the clean test split."""

    folder: Path
    images: dict[str, int]
    damaged: int
    background_share: float
    rounds: tuple[DemoRound, ...]
    test_dice_before: float
    test_dice_after: float
    test_class_dice_before: dict[str, float]
    test_class_dice_after: dict[str, float]
    pictures: Path
    seconds: dict[str, float] = field(default_factory=dict)


def demo(
    folder: Path,
    *,
    say: Callable[[str], None] = lambda text: None,  # noqa: ARG005
    track: Track = silent,
    watch: Watch = unwatched,
) -> DemoReport:
    """Make data, then retrain, evaluate, push, correct, pull, and again.

    Raises:
        ConfigError: the folder holds something that the demo did not make.
        AnnoloopError: a step failed.
    """
    clock = _Clock(say)
    _clear(folder)
    with clock.step("making data with partly wrong labels"):
        made = make_data(folder, IMAGES)
        wrong = f"{len(made.damaged)} of {IMAGES['train']} training labels are wrong"
        say(f"  {wrong}; {made.background_share:.0%} background")
    with running_sandbox(folder / "sandbox") as server:
        _configure(folder, made, server)
        with (
            Project(folder / FILE_NAME) as project,
            connect(CvatConfig(url=server.url), Credentials(token=server.token)) as cvat,
        ):
            return _loop(project, cvat, made, clock, track, watch)


@contextmanager
def running_sandbox(state_dir: Path, *arguments: str) -> Iterator[Server]:
    """Start the sandbox as a child process and stop it by pid.

    Raises:
        CvatError: it did not start.
    """
    command = [sys.executable, "-m", "annoloop.sandbox", "--state", str(state_dir), "--port", "0"]
    command += ["--with-parent", *arguments]
    state_dir.mkdir(parents=True, exist_ok=True)
    with (state_dir / "server.log").open("ab") as log:
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, encoding="utf-8", start_new_session=True
        )
    try:
        line = child.stdout.readline() if child.stdout else ""
        if not line:
            raise CvatError("the sandbox did not start", where=state_dir / "server.log")
        told = json.loads(line)
        yield Server(told["url"], told["token"])
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def describe(report: DemoReport) -> str:
    """The outcome in a few lines for a terminal."""
    lines = ["", "round  run  val mDice  test mDice  masks corrected  of them wrong  verdict"]
    for number, one in enumerate(report.rounds):
        lines.append(
            f"{number:>5}  {one.run:>3}  {one.val_dice:>9.3f}  {one.test_dice:>10.3f}  {one.masks_corrected:>15}"
            f"  {one.damaged_among_pushed:>13}  {'promoted' if one.promoted else 'not promoted'}: {one.verdict}"
        )
    lines += ["", "class        test Dice before   after"]
    for name, before in report.test_class_dice_before.items():
        lines.append(f"{name:<12} {before:>16.3f}   {report.test_class_dice_after[name]:.3f}")
    gain = report.test_dice_after - report.test_dice_before
    outcome = f"{gain:+.3f}" if gain > 0 else f"{gain:+.3f}: no improvement this time"
    lines += [
        "",
        f"test mDice before {report.test_dice_before:.3f}, after {report.test_dice_after:.3f} ({outcome})",
        f"took {sum(report.seconds.values()):.0f} s",
        f"pictures:  {report.pictures}",
        f"look into: {_annoloop()} browse --project {shlex.quote(str(report.folder))}",
    ]
    return "\n".join(lines)


def _annoloop() -> str:
    """The command as it can be typed here: an environment that was not activated is not on the search path."""
    beside = Path(sys.executable).with_name("annoloop")
    if shutil.which("annoloop") == str(beside) or not beside.is_file():
        return "annoloop"
    here = Path.cwd()
    return str(beside.relative_to(here) if beside.is_relative_to(here) else beside)


class _Clock:
    """Says what is being done and remembers how long it took."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        self._say(f"[bold]{title}[/]")
        began = time.perf_counter()
        yield
        self.seconds[title] = self.seconds.get(title, 0.0) + time.perf_counter() - began


def _clear(folder: Path) -> None:
    """An earlier demo's folder is made anew; anything else is left alone."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / _MARKER).exists():
            raise ConfigError("is not empty and not a demo's", where=folder, hint="--dir names another folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARKER).touch()


def _configure(folder: Path, made: MadeData, server: Server) -> None:
    file = init(made.root, folder, classes=NAMES, palette=COLORS).file
    config = load(file)
    settings = {
        "project": "demo",
        "data": config.data.model_copy(update={"root": Path(os.path.relpath(made.root, folder))}),
        "cvat": CvatConfig(url=server.url, segment_size=5),
        "train": TrainConfig(recipe="unet_tiny", seed=0),
    }
    file.write_text(render(config.model_copy(update=settings)), encoding="utf-8")


def _loop(project: Project, cvat: CvatServer, made: MadeData, clock: _Clock, track: Track, watch: Watch) -> DemoReport:
    rounds = []
    with clock.step("training on the labels as they are"):
        trained = retrain(project, RetrainRequest(iterations=FIRST_ITERATIONS), track=track, watch=watch)
    first = last = _test(project, clock, track, watch)
    rounds.append(_round(trained, last, 0, 0, 0))
    for number in range(1, ROUNDS + 1):
        corrected, edited, hit = _correct(project, cvat, made, number, clock, track, watch)
        with clock.step(f"round {number}: training on the corrected labels"):
            trained = retrain(project, RetrainRequest(iterations=NEXT_ITERATIONS), track=track, watch=watch)
        last = _test(project, clock, track, watch)
        rounds.append(_round(trained, last, corrected, edited, hit))
    return _report(project, made, tuple(rounds), first, last, clock)


def _correct(
    project: Project,
    cvat: CvatServer,
    made: MadeData,
    number: int,
    clock: _Clock,
    track: Track,
    watch: Watch,
) -> tuple[int, int, int]:
    """Masks written, pixels edited, and how many of the pushed images really had a wrong label."""
    with clock.step(f"round {number}: pushing the worst {PUSHED} to CVAT"):
        request = PushRequest(worst=PUSHED, segment_size=project.config.cvat.segment_size)
        pushed = push(project, cvat, request, track=track, watch=watch)
    assert pushed.task is not None
    with clock.step(f"round {number}: a stand-in annotator corrects task {pushed.task}"):
        annotate(project, cvat, pushed.task, made.truth, track=track)
    with clock.step(f"round {number}: pulling"):
        pulled = pull(project, cvat, task=pushed.task, track=track)[0]
    hit = len({frame.sample_id for frame in pushed.frames} & set(made.damaged))
    return len(pulled.written), pulled.edited_px, hit


def _test(project: Project, clock: _Clock, track: Track, watch: Watch) -> EvaluateReport:
    with clock.step("scoring the current model on the test split"):
        return evaluate(project, splits=("test",), track=track, watch=watch)


def _round(trained: RetrainReport, tested: EvaluateReport, corrected: int, edited: int, hit: int) -> DemoRound:
    return DemoRound(
        trained.run,
        trained.promoted,
        trained.verdict,
        trained.mean_dice,
        tested.splits["test"].scores.mean_dice,
        corrected,
        edited,
        hit,
    )


def _report(
    project: Project,
    made: MadeData,
    rounds: tuple[DemoRound, ...],
    first: EvaluateReport,
    last: EvaluateReport,
    clock: _Clock,
) -> DemoReport:
    before, after = first.splits["test"].scores, last.splits["test"].scores
    return DemoReport(
        folder=project.path.parent,
        images=dict(IMAGES),
        damaged=len(made.damaged),
        background_share=made.background_share,
        rounds=rounds,
        test_dice_before=before.mean_dice,
        test_dice_after=after.mean_dice,
        test_class_dice_before=dict(zip(NAMES, before.dice, strict=True)),
        test_class_dice_after=dict(zip(NAMES, after.dice, strict=True)),
        pictures=last.splits["test"].panels[0].parent,
        seconds=clock.seconds,
    )
