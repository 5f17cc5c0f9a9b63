"""``annoloop status``: where the loop stands, and the next sensible command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from annoloop.loop.missing_model import why_no_model
from annoloop.masks.classes import ClassTable
from annoloop.project.census import census
from annoloop.project.project import Project
from annoloop.project.rows import RunRow, TaskRow
from annoloop.training.records import events_of


@dataclass(frozen=True, slots=True)
class TaskState:
    """A task that is not done: its CVAT number (None before it is made), state and frames by state."""

    name: str
    task: int | None
    state: str
    frames: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class RunningTraining:
    """A training that is at work now: how far it is, and the mDice of its last validation (fraction of 1)."""

    run: int
    iteration: int | None
    iterations: int | None
    val_dice: float | None


@dataclass(frozen=True, slots=True)
class StatusReport:
    """The state of the loop; ``images`` and ``labelled`` by split.

    ``at_work``: the command and the pid of another annoloop that holds the project now.  ``no_model``: why there is
    no current one.
    """

    project: str
    images: Mapping[str, int]
    labelled: Mapping[str, int]
    current_run: int | None
    current_val_dice: float | None
    runs: int
    tasks: tuple[TaskState, ...]
    masks_changed_since_training: int
    next_command: str
    because: str
    at_work: str | None = None
    training: RunningTraining | None = None
    no_model: str | None = None


def status(project: Project) -> StatusReport:
    """Look at folders and ledger; opens no image and asks no server."""
    counted = census(project)
    current = project.current_run()
    runs, tasks = project.ledger.runs(), project.ledger.tasks()
    open_tasks = [t for t in tasks if t.state not in ("done", "lost")]
    trained_at = None if current is None else last_training(runs, project.classes)
    changed = 0 if trained_at is None else project.ledger.masks_changed_since(trained_at)
    at_work = project.at_work()
    no_model = why_no_model(project) if current is None else None
    training = _running(project, runs) if at_work is not None and at_work.startswith("retrain") else None
    if at_work is None:
        command, because = _next(runs, current, no_model, open_tasks, changed)
    else:
        command, because = "annoloop status", f"{at_work}, is at work here"
    return StatusReport(
        project.config.project,
        {split: one.images for split, one in counted.items() if one.images},
        {split: one.labelled for split, one in counted.items() if one.labelled},
        None if current is None else current.id,
        None if current is None else current.val_dice,
        len(runs),
        tuple(_task_state(project, t) for t in open_tasks),
        changed,
        command,
        because,
        at_work,
        training,
        no_model,
    )


def _running(project: Project, runs: list[RunRow]) -> RunningTraining | None:
    """What is on record so far of a run that has not ended."""
    if not runs or runs[-1].state != "running":
        return None
    iteration = iterations = val_dice = None
    for event in events_of(project.run_dir(runs[-1].id)):
        iterations = event.fields.get("iterations") or iterations
        iteration = event.fields.get("iteration", iteration)
        val_dice = event.fields.get("mdice", val_dice)
    return RunningTraining(runs[-1].id, iteration, iterations, val_dice)


def _task_state(project: Project, task: TaskRow) -> TaskState:
    return TaskState(task.name, task.cvat_id, task.state, project.ledger.frame_states(task.id))


def last_training(runs: Sequence[RunRow], classes: ClassTable) -> str | None:
    """When the newest training of these classes that ended had begun; None where none has ended."""
    ended = [run for run in runs if run.state == "finished" and run.class_digest == classes.digest]
    return ended[-1].started_at if ended else None


def _next(
    runs: list[RunRow], current: RunRow | None, no_model: str | None, open_tasks: list[TaskRow], changed: int
) -> tuple[str, str]:
    half = [t for t in open_tasks if t.state != "open"]
    if half:
        return "annoloop push", f"task {half[0].name!r} was cut off; the same push command finishes it"
    if runs and runs[-1].state in ("running", "stopped"):
        return "annoloop retrain", f"run {runs[-1].id} was cut off; the same command goes on"
    if current is None:
        return "annoloop retrain", no_model or ""
    if changed:
        return "annoloop retrain", f"{changed} masks were corrected since the last training"
    if open_tasks:
        return f"annoloop pull --task {open_tasks[0].cvat_id}", "as soon as its jobs are completed in CVAT"
    return "annoloop push --worst 50", f"run {current.id} is the current model"
