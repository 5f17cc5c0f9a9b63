"""What a person sees of predictions outside the loop: how many, how fast, where, and what could not be predicted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape

from annoloop.cli.views.sheet import Sheet
from annoloop.data.durations import in_words

if TYPE_CHECKING:
    from annoloop.loop.prediction.predict import PredictFault, PredictPlan, PredictReport

_SHOWN = 10


def predict_report(report: PredictReport, sheet: Sheet) -> None:
    kept = f", {report.kept} were there before" if report.kept else ""
    sheet.print(
        f"run {report.run} ({escape(report.recipe)}): [bold]{report.predicted}[/] masks in"
        f" {escape(str(report.out / 'masks'))}{kept}"
    )
    if report.images_per_second is not None:
        sheet.print(
            f"[bold]{report.images_per_second:.1f} images a second[/] on {report.device}; {in_words(report.seconds)} in"
            " all"
        )
    if report.coco is not None:
        sheet.print(f"{report.regions} regions in {escape(str(report.coco))}")
    if report.overlay:
        sheet.print(f"pictures: {escape(str(report.out / 'overlay'))}")
    _faults(report.faults, sheet)
    if not report.overlay and report.predicted + report.kept:
        sheet.next("annoloop predict … --overlay", "the same command with it draws them for people to look at")


def predict_plan(report: PredictPlan, sheet: Sheet) -> None:
    counted = "a video" if report.videos == 1 else f"{report.videos} videos"
    videos = f", and {counted} of about {report.frames} frames" if report.videos else ""
    kept = f"; {report.kept} are there already" if report.kept else ""
    sheet.print(
        f"run {report.run} ({escape(report.recipe)}) would predict [bold]{report.images}[/] images{videos} into"
        f" {escape(str(report.out))}{kept}"
    )
    for image, mask in report.first:
        sheet.print(f"  {escape(image)} -> {escape(mask)}")
    for note in report.notes:
        sheet.print(f"[yellow]{escape(note)}[/]")
    _faults(report.faults, sheet)


def _faults(faults: Sequence[PredictFault], sheet: Sheet) -> None:
    for fault in faults[:_SHOWN]:
        sheet.print(f"[yellow]no prediction:[/] {escape(fault.place)}: {escape(fault.message)}")
    if len(faults) > _SHOWN:
        sheet.print(f"[yellow]and {len(faults) - _SHOWN} more[/]: --json lists all of them")
