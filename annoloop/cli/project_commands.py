"""The commands about the project itself: doctor, status, log, undo, browse; and the demo, which makes one."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from annoloop.cli.foreign_text import shown
from annoloop.cli.options import (
    FOLDER,
    common,
    example,
    on_all_cores,
    open_screen,
    opened_project,
    project_or_none,
    require_sandbox,
    session_or_none,
)


@click.command("doctor", epilog=example("annoloop doctor", "annoloop doctor --no-measure"))
@click.option("--measure/--no-measure", default=True, help="Time a few training iterations of the recipe.")
@common
def doctor_command(measure: bool, **options: Any) -> None:
    """Check versions, device, MongoDB, CVAT and the data; estimate the training time.

    Outside a project it checks the installation.
    """
    from annoloop.cli.doctor import doctor
    from annoloop.errors import GateError

    screen = open_screen(options)
    with project_or_none(options, screen) as project:
        report = doctor(project, measure=measure, track=screen.track)
    if report.faults:
        where = None if project is None else project.path
        screen.end(report, GateError(f"{report.faults} checks found a fault", where=where))
    screen.result(report)


@click.command("status", epilog=example("annoloop status"))
@common
def status_command(**options: Any) -> None:
    """Where the loop stands, and the next sensible command."""
    from annoloop.loop.status import status

    screen = open_screen(options)
    with opened_project(options, screen) as project:
        screen.result(status(project))


@click.command("log", epilog=example("annoloop log"))
@common
def log_command(**options: Any) -> None:
    """The history of the loop: trainings with their mDice, pushes, pulls, undos."""
    from annoloop.loop.history import log

    screen = open_screen(options)
    with opened_project(options, screen) as project:
        screen.result(log(project))


@click.command("undo", epilog=example("annoloop undo"))
@click.option("--force", is_flag=True, help="Restore masks that were edited since, too.")
@common
def undo_command(force: bool, **options: Any) -> None:
    """Take the newest pull back: its masks as they were before, its issues open again."""
    from annoloop.loop.undo import to_tell, undo

    screen = open_screen(options)
    with opened_project(options, screen, changes="undo") as project:
        with session_or_none(project, screen) if to_tell(project) else nullcontext() as server:
            report = undo(project, force=force, server=server, say=screen.note)
        screen.result(report)


@click.command("browse", epilog=example("annoloop browse", "annoloop browse --export gallery"))
@click.option("--port", type=click.IntRange(1, 65535), default=5151, show_default=True, help="Port on 127.0.0.1.")
@click.option("--open/--no-open", "open_page", default=True, help="Open the page in a browser.")
@click.option("--no-app", is_flag=True, help="Only bring the dataset up to date.")
@click.option("--export", "folder", type=FOLDER, help="Write a page of pictures instead; needs no FiftyOne.")
@on_all_cores
@common
def browse_command(port: int, open_page: bool, no_app: bool, folder: Path | None, **options: Any) -> None:
    """Look at truth, predictions and errors in the FiftyOne App.

    From another machine: ssh -L 5151:127.0.0.1:5151 HOST, then annoloop browse --no-open there.
    """
    from annoloop.app.browse import browse, export

    screen = open_screen(options)
    with opened_project(options, screen) as project:
        if folder is not None:
            screen.result(export(project, folder, screen.track))
            return
        session = browse(
            project, port=None if no_app else port, open_page=open_page, say=screen.note, track=screen.track
        )
        screen.result(session.report)
        if not no_app:
            screen.say("^C ends it")
            session.wait()


@click.command("demo", epilog=example("annoloop demo", "annoloop demo --dir /tmp/demo --json"))
@click.option("--dir", "folder", type=FOLDER, default=Path("demo-project"), show_default=True, help="Where to make it.")
@common
def demo_command(folder: Path, **options: Any) -> None:
    """Run the whole loop on made data against the sandbox, in a few minutes."""
    from annoloop.cli.demo import demo, describe
    from annoloop.training.child import require_training

    require_training()
    require_sandbox()
    screen = open_screen(options)
    with screen.watch() as watch:
        report = demo(folder, say=screen.say, track=screen.track, watch=watch)
    if screen.as_json:
        screen.result(report)
    else:
        click.echo(shown(describe(report)))
