"""The commands about data: init, eda, convert."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from annoloop.cli.groups import WholeGroup
from annoloop.cli.options import (
    FILE,
    FILE_OR_URL,
    FOLDER_OR_URL,
    common,
    example,
    listed,
    on_all_cores,
    on_cluster,
    open_screen,
    opened_project,
)

if TYPE_CHECKING:
    from annoloop.cli.screen import Screen
    from annoloop.data.coco.painting import OverlapRule
    from annoloop.data.storage import Location


@click.command("init", epilog=example("annoloop init data/steel --classes background,scratch,patch"))
@click.argument("data_root", type=FOLDER_OR_URL)
@click.option("--classes", default="", help="Class names in index order, comma separated.")
@click.option("--palette", default="", help="Colours in the same order: #000000,#e6194b,…")
@click.option("--background", help="Class of pixels that no shape covers.")
@click.option("--images", default="", help="Which images, where there are several sets: part of a name, like .jpg.")
@click.option("--masks", default="", help="Which masks, where there are several sets: part of a name, like .ah.png.")
@click.option("--values", default="", help="What stored values mean, by index or name: 255=1,128=ignore.")
@click.option("--val-share", type=float, help="Draw this share of train for val, where there is no val split: 0.2.")
@click.option(
    "--reduce-zero-label/--no-reduce-zero-label",
    default=None,
    help="A stored 0 is ignored and 1 is the first class; default: by what is found.",
)
@click.option("--force", is_flag=True, help="Replace an annoloop.yaml that is there.")
@common
def init_command(data_root: Location, classes: str, palette: str, values: str, force: bool, **options: Any) -> None:
    """Look at the folder DATA_ROOT, whatever its layout, and write annoloop.yaml."""
    from annoloop.loop.setup.start import init, values_of

    screen = open_screen(options)
    wishes = {key: options.pop(key) for key in ("background", "images", "masks", "val_share", "reduce_zero_label")}
    report = init(
        data_root,
        options["project_dir"] or Path.cwd(),
        classes=listed(classes),
        palette=listed(palette),
        values=values_of(listed(values)),
        force=force,
        track=screen.track,
        **wishes,
    )
    screen.result(report)


@click.command("eda", epilog=example("annoloop eda", "annoloop eda --split train --out report.html"))
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
        if out is None:
            project.require_writing("eda without --out")
        report = eda(project, splits=splits or None, track=screen.track)
        screen.result(save_page(project, report, out, screen.track))


overlap_rule = click.option(
    "--overlap",
    type=click.Choice(["last", "small-over-large"]),
    default="last",
    show_default=True,
    help="Which of two annotations of different classes is seen where both are.",
)
own_or_project_classes = click.option(
    "--own-classes", is_flag=True, help="Use the file's classes instead of the project's."
)


@click.group("convert", cls=WholeGroup)
def convert_group() -> None:
    """Mask folders to COCO, YOLO text or CVAT's mask zip, and back."""


@convert_group.command("to-coco", epilog=example("annoloop convert to-coco --split val --out val.json"))
@click.option("--split", "splits", multiple=True, help="Split to convert; may be repeated; default: all.")
@click.option("--out", type=FILE_OR_URL, required=True, help="The JSON file to write.")
@click.option("--min-region-px", default=0, show_default=True, help="Smaller specks of a class share one annotation.")
@on_all_cores
@common
def to_coco_command(splits: tuple[str, ...], out: Location, min_region_px: int, **options: Any) -> None:
    """Write masks as COCO instances JSON, one RLE annotation per region."""
    from annoloop.loop.conversion.coco import to_coco

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


@convert_group.command("from-colors", epilog=example("annoloop convert from-colors data/SegmentationClass"))
@click.argument("masks", type=FOLDER_OR_URL)
@click.option("--out", type=FOLDER_OR_URL, help="Folder for the index masks; default: MASKS-index, beside it.")
@click.option("--suffix", default="", help="How the names of masks end, where other pictures lie between them.")
@click.option("--classes", default="", help="Class names in index order, comma separated; with --palette.")
@click.option("--palette", default="", help="Colours in the same order: #000000,#e6194b,…")
@click.option("--ignore", default="", help="Colours of pixels that are ignored, comma separated.")
@common
def from_colors_command(
    masks: Location, out: Location | None, suffix: str, classes: str, palette: str, ignore: str, **options: Any
) -> None:
    """Make index PNGs of masks whose classes are colours, beside them; nothing is written over.

    The colours are those of --palette, of the project's classes, or of labelmap.txt, meta.json or class_dict.csv
    beside the masks or above them.
    """
    from annoloop.loop.conversion.colors import from_colors, palette_given, palette_near

    screen = open_screen(options)
    chosen = palette_given(listed(classes), listed(palette)) or palette_near(masks, options["project_dir"])
    screen.result(from_colors(masks, chosen, out, suffix=suffix, ignored=listed(ignore), track=screen.track))


@convert_group.command("from-coco", epilog=example("annoloop convert from-coco val.json --out masks"))
@click.argument("file", type=FILE_OR_URL)
@click.option("--out", type=FOLDER_OR_URL, required=True, help="Folder for the masks; nothing in it is overwritten.")
@click.option("--images", type=FOLDER_OR_URL, help="Folder of the images: names and sizes are compared with them.")
@click.option("--segments", type=FOLDER_OR_URL, help="Folder of a panoptic file's PNGs; default: beside it.")
@overlap_rule
@click.option("--strip-folders", is_flag=True, help="Take the last part of each file_name only.")
@own_or_project_classes
@on_all_cores
@common
def from_coco_command(
    file: Location,
    out: Location,
    images: Location | None,
    segments: Location | None,
    overlap: OverlapRule,
    strip_folders: bool,
    own_classes: bool,
    **options: Any,
) -> None:
    """Paint the annotations of a COCO file, instances or panoptic, as index PNGs."""
    from annoloop.loop.conversion.coco import from_coco

    screen = open_screen(options)
    read = partial(
        from_coco,
        file,
        out,
        images_dir=images,
        segments_dir=segments,
        overlap=overlap,
        strip_folders=strip_folders,
        track=screen.track,
    )
    convert(read, out, own_classes, options, screen)


def convert(read: Callable[..., object], out: Location, own: bool, options: dict[str, Any], screen: Screen) -> None:
    """Read with the classes of the data, or with those of the project and in its way of storing masks."""
    if own:
        shared = next(above for above in out.absolute().parents if above.is_dir()) if isinstance(out, Path) else None
        with on_cluster(options, screen, shared):
            screen.result(read())
        return
    with opened_project(options, screen) as project:
        report = read(data=project.config.data, classes=project.classes)
    screen.result(report)
