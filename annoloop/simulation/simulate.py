"""``annoloop simulate``: what correcting brings on the user's own data, measured against doing nothing and everything.

Labels are damaged on purpose; each arm has the same minutes of an annotator who knows the truth, and trains equally
long from the same model.  Length is counted in iterations, so a busy machine changes nothing but the time.  The fact
to know: a row is written after every arm, and a killed simulation goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

from annoloop.data.config import FILE_NAME
from annoloop.errors import ConfigError, check_argument
from annoloop.loop.retrain import retrain
from annoloop.loop.training_request import RetrainRequest
from annoloop.metrics.scores import scores
from annoloop.progress import Say, Track, silent, unsaid
from annoloop.project.project import Project
from annoloop.project.rows import RunRow
from annoloop.selection.criteria import DICE, check_criterion
from annoloop.selection.scoring import Watch, score, total, unwatched
from annoloop.simulation.arms import EVERYTHING, NOTHING, PROPOSALS, RANDOM, Bench, Step, steps, whole_images
from annoloop.simulation.beginnings import beginnings
from annoloop.simulation.costs import Costs, Edits
from annoloop.simulation.damage import KINDS, Kind
from annoloop.simulation.simulation_page import write_page
from annoloop.simulation.trial_report import SimulateReport, summarize
from annoloop.simulation.trial_rows import Point, Row, Rows
from annoloop.simulation.working_copy import Harm, begin, branch, in_the_making, write_mask

ARMS = (RANDOM, "foreground-random", "dice", "label-quality", "contradiction", PROPOSALS)
"""What is compared unless somebody asks for other arms; correcting nothing and everything come with them."""

_MOST_POINTS = 200
"""Of a curve: enough for a chart."""


@dataclass(frozen=True, slots=True)
class SimulateRequest:
    """What to measure.

    ``damaged`` and ``missing``: shares (0 ... 1) of the training labels that are damaged in one of ``kinds``, and taken
    away.  ``share``: the annotator's minutes, as a share of those that correcting everything would take.
    ``first_iterations`` train the model that all arms start from, ``iterations`` every arm; 0: nothing is trained after
    the first model, and only pixels and minutes are compared.  ``folds``: as ``retrain --folds``, of the first model.
    ``on``: the split that models are scored on.  ``costs``: pairs like ``verdict=2``, seconds.
    """

    arms: tuple[str, ...] = ARMS
    seeds: int = 3
    damaged: float = 0.3
    kinds: tuple[Kind, ...] = KINDS
    missing: float = 0.0
    share: float = 0.1
    iterations: int = 200
    first_iterations: int = 400
    folds: int = 0
    recipe: str | None = None
    on: str = "test"
    costs: tuple[str, ...] = ()
    anew: bool = False

    def __post_init__(self) -> None:
        """Raise ConfigError for a value that cannot be."""
        for name, least, most in (("damaged", 0, 1), ("missing", 0, 0.9), ("share", 0.001, 1)):
            value = getattr(self, name)
            check_argument(name, value, least <= value <= most, f"{least} to {most}")
        for name, least in (("seeds", 1), ("iterations", 0), ("first_iterations", 1)):
            check_argument(name, getattr(self, name), getattr(self, name) >= least, f"{least} or more")
        check_argument("on", self.on, self.on not in ("train", "pool"), "val or test, which nothing is trained on")
        check_argument("folds", self.folds, self.folds == 0 or 2 <= self.folds <= 10, "0, or 2 to 10")
        for kind in self.kinds:
            check_argument("kinds", kind, kind in KINDS, ", ".join(KINDS))
        check_argument("damaged", self.damaged, self.damaged + self.missing > 0, "more than 0 where nothing is missing")

    @property
    def all_arms(self) -> tuple[str, ...]:
        """The arms with their controls, each once."""
        return tuple(dict.fromkeys((NOTHING, EVERYTHING, *self.arms)))


def simulate(
    project: Project,
    request: SimulateRequest,
    *,
    say: Say = unsaid,
    track: Track = silent,
    watch: Watch = unwatched,
) -> SimulateReport:
    """Run what is missing, seed by seed and arm by arm, and write the page; the project itself stays as it is.

    Raises:
        ConfigError: an arm that is no criterion, no background class, or no such split.
        DataError: a file cannot be read, or too few masks have an object to damage.
        TrainingError: a training failed.
    """
    _check(project, request)
    costs = Costs.given(request.costs)
    folder = project.state_dir / "simulate" / _begun_key(project, request)
    if request.anew:
        shutil.rmtree(folder, ignore_errors=True)
    rows = Rows(folder / f"rows-{_key(project, request)}.json")
    wanted = [(seed, arm) for seed in range(request.seeds) for arm in request.all_arms]
    left = [(seed, arm) for seed, arm in wanted if not rows.has(arm, seed)]
    say(f"{request.seeds} seeds, {len(request.all_arms)} arms each; {len(left)} of {len(wanted)} to do")
    for seed in sorted({seed for seed, _ in left}):
        _run_seed(project, request, costs, rows, folder / f"seed-{seed}", seed, say, track, watch)
    report = summarize(request, costs, rows.rows, rows.starts)
    return write_page(project, report, rows.rows)


def _check(project: Project, request: SimulateRequest) -> None:
    ours = (NOTHING, EVERYTHING, RANDOM, PROPOSALS)
    for arm in request.arms:
        try:
            check_criterion(DICE if arm in ours else arm, project.classes)
        except ConfigError as error:
            hint = f"{', '.join(ours)}, or a criterion: {error.hint}"
            raise ConfigError(error.message, where="--arm", hint=hint) from None
    if project.classes.background_index is None:
        raise ConfigError("labels can be damaged only where a class is the background", where=project.path)
    missing = [name for name in ("train", "val", request.on) if name not in project.config.data.splits]
    if missing:
        raise ConfigError(
            f"a simulation needs a split {missing[0]!r}",
            where=project.path,
            hint="splits: " + ", ".join(project.config.data.splits) + "; --on names the one that models are scored on",
        )


_OF_THE_BEGINNING = ("damaged", "kinds", "missing", "first_iterations", "folds", "recipe")
_OF_NO_ROW = ("arms", "seeds", "anew")


def _begun_key(project: Project, request: SimulateRequest) -> str:
    """Equal for what may share first models: the same data, damage and first training, whatever is done with them."""
    told = {name: value for name, value in asdict(request).items() if name in _OF_THE_BEGINNING}
    asked = [told, project.config.data.model_dump(mode="json"), project.classes.digest, project.config.train.recipe]
    return _digest(asked)


def _key(project: Project, request: SimulateRequest) -> str:
    """Equal for what may share rows: also the same minutes and trainings, whatever arms and seeds."""
    told = {name: value for name, value in asdict(request).items() if name not in _OF_NO_ROW}
    return _digest([told, _begun_key(project, request)])


def _digest(asked: object) -> str:
    return hashlib.sha256(json.dumps(asked, default=str).encode()).hexdigest()[:12]


def _run_seed(
    project: Project,
    request: SimulateRequest,
    costs: Costs,
    rows: Rows,
    folder: Path,
    seed: int,
    say: Say,
    track: Track,
    watch: Watch,
) -> None:
    """The first model of a seed, and all its arms."""
    first = folder / "first"
    if not first.exists():
        with in_the_making(first) as part:
            begin(project, part, Harm(request.damaged, request.kinds, request.missing), seed, track)
    with Project(first / FILE_NAME) as working:
        run = _first_run(working, request, seed, say, track, watch)
        bench = Bench(working, first, run, seed)
        whole = whole_images(bench, track, watch)
        if not any(one.seed == seed for one in rows.starts):
            rows.add_starts(beginnings(bench, track, watch))
        minutes = request.share * sum(one.edits.minutes(costs) for one in whole.values())
        for arm in request.all_arms:
            if not rows.has(arm, seed):
                work = _worked(
                    steps(bench, arm, whole, say, track, watch), costs, None if arm == EVERYTHING else minutes
                )
                say(f"seed {seed}, {arm}: {work.edits.minutes(costs):.0f} min of work on {len(work.touched)} images")
                after = folder / f"{_key(project, request)}-{arm.replace(':', '-')}"
                dice = _trained(first, after, request, work, track, watch)
                rows.add(_row(arm, seed, work, costs, whole, dice))


def _first_run(working: Project, request: SimulateRequest, seed: int, say: Say, track: Track, watch: Watch) -> RunRow:
    """The model that all arms of a seed start from, trained on the damaged labels."""
    if working.current_run() is None:
        say(f"seed {seed}: training the first model on damaged labels, {request.first_iterations} iterations")
        asked = RetrainRequest(
            recipe=request.recipe, iterations=request.first_iterations, folds=request.folds,
            allow_test_images=True, allow_missing_classes=True,
        )  # fmt: skip
        retrain(working, asked, track=track, watch=watch)
    run = working.current_run()
    assert run is not None, "the first model has none to be worse than"
    return run


@dataclass(frozen=True, slots=True)
class _Work:
    """What an arm did within its minutes, and how it would go on."""

    done: int
    edits: Edits
    mended_px: int
    touched: Mapping[str, Step]
    curve: tuple[Point, ...]


def _worked(work: Iterable[Step], costs: Costs, minutes: float | None) -> _Work:
    """Go through an arm's steps: those that fit into the minutes are done, all make the curve."""
    done, within, mended, touched = 0, Edits(), 0, {}
    edits, px, points = Edits(), 0, [Point(0.0, 0, 0)]
    for number, step in enumerate(work, 1):
        edits, px = edits + step.edits, px + step.mended_px
        spent = edits.minutes(costs)
        points.append(Point(spent, px, number))
        if minutes is None or spent <= minutes:
            done, within, mended = number, edits, px
            touched[step.sample_id] = step
    return _Work(done, within, mended, touched, _thinned(points))


