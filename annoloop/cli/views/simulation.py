"""What a person sees of a simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from annoloop.cli.views.sheet import Sheet

if TYPE_CHECKING:
    from annoloop.simulation.trial_report import ArmReport, SimulateReport


def simulate_report(report: SimulateReport, sheet: Sheet) -> None:
    sheet.print(
        f"{report.seeds} seeds, {report.wrong_px:.0f} wrong px; {report.minutes:.0f} min for each arm,"
        f" {report.minutes_for_all:.0f} for everything"
    )
    table = Table("arm", box=None, pad_edge=False)
    for column in ("work", "hits", "min", "mended", "px/min", "mDice", "gain", "of possible"):
        table.add_column(column, justify="right")
    for one in report.arms:
        table.add_row(*_cells(one))
    sheet.print(table)
    if report.beginnings:
        begin = Table("begin with", "deleted", "drawn", "min", box=None, pad_edge=False)
        for source in report.beginnings:
            begin.add_row(source.source, f"{source.deleted:.0f}", f"{source.drawn:.0f}", f"{source.minutes:.0f}")
        sheet.print(begin)
    for sentence in report.told:
        sheet.print(f"- {escape(sentence)}")
    if report.page is not None:
        sheet.print(f"page: {escape(str(report.page))}")


def _cells(one: ArmReport) -> tuple[str, ...]:
    dice = "-" if one.mean_dice is None else f"{one.mean_dice.mean:.3f}"
    gain = "-" if one.gain is None else f"{one.gain.mean:+.4f}"
    share = "-" if one.share is None else f"{100 * one.share:.0f} %"
    return (
        escape(one.arm), f"{one.steps:.0f}", f"{one.hits:.0f}", f"{one.minutes:.1f}", f"{100 * one.mended:.1f} %",
        f"{one.px_per_minute:.0f}", dice, gain, share,
    )  # fmt: skip
