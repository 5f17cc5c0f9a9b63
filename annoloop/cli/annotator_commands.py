"""The commands about those who annotate: what it costs them, and how far they agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from annoloop.cli.options import common, example, on_all_cores, open_screen, open_session, opened_project


@click.command("effort", epilog=example("annoloop effort", "annoloop effort --task 12"))
@click.option("--task", type=int, help="Number of the task in CVAT; default: all that were pushed from here.")
@common
def effort_command(task: int | None, **options: Any) -> None:
    """What correcting costs: minutes, pixels and shapes per image, and what the next 50 images will take.

    Minutes are CVAT's working time where the server keeps it, else those of the clock, which are at most that long.
    """
    from annoloop.loop.effort import effort

    screen = open_screen(options)
    with opened_project(options, screen) as project, open_session(project, screen) as server:
        screen.result(effort(project, server, task=task, track=screen.track))


@click.command("quality", epilog=example("annoloop quality", "annoloop quality --task 12 --truth data/known"))
@click.option("--task", type=int, help="Number of the task in CVAT; default: all that were pushed with --replicas.")
@click.option("--include-unfinished", is_flag=True, help="Also replicas that are not completed.")
@click.option(
    "--truth",
    type=click.Path(path_type=Path),
    help="Masks that are known to be right, laid out as the project's, of some images: who found planted errors.",
)
@on_all_cores
@common
def quality_command(task: int | None, include_unfinished: bool, truth: Path | None, **options: Any) -> None:
    """How far annotators of the same images agree, and whether more labels can still help the model."""
    from annoloop.loop.quality import quality

    screen = open_screen(options)
    with (
        opened_project(options, screen, changes="quality") as project,
        open_session(project, screen) as server,
        screen.watch() as watch,
    ):
        report = quality(
            project,
            server,
            task=task,
            include_unfinished=include_unfinished,
            truth=truth,
            track=screen.track,
            watch=watch,
        )
    screen.result(report)
