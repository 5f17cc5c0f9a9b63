"""What a person sees of a training or an evaluation: verdicts and tables of scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from annoloop.cli.views.sheet import Sheet
from annoloop.data.durations import in_words

if TYPE_CHECKING:
    from annoloop.loop.evaluate import EvaluateReport
    from annoloop.loop.plan import PlanReport
    from annoloop.loop.retrain import RetrainReport
    from annoloop.metrics.scores import Scores
    from annoloop.tracking.tracker import Tracked
    from annoloop.training.planning import PlanLine


def plan_report(report: PlanReport, sheet: Sheet) -> None:
    sheet.print(
        f"[bold]{escape(report.recipe)}[/] on {report.train_images} training images, validated on"
        f" {report.val_images}, on {report.device}"
    )
    if report.lines:
        plan_lines(report.lines, sheet)
    table = Table("", "takes about", box=None, pad_edge=False)
    for part in report.parts:
        table.add_row(escape(part.what), in_words(part.seconds))
    table.add_row("[bold]all of it[/]", f"[bold]{in_words(report.seconds)}[/]")
    sheet.print(table)
    sheet.print(
        f"measured here: {report.seconds_per_iteration:.2f} s an iteration, {report.seconds_per_image:.2f} s an image"
    )
    seconds = report.budget_s
    length = "" if seconds is None else f" --budget {f'{seconds:g}s' if seconds % 60 else f'{seconds / 60:g}m'}"
    sheet.next(f"annoloop retrain{length}", "trains like that")


def plan_lines(lines: Sequence[PlanLine], sheet: Sheet) -> None:
    """The choices of a plan, each with its reason."""
    table = Table("", "chosen", "because", box=None, pad_edge=False)
    for line in lines:
        table.add_row(line.what, f"[bold]{escape(line.chosen)}[/]", escape(line.because))
    sheet.print(table)


def retrain_report(report: RetrainReport, sheet: Sheet) -> None:
    before = "" if report.current_mean_dice is None else f" (current model {report.current_mean_dice:.3f})"
    sheet.print(
        f"run {report.run}: mDice [bold]{report.mean_dice:.3f}[/]{before}, mIoU {report.mean_iou:.3f} on"
        f" {report.val_images} validation images; {report.iterations} iterations in {report.seconds:.0f} s"
        f" on {report.device}"
    )
    verdict = "[green]promoted[/]" if report.promoted else "[yellow]not promoted[/]"
    sheet.print(f"{verdict}: {escape(report.verdict)}")
    if report.never_predicted:
        sheet.print(f"[yellow]never predicted:[/] {escape(', '.join(report.never_predicted))}")
    if report.out_of_fold:
        sheet.print(f"{report.out_of_fold} training images predicted by models that have not seen them")
        sheet.next("annoloop push --worst 50 --by contradiction", "uses these predictions")
    if report.tracked is not None:
        tracked(report.tracked, sheet)
    sheet.next("annoloop evaluate", "shows its best and worst images")


def tracked(found: Tracked, sheet: Sheet) -> None:
    """Where a training was tracked, and what of it is not there."""
    if found.place is None:
        sheet.print(f"[yellow]not tracked:[/] {found.tracker} did not take it")
        return
    sheet.print(f"tracked: {escape(found.place)}")
    if found.lost:
        sheet.print(f"[yellow]{found.lost} values of it are not there[/]")
    if found.look is not None:
        why = "sends it" if found.look.startswith("wandb sync") else "shows it"
        sheet.next(found.look, why)


def evaluate_report(report: EvaluateReport, sheet: Sheet) -> None:
    for split in report.splits.values():
        sheet.print(_score_table(report, split.split, split.images, split.scores))
        worst = ", ".join(f"{escape(i.sample_id)} {i.dice:.3f}" for i in split.worst)
        sheet.print(f"worst images by Dice: {worst}")
        if split.panels:
            sheet.print(f"pictures: {escape(str(split.panels[0].parent))}")
    if report.page is None:
        sheet.next("annoloop evaluate --report", "one page on all its errors")
    else:
        sheet.print(f"error report: [bold]{escape(str(report.page))}[/]")
    sheet.next("annoloop push --worst 50", "sends the worst images of the training split to CVAT")


def _score_table(report: EvaluateReport, split: str, images: int, scores: Scores) -> Table:
    title = f"run {report.run} ({report.recipe}) on {split}, {images} images"
    table = Table("class", "Dice", "IoU", "accuracy", title=title, title_justify="left", box=None, pad_edge=False)
    for name, dice, iou, accuracy in zip(report.classes, scores.dice, scores.iou, scores.accuracy, strict=True):
        table.add_row(escape(name), _number(dice), _number(iou), _number(accuracy))
    table.add_section()
    table.add_row("[bold]mean[/]", f"[bold]{_number(scores.mean_dice)}[/]", _number(scores.mean_iou), "")
    table.add_row("foreground mean", _number(scores.foreground_dice), "", "")
    table.add_row("all pixels", "", "", _number(scores.pixel_accuracy))
    return table


def _number(value: float) -> str:
    return "absent" if math.isnan(value) else f"{value:.3f}"
