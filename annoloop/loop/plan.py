"""``annoloop retrain --plan``: what a training would do, why, and how long each part of it would take.

Not here: the choices themselves (``training/planning.py``).  The fact to know: what a plan knows of the data are the
facts that ``eda`` keeps, so only files that changed are read for it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from annoloop.data.images import image_bands, image_size_hw
from annoloop.data.mmseg_folders import Sample
from annoloop.eda.facts_cache import facts_of
from annoloop.eda.planning_facts import data_facts
from annoloop.eda.tally import Tally
from annoloop.errors import DataError
from annoloop.progress import Track, silent
from annoloop.project.project import Project
from annoloop.training.child import run_job
from annoloop.training.planning import AUTO, BASE, DataFacts, Length, Plan, PlanLine, hardware_here, plan
from annoloop.training.recipes import recipe_path
from annoloop.training.records import Event, Job, Result
from annoloop.training.validation_plan import BY_ITERATIONS, MEANWHILE, judging_s, validations

_TRIED_IMAGES = 32
_START_S = 8.0
"""Loading torch and mmseg."""


@dataclass(frozen=True, slots=True)
class TimePart:
    """One part of a training's time."""

    what: str
    seconds: float


@dataclass(frozen=True, slots=True)
class PlanReport:
    """What a training would do; ``parts`` add up to all of it, validation and final scoring included.

    ``lines`` is empty for a recipe that says everything itself; times were measured on the project's own images.
    """

    recipe: str
    device: str
    lines: tuple[PlanLine, ...]
    iterations: int
    train_images: int
    val_images: int
    seconds_per_iteration: float
    seconds_per_image: float
    parts: tuple[TimePart, ...]
    budget_s: float | None

    @property
    def seconds(self) -> float:
        """All of it."""
        return sum(part.seconds for part in self.parts)


def plan_for(
    project: Project,
    train: Sequence[Sample],
    val_images: int,
    length: Length,
    *,
    device: str,
    track: Track = silent,
) -> Plan:
    """The plan of ``recipe: auto`` for these training images; ``device`` is auto, cpu or cuda.

    Raises:
        DataError: none of them can be read.
    """
    return plan(_facts_of(project, train, val_images, track), hardware_here(device), length)


def planned_recipe(run_dir: Path) -> Path:
    """Where the planned recipe of a run lies."""
    return run_dir / "recipe.py"


def write_recipe(chosen: Plan, run_dir: Path) -> Path:
    """The planned recipe in the folder of a run: a complete mmseg config, with the reasons in it."""
    run_dir.mkdir(parents=True, exist_ok=True)
    file = planned_recipe(run_dir)
    file.write_text(chosen.recipe(recipe_path(BASE).read_text(encoding="utf-8")), encoding="utf-8")
    return file


def measured(
    project: Project,
    recipe: str,
    train: Sequence[Sample],
    val: Sequence[Sample],
    length: Length,
    *,
    device: str | None = None,
    track: Track = silent,
) -> PlanReport:
    """Plan a training and try a few of its iterations, and a few predictions.

    Raises:
        DataError: there is nothing to train on.
        TrainingError: the recipe does not train.
    """
    device = device or project.config.train.device
    facts = _facts_of(project, train, len(val), track) if recipe == AUTO else None
    hardware = hardware_here(device)
    with tempfile.TemporaryDirectory(prefix="annoloop-") as folder:
        place = Path(folder)
        config = project.recipe(recipe) if facts is None else write_recipe(plan(facts, hardware, length), place)
        result = run_job(_trial(project, config, train, val, length, device, place / "run"), _unheard)
    report = _report(recipe, result, len(train), len(val), length.budget_s)
    if facts is None:
        return report
    known = replace(length, seconds_each=report.seconds_per_iteration, expected=report.iterations)
    return replace(report, lines=plan(facts, hardware, known).lines)


def _trial(
    project: Project,
    recipe: Path,
    train: Sequence[Sample],
    val: Sequence[Sample],
    length: Length,
    device: str,
    run_dir: Path,
) -> Job:
    return project.job(
        "measure",
        run_dir,
        recipe=recipe,
        train=tuple((s.image, s.mask) for s in _usable(project.on_disk(train[:_TRIED_IMAGES]))),
        val=tuple((s.image, s.mask) for s in _usable(project.on_disk(val[:_TRIED_IMAGES]))),
        iterations=length.iterations,
        device=device,
    )


def _usable(samples: Iterable[Sample]) -> Iterator[Sample]:
    """Those of which both files can be read; ``doctor`` tells the others, and a pipe would hold up the trial."""
    for sample in samples:
        with suppress(DataError):
            for file in (sample.image, sample.mask or sample.image):
                image_size_hw(file)
            yield sample


def _report(recipe: str, result: Result, train: int, val: int, budget_s: float | None) -> PlanReport:
    each_s, image_s = result.seconds_per_iteration or 0.0, result.seconds_per_image or 0.0
    validation_s = min(MEANWHILE, val) * image_s
    times = BY_ITERATIONS if budget_s is None else validations(budget_s, validation_s)
    judged_s, scored_s = judging_s(val, image_s, budget_s), val * image_s * result.looks_per_image
    iterations = result.iterations
    if budget_s is not None:
        left_s = budget_s - _START_S - times * validation_s - judged_s - scored_s
        iterations = max(0, int(left_s / max(each_s, 1e-6)))
    judged = f", {val} for the last candidates" if judged_s else ""
    parts = (
        TimePart("starting", _START_S),
        TimePart(f"training, {iterations} iterations", iterations * each_s),
        TimePart(f"validation, {times} times {min(MEANWHILE, val)} images{judged}", times * validation_s + judged_s),
        TimePart(f"scoring {val} images", scored_s),
    )
    return PlanReport(recipe, result.device, (), iterations, train, val, each_s, image_s, parts, budget_s)


def _facts_of(project: Project, train: Sequence[Sample], val_images: int, track: Track) -> DataFacts:
    tally = Tally(len(project.classes))
    for facts in facts_of(project, train, track):
        tally.add(facts)
    found = data_facts(tally, project.classes, val_images)
    if found is None:
        raise DataError("no training image can be read together with its mask", hint="annoloop doctor says why")
    with suppress(DataError):  # one that cannot be read is no reason to plan otherwise
        return replace(found, bands=image_bands(train[0].image))
    return found


def _unheard(_: Event) -> None:
    return None
