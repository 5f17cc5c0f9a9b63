"""The command that moves the loop by itself."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from annoloop.cli.options import (
    FILE,
    common,
    example,
    on_all_cores,
    open_screen,
    open_session,
    opened_project,
    seconds_given,
)


@click.command(
    "watch",
    epilog=example(
        "annoloop watch --pull --retrain-after 50 --push-next 50",
        "annoloop watch --pull --retrain-after 50 --budget 2h --hours 20:00-06:00",
        "annoloop watch --pull --push-next 50 --once  # from cron",
    ),
)
@click.option("--pull", "pulls", is_flag=True, help="Pull every task as soon as jobs of it are completed.")
@click.option("--retrain-after", type=click.IntRange(1), metavar="N", help="Retrain once N masks have changed.")
@click.option("--push-next", type=click.IntRange(1), metavar="N", help="Push N images whenever no task is open.")
@click.option("--every", default="30s", show_default=True, help="How often CVAT is asked.")
@click.option("--budget", help="How long each training may take: 90s, 15m, 2h; default: as annoloop.yaml says.")
@click.option("--hours", help="When trainings may run, as in 20:00-06:00; with --budget they end within.")
@click.option("--by", default="dice", show_default=True, help="What is bad, as in push.")
@click.option("--split", "splits", multiple=True, default=("train",), show_default=True, help="Of push; repeatable.")
@click.option(
    "--as",
    "carries",
    type=click.Choice(["shapes", "proposals"]),
    default="shapes",
    show_default=True,
    help="What is pushed: whole images, or N regions to accept or reject.",
)
@click.option(
    "--on-conflict",
    type=click.Choice(["stop", "mine", "theirs"]),
    default="stop",
    show_default=True,
    help="As in pull; stop: a task whose mask was changed here, too, is tried again until somebody decides.",
)
@click.option("--allow-missing-classes", is_flag=True, help="As in retrain.")
@click.option("--give-up-after", "most_failures", type=click.IntRange(1), default=10, show_default=True,
              help="End after so many failures of a step in a row.")  # fmt: skip
@click.option("--once", is_flag=True, help="Do what is due now, and end: for cron.")
@click.option("--listen", metavar="HOST:PORT", help="Be woken by webhooks of CVAT, which are signed.")
@click.option("--secret-file", type=FILE, help="Secret of the webhook; default: ANNOLOOP_WEBHOOK_SECRET.")
@click.option("--dry-run", is_flag=True, help="Say what would be done now; do nothing.")
@on_all_cores
@common
def watch_command(
    pulls: bool, every: str, budget: str | None, hours: str | None, once: bool, listen: str | None,
    secret_file: Path | None, dry_run: bool, **options: Any,
) -> None:  # fmt: skip
    """Pull, retrain and push by itself as jobs are completed in CVAT; ^C ends it.

    Each step is the command of its name: what was cut off is gone on with. One watch at a time is at work in a project;
    other commands may be run meanwhile. Each event is a line here and in .annoloop/watch.log; with --json, of JSON.
    """
    from annoloop.compute.endings import ended_like_by_interrupt
    from annoloop.selection.criteria import check_criterion
    from annoloop.watching.due import WatchRequest
    from annoloop.watching.rhythm import parse_hours
    from annoloop.watching.watch import preview, watch
    from annoloop.watching.webhook import receiving, webhook_secret

    if not pulls and options["retrain_after"] is None and options["push_next"] is None:
        raise click.UsageError("--pull, --retrain-after N or --push-next N: what is to be done by itself?")
    if listen is None and secret_file is not None:
        raise click.UsageError("--secret-file belongs to --listen")
    if listen is not None and (once or dry_run):
        raise click.UsageError("--listen waits for webhooks, --once and --dry-run do not wait")
    given = {one.name: options[one.name] for one in fields(WatchRequest) if one.name in options}
    wanted = WatchRequest(
        pull=pulls, every_s=seconds_given(every, "--every"),
        budget_s=None if budget is None else seconds_given(budget, "--budget"),
        hours=None if hours is None else parse_hours(hours), **given,
    )  # fmt: skip
    screen, wake = open_screen(options), threading.Event()
    with opened_project(options, screen) as project, ExitStack() as stack:
        check_criterion(wanted.by, project.classes)
        if dry_run:
            screen.event(preview(project, wanted, stack.enter_context(open_session(project, screen))))
            return
        if listen is not None:
            address = stack.enter_context(receiving(listen, webhook_secret(secret_file), wake, screen.note))
            screen.note(f"webhooks are taken at {address}")
        ended_like_by_interrupt()
        watch(project, wanted, screen.event, once=once, wake=wake, track=screen.track, views=screen.watch)
