"""Operators of annoloop in the FiftyOne App; loaded by FiftyOne, never by annoloop.

``annoloop browse`` puts this folder among the App's plugins for its own session.  The fact to know: the App's server
runs an operator's steps in whatever thread is free, and a ledger belongs to the thread that opened it, so work with
a project is done in a thread of its own (``work.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from annoloop.app.browse import describe_event, refresh
from annoloop.app.fiftyone_dataset import MARK_TAG, PROJECT_KEY, set_marks
from annoloop.cvat.server import open_server
from annoloop.data.config import FILE_NAME, Config, load
from annoloop.errors import AnnoloopError
from annoloop.loop.exchange.pull_report import PullReport
from annoloop.loop.pull import pull
from annoloop.loop.push import push
from annoloop.loop.status import status
from annoloop.project.project import Project
from annoloop.selection.criteria import UNCERTAINTY
from annoloop.selection.request import push_request

from .work import Desk, at_work

_SHOWN = 8


def _folder(ctx: Any) -> Path:
    """The project's folder.

    Raises:
        AnnoloopError: another tool made this dataset.
    """
    folder = ctx.dataset.info.get(PROJECT_KEY)
    if folder is None:
        raise AnnoloopError("this dataset was not made by annoloop browse")
    return Path(folder)


def _opened(ctx: Any) -> Project:
    return Project(_folder(ctx) / FILE_NAME)


def _selected(ctx: Any) -> list[str]:
    """annoloop's ids of the samples that are selected, or of the one that is open."""
    ids = list(ctx.selected) or ([ctx.current_sample] if ctx.current_sample else [])
    return [] if not ids else list(ctx.dataset.select(ids, ordered=True).values("annoloop_id"))


def _few(names: Sequence[str]) -> str:
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest


def _notice(inputs: Any, label: str, *, wrong: bool = False) -> None:
    """A line above a form; a wrong one keeps the form from being sent."""
    inputs.view("notice", types.Warning(label=label) if wrong else types.Notice(label=label))
    if wrong:
        inputs.str("cannot", required=True, invalid=True, error_message=label, view=types.HiddenView())


def _form(inputs: Any, label: str) -> Any:
    return types.Property(inputs, view=types.View(label=label))


class PushSelection(foo.Operator):  # type: ignore[misc]
    """The selected samples with their masks into one CVAT task."""

    @property
    def config(self) -> Any:
        return foo.OperatorConfig(
            name="push_selection",
            label="annoloop: push selection to CVAT",
            dynamic=True,
            execute_as_generator=True,
        )

    def resolve_placement(self, ctx: Any) -> Any:  # noqa: ARG002 - FiftyOne passes it by name
        """A button above the grid."""
        button = types.Button(label="Push selection to CVAT", icon="cloud_upload", prompt=True)
        return types.Placement(types.Places.SAMPLES_GRID_SECONDARY_ACTIONS, button)

    def resolve_input(self, ctx: Any) -> Any:
        """What is asked before anything is sent; the defaults are those of annoloop.yaml."""
        inputs, names = types.Object(), _selected(ctx)
        settings = load(_folder(ctx) / FILE_NAME)
        if not names:
            _notice(inputs, "Select samples first", wrong=True)
            return _form(inputs, "Push selection to CVAT")
        _notice(inputs, f"{len(names)} images go to {settings.cvat.url}: {_few(names)}")
        _push_options(inputs, settings)
        return _form(inputs, "Push selection to CVAT")

    def execute(self, ctx: Any) -> Iterator[Any]:
        """Push, and say which task it became."""
        names, folder, asked = _selected(ctx), _folder(ctx), ctx.params

        def work(desk: Desk) -> dict[str, str]:
            with Project(folder / FILE_NAME) as project, project.locked("push from the App"):
                labelled = all(project.mask_path(name).is_file() for name in names)
                request = push_request(
                    project.config,
                    len(names),
                    only=tuple(names),
                    by=None if labelled else UNCERTAINTY,
                    source=asked.get("source"),
                    segment_size=asked.get("segment_size"),
                    assignees=tuple(part.strip() for part in (asked.get("assignees") or "").split(",") if part.strip()),
                    context=asked.get("context"),
                )
                with open_server(project.config.cvat, desk.say) as server:
                    report = push(project, server, request, say=desk.say, track=desk.track)
                refresh(project, desk.track)
            return {"task": f"{report.task}: {len(report.frames)} images", "page": str(report.url)}

        return at_work(ctx, "push", work)