def _thinned(points: Sequence[Point]) -> tuple[Point, ...]:
    """At most so many points, the first and the last among them."""
    every = -(-len(points) // _MOST_POINTS)
    return tuple(dict.fromkeys(chain(points[::every], points[-1:])))


def _trained(
    first: Path, after: Path, request: SimulateRequest, work: _Work, track: Track, watch: Watch
) -> tuple[float, float] | None:
    """mDice and mean foreground Dice of the model that is trained after an arm's work."""
    if request.iterations == 0:
        return None
    if not after.exists():
        with in_the_making(after) as part:
            branch(first, part)
            for name, step in work.touched.items():
                write_mask(part, name, step.label_map)
    with Project(after / FILE_NAME) as working:
        finished = [run for run in working.ledger.runs() if run.state == "finished"]
        if len(finished) < 2:  # else it was killed between the training and its row
            asked = RetrainRequest(iterations=request.iterations, allow_test_images=True, allow_missing_classes=True)
            retrain(working, asked, track=track, watch=watch)
        run = working.ledger.runs()[-1]
        counts = total(score(working, run, working.samples([request.on]), track=track, watch=watch))
        found = scores(counts, working.classes.background_index)
    shutil.rmtree(after)
    return found.mean_dice, found.foreground_dice


def _row(
    arm: str, seed: int, work: _Work, costs: Costs, whole: Mapping[str, Step], dice: tuple[float, float] | None
) -> Row:
    return Row(
        arm=arm,
        seed=seed,
        steps=work.done,
        hits=sum(whole[name].mended_px > 0 for name in work.touched),
        edits=work.edits,
        minutes=work.edits.minutes(costs),
        mended_px=work.mended_px,
        wrong_px=sum(one.mended_px for one in whole.values()),
        mean_dice=None if dice is None else dice[0],
        foreground_dice=None if dice is None else dice[1],
        curve=work.curve,
    )
