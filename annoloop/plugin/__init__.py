"""Operators of annoloop in the FiftyOne App; loaded by FiftyOne, never by annoloop.

``annoloop browse`` puts this folder among the App's plugins for its own session.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from annoloop.config import FILE_NAME
from annoloop.fiftyone_app import PROJECT_KEY
from annoloop.project import Project
from annoloop.status import status


class LoopStatus(foo.Operator):  # type: ignore[misc]
    """Where the loop stands, and the next sensible command."""

    @property
    def config(self) -> Any:
        return foo.OperatorConfig(name="loop_status", label="annoloop: where the loop stands")

    def execute(self, ctx: Any) -> dict[str, str]:
        """The state in three lines."""
        folder = ctx.dataset.info.get(PROJECT_KEY)
        if folder is None:
            return {"loop": "this dataset was not made by annoloop browse"}
        with Project(Path(folder) / FILE_NAME) as project:
            report = status(project)
        dice = "" if report.current_val_dice is None else f", validation mDice {report.current_val_dice:.3f}"
        model = "none yet" if report.current_run is None else f"run {report.current_run}{dice}"
        waiting = sum(task.frames.get("open", 0) for task in report.tasks)
        return {
            "loop": report.project,
            "model": model,
            "in CVAT": f"{waiting} images in {len(report.tasks)} open tasks",
            "next": f"{report.next_command} ({report.because})",
        }

    def resolve_output(self, ctx: Any) -> Any:  # noqa: ARG002 - FiftyOne passes it by name
        """One line of text per fact."""
        outputs = types.Object()
        for name in ("loop", "model", "in CVAT", "next"):
            outputs.str(name, label=name)
        return types.Property(outputs, view=types.View(label="annoloop"))


def register(plugin: Any) -> None:
    """What FiftyOne calls when it loads the plugin."""
    plugin.register(LoopStatus)
