"""The commands that talk to CVAT: login, push, pull, tasks."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from annoloop.cli.options import (
    common,
    example,
    listed,
    on_all_cores,
    open_screen,
    open_session,
    opened_project,
)
from annoloop.errors import CvatError

if TYPE_CHECKING:
    from annoloop.cvat.credentials import Credentials
    from annoloop.data.config import CvatConfig


@click.command("login", epilog=example("annoloop login", "annoloop login --username me", "annoloop login < token.txt"))
@click.option("--url", help="Address of the server; default: cvat.url of the project.")
@click.option("--username", help="Sign in with a password instead of an access token.")
@click.option("--forget", is_flag=True, help="Delete what is stored for this server.")
@common
def login_command(url: str | None, username: str | None, forget: bool, **options: Any) -> None:
    """Try an access token (CVAT: Profile, Security) and store it in a file that only you can read.

    The token is asked for, or read from standard input; it is never an option, because other users see those.
    """
    from annoloop.loop.login import login, logout

    screen = open_screen(options)
    settings = _settings(url, options)
    report = logout(settings) if forget else login(settings, _asked_for(username), say=screen.note)
    screen.result(report)


def _settings(url: str | None, options: dict[str, Any]) -> CvatConfig:
    from annoloop.data.config import CvatConfig, find, load

    if url is not None:
        return CvatConfig(url=url)
    return load(find((options["project_dir"] or Path.cwd()).resolve())).cvat


def _asked_for(username: str | None) -> Credentials:
    from annoloop.cvat.credentials import Credentials

    what = "access token" if username is None else "password"
    by_hand = sys.stdin.isatty()
    secret = str(click.prompt(what, hide_input=True, err=True)) if by_hand else sys.stdin.readline().strip()
    if not secret:
        raise click.UsageError(f"no {what} was given")
    return Credentials(token=secret) if username is None else Credentials(username=username, password=secret)


@click.command("push", epilog=example("annoloop push --worst 50", "annoloop push --as proposals --worst 200"))
@click.option("--worst", type=click.IntRange(1), help="How many images, marked ones first; or proposals.")
@click.option("--image", "only", multiple=True, help="This image, like train/0001, and no others; may be repeated.")
@click.option("--split", "splits", multiple=True, default=("train",), show_default=True, help="May be repeated.")
@click.option(
    "--by",
    default="dice",
    show_default=True,
    help="What is bad, see above.",
)
@click.option(
    "--source",
    type=click.Choice(["label", "prediction", "both"]),
    help="Which masks to correct; both: labels, and beside them what the model would add, to be kept or deleted."
    " Images without labels get predictions. Default: push.source, label.",
)
@click.option(
    "--as",
    "carries",
    type=click.Choice(["shapes", "proposals", "disputed"]),
    default="shapes",
    show_default=True,
    help="shapes: whole images to correct. Or regions to accept or reject, --worst of them; proposals: where the model"
    " contradicts the label; disputed: where annotators of replicas differ.",
)
@click.option("--corrected/--no-corrected", default=False, help="Also images that annotators have corrected already.")
@click.option("--random-share", type=click.FloatRange(0, 1), help="Share of images drawn by chance.")
@click.option("--shape", type=click.Choice(["mask", "polygon"]), help="Exact masks, or polygons, which lose pixels.")
@click.option("--tolerance-px", type=click.FloatRange(0), help="How coarse polygons may be; 0: exact.")
@click.option("--segment-size", type=click.IntRange(0), help="Images per job; 0: one job.")
@click.option("--assignee", "assignees", help="User names, comma separated; jobs go round robin.")
@click.option("--replicas", type=click.IntRange(0, 10), help="So many people annotate each job by themselves; 0: one.")
@click.option("--context/--no-context", default=None, help="Pictures of labels, prediction and errors beside frames.")
@click.option("--issues-per-frame", type=click.IntRange(0, 20), help="How many of the largest errors to pin; 0: none.")
@click.option("--tiles", type=click.IntRange(0), help="Cut larger images into squares of so many px; 0: none.")
@click.option("--overlap", type=click.IntRange(0), help="Neighbouring tiles share so many px. Default: push.overlap.")
@click.option("--all-tiles", is_flag=True, help="Also tiles that hold nothing to correct.")
@click.option("--again", is_flag=True, help="Go on to the next images even if the same push was done a moment ago.")
@click.option("--dry-run", is_flag=True, help="Show what would go, send nothing.")
@on_all_cores
@common
def push_command(worst: int | None, only: tuple[str, ...], again: bool, **options: Any) -> None:
    """Send the worst images with masks to CVAT as one task. The same command finishes a broken push.

    \b
    --by says what is bad:
      dice           model and label overlap least
      missed         most false negatives: labelled foreground that it does not find
      class:NAME     the same as dice, for one class
      contradiction  the model surely contradicts much of the label
      label-quality  the model is sure that some of the label is wrong
      uncertainty    the model is unsure; needs no labels: for --split pool, too
    \b
    or draws by chance, with labels or without:
      foreground-random  images that hold foreground
      clasp-pe           unsure images, a share of them for each class; less by chance in every round
    """
    from annoloop.loop.push import push
    from annoloop.selection.request import PushRequest, how_many, push_request

    if options["carries"] != "shapes":
        _refuse_image_options(options["carries"])
    count = how_many(worst, only, options["carries"])
    if count is None:
        raise click.UsageError("either --worst N or --image NAME")
    given = {one.name: options[one.name] for one in fields(PushRequest) if one.name in options}
    if given["assignees"] is not None:
        given["assignees"] = tuple(listed(given["assignees"]))
    screen = open_screen(options)
    with opened_project(options, screen, changes="push") as project:
        request = push_request(project.config, count, only=only, **given)
        if not request.tiles and (given["overlap"] is not None or given["all_tiles"]):
            raise click.UsageError("--overlap and --all-tiles are about tiles: give --tiles, too, or set push.tiles")
        with nullcontext() if request.dry_run else open_session(project, screen) as server, screen.watch() as watch:
            report = push(project, server, request, again=again, say=screen.note, track=screen.track, watch=watch)
    screen.result(report)


_OF_IMAGES = (
    "by", "source", "corrected", "random_share", "shape", "tolerance_px", "replicas", "issues_per_frame", "tiles",
    "overlap", "all_tiles",
)  # fmt: skip
"""Options of push that say something about whole images, and nothing about regions."""


def _refuse_image_options(carries: str) -> None:
    """Raise where an option was given that would be ignored."""
    context = click.get_current_context()
    given = [p.opts[0] for p in context.command.params if p.name in _OF_IMAGES and _was_given(context, p.name)]
    if given:
        raise click.UsageError(f"{', '.join(given)}: about whole images, not about --as {carries}")


def _was_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is ParameterSource.COMMANDLINE


@click.command("pull", epilog=example("annoloop pull --task 12", "annoloop pull"))
@click.option("--task", type=int, help="Number of the task in CVAT; default: every open task of this project.")
@click.option("--include-unfinished", is_flag=True, help="Also take changed frames of jobs that go on.")
@click.option(
    "--accept-untouched",
    is_flag=True,
    help="Also take predictions that were pushed over labels and that nobody looked at; says first what this costs.",
)
@click.option("--redo", is_flag=True, help="Also take again what an undo took back.")
@click.option(
    "--on-conflict",
    type=click.Choice(["stop", "mine", "theirs"]),
    default="stop",
    show_default=True,
    help="A mask was changed here since the push: stop, keep mine, or take CVAT's.",
)
@click.option("--annotator", help="Whose replica to take of a task pushed with --replicas; default: a vote by pixel.")
@on_all_cores
@common
def pull_command(
    task: int | None,
    include_unfinished: bool,
    accept_untouched: bool,
    redo: bool,
    on_conflict: Any,
    annotator: str | None,
    **options: Any,
) -> None:
    """Bring corrected masks of finished jobs back. A label never gives way to a prediction that nobody looked at."""
    from annoloop.loop.pull import pull

    screen = open_screen(options)
    with opened_project(options, screen, changes="pull") as project, open_session(project, screen) as server:
        reports = pull(
            project,
            server,
            task=task,
            include_unfinished=include_unfinished,
            accept_untouched=accept_untouched,
            redo=redo,
            on_conflict=on_conflict,
            annotator=annotator,
            say=screen.note,
            track=screen.track,
        )
        if not reports:
            screen.say("no open task; [cyan]annoloop push --worst 50[/] makes one")
    held = [one for report in reports for one in report.held]
    if held:
        told = f"{len(held)} frames are held back, all others are pulled"
        hint = "mend them in CVAT, then the same command takes them"
        screen.end(reports, CvatError(told, where=held[0].url, hint=hint))
    screen.result(reports)


@click.command("tasks", epilog=example("annoloop tasks", "annoloop tasks --all"))
@click.option("--all", "every", is_flag=True, help="Finished tasks too: somebody may have reopened a job.")
@common
def tasks_command(every: bool, **options: Any) -> None:
    """Open tasks in CVAT: whose job is how far."""
    from annoloop.loop.tasks import tasks

    screen = open_screen(options)
    with opened_project(options, screen) as project, open_session(project, screen) as server:
        screen.result(tasks(project, server, every=every, track=screen.track))
