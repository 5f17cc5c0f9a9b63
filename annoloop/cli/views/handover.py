"""What a person sees of labels and models that were given to others, and of labels that were compared."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from annoloop.cli.views.sheet import Sheet
from annoloop.errors import some_of

if TYPE_CHECKING:
    from annoloop.loop.handover.compare import DiffReport
    from annoloop.loop.handover.export import ExportDataReport
    from annoloop.loop.handover.export_model import ExportModelReport
    from annoloop.loop.handover.snapshot import SnapshotReport

_SHOWN = 5
_ROWS = 20


def export_data_report(report: ExportDataReport, sheet: Sheet) -> None:
    images = f" and {report.images} images" if report.images else ""
    sheet.print(
        f"wrote [bold]{escape(str(report.out))}[/]: {report.masks} masks{images}, the labels {_of(report.state)}"
    )
    for note in report.notes:
        sheet.print(f"[yellow]note:[/] {escape(note)}")
    if report.without_mask:
        names = escape(some_of(report.without_mask, _SHOWN))
        sheet.print(f"[yellow]without a mask, left out:[/] {names}")
    _doubts(report, sheet)
    sheet.print(f"hashes: {escape(str(report.manifest))}")
    if report.to == "mmseg" and report.images:
        where = shlex.quote(str(report.out))
        sheet.next(f"annoloop init {where} --project DIR", "makes a project of it")


def export_model_report(report: ExportModelReport, sheet: Sheet) -> None:
    run = f"run {report.run} ({escape(report.recipe)}, {'promoted' if report.promoted else 'not promoted'})"
    out, files = escape(str(report.out)), escape(", ".join(report.files))
    if report.check is None:
        sheet.print(f"would write [bold]{out}[/]: {run} as {report.model_format}, checked on {report.images} images")
        sheet.print(f"files: {files}")
        return
    check, size = report.check, f"{(report.size_bytes or 0) / (1 << 20):.1f} MiB"
    sheet.print(f"wrote [bold]{out}[/]: {run} as {report.model_format}, {size}; {files}")
    reference = "the run in float32" if check.in_float32 else "the run"
    sheet.print(
        f"[green]checked[/] on {check.images} images: mDice {check.exported_mean_dice:.4f}, {reference}"
        f" {check.mean_dice:.4f}; no class differs by more than {check.largest:.5f};"
        f" {check.differing_share:.3%} of the pixels differ"
    )
    if check.rounding is not None:
        sheet.print(f"[yellow]note:[/] the run predicts in bfloat16, whose Dice is up to {check.rounding:.4f} away")
    sheet.print(f"hashes: {escape(str(report.manifest))}")
    script = shlex.quote(str(report.out / "predict.py"))
    sheet.next(f"python {script} image.png --out predicted", "needs no annoloop; see requirements.txt there")


def snapshot_report(report: SnapshotReport, sheet: Sheet) -> None:
    done = "wrote" if report.is_new else "is there already, with the same labels:"
    copies = f", {report.copied} mask files beside it" if report.copied else ""
    sheet.print(
        f"{done} [bold]{escape(str(report.manifest))}[/]: {report.masks} masks of {report.samples} images,"
        f" the labels {_of(report.state)}{copies}"
    )
    _doubts(report, sheet)


def _of(state: str) -> str:
    return "as they are now" if state == "now" else f"of {escape(state)}"


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


def diff_report(report: DiffReport, sheet: Sheet) -> None:
    a, b = escape(report.a), escape(report.b)
    sheet.print(f"[bold]{a}[/] ({escape(report.a_told)}) to [bold]{b}[/] ({escape(report.b_told)})")
    parts = [f"{report.changed} masks changed", f"{report.added} added", f"{report.removed} removed"]
    same = report.same + report.same_labels
    sheet.print(f"of {report.compared} images: {', '.join(parts)}, {same} the same; {report.changed_px} px changed")
    for name, count in ((a, report.only_a), (b, report.only_b)):
        if count:
            sheet.print(f"[yellow]note:[/] {count} images are known to {name} alone, and are not compared")
    if report.other_images:
        names = escape(some_of(report.other_images, _SHOWN))
        sheet.print(f"[yellow]note:[/] {len(report.other_images)} images are other files on the two sides: {names}")
    for one in [one for one in report.masks if one.why][:_SHOWN]:
        sheet.print(f"[yellow]{escape(one.sample_id)}: {one.state}:[/] {escape(one.why)}")
    if report.uncompared > _SHOWN:
        sheet.print(f"[yellow]note:[/] {report.uncompared} masks cannot be compared; --json lists them")
    if report.classes:
        table = Table("class", "lost px", "gained px", box=None, pad_edge=False)
        for kind in report.classes:
            table.add_row(escape(kind.name), str(kind.lost_px), str(kind.gained_px))
        sheet.print(table)
    listed = [one for one in report.masks if not one.why]
    if listed:
        table = Table("mask", "what", "changed px", "of", box=None, pad_edge=False)
        for one in listed[:_ROWS]:
            numbers = (str(one.changed_px), str(one.px)) if one.state == "changed" else ("", "")
            table.add_row(escape(one.sample_id), one.state, *numbers)
        sheet.print(table)
    if len(listed) > _ROWS:
        sheet.print(f"and {len(listed) - _ROWS} more")
    if report.page is not None:
        sheet.print(f"page: {escape(str(report.page))}")
