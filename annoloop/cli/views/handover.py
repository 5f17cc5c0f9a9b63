"""What a person sees of labels that were given to others or compared."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from rich.markup import escape

from annoloop.cli.views.sheet import Sheet
from annoloop.errors import some_of

if TYPE_CHECKING:
    from annoloop.loop.handover.export import ExportDataReport
    from annoloop.loop.handover.snapshot import SnapshotReport

_SHOWN = 5


def export_data_report(report: ExportDataReport, sheet: Sheet) -> None:
    images = f" and {report.images} images" if report.images else ""
    sheet.print(
        f"wrote [bold]{escape(str(report.out))}[/]: {report.masks} masks{images}, the labels of {escape(report.state)}"
    )
    for note in report.notes:
        sheet.print(f"[yellow]note:[/] {escape(note)}")
    if report.without_mask:
        names = escape(some_of(report.without_mask, _SHOWN))
        sheet.print(f"[yellow]without a mask in {escape(report.state)}, left out:[/] {names}")
    _doubts(report, sheet)
    sheet.print(f"hashes: {escape(str(report.manifest))}")
    if report.to == "mmseg" and report.images:
        where = shlex.quote(str(report.out))
        sheet.next(f"annoloop init {where} --project DIR", "makes a project of it")


def snapshot_report(report: SnapshotReport, sheet: Sheet) -> None:
    done = "wrote" if report.is_new else "is there already, with the same labels:"
    copies = f", {report.copied} mask files beside it" if report.copied else ""
    sheet.print(
        f"{done} [bold]{escape(str(report.manifest))}[/]: {report.masks} masks of {report.samples} images,"
        f" the labels of {escape(report.state)}{copies}"
    )
    _doubts(report, sheet)


def _doubts(report: ExportDataReport | SnapshotReport, sheet: Sheet) -> None:
    """What a round cannot know, or no longer has."""
    told = (
        ("that no pull touched, taken as they are now, though others were seen before", report.edited),
        ("edited by hand since the last pull, taken as they were", report.edited_since),
        ("that have no image any more, left out", report.gone),
    )
    for what, names in told:
        if names:
            sheet.print(f"[yellow]note:[/] {len(names)} masks {what}: {escape(some_of(names, _SHOWN))}")
