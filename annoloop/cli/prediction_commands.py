"""The command that uses a model outside the loop: predict."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from annoloop.cli.options import FOLDER, PATH_OR_URL, common, example, on_all_cores, open_screen, opened_project

if TYPE_CHECKING:
    from pathlib import Path

    from annoloop.data.storage import Location


@click.command(
    "predict",
    epilog=example(
        "annoloop predict photos --out predicted --overlay",
        "annoloop predict 'day-*/**/*.jpg' drone.mp4 --every 25 --out predicted --coco",
        "find /data -newer last-time -name '*.tif' | annoloop predict - --out predicted",
    ),
)
@click.argument("paths", nargs=-1, required=True, type=PATH_OR_URL)
@click.option("--out", type=FOLDER, required=True, help="Folder for the masks, and for what else is asked for.")
@click.option("--run", "run_id", type=int, help="Number of a run; default: the current model.")
@click.option("--every", type=click.IntRange(1), default=1, show_default=True, help="Of a video each so many-th frame.")
@click.option("--confidence", is_flag=True, help="Write PNGs of 255 times the probability of the class, too.")
@click.option("--overlay", is_flag=True, help="Write pictures of the classes on the images, too.")
@click.option("--coco", is_flag=True, help="Write all regions to one COCO file, too.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where to predict.")
@click.option("--force", is_flag=True, help="Replace predictions that another model made in this folder.")
@click.option("--dry-run", is_flag=True, help="Say what would be predicted, and with which model; write nothing.")
@on_all_cores
@common
def predict_command(paths: tuple[Location, ...], out: Path, dry_run: bool, **options: Any) -> None:
    """Write masks of any images: PATHS are folders, images, videos, patterns, lists in .txt, URLs; -: names from stdin.

    The same command goes on where it was cut off, and takes what is new.
    """
    from dataclasses import fields

    from annoloop.errors import DataError
    from annoloop.loop.prediction.predict import PredictRequest, plan_prediction, predict

    chosen = {one.name: options[one.name] for one in fields(PredictRequest) if one.name in options}
    request = PredictRequest(_with_stdin(paths), out, **chosen)
    screen = open_screen(options)
    with opened_project(options, screen) as project:
        if dry_run:
            screen.result(plan_prediction(project, request))
            return
        with screen.watch() as watch:
            report = predict(project, request, track=screen.track, say=screen.note, watch=watch)
    if report.faults:
        lacking = f"{len(report.faults)} of {report.images} images have no prediction"
        hint = "they are listed above; the same command tries them again"
        screen.end(report, DataError(lacking, where=out, hint=hint))
    screen.result(report)


def _with_stdin(paths: tuple[Location, ...]) -> tuple[Location, ...]:
    """The names, and in the place of - those that come in, one a line."""
    from annoloop.data.storage import location

    found: list[Location] = []
    for path in paths:
        if str(path) == "-":
            found += [location(line) for line in sys.stdin.read().splitlines() if line.strip()]
        else:
            found.append(path)
    return tuple(found)
