"""The commands that give labels to others and compare them: export, snapshot, diff."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from annoloop.cli.groups import WholeGroup
from annoloop.cli.options import FILE, FOLDER, PATH, common, example, on_all_cores, open_screen, opened_project

if TYPE_CHECKING:
    from pathlib import Path

    from annoloop.loop.handover.export import Format, Images

round_option = click.option(
    "--round", "round_number", type=click.IntRange(0), metavar="N",
    help="The labels after the N-th pull or undo, as annoloop log numbers them, 0: before the first; default: as they"
    " are now.",
)  # fmt: skip
splits_option = click.option("--split", "splits", multiple=True, help="Only this split; may be repeated; default: all.")


@click.group("export", cls=WholeGroup)
def export_group() -> None:
    """Give the labels of any round to others."""


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