def _push_options(inputs: Any, settings: Config) -> None:
    inputs.enum("source", ["label", "prediction", "both"], default=settings.push.source, label="Masks to correct")
    inputs.int("segment_size", default=settings.cvat.segment_size, min=0, label="Images per job (0: one job)")
    people = ", ".join(settings.cvat.assignees)
    inputs.str("assignees", default=people, label="Assignees", description="CVAT user names, comma separated")
    inputs.bool(
        "context", default=settings.push.context, label="Pictures of labels, prediction and errors beside frames"
    )


class PullTask(foo.Operator):  # type: ignore[misc]
    """The corrected masks of a task's finished jobs back."""

    @property
    def config(self) -> Any:
        return foo.OperatorConfig(
            name="pull_task", label="annoloop: pull task", dynamic=True, execute_as_generator=True
        )

    def resolve_input(self, ctx: Any) -> Any:
        """Which task, and what to do with masks that were edited on disk meanwhile."""
        inputs = types.Object()
        with _opened(ctx) as project:
            tasks = [task for task in project.ledger.tasks() if task.state == "open"]
        if not tasks:
            _notice(inputs, "No task is open", wrong=True)
            return _form(inputs, "Pull task")
        choices = types.Dropdown()
        for task in tasks:
            choices.add_choice(str(task.cvat_id), label=f"{task.cvat_id}: {task.name}")
        newest = str(tasks[-1].cvat_id)
        inputs.enum("task", choices.values(), default=newest, required=True, label="Task", view=choices)
        inputs.enum(
            "on_conflict",
            ["stop", "mine", "theirs"],
            default="stop",
            label="A mask that was edited on disk since",
            description="stop: nothing is written; mine: the file stays; theirs: CVAT's version",
        )
        inputs.bool("include_unfinished", default=False, label="Changed frames of unfinished jobs, too")
        return _form(inputs, "Pull task")

    def execute(self, ctx: Any) -> Iterator[Any]:
        """Pull, and say what changed."""
        folder, asked = _folder(ctx), ctx.params

        def work(desk: Desk) -> dict[str, str]:
            with Project(folder / FILE_NAME) as project, project.locked("pull from the App"):
                with open_server(project.config.cvat, desk.say) as server:
                    (report,) = pull(
                        project,
                        server,
                        task=int(asked["task"]),
                        include_unfinished=bool(asked.get("include_unfinished")),
                        on_conflict=asked.get("on_conflict", "stop"),
                        say=desk.say,
                        track=desk.track,
                    )
                refresh(project, desk.track)
            return _pulled(report)

        return at_work(ctx, "pull", work)


def _pulled(report: PullReport) -> dict[str, str]:
    if report.lost:
        return {"task": f"{report.task} was deleted in CVAT; its images can be pushed again"}
    waiting = len(report.waiting) + len(report.unopened) + len(report.reopened)
    lines = {
        "task": f"{report.task}: {report.edited_px} px changed by annotators",
        "masks": f"{len(report.written)} written",
        "frames": ", ".join(
            f"{len(names)} {words}"
            for names, words in (
                (report.changed, "changed"),
                (report.accepted, "accepted as they were"),
                (report.untouched, "untouched, label kept"),
                (report.undone, "undone before"),
                (report.held, "held back: a shape is no mask"),
            )
            if names
        )
        or "none",
    }
    return lines | ({"waiting": f"{waiting} frames of jobs that are not completed"} if waiting else {})


