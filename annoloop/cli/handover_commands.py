"""The commands that give labels and models to others and compare labels: export, snapshot, diff."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from annoloop.cli.groups import WholeGroup
from annoloop.cli.options import FILE, FOLDER, PATH, common, example, on_all_cores, open_screen, opened_project

if TYPE_CHECKING:
    from pathlib import Path

    from annoloop.loop.handover.export import Format, Images
    from annoloop.training.records import ModelFormat

round_option = click.option(
    "--round", "round_number", type=click.IntRange(0), metavar="N",
    help="The labels after the N-th pull or undo, as annoloop log numbers them, 0: before the first; default: as they"
    " are now.",
)  # fmt: skip
splits_option = click.option("--split", "splits", multiple=True, help="Only this split; may be repeated; default: all.")


@click.group("export", cls=WholeGroup)
def export_group() -> None:
    """Give the labels of any round, or a model, to others."""


@export_group.command(
    "data",
    epilog=example(
        "annoloop export data --to mmseg --out handed-over --images copy",
        "annoloop export data --round 3 --to coco --out labels.json",
    ),
)
@round_option
@splits_option
@click.option("--to", type=click.Choice(["mmseg", "coco", "yolo", "cvat"]), required=True, help="The format.")
@click.option("--out", type=PATH, required=True, help="Folder for mmseg and yolo, file for coco and cvat (a zip).")
@click.option(
    "--images", type=click.Choice(["link", "copy", "none"]),
    help="Images beside the masks of mmseg and yolo: links, copies, or none; default: link.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace an export that annoloop made there and nobody changed since.")
@on_all_cores
@common
def export_data_command(
    round_number: int | None, splits: tuple[str, ...], to: Format, out: Path, images: Images | None, force: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Write the labels of a round as mmseg, COCO, YOLO or CVAT data, with the hashes of all."""
    from annoloop.loop.handover.export import export_data

    screen = open_screen(options)
    with opened_project(options, screen) as project:
        report = export_data(
            project, out, to, round_number=round_number, splits=splits or None, images=images, force=force,
            track=screen.track,
        )  # fmt: skip
    screen.result(report)


@export_group.command(
    "model",
    epilog=example(
        "annoloop export model --out model-3",
        "annoloop export model --run 2 --format torchscript --out model-2 --license CC-BY-4.0",
    ),
)
@click.option(
    "--format", "model_format", type=click.Choice(["onnx", "torchscript"]), default="onnx", show_default=True,
    help="What the model becomes.",
)  # fmt: skip
@click.option("--out", type=FOLDER, required=True, help="Folder for the model, its script and its card.")
@click.option("--run", "run_id", type=int, help="Number of a run; default: the current model.")
@click.option(
    "--check", type=click.IntRange(1), metavar="N",
    help="Compare with the run's scores on so many validation images; default: on all.",
)  # fmt: skip
@click.option("--name", help="The model's name on its card.")
@click.option("--author", help="Who made it, for the card.")
@click.option("--license", "license_name", help="Its licence, for the card.")
@click.option("--force", is_flag=True, help="Replace an export that annoloop made there and nobody changed since.")
@click.option("--dry-run", is_flag=True, help="Say what would be written, and of which run; write nothing.")
@on_all_cores
@common
def export_model_command(
    model_format: ModelFormat, out: Path, run_id: int | None, check: int | None, name: str | None,
    author: str | None, license_name: str | None, force: bool, dry_run: bool, **options: Any,
) -> None:  # fmt: skip
    """Write a model as a folder that predicts without annoloop, checked against the run's scores, with a model card."""
    from annoloop.loop.handover.export_model import export_model, require_export
    from annoloop.loop.handover.model_card import Stated

    require_export(model_format)  # before the project is opened, and with it anything is written
    screen = open_screen(options)
    stated = Stated(name or "", author or "", license_name or "")
    changes = None if dry_run else "export model"
    with opened_project(options, screen, changes=changes) as project, screen.watch() as watch:
        report = export_model(
            project, out, model_format, run_id=run_id, check=check, stated=stated, force=force,
            dry_run=dry_run, track=screen.track, watch=watch,
        )  # fmt: skip
    screen.result(report)


@click.command("snapshot", epilog=example("annoloop snapshot", "annoloop snapshot before-audit --round 2 --copy"))
@click.argument("name", required=False)
@round_option
@splits_option
@click.option("--out", type=FOLDER, help="Another folder than one in .annoloop/snapshots.")
@click.option("--copy", is_flag=True, help="Put the masks there, too.")
@click.option("--force", is_flag=True, help="Replace another snapshot there that nobody changed since.")
@common
def snapshot_command(
    name: str | None, round_number: int | None, splits: tuple[str, ...], out: Path | None, copy: bool, force: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Write the hashes of a round's labels to a manifest for git or DVC; NAME: default is made of the hashes."""
    from annoloop.loop.handover.snapshot import snapshot

    screen = open_screen(options)
    with opened_project(options, screen) as project:
        report = snapshot(
            project, name, round_number=round_number, splits=splits or None, out=out, copy=copy, force=force,
            track=screen.track,
        )  # fmt: skip
    screen.result(report)


@click.command("diff", epilog=example("annoloop diff 0 now", "annoloop diff run:2 now --split val --out diff.html"))
@click.argument("a")
@click.argument("b")
@splits_option
@click.option("--out", type=FILE, help="The HTML file to write; default: in .annoloop/reports/diff.")
@on_all_cores
@common
def diff_command(a: str, b: str, splits: tuple[str, ...], out: Path | None, **options: Any) -> None:
    """Which masks differ between A and B, px by class: rounds (3), now, runs (run:2), snapshots or folders."""
    from annoloop.loop.handover.compare import diff
    from annoloop.loop.handover.diff_page import require_page, write_page

    screen = open_screen(options)
    with opened_project(options, screen) as project:
        require_page(out)
        report, one, other = diff(project, a, b, splits=splits or None, track=screen.track)
        report = write_page(project, report, (one, other), out, screen.track)
    screen.result(report)
