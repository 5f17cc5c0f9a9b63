"""What a person sees of the model as it is served."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

from annoloop.cli.views.sheet import Sheet

if TYPE_CHECKING:
    from annoloop.serving.server import ServeReport


def serve_report(report: ServeReport, sheet: Sheet) -> None:
    sheet.print(f"run {report.run} answers at [bold]{escape(report.url)}[/]: {escape(', '.join(report.functions))}")
    sheet.print(f"classes: {escape(', '.join(report.classes))}")
    if report.sam_url is not None:
        sheet.print(f"the SAM decoder answers at {escape(report.sam_url)}, too")
    if report.warning is not None:
        sheet.print(f"[yellow]warning:[/] {escape(report.warning)}")
