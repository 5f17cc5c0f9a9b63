"""The commands of the stand-in for CVAT: starting it, and correcting a task as an annotator would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from annoloop.cli.groups import WholeGroup
from annoloop.cli.options import FOLDER, common, example, open_screen, open_session, opened_project, require_sandbox


@click.group("sandbox", cls=WholeGroup, invoke_without_command=True, epilog=example("annoloop sandbox --port 8080"))
@click.option(
    "--state",
    type=FOLDER,
    default=Path(".annoloop-sandbox"),
    show_default=True,
    help="Where it keeps its state.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="Port on 127.0.0.1; 0 takes a free one.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="KIND:RATE[:METHOD PATH]",
    help="Fail on purpose, as 500:0.05; see CVAT in the documentation.",
)
@click.pass_context
def sandbox_group(context: click.Context, state: Path, port: int, faults: tuple[str, ...]) -> None:
    """A local stand-in for a CVAT server, for trying and testing; ^C ends it."""
    if context.invoked_subcommand is None:
        require_sandbox()
        from annoloop.sandbox.__main__ import main as serve

        click.echo("a stand-in for CVAT: url into annoloop.yaml, token into annoloop login; ^C ends it", err=True)
        given = [part for fault in faults for part in ("--fault", fault)]
        context.exit(serve(["--state", str(state), "--port", str(port), *given]))


@sandbox_group.command("annotate", epilog=example("annoloop sandbox annotate --task 3 --truth data/truth"))
@click.option("--task", type=int, required=True, help="Number of the task in CVAT.")
@click.option("--truth", type=FOLDER, required=True, help="Folder of true masks, laid out as split/stem.png.")
@common
def annotate_command(task: int, truth: Path, **options: Any) -> None:
    """Correct a task from a folder of true masks and complete its jobs; works on a real server too."""
    from annoloop.simulation.annotator import annotate

    screen = open_screen(options)
    with opened_project(options, screen) as project, open_session(project, screen) as server:
        screen.result(annotate(project, server, task, truth, track=screen.track))
