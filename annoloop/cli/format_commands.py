"""The commands that write and read what colleagues send beside COCO: YOLO text, and CVAT's mask zip."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from annoloop.cli.data_commands import convert, overlap_rule, own_or_project_classes
from annoloop.cli.options import (
    FILE_OR_URL,
    FOLDER_OR_URL,
    common,
    example,
    on_all_cores,
    open_screen,
    opened_project,
)

if TYPE_CHECKING:
    from annoloop.data.coco.painting import OverlapRule
    from annoloop.data.storage import Location

splits_option = click.option(
    "--split", "splits", multiple=True, help="Split to convert; may be repeated; default: all."
)


@click.command("to-yolo", epilog=example("annoloop convert to-yolo --split train --out yolo"))
@splits_option
@click.option("--out", type=FOLDER_OR_URL, required=True, help="Folder for labels/ and data.yaml.")
@click.option(
    "--tolerance-px", type=click.FloatRange(min=0), default=1.0, show_default=True,
    help="How far outlines are simplified; 0: not at all.",
)  # fmt: skip
@on_all_cores
@common
def to_yolo_command(splits: tuple[str, ...], out: Location, tolerance_px: float, **options: Any) -> None:
    """Write masks as YOLO segmentation text; lossy, and the loss is counted."""
    from annoloop.loop.conversion.yolo import to_yolo

    screen = open_screen(options)
    with opened_project(options, screen) as project:
        samples, data = project.samples(splits or None), project.config.data
        report = to_yolo(samples, data, project.classes, out, tolerance_px=tolerance_px, track=screen.track)
    screen.result(report)


@click.command("from-yolo", epilog=example("annoloop convert from-yolo yolo --out masks"))
@click.argument("source", type=FOLDER_OR_URL)
@click.option("--out", type=FOLDER_OR_URL, required=True, help="Folder for the masks; nothing in it is overwritten.")
@click.option("--images", type=FOLDER_OR_URL, help="Folder of the images; default: SOURCE.")
@overlap_rule
@own_or_project_classes
@on_all_cores
@common
def from_yolo_command(
    source: Location, out: Location, images: Location | None, overlap: OverlapRule, own_classes: bool, **options: Any
) -> None:
    """Paint the outlines of a YOLO folder, the one with data.yaml, as index PNGs."""
    from annoloop.loop.conversion.yolo import from_yolo

    screen = open_screen(options)
    read = partial(from_yolo, source, out, images_dir=images, overlap=overlap, track=screen.track)
    convert(read, out, own_classes, options, screen)


@click.command("to-cvat", epilog=example("annoloop convert to-cvat --split train --out masks.zip"))
@splits_option
@click.option("--out", type=FILE_OR_URL, required=True, help="The zip to write.")
@on_all_cores
@common
def to_cvat_command(splits: tuple[str, ...], out: Location, **options: Any) -> None:
    """Write masks as CVAT's "Segmentation mask 1.1" zip, bit-identical."""
    from annoloop.loop.conversion.cvat_masks import to_cvat

    screen = open_screen(options)
    with opened_project(options, screen) as project:
        samples, data = project.samples(splits or None), project.config.data
        report = to_cvat(samples, data, project.classes, out, track=screen.track)
    screen.result(report)


@click.command("from-cvat", epilog=example("annoloop convert from-cvat masks.zip --out masks"))
@click.argument("file", type=FILE_OR_URL)
@click.option("--out", type=FOLDER_OR_URL, required=True, help="Folder for the masks; nothing in it is overwritten.")
@own_or_project_classes
@on_all_cores
@common
def from_cvat_command(file: Location, out: Location, own_classes: bool, **options: Any) -> None:
    """Write the masks of CVAT's "Segmentation mask 1.1" zip as index PNGs."""
    from annoloop.loop.conversion.cvat_masks import from_cvat

    screen = open_screen(options)
    convert(partial(from_cvat, file, out, track=screen.track), out, own_classes, options, screen)
