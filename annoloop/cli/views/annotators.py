"""What a person sees of those who annotate: what it costs them, and how far they agree."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from annoloop.cli.views.sheet import Sheet

if TYPE_CHECKING:
    from annoloop.loop.effort import EffortReport, JobEffort
    from annoloop.loop.quality import QualityReport

_MOST_LINES = 10


def effort_report(report: EffortReport, sheet: Sheet) -> None:
    for note in report.notes:
        sheet.print(f"[yellow]note:[/] {escape(note)}")
    if not report.jobs:
        sheet.next("annoloop push --worst 50", "gives annotators something to do")
        return
    sheet.print(_job_table(report.jobs))
    if report.minutes is not None and report.minutes_per_frame is not None:
        how = "at most " if report.source == "clock" else ""
        sheet.print(
            f"{how}[bold]{_long(report.minutes)}[/] for {report.frames} images, {_long(report.minutes_per_frame)} each"
        )
    per_frame = (report.changed_px_per_frame or 0.0, report.shapes_per_frame or 0.0)
    sheet.print("per image: {:.0f} px and {:.1f} shapes changed".format(*per_frame))
    if report.mended_px_per_hour is not None:
        sheet.print(f"{report.mended_px} px of the masks mended, {report.mended_px_per_hour:.0f} an hour")
    if report.dice_per_hour is not None and report.dice_before is not None and report.dice_after is not None:
        change = f"{report.dice_before:.3f} to {report.dice_after:.3f}"
        sheet.print(f"validation mDice went from {change}, {report.dice_per_hour:+.4f} for an hour of it")
    if report.forecast_minutes is not None:
        low, middle, high = map(_long, report.forecast_minutes)
        span = "" if low == high else f", {low} to {high}"
        sheet.print(f"the next {report.forecast_images} images: about [bold]{middle}[/]{span}")


def quality_report(report: QualityReport, sheet: Sheet) -> None:
    tasks = ", ".join(map(str, report.tasks))
    sheet.print(f"task {tasks}: {len(report.frames)} images, {len(report.annotators)} annotators")
    model = "" if report.run is None else f"; run {report.run} agrees to {_number(report.model_dice)} with them"
    sheet.print(f"annotators agree to [bold]{_number(report.annotators_dice)}[/] (mean Dice){model}")
    if report.left_out:
        sheet.print(f"[dim]both without {escape(', '.join(report.left_out))}[/]")
    for one in report.classes:
        sheet.print(f"  {escape(one.verdict)}")
    sheet.print(_annotator_table(report))
    for person in report.annotators:
        if person.apart:
            sheet.print(
                f"[red]{escape(person.annotator)}[/] stands apart: Dice {_number(person.dice)} with the majority of the"
                f" others, {person.gap:.2f} less than they have"
            )
    if report.disagreements:
        areas = f"{report.disagreement_count} areas, {report.disagreement_px} px"
        more = " (the largest; --json has more)" if report.disagreement_count > _MOST_LINES else ""
        sheet.print(f"where they differ: {areas}{more}")
        sheet.print(_disagreement_table(report))
        worst = report.disagreements[0].sample_id
        sheet.next(
            f"annoloop push --image {worst}",
            "once the task is pulled: gives what they differ on most to somebody who decides",
        )


def _job_table(jobs: tuple[JobEffort, ...]) -> Table:
    table = Table("task", "job", "annotator", "state", box=None, pad_edge=False)
    for column in ("images", "changed", "px", "shapes", "minutes"):
        table.add_column(column, justify="right")
    for one in jobs:
        minutes = "" if one.minutes is None else f"{one.minutes:.1f}{' at most' if one.source == 'clock' else ''}"
        numbers = (one.frames, one.changed_frames, one.changed_px, one.shapes)
        table.add_row(str(one.task), str(one.job), escape(one.annotator), one.state, *map(str, numbers), minutes)
    return table


def _annotator_table(report: QualityReport) -> Table:
    known = any(one.planted_px is not None for one in report.annotators)
    table = Table("annotator", box=None, pad_edge=False)
    for column in ("images", "with the others", *(("errors found", "px spoiled") if known else ())):
        table.add_column(column, justify="right")
    for one in report.annotators:
        found = "" if one.planted_px is None else f"{one.found_px} of {one.planted_px} px"
        cells = (str(one.frames), _number(one.dice), *((found, str(one.spoiled_px or 0)) if known else ()))
        table.add_row(escape(one.annotator), *cells)
    return table


def _disagreement_table(report: QualityReport) -> Table:
    table = Table("image", "px", "says", "where", box=None, pad_edge=False)
    for one in report.disagreements[:_MOST_LINES]:
        says = ", ".join(f"{who}: {label}" for who, label in one.says.items())
        table.add_row(escape(one.sample_id), str(one.px), escape(says), escape(one.url))
    return table


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"


def _long(minutes: float) -> str:
    """A length of work in the unit that fits it."""
    if minutes < 1:
        return f"{60 * minutes:.0f} s"
    return f"{minutes:.1f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
