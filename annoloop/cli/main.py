"""The command line: parse, open, call, render; the only catcher of errors.

Imports nothing heavy at the top, so that ``annoloop --help`` answers at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence

import click

from annoloop import __version__
from annoloop.cli.annotator_commands import effort_command, quality_command
from annoloop.cli.cvat_commands import login_command, pull_command, push_command, tasks_command
from annoloop.cli.data_commands import convert_group, eda_command, init_command
from annoloop.cli.foreign_text import shown
from annoloop.cli.format_commands import from_cvat_command, from_yolo_command, to_cvat_command, to_yolo_command
from annoloop.cli.groups import LoopGroup
from annoloop.cli.handover_commands import diff_command, export_group, snapshot_command
from annoloop.cli.options import common_options, example
from annoloop.cli.prediction_commands import predict_command
from annoloop.cli.project_commands import (
    browse_command,
    demo_command,
    doctor_command,
    log_command,
    status_command,
    undo_command,
)
from annoloop.cli.sandbox_commands import sandbox_group
from annoloop.cli.serving_commands import serve_command
from annoloop.cli.simulation_commands import simulate_command
from annoloop.cli.training_commands import evaluate_command, retrain_command
from annoloop.cli.watch_commands import watch_command
from annoloop.errors import AnnoloopError, FileError, Interrupted, file_error

EXIT_USAGE, EXIT_BUG = 2, 70


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; ends the process with the exit code of what happened."""
    code = run(list(sys.argv[1:] if arguments is None else arguments))
    # All is said; another ^C would only tear what ends by itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run a command line; returns the exit code."""
    try:
        commands.main(args=list(arguments), prog_name="annoloop", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        error.show()
        return EXIT_USAGE
    except (Exception, KeyboardInterrupt) as error:
        foreseen = _foreseen(error)
        if "--debug" in arguments and not isinstance(foreseen, Interrupted):
            raise
        return _report_bug(error) if foreseen is None else _report(foreseen, arguments)
    return 0


def _foreseen(error: BaseException) -> AnnoloopError | None:
    """What is behind an error; None where it is a bug."""
    if isinstance(error, AnnoloopError):
        return error
    if isinstance(error, click.Abort) or _is_interrupt(error):
        return Interrupted("interrupted")
    if isinstance(error, OSError) and error.errno is not None:
        return file_error(error)
    return None


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether ^C is behind an error: it reaches us as a SystemError out of compiled code."""
    return error is not None and (isinstance(error, KeyboardInterrupt) or _is_interrupt(error.__cause__))


def _report(error: AnnoloopError, arguments: Sequence[str]) -> int:
    from annoloop.cli.screen import Screen

    try:
        Screen(as_json="--json" in arguments and not error.after_result).error(error)
    except OSError:  # stdout is what cannot be written to
        with contextlib.suppress(OSError):
            Screen().error(error)
    if isinstance(error, FileError):
        _leave_stdout()
    return error.exit_code


def _report_bug(error: BaseException) -> int:
    text = f"bug: {type(error).__name__}: {error}\nrun again with --debug and report the traceback"
    click.echo(shown(text), err=True)
    return EXIT_BUG


def _leave_stdout() -> None:
    """What could not be written there would be tried again, and complained about, while Python ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(
    cls=LoopGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True},
    epilog="\b\nThe loop:\n  annoloop retrain; annoloop push --worst 50; annoloop pull; annoloop retrain",
)
@click.version_option(__version__, prog_name="annoloop")
@common_options
def commands(**_: object) -> None:
    """The annotation loop for semantic segmentation: mmsegmentation, CVAT and FiftyOne as one tool."""


@commands.command("help", epilog=example("annoloop help push"))
@click.argument("words", nargs=-1, metavar="[COMMAND]")
@click.pass_context
def help_command(context: click.Context, words: tuple[str, ...]) -> None:
    """Show what a command does and takes; without one, all commands."""
    assert context.parent is not None
    commands.main(args=[*words, "--help"], prog_name="annoloop", standalone_mode=False)


for command in (to_yolo_command, from_yolo_command, to_cvat_command, from_cvat_command):
    convert_group.add_command(command)

for command in (
    init_command, login_command, doctor_command, eda_command, convert_group,
    retrain_command, evaluate_command, push_command, tasks_command, pull_command, undo_command, watch_command,
    predict_command, export_group, snapshot_command, diff_command,
    status_command, log_command, effort_command, quality_command, browse_command, serve_command, simulate_command,
    demo_command, sandbox_group,
):  # fmt: skip
    commands.add_command(command)
