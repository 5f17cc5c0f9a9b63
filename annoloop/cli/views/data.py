"""What a person sees of data: what was found, converted, and what is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from annoloop.cli.views.sheet import Sheet

if TYPE_CHECKING:
    from annoloop.eda.eda import EdaReport
    from annoloop.loop.conversion.coco import FromCocoReport, ToCocoReport
    from annoloop.loop.conversion.colors import FromColorsReport
    from annoloop.loop.setup.start import InitReport

_MOST_FINDINGS = 20
_MARKS = {"fault": "[red]fault[/]", "remark": "[yellow]look[/]"}

_MOST_EMPTY = 60


def init_report(report: InitReport, sheet: Sheet) -> None:
    images = ", ".join(f"{split} {count}" for split, count in report.images.items())
    sheet.print(f"wrote [bold]{escape(str(report.file))}[/]: {images} images, {len(report.config.classes)} classes")
    for note in report.notes:
        sheet.print(f"[dim]{escape(note)}[/]")
    for odd in report.odd:
        sheet.print(f"[yellow]odd:[/] {escape(odd)}")
    sheet.next("annoloop doctor", "looks at machine, server and data")


def eda_report(report: EdaReport, sheet: Sheet) -> None:
    for part in _eda_parts(report):
        sheet.print(part)
    sheet.next("annoloop retrain", "trains on these masks" if not report.faults else "once the faults are mended")


def to_coco_report(report: ToCocoReport, sheet: Sheet) -> None:
    kept = f", {report.kept} of them as they were" if report.kept else ""
    sheet.print(
        f"wrote [bold]{escape(str(report.file))}[/]: {report.images} images{kept}, {report.annotations} annotations"
    )
    if report.without_mask:
        sheet.print(f"[yellow]left out:[/] {len(report.without_mask)} images without a mask")


def from_coco_report(report: FromCocoReport, sheet: Sheet) -> None:
    sheet.print(
        f"{report.written} masks written to [bold]{escape(str(report.folder))}[/], {report.unchanged} were there;"
        f" {report.annotations} annotations, classes: {escape(', '.join(report.classes))}"
    )
    notes(report.notes, sheet)


def notes(texts: Sequence[str], sheet: Sheet) -> None:
    """The first of some notes, and how many more there are."""
    for text in texts[:20]:
        sheet.print(f"[yellow]note:[/] {escape(text)}")
    if len(texts) > 20:
        sheet.print(f"… and {len(texts) - 20} more notes (--json has all)")


def from_colors_report(report: FromColorsReport, sheet: Sheet) -> None:
    sheet.print(
        f"{report.written} index masks written to [bold]{escape(str(report.folder))}[/], {report.unchanged} were there;"
        f" classes of {escape(report.source)}: {escape(', '.join(report.classes))}"
    )
    sheet.next("annoloop init", "finds the index masks; or name their folder in data.mask_dir")


def _eda_parts(report: EdaReport) -> Iterator[RenderableType]:
    """Splits, classes, warnings and what was found, most serious first."""
    splits = ", ".join(f"{one.split} {one.images} ({one.labelled} masks)" for one in report.splits)
    yield f"[bold]{escape(report.project)}[/]: {splits}"
    yield _class_table(report)
    for text in report.warnings:
        yield f"[yellow]note:[/] {escape(text)}"
    for line in report.planned:
        yield f"recipe auto would train at {line.what} {escape(line.chosen)}: {escape(line.because)}"
    yield from _findings(report)
    if report.page is not None:
        yield f"report: [bold]{escape(str(report.page))}[/]"


def _class_table(report: EdaReport) -> Table:
    table = Table("class", box=None, pad_edge=False)
    for column in ("share of px", "images", "areas", "usual px", "weight"):
        table.add_column(column, justify="right")
    # Of hundreds of classes those without a pixel are told by the findings; as rows they would bury the others.
    shown = report.classes if len(report.classes) <= _MOST_EMPTY else [one for one in report.classes if one.images]
    for one in shown:
        share = "" if math.isnan(one.share) else f"{100 * one.share:.2f} %"
        usual = "" if math.isnan(one.median_px) else f"{one.median_px:.0f}"
        table.add_row(escape(one.name), share, str(one.images), str(one.components), usual, f"{one.weight:.2f}")
    return table


def _findings(report: EdaReport) -> Iterator[str]:
    if not report.counts:
        yield "[green]nothing wrong was found[/]"
        return
    yield f"[bold]{report.faults} faults[/], {report.remarks} worth a look"
    for one in report.findings[:_MOST_FINDINGS]:
        mark = _MARKS[one.severity]
        yield f"{mark} {one.kind}: {escape(report.place(one))}: {escape(one.message)} [cyan]({escape(one.advice)})[/]"
    rest = report.faults + report.remarks - _MOST_FINDINGS
    if rest > 0:
        yield f"… and {rest} more (the report and --json have them)"
