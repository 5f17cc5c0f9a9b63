"""What a training is asked for, and what follows from it: its recipe, its length, and the model that it starts from.

Not here: the training itself (``retrain.py``).  The fact to know: what is not asked for goes on as it was, so the
recipe is that of the current model before it is annoloop.yaml's, and no model is begun from scratch unasked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from annoloop.data.durations import seconds_of
from annoloop.data.mmseg_folders import Sample
from annoloop.errors import ConfigError, check_argument
from annoloop.loop.plan import plan_for, planned_recipe, write_recipe
from annoloop.progress import Track
from annoloop.project.project import Project
from annoloop.project.rows import RunRow
from annoloop.selection.scoring import Watch
from annoloop.tracking.tracker import TrackerName
from annoloop.training.planning import AUTO, Length
from annoloop.training.recipes import check_class_count, check_packages
from annoloop.training.records import Event, result_of

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, slots=True)
class RetrainRequest:
    """None means: as annoloop.yaml or the recipe says.

    ``budget_s``: how many seconds all of it may take, data checks, training and scoring included;
    it goes before ``iterations`` of annoloop.yaml, and ``iterations`` before its budget.
    ``allow_missing_classes``: train where a class has no pixel, and promote a model that never predicts one.
    ``folds``: how many more models predict the training images out of fold, 0 for none; they have the same
    number of iterations, or share the budget.  ``tracker``: in place of annoloop.yaml's ``train.track``.
    ``unattended``: nobody is there who could switch tracking off, so what cannot be tracked is trained all the same.
    """

    recipe: str | None = None
    iterations: int | None = None
    budget_s: float | None = None
    device: Device | None = None
    gpus: int | None = None
    nodes: int | None = None
    pretrained: str | None = None
    seed: int | None = None
    from_scratch: bool = False
    allow_test_images: bool = False
    allow_missing_classes: bool = False
    folds: int = 0
    tracker: TrackerName | None = None
    unattended: bool = False

    def __post_init__(self) -> None:
        """Raise ConfigError for a value that cannot be."""
        both = self.budget_s is not None and self.iterations is not None
        check_argument("budget", self.budget_s, not both, "allowed beside iterations: one of the two")
        check_argument("device", self.device, self.device in (None, *get_args(Device)), ", ".join(get_args(Device)))
        trackers = get_args(TrackerName)
        check_argument("track", self.tracker, self.tracker in (None, *trackers), ", ".join(trackers))
        check_argument("folds", self.folds, self.folds == 0 or 2 <= self.folds <= 10, "0, or 2 to 10")
        for name in ("iterations", "budget_s", "gpus", "nodes"):
            value = getattr(self, name)
            check_argument(name, value, value is None or value > 0, "more than 0")


def chosen_recipe(project: Project, request: RetrainRequest, champion: RunRow | None, watch: Watch) -> str:
    """What was asked for; else that of the current model, so that training goes on; else annoloop.yaml's.

    Raises:
        ConfigError: there is no such recipe, or that of the current model is not there any more.
        MissingPackageError: it needs a package that is not installed.
    """
    settled = project.config.train.recipe
    if request.recipe is not None or request.from_scratch or champion is None or champion.recipe == settled:
        return _usable(project, request.recipe or settled)
    if champion.recipe != AUTO:
        try:
            _usable(project, champion.recipe)
        except ConfigError as error:
            raise ConfigError(
                f"{champion.recipe}, the recipe of the current model (run {champion.id}), is not there any more",
                where=project.path,
                hint=f"put it back, or start anew with --recipe {settled}",
            ) from error
    said = f"goes on with {champion.recipe}, the recipe of the current model (run {champion.id})"
    instead = f"--recipe {settled}, which annoloop.yaml names, would start from scratch"
    watch(Event("warning", {"message": f"{said}; {instead}"}))
    return champion.recipe


def _usable(project: Project, recipe: str) -> str:
    if recipe != AUTO:
        check_packages(project.recipe(recipe))
        check_class_count(project.recipe(recipe), len(project.classes), project.path)
    return recipe


def recipe_file(
    project: Project,
    request: RetrainRequest,
    run: RunRow,
    recipe: str,
    train: Sequence[Sample],
    val_images: int,
    track: Track,
    watch: Watch,
) -> Path:
    """The mmseg config of a run; of ``auto`` it is planned now, unless a run that was cut off has one."""
    if recipe != AUTO:
        return project.recipe(recipe)
    planned = planned_recipe(project.run_dir(run.id))
    if not planned.is_file():
        iterations, budget_s = length_of(project, request)
        length = Length(iterations, budget_s, _seconds_each(project, recipe))
        device = request.device or project.config.train.device
        chosen = plan_for(project, train, val_images, length, device=device, track=track)
        watch(Event("plan", {"lines": [asdict(line) for line in chosen.lines]}))
        write_recipe(chosen, planned.parent)
    return planned


def _seconds_each(project: Project, recipe: str) -> float | None:
    """Of an iteration, as the latest run of the recipe had it; None where there is none."""
    results = (result_of(project.run_dir(run.id)) for run in reversed(project.ledger.runs()) if run.recipe == recipe)
    return next((result.seconds_per_iteration for result in results if result is not None), None)


def starting_point(champion: RunRow | None, recipe: str, watch: Watch) -> RunRow | None:
    """The run whose weights a training starts from: the current model, if it is of the same recipe."""
    if champion is not None and champion.recipe != recipe:
        said = f"{recipe} starts from scratch: the current model, run {champion.id}, is a {champion.recipe}"
        watch(Event("warning", {"message": said}))
        return None
    return champion


def length_of(project: Project, request: RetrainRequest) -> tuple[int | None, float | None]:
    """Iterations or seconds: what was asked for, or else what annoloop.yaml says; at most one of the two.

    Folds are as many trainings more, and all of them share the seconds.
    """
    settings = project.config.train
    iterations, budget_s = request.iterations, request.budget_s
    if iterations is None and budget_s is None:
        iterations = settings.iterations
        budget_s = None if settings.budget is None else seconds_of(settings.budget)
    return iterations, None if iterations is not None or budget_s is None else budget_s / (1 + request.folds)
