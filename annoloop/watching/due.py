"""What is due: a function of what is wanted, what is seen, and the time; nothing here looks or acts.

The facts to know: a task that was half sent is finished before all else that follows from a model, for another model
would throw it away; corrections come in before they are trained on; and no task is pushed while one is open, so that
each round has one.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from annoloop.data.durations import in_words
from annoloop.errors import ConfigError, check_argument
from annoloop.loop.pull import OnConflict
from annoloop.selection.request import Carries
from annoloop.watching.rhythm import Hours

Kind = Literal["pull", "retrain", "push"]


@dataclass(frozen=True, slots=True)
class WatchRequest:
    """What is to happen by itself; None: not this.

    ``retrain_after``: so many masks that changed since the last training.  ``push_next``: images, or proposals, of a
    task.  ``budget_s``: of each training, which is begun only ``hours`` that hold all of it.  ``every_s``: between two
    looks at CVAT.  ``most_failures``: in a row, of one kind of step, then it ends.
    """

    pull: bool = False
    retrain_after: int | None = None
    push_next: int | None = None
    every_s: float = 30.0
    budget_s: float | None = None
    hours: Hours | None = None
    by: str = "dice"
    splits: tuple[str, ...] = ("train",)
    carries: Carries = "shapes"
    on_conflict: OnConflict = "stop"
    allow_missing_classes: bool = False
    most_failures: int = 10

    def __post_init__(self) -> None:
        """Raise ConfigError for a value that cannot be."""
        something = self.pull or self.retrain_after is not None or self.push_next is not None
        check_argument("watch", None, something, "enough: --pull, --retrain-after N or --push-next N, or all three")
        for name, least in (("retrain_after", 1), ("push_next", 1), ("every_s", 1.0), ("most_failures", 1)):
            value = getattr(self, name)
            check_argument(name, value, value is None or value >= least, f"{least} or more")
        check_argument("budget_s", self.budget_s, self.budget_s is None or self.budget_s > 0, "more than 0")
        for name, words in (("carries", get_args(Carries)), ("on_conflict", get_args(OnConflict))):
            check_argument(name, getattr(self, name), getattr(self, name) in words, ", ".join(words))
        if self.hours and self.budget_s and self.budget_s > self.hours.length_s:
            raise ConfigError(
                f"{self.hours} is {in_words(self.hours.length_s)}, and a training may take {in_words(self.budget_s)}",
                where="--hours",
                hint="a shorter --budget, or longer hours",
            )


@dataclass(frozen=True, slots=True)
class Seen:
    """The loop at a moment; tasks by their number in CVAT.

    ``to_pull``: with finished jobs of which something has not come back, or to which CVAT is owed an answer.
    ``half_pushed``: the name of a task that was cut off.  ``trained``: whether a training of these classes has ended,
    with whatever verdict.  ``exhausted``: why the last push found nothing, where nothing has changed since.
    """

    open_tasks: tuple[int, ...] = ()
    to_pull: tuple[int, ...] = ()
    half_pushed: str | None = None
    current_run: int | None = None
    trained: bool = False
    masks_changed: int = 0
    exhausted: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do, and why now; ``task`` of a pull."""

    kind: Kind
    because: str
    task: int | None = None

    @property
    def name(self) -> str:
        """Equal for another try of the same."""
        return self.kind if self.task is None else f"{self.kind} of task {self.task}"


def due(wanted: WatchRequest, seen: Seen, now: datetime, resting: Collection[str] = ()) -> Step | None:
    """The next step, None where nothing is due; steps that failed a moment ago are ``resting``.

    A training that is due and rests holds back the next push, which is to be by its model; one that waits for its hours
    does not: until then people go on with the model that there is.
    """
    training = _retrain(wanted, seen, now)
    push = _rest_of_push(wanted, seen) or (_push(wanted, seen) if training is None else None)
    half_pushed = push if seen.half_pushed is not None else None
    steps = (*_pulls(wanted, seen), half_pushed, training, push)
    return next((step for step in steps if step is not None and step.name not in resting), None)


def waits_for(wanted: WatchRequest, seen: Seen, now: datetime, resting: Collection[str] = ()) -> str:
    """What the next step waits for, in words; of a moment at which nothing is due but what failed and rests."""
    parts = [f"another try: {name}" for name in resting]
    if wanted.pull and seen.open_tasks:
        parts.append(f"jobs of {_tasks(seen.open_tasks)} to be completed")
    if wanted.retrain_after is not None:
        count = seen.masks_changed
        if not _is_training_due(wanted, seen):
            parts.append(f"{count} of {wanted.retrain_after} masks to change before the next training")
        elif when := _when(wanted, now):
            what = f"on {count} masks that changed" if seen.trained else "the first model"
            parts.append(f"{when} to train {what}")
    if wanted.push_next is not None:
        if seen.open_tasks:
            parts += [] if wanted.pull else [f"{_tasks(seen.open_tasks)} to be done before the next push"]
        elif seen.exhausted:
            parts.append(f"something to push: {seen.exhausted}")
    return "; ".join(parts) or "nothing that could come about by itself: no task is open"


def in_short(wanted: WatchRequest) -> str:
    """What a watch is for, in words."""
    parts = ["pulls completed jobs"] if wanted.pull else []
    if wanted.retrain_after is not None:
        length = f" for {in_words(wanted.budget_s)}" if wanted.budget_s is not None else ""
        within = f" within {wanted.hours}" if wanted.hours is not None else ""
        parts.append(f"retrains{length} after {wanted.retrain_after} changed masks{within}")
    if wanted.push_next is not None:
        what = "images" if wanted.carries == "shapes" else wanted.carries
        parts.append(f"pushes {wanted.push_next} {what} when no task is open")
    return f"{', '.join(parts)}; looks every {in_words(wanted.every_s)}"


def _pulls(wanted: WatchRequest, seen: Seen) -> list[Step]:
    return [Step("pull", "jobs are completed", task) for task in seen.to_pull] if wanted.pull else []


def _rest_of_push(wanted: WatchRequest, seen: Seen) -> Step | None:
    if wanted.push_next is None or seen.half_pushed is None:
        return None
    return Step("push", f"task {seen.half_pushed!r} was cut off")


def _retrain(wanted: WatchRequest, seen: Seen, now: datetime) -> Step | None:
    if not _is_training_due(wanted, seen) or _when(wanted, now):
        return None
    if not seen.trained:
        return Step("retrain", "there is no model yet")
    return Step("retrain", f"{seen.masks_changed} masks changed since the last training")


def _push(wanted: WatchRequest, seen: Seen) -> Step | None:
    if wanted.push_next is None or seen.open_tasks or seen.exhausted:
        return None
    if seen.current_run is None and wanted.retrain_after is not None and not seen.trained:
        return None  # the first model is to come, within its hours
    return Step("push", "no task is open")


def _is_training_due(wanted: WatchRequest, seen: Seen) -> bool:
    if wanted.retrain_after is None:
        return False
    return not seen.trained or seen.masks_changed >= wanted.retrain_after


def _when(wanted: WatchRequest, now: datetime) -> str:
    """What the hours say against a training now; empty where nothing."""
    if wanted.hours is None:
        return ""
    if not wanted.hours.hold(now):
        return f"the hours {wanted.hours}"
    if wanted.budget_s is not None and wanted.budget_s > wanted.hours.left_s(now):
        return f"the next {wanted.hours}, which leaves time"
    return ""


def _tasks(numbers: Collection[int]) -> str:
    return f"task {', '.join(map(str, numbers))}"
