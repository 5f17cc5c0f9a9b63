"""What a person sees of what went to CVAT and came back: frames, pixels by class, jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from annoloop.cli.views.sheet import Sheet

if TYPE_CHECKING:
    from annoloop.loop.exchange.pull_report import PullReport
    from annoloop.loop.exchange.stitching import TileCounts
    from annoloop.loop.login import LoginReport
    from annoloop.loop.push import ProposedRegion, PushReport
    from annoloop.loop.tasks import TaskProgress, TasksReport
    from annoloop.loop.undo import UndoReport
    from annoloop.simulation.annotator import AnnotateReport


_MASKS = {"label": "label masks", "prediction": "prediction masks", "both": "label masks and what the model would add"}
_MOST_LINES = 20
_AFTER_HEAD = ": labelled "
"""What follows what differs in the text of an issue; a class name may hold a colon, too."""


def push_report(report: PushReport, sheet: Sheet) -> None:
    if report.proposals is None:
        _images(report, sheet)
    else:
        _regions(report.proposals, sheet)
    if report.task is None:
        sheet.print(f"dry run: nothing was sent; the task would be [bold]{escape(report.name)}[/]")
        return
    again = " (finished an earlier push)" if report.resumed else ""
    what = f"{len(report.frames)} images with {_MASKS.get(report.source, report.source)}"
    if report.proposals is not None:
        what = f"{len(report.proposals)} regions to accept or reject on {len(report.frames)} images"
    sheet.print(f"task [bold]{report.task}[/]: {what}{again}\n{escape(report.url or '')}")
    if report.proposals is not None:
        sheet.print("in CVAT, open its job in the workspace Attribute annotation: Tab walks, digits answer")
    sheet.next(f"annoloop pull --task {report.task}", "when its jobs are completed; annoloop tasks shows how far")


def _regions(regions: Sequence[ProposedRegion], sheet: Sheet) -> None:
    table = Table("", "image", "label says", "model says", "px", "confidence", box=None, pad_edge=False)
    for one in regions[:_MOST_LINES]:
        px, confidence = str(one.px), f"{one.confidence:.2f}"
        table.add_row(str(one.number), escape(one.sample_id), escape(one.labelled), escape(one.becomes), px, confidence)
    sheet.print(table)
    if len(regions) > _MOST_LINES:
        sheet.print(f"… and {len(regions) - _MOST_LINES} more (--json has all)")


def _images(report: PushReport, sheet: Sheet) -> None:
    table = Table("image", "score", "looks like", "shapes", "pinned as issues", box=None, pad_edge=False)
    for frame in report.frames:
        shapes = ", ".join(f"{label} {count}" for label, count in frame.shapes.items())
        score = "" if frame.score is None else f"{frame.score:.3f}"
        issues = ", ".join(issue.rpartition(_AFTER_HEAD)[0] or issue for issue in frame.issues[:_MOST_LINES])
        issues += f" and {len(frame.issues) - _MOST_LINES} more" if len(frame.issues) > _MOST_LINES else ""
        name = f"{frame.sample_id} in {frame.tiles} tiles" if frame.tiles else frame.sample_id
        table.add_row(escape(name), score, frame.reading or "", escape(shapes), escape(issues))
    sheet.print(table)
    if report.tiles_left_out:
        sheet.print(
            f"[yellow]left out:[/] {report.tiles_left_out} tiles without anything to correct; --all-tiles takes them in"
        )
    if report.alike_left_out:
        sheet.print(f"[yellow]{len(report.alike_left_out)} left out:[/] nearly the same as one that goes")
    if report.corrected_left_out:
        sheet.print(
            f"[yellow]left out:[/] {report.corrected_left_out} images that annotators corrected already;"
            " --corrected takes them in"
        )


def pull_report(report: PullReport, sheet: Sheet) -> None:
    if report.lost:
        sheet.print(f"[yellow]task {report.task} was deleted in CVAT[/]; its images can be pushed again")
        return
    jobs = ", ".join(f"{count} {state}" for state, count in (report.jobs or {}).items())
    sheet.print(f"task {report.task}: jobs: {jobs}; frames: {_frame_counts(report)}")
    issues = f"; {report.issues_resolved} issues resolved" if report.issues_resolved else ""
    issues += f"; {report.issues_reopened} issues open again" if report.issues_reopened else ""
    if report.verdicts is not None:
        sheet.print("regions: " + ", ".join(f"{count} {verdict}" for verdict, count in report.verdicts.items()))
    sheet.print(f"[bold]{report.edited_px} px changed[/] by annotators; {len(report.written)} masks written{issues}")
    sheet.print(_class_table(report))
    for names, words in (
        (report.deleted, "deleted in CVAT, mask left as it is"),
        (report.reopened, "its job was reopened: pull again when it is completed"),
        (report.shared, "in another open task too: what that one brings will be a conflict"),
    ):
        _first_lines(sheet, [f"[yellow]{words}:[/] {escape(name)}" for name in names])
    if report.untouched:
        sheet.print(
            f"[yellow]untouched:[/] nobody looked at {len(report.untouched)} predictions that were pushed over labels,"
            f" so the labels stay; [cyan]annoloop pull --task {report.task} --accept-untouched[/] takes the predictions"
        )
    _tiles(report.tiles, sheet)
    if report.undone:
        sheet.print(
            f"[yellow]undone:[/] {len(report.undone)} frames stay as undo left them;"
            f" [cyan]annoloop pull --task {report.task} --redo[/] takes them again"
        )
    _first_lines(
        sheet,
        [
            f"[red]held back:[/] {escape(one.sample_id)}: {escape('; '.join(one.reasons))}\n  {escape(one.url)}"
            for one in report.held
        ],
    )
    tags = report.tags.items()
    _first_lines(
        sheet, [f"[yellow]tags are not taken over:[/] {escape(name)}: {escape(', '.join(said))}" for name, said in tags]
    )
    if report.nowhere:
        sheet.print(f"[yellow]left out:[/] {report.nowhere} shapes on frames that were not pushed")
    if report.overlap_px:
        sheet.print(f"[yellow]overlaps:[/] {report.overlap_px} px; the upper shape won")
    if report.uncovered_px:
        sheet.print(f"[yellow]covered by no shape:[/] {report.uncovered_px} px; see background in annoloop.yaml")
    _first_lines(sheet, [f"[yellow]neither is right, marked for push:[/] {escape(name)}" for name in report.wrong_too])
    if report.wrong_too:
        sheet.next(f"annoloop push --worst {len(report.wrong_too)}", "full corrections; marked images go first")
    if report.written:
        sheet.next("annoloop retrain", "trains on the corrected masks; annoloop undo takes them back")
    elif report.waiting or report.unopened or report.reopened:
        sheet.next("annoloop tasks", "shows whose job is how far")


def _tiles(tiles: TileCounts, sheet: Sheet) -> None:
    """What is to be known of images that were cut."""
    if tiles.unseen:
        sheet.print(
            f"[yellow]untouched:[/] nobody looked at {tiles.unseen} tiles of predictions over labels, so the"
            " labels stay there"
        )
    if tiles.disputed_px:
        sheet.print(
            f"[yellow]two tiles differ:[/] {tiles.disputed_px} px were drawn differently in neighbouring tiles;"
            " the tile that owns them counts"
        )
    deleted = [f"[yellow]tile deleted in CVAT, its pixels stay:[/] {escape(name)}" for name in tiles.deleted]
    _first_lines(sheet, deleted)


def _first_lines(sheet: Sheet, lines: Sequence[str]) -> None:
    for line in lines[:_MOST_LINES]:
        sheet.print(line)
    if len(lines) > _MOST_LINES:
        sheet.print(f"… and {len(lines) - _MOST_LINES} more (--json has all)")


def tasks_report(report: TasksReport, sheet: Sheet) -> None:
    for task in report.tasks:
        sheet.print(
            f"[bold]task {task.task}[/] {escape(task.state)}: {task.finished} of {task.frames} frames in completed"
            f" jobs, {task.pulled} pulled  {escape(task.name)}\n{escape(task.url)}"
        )
        if task.jobs:
            sheet.print(_job_table(task))
    for name in report.half_made:
        sheet.print(f"[yellow]half-made:[/] {escape(name)}; the same push command finishes it")
    done = [task for task in report.tasks if task.finished > task.pulled]
    if done:
        sheet.next(f"annoloop pull --task {done[0].task}", "brings its finished jobs back")
    elif not report.tasks:
        sheet.next("annoloop push --worst 50", "there is no open task")


def login_report(report: LoginReport, sheet: Sheet) -> None:
    if report.username is None:
        sheet.print(f"forgot the credentials of {escape(report.url)}")
    else:
        sheet.print(
            f"[bold]{escape(report.username)}[/] on {escape(report.url)} (CVAT {escape(report.server_version or '')}),"
            f" stored in {escape(str(report.file))}"
        )
    if report.overruled:
        sheet.print("[yellow]CVAT_ACCESS_TOKEN or CVAT_USERNAME is set and goes before what is stored[/]")


def undo_report(report: UndoReport, sheet: Sheet) -> None:
    how = "finished an undo that was cut off, of" if report.resumed else "undid"
    sheet.print(f"{how} the pull of {report.pulled_at}: {len(report.restored)} masks restored")
    if report.issues_reopened:
        sheet.print(f"{report.issues_reopened} issues are open again in CVAT")
    if report.issues_to_reopen:
        sheet.print(f"[yellow]{report.issues_to_reopen} issues[/] are still resolved in CVAT; the next pull tells it")
    if report.removed:
        sheet.print(f"{len(report.removed)} first masks removed; their bytes stay in the history")


def annotate_report(report: AnnotateReport, sheet: Sheet) -> None:
    if report.answered:
        sheet.print(f"task {report.task}: {report.answered} regions answered, {report.jobs_completed} jobs completed")
        sheet.next(f"annoloop pull --task {report.task}", "applies what was accepted")
        return
    sheet.print(
        f"task {report.task}: {report.frames_changed} of {report.frames} frames corrected,"
        f" {report.drawn} shapes drawn, {report.deleted} deleted, {report.jobs_completed} jobs completed"
    )
    sheet.next(f"annoloop pull --task {report.task}", "brings the corrections back")


def _frame_counts(report: PullReport) -> str:
    counts = (
        (report.changed, "changed"),
        (report.accepted, "accepted as pushed"),
        (report.untouched, "untouched, label kept"),
        (report.undone, "undone before, left as they are"),
        (report.settled, "as pulled before"),
        (report.waiting, "in work"),
        (report.unopened, "never opened"),
        (report.reopened, "reopened"),
        (report.deleted, "deleted"),
        (report.kept, "kept from disk"),
    )
    return ", ".join(f"{len(names)} {words}" for names, words in counts if names) or "none"


def _class_table(report: PullReport) -> Table:
    table = Table("px of class", box=None, pad_edge=False)
    for column in ("drawn", "erased", "accepted", "waiting", "deleted", "file gained", "file lost"):
        table.add_column(column, justify="right")
    for c in report.classes:
        numbers = (c.drawn_px, c.erased_px, c.accepted_px, c.waiting_px, c.deleted_px, c.gained_px, c.lost_px)
        table.add_row(escape(c.label), *map(str, numbers))
    return table


def _job_table(task: TaskProgress) -> Table:
    table = Table("  job", "frames", "stage", "state", "assignee", box=None, pad_edge=False)
    for job in task.jobs:
        color = {"completed": "green", "rejected": "red", "in progress": "yellow"}.get(job.state, "dim")
        whose = "[dim]nobody[/]" if job.assignee is None else escape(job.assignee)
        table.add_row(f"  {job.job}", str(job.frames), job.stage, f"[{color}]{job.state}[/]", whose)
    return table
