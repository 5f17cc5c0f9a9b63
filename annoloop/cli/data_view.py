"""What a person sees of a report on data in a terminal: short tables and plain words.

One function per report, which gives what ``screen.py`` prints, line by line.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from annoloop.eda.eda import EdaReport

_MOST_FINDINGS = 20
_MARKS = {"fault": "[red]fault[/]", "remark": "[yellow]look[/]"}


def eda_parts(report: EdaReport) -> Iterator[RenderableType]:
    """Splits, classes, warnings and what was found, most serious first."""
    splits = ", ".join(f"{one.split} {one.images} ({one.labelled} masks)" for one in report.splits)
    yield f"[bold]{escape(report.project)}[/]: {splits}"
    yield _class_table(report)
    for text in report.warnings:
        yield f"[yellow]note:[/] {escape(text)}"
    if report.crop is not None:
        side = report.crop.side_px
        yield f"suggested crop: {side} x {side} px ({escape(report.crop.because)})"
    yield from _findings(report)
    if report.page is not None:
        yield f"report: [bold]{escape(str(report.page))}[/]"


def _class_table(report: EdaReport) -> Table:
    table = Table("class", box=None, pad_edge=False)
    for column in ("share of px", "images", "areas", "usual px", "weight"):
        table.add_column(column, justify="right")
    for one in report.classes:
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
