"""What a person sees of conversions to and from YOLO text and CVAT's mask zip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape

from annoloop.cli.views.data import notes
from annoloop.cli.views.sheet import Sheet

if TYPE_CHECKING:
    from annoloop.loop.conversion.cvat_masks import FromCvatReport, ToCvatReport
    from annoloop.loop.conversion.yolo import FromYoloReport, ToYoloReport


def to_yolo_report(report: ToYoloReport, sheet: Sheet) -> None:
    sheet.print(
        f"wrote [bold]{escape(str(report.folder))}[/]: {report.images} label files, {report.objects} objects, classes:"
        f" {escape(', '.join(report.classes))}"
    )
    share = 100 * report.loss_px / max(1, report.px)
    sheet.print(f"[yellow]lossy:[/] {report.loss_px} px ({share:.2f} %) come back as another class")
    if report.ignored_px:
        sheet.print(f"[yellow]lossy:[/] {report.ignored_px} ignored px come back as a class: YOLO cannot ignore any")
    _left_out(report.without_mask, sheet)
    sheet.next("images/ beside labels/", "is where YOLO looks for the images, under the same names")


def from_yolo_report(report: FromYoloReport, sheet: Sheet) -> None:
    sheet.print(
        f"{report.written} masks written to [bold]{escape(str(report.folder))}[/], {report.unchanged} were there;"
        f" {report.objects} objects, classes: {escape(', '.join(report.classes))}"
    )
    notes(report.notes, sheet)


def to_cvat_report(report: ToCvatReport, sheet: Sheet) -> None:
    sheet.print(f"wrote [bold]{escape(str(report.file))}[/]: {report.images} masks")
    if report.recolored:
        names = escape(", ".join(report.recolored))
        sheet.print(f"[yellow]note:[/] in another colour than in annoloop.yaml, which is not free: {names}")
    _left_out(report.without_mask, sheet)


def from_cvat_report(report: FromCvatReport, sheet: Sheet) -> None:
    sheet.print(
        f"{report.written} masks written to [bold]{escape(str(report.folder))}[/], {report.unchanged} were there;"
        f" classes: {escape(', '.join(report.classes))}"
    )
    notes(report.notes, sheet)


def _left_out(without_mask: Sequence[str], sheet: Sheet) -> None:
    if without_mask:
        sheet.print(f"[yellow]left out:[/] {len(without_mask)} images without a mask")