class MarkForNextPush(foo.Operator):  # type: ignore[misc]
    """Puts the selected samples first in the next push; takes the mark away where all have it."""

    @property
    def config(self) -> Any:
        return foo.OperatorConfig(name="mark_for_next_push", label="annoloop: mark for next push")

    def resolve_placement(self, ctx: Any) -> Any:  # noqa: ARG002 - FiftyOne passes it by name
        """A button above the grid."""
        button = types.Button(label="Mark for next push", icon="bookmark_add", prompt=False)
        return types.Placement(types.Places.SAMPLES_GRID_SECONDARY_ACTIONS, button)

    def execute(self, ctx: Any) -> dict[str, str]:
        """The mark into the ledger, the tag onto the samples."""
        names = _selected(ctx)
        if not names:
            ctx.ops.notify("Select samples first", variant="warning")
            return {}
        with _opened(ctx) as project:
            marked = not set(names) <= project.ledger.marks().keys()
            project.ledger.put_marks(add=names if marked else (), remove=() if marked else names)
        set_marks(ctx.dataset, names, marked=marked)
        ctx.ops.notify(f"{len(names)} images {'marked' if marked else 'no longer marked'} for the next push")
        ctx.ops.reload_samples()
        return {"tag": MARK_TAG, "images": str(len(names))}


class MaskHistory(foo.Operator):  # type: ignore[misc]
    """What happened to the mask of the selected sample, or of the one that is open."""

    @property
    def config(self) -> Any:
        return foo.OperatorConfig(name="mask_history", label="annoloop: show history of this mask")

    def execute(self, ctx: Any) -> dict[str, str]:
        """The changes, oldest first, per sample."""
        names = _selected(ctx)
        with _opened(ctx) as project:
            events = [event for event in project.ledger.mask_events() if event.sample_id in names]
        lines = []
        for name in names:
            steps = [describe_event(event) for event in events if event.sample_id == name]
            lines += [f"{name}: {step}" for step in steps or ["as it was when annoloop first saw it"]]
        return {str(number): line for number, line in enumerate(lines or ["Select a sample first"])}

    def resolve_output(self, ctx: Any) -> Any:
        """One line per change."""
        outputs = types.Object()
        for number in ctx.results:
            outputs.str(number)
        return types.Property(outputs, view=types.View(label="History of the mask"))


class Refresh(foo.Operator):  # type: ignore[misc]
    """Shows what push, pull, retrain and evaluate have changed since the App was started."""

    @property
    def config(self) -> Any:
        return foo.OperatorConfig(name="refresh", label="annoloop: refresh", execute_as_generator=True)

    def execute(self, ctx: Any) -> Iterator[Any]:
        """Bring the dataset in step with the ledger."""
        folder = _folder(ctx)

        def work(desk: Desk) -> dict[str, str]:
            with Project(folder / FILE_NAME) as project:
                report = refresh(project, desk.track)
            return {"refreshed": f"{report.updated} of {report.samples} samples were new or changed"}

        return at_work(ctx, "refresh", work)


class LoopStatus(foo.Operator):  # type: ignore[misc]
    """Where the loop stands, and the next sensible command."""

    @property
    def config(self) -> Any:
        return foo.OperatorConfig(name="loop_status", label="annoloop: where the loop stands")

    def execute(self, ctx: Any) -> dict[str, str]:
        """The state in a few lines."""
        with _opened(ctx) as project:
            report, marked = status(project), len(project.ledger.marks())
        dice = "" if report.current_val_dice is None else f", validation mDice {report.current_val_dice:.3f}"
        waiting = sum(task.frames.get("open", 0) for task in report.tasks)
        model = (report.no_model or "none yet") if report.current_run is None else f"run {report.current_run}{dice}"
        return {
            "loop": report.project,
            "model": model,
            "in CVAT": f"{waiting} images in {len(report.tasks)} open tasks",
            "marked": f"{marked} images for the next push",
            "next": f"{report.next_command} ({report.because})",
        }

    def resolve_output(self, ctx: Any) -> Any:  # noqa: ARG002 - FiftyOne passes it by name
        """One line of text per fact."""
        outputs = types.Object()
        for name in ("loop", "model", "in CVAT", "marked", "next"):
            outputs.str(name, label=name)
        return types.Property(outputs, view=types.View(label="annoloop"))


def register(plugin: Any) -> None:
    """What FiftyOne calls when it loads the plugin."""
    for operator in (PushSelection, PullTask, MarkForNextPush, MaskHistory, Refresh, LoopStatus):
        plugin.register(operator)
