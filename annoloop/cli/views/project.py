"""What a person sees of the project itself: checks, state, history, the App."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from annoloop.cli.views.sheet import Sheet

if TYPE_CHECKING:
    from annoloop.app.browse import BrowseReport, ExportReport
    from annoloop.cli.doctor import DoctorReport
    from annoloop.loop.history import LogEntry
    from annoloop.loop.status import StatusReport

_MARKS = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "fault": "[red]fault[/]"}


def doctor_report(report: DoctorReport, sheet: Sheet) -> None:
    table = Table("", "check", "found", box=None, pad_edge=False)
    for check in report.checks:
        table.add_row(_MARKS[check.state], escape(check.name), escape(check.found))
        if check.hint:
            table.add_row("", "", f"[cyan]{escape(check.hint)}[/]")
    sheet.print(table)


def status_report(report: StatusReport, sheet: Sheet) -> None:
    splits = ", ".join(f"{s} {n} ({report.labelled.get(s, 0)} labelled)" for s, n in report.images.items())
    sheet.print(f"[bold]{escape(report.project)}[/]: {splits}")
    model = (report.no_model or "none yet") if report.current_run is None else f"run {report.current_run}"
    dice = "" if report.current_val_dice is None else f", validation mDice {report.current_val_dice:.3f}"
    sheet.print(f"model: {model}{dice}; {report.runs} runs; {report.masks_changed_since_training} masks changed since")
    if report.training is not None:
        one = report.training
        of = "" if one.iterations is None else f" of {one.iterations}"
        val = "" if one.val_dice is None else f", validation mDice {one.val_dice:.3f}"
        far = "begins" if one.iteration is None else f"is at iteration {one.iteration}{of}{val}"
        sheet.print(f"[green]run {one.run} {far}[/]")
    for task in report.tasks:
        frames = ", ".join(f"{count} {state}" for state, count in task.frames.items())
        sheet.print(f"task {task.task or '-'} {task.state}: {frames}  {escape(task.name)}")
    sheet.next(report.next_command, report.because)


def browse_report(report: BrowseReport, sheet: Sheet) -> None:
    sheet.print(
        f"{report.samples} samples, {report.updated} of them new or changed,"
        f" in FiftyOne dataset {escape(report.dataset)}"
    )
    if report.url:
        sheet.print(f"[bold]{escape(report.url)}[/]  saved views: worst, suspected label errors, …")
    if report.scored < report.samples:
        sheet.next("annoloop evaluate --split train --split val", f"{report.samples - report.scored} have no Dice")
    if report.marked:
        sheet.next("annoloop push --worst 50", f"takes the {report.marked} marked images first")


def export_report(report: ExportReport, sheet: Sheet) -> None:
    sheet.print(f"{report.samples} samples, {report.scored} with Dice: [bold]{escape(str(report.page))}[/]")


def log_entry(entries: Sequence[LogEntry], sheet: Sheet) -> None:
    table = Table("when", "what", "round", "run", "task", "masks", "val mDice", "note", box=None, pad_edge=False)
    for e in entries:
        dice = "" if e.val_dice is None else f"{e.val_dice:.3f}"
        mark = {True: "[green]promoted[/] ", False: "[yellow]not promoted[/] ", None: ""}[e.promoted]
        table.add_row(
            e.at[:19], e.what, _or(e.round), _or(e.run), _or(e.task), _or(e.masks), dice, mark + escape(e.note)
        )
    sheet.print(table)


def _or(value: int | None) -> str:
    return "" if value is None else str(value)
