"""The command line: parse, open, call, render; the only catcher of errors.

Imports nothing heavy at the top, so that ``annoloop --help`` answers at once.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from annoloop import __version__
from annoloop.cli.cvat_commands import login_command, pull_command, push_command, sandbox_group, tasks_command
from annoloop.cli.options import (
    FILE,
    FILE_OR_URL,
    FOLDER,
    FOLDER_OR_URL,
    common,
    example,
    listed,
    on_all_cores,
    on_cluster,
    open_screen,
    opened_project,
)
from annoloop.errors import AnnoloopError, Interrupted

if TYPE_CHECKING:
    from annoloop.data.storage import Location

EXIT_USAGE, EXIT_BUG = 2, 70


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; ends the process with the exit code of what happened."""
    code = run(list(sys.argv[1:] if arguments is None else arguments))
    # All is said; another ^C would only tear what ends by itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run a command line; returns the exit code."""
    debug = "--debug" in arguments
    try:
        commands.main(args=list(arguments), prog_name="annoloop", standalone_mode=False)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        error.show()
        return EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        return _report(Interrupted("interrupted"), arguments)
    except AnnoloopError as error:
        if debug:
            raise
        return _report(error, arguments)
    except Exception as error:
        if _is_interrupt(error):
            return _report(Interrupted("interrupted"), arguments)
        if debug:
            raise
        click.echo(f"bug: {type(error).__name__}: {error}\nrun again with --debug and report the traceback", err=True)
        return EXIT_BUG
    return 0


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether ^C is behind an error: it reaches us as a SystemError out of compiled code."""
    return error is not None and (isinstance(error, KeyboardInterrupt) or _is_interrupt(error.__cause__))


def _report(error: AnnoloopError, arguments: Sequence[str]) -> int:
    from annoloop.cli.screen import Screen

    Screen(as_json="--json" in arguments).error(error)
    return error.exit_code


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nThe loop:\n  annoloop retrain; annoloop push --worst 50; annoloop pull; annoloop retrain",
)
@click.version_option(__version__, prog_name="annoloop")
def commands() -> None:
    """The annotation loop for semantic segmentation: mmsegmentation, CVAT and FiftyOne as one tool."""


@commands.command("init", epilog=example("annoloop init data/steel --classes background,scratch,patch"))
@click.argument("data_root", type=FOLDER_OR_URL)
@click.option("--classes", default="", help="Class names in index order, comma separated.")
@click.option("--palette", default="", help="Colours in the same order: #000000,#e6194b,…")
@click.option("--background", help="Class of pixels that no shape covers.")
@click.option("--force", is_flag=True, help="Replace an annoloop.yaml that is there.")
@common
def init_command(
    data_root: Location, classes: str, palette: str, background: str | None, force: bool, **options: Any
) -> None:
    """Look at the mmseg folder DATA_ROOT and write annoloop.yaml."""
    from annoloop.loop.start import init

    screen = open_screen(options)
    report = init(
        data_root,
        options["project_dir"] or Path.cwd(),
        classes=listed(classes),
        palette=listed(palette),
        background=background,
        force=force,
        track=screen.track,
    )
    screen.result(report)


@commands.command("doctor", epilog=example("annoloop doctor", "annoloop doctor --no-measure"))
@click.option("--measure/--no-measure", default=True, help="Time a few training iterations of the recipe.")
@common
def doctor_command(measure: bool, **options: Any) -> None:
    """Check versions, device, MongoDB, CVAT and the data; estimate the training time."""
    from annoloop.cli.doctor import doctor
    from annoloop.errors import GateError

    screen = open_screen(options)
    with opened_project(options, screen) as project:
        report = doctor(project, measure=measure, track=screen.track)
        screen.result(report)
        if report.faults:
            raise GateError(f"{report.faults} checks found a fault", where=project.path)


@commands.command("eda", epilog=example("annoloop eda", "annoloop eda --split train --out report.html"))
@click.option("--split", "splits", multiple=True, help="Split to look at; may be repeated; default: all.")
@click.option("--out", type=FILE, help="The HTML file to write; default: in .annoloop/reports/eda.")
@on_all_cores
@common
def eda_command(splits: tuple[str, ...], out: Path | None, **options: Any) -> None:
    """What the data are like, and what is wrong with labels and files: one HTML page."""
    from annoloop.eda.data_page import save_page
    from annoloop.eda.eda import eda

    screen = open_screen(options)
    with opened_project(options, screen) as project:
        report = eda(project, splits=splits or None, track=screen.track)
        screen.result(save_page(project, report, out, screen.track))


@commands.group("convert")
def convert_group() -> None:
    """Mask folders to COCO and back, bit-identical."""


@convert_group.command("to-coco", epilog=example("annoloop convert to-coco --split val --out val.json"))
@click.option("--split", "splits", multiple=True, help="Split to convert; may be repeated; default: all.")
@click.option("--out", type=FILE_OR_URL, required=True, help="The JSON file to write.")
@click.option("--min-region-px", default=0, show_default=True, help="Smaller specks of a class share one annotation.")
@on_all_cores
@common
def to_coco_command(splits: tuple[str, ...], out: Location, min_region_px: int, **options: Any) -> None:
    """Write masks as COCO instances JSON, one RLE annotation per region."""
    from annoloop.loop.convert import to_coco

    screen = open_screen(options)
    with opened_project(options, screen) as project:
        samples = project.samples(splits or None)
        report = to_coco(
            samples,
            project.config.data,
            project.classes,
            out,
            min_region_px=min_region_px,
            track=screen.track,
        )
    screen.result(report)


@convert_group.command("from-coco", epilog=example("annoloop convert from-coco val.json --out masks"))
@click.argument("file", type=FILE_OR_URL)
@click.option("--out", type=FOLDER_OR_URL, required=True, help="Folder for the masks; nothing in it is overwritten.")
@click.option("--images", type=FOLDER_OR_URL, help="Folder of the images, to report missing ones.")
@click.option("--own-classes", is_flag=True, help="Use the file's classes instead of the project's.")
@on_all_cores
@common
def from_coco_command(
    file: Location, out: Location, images: Location | None, own_classes: bool, **options: Any
) -> None:
    """Paint the annotations of a COCO file as index PNGs."""
    from annoloop.loop.convert import from_coco

    screen = open_screen(options)
    if own_classes:
        shared = next(above for above in out.absolute().parents if above.is_dir()) if isinstance(out, Path) else None
        with on_cluster(options, screen, shared):
            screen.result(from_coco(file, out, images_dir=images, track=screen.track))
        return
    with opened_project(options, screen) as project:
        report = from_coco(
            file,
            out,
            project.config.data,
            project.classes,
            images_dir=images,
            track=screen.track,
        )
    screen.result(report)


@commands.command("retrain", epilog=example("annoloop retrain --budget 30m", "annoloop retrain --recipe unet"))
@click.option("--recipe", help="deeplabv3plus_r50, segformer_b2, unet, unet_small, unet_tiny, or an mmseg config.")
@click.option("--budget", help="How long it may take, scoring included: 90s, 15m, 2h, 1h30m.")
@click.option("--iterations", type=click.IntRange(1), help="Training iterations; default: the recipe's.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where to train.")
@click.option("--gpus", type=click.IntRange(1), help="Processes on each machine, one for each GPU.")
@click.option("--nodes", type=click.IntRange(1), help="Machines; inside a slurm job they are started by srun.")
@click.option("--pretrained", help="auto: what the recipe names; none; or a file of weights for its backbone.")
@click.option("--seed", type=int, help="Random seed.")
@click.option("--from-scratch", is_flag=True, help="Do not start from the current model.")
@click.option("--allow-test-images", is_flag=True, help="Train even on images that are in the test split, too.")
@click.option(
    "--folds",
    type=click.IntRange(2, 10),
    help="So many more trainings, for predictions by models that have not seen the label; default: none.",
)
@common
def retrain_command(budget: str | None, **options: Any) -> None:
    """Train on the current masks; promote the model if it is better. ^C keeps the last checkpoint."""
    from annoloop.loop.retrain import RetrainRequest, retrain

    if budget is not None and options["iterations"] is not None:
        raise click.UsageError("--budget or --iterations, not both")
    asked = {one.name: options[one.name] for one in fields(RetrainRequest) if options.get(one.name) is not None}
    request = RetrainRequest(**asked, budget_s=_seconds(budget))
    screen = open_screen(options)
    with opened_project(options, screen, changes="retrain") as project, screen.watch() as watch:
        report = retrain(project, request, track=screen.track, watch=watch)
    screen.result(report)


@commands.command("evaluate", epilog=example("annoloop evaluate --split val --split test --report"))
@click.option("--split", "splits", multiple=True, default=("val",), show_default=True, help="May be repeated.")
@click.option("--run", "run_id", type=int, help="Number of a run; default: the current model.")
@click.option("--show", default=4, show_default=True, help="How many best, worst, … images to draw.")
@click.option("--report", is_flag=True, help="Write one HTML page on all errors: charts, and images worth a look.")
@click.option("--against", type=int, help="Run that the report compares with; default: the one before.")
@on_all_cores
@common
def evaluate_command(report: bool, against: int | None, **options: Any) -> None:
    """Score a model per class and save pictures of its best and worst images."""
    from annoloop.loop.evaluate import evaluate

    if against is not None and not report:
        raise click.UsageError("--against says what --report compares with: give both")
    screen = open_screen(options)
    with opened_project(options, screen, changes="evaluate") as project, screen.watch() as watch:
        found = evaluate(
            project,
            run_id=options["run_id"],
            splits=options["splits"],
            show=options["show"],
            report=report,
            against=against,
            track=screen.track,
            watch=watch,
        )
    screen.result(found)


@commands.command("undo", epilog=example("annoloop undo"))
@click.option("--force", is_flag=True, help="Restore masks that were edited since, too.")
@common
def undo_command(force: bool, **options: Any) -> None:
    """Take the newest pull back: its masks as they were before."""
    from annoloop.loop.undo import undo

    screen = open_screen(options)
    with opened_project(options, screen, changes="undo") as project:
        screen.result(undo(project, force=force))


@commands.command("status", epilog=example("annoloop status"))
@common
def status_command(**options: Any) -> None:
    """Where the loop stands, and the next sensible command."""
    from annoloop.loop.status import status

    screen = open_screen(options)
    with opened_project(options, screen) as project:
        screen.result(status(project))


@commands.command("log", epilog=example("annoloop log"))
@common
def log_command(**options: Any) -> None:
    """The history of the loop: trainings with their mDice, pushes, pulls, undos."""
    from annoloop.loop.history import log

    screen = open_screen(options)
    with opened_project(options, screen) as project:
        screen.result(log(project))


@commands.command("browse", epilog=example("annoloop browse", "annoloop browse --export gallery"))
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


@commands.command("demo", epilog=example("annoloop demo", "annoloop demo --dir /tmp/demo --json"))
@click.option("--dir", "folder", type=FOLDER, default=Path("demo-project"), show_default=True, help="Where to make it.")
@common
def demo_command(folder: Path, **options: Any) -> None:
    """Run the whole loop on made data against the sandbox, in a few minutes."""
    from annoloop.cli.demo import demo, describe

    screen = open_screen(options)
    with screen.watch() as watch:
        report = demo(folder, say=screen.say, track=screen.track, watch=watch)
    if screen.as_json:
        screen.result(report)
    else:
        click.echo(describe(report))


def _seconds(budget: str | None) -> float | None:
    from annoloop.data.durations import seconds_of

    try:
        return None if budget is None else seconds_of(budget)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--budget") from None


for command in (login_command, push_command, pull_command, tasks_command, sandbox_group):
    commands.add_command(command)
