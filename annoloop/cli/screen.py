"""What a person sees: rich tables on stdout, progress on stderr, and every report as JSON.

One ``show`` per report type.  Not here: deciding anything.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from annoloop.errors import AnnoloopError
from annoloop.reports.as_json import to_plain

if TYPE_CHECKING:  # to import them all would take longer than most commands
    from annoloop.app.browse import BrowseReport, ExportReport
    from annoloop.cli.doctor import DoctorReport
    from annoloop.cli.training_view import TrainingView
    from annoloop.eda.eda import EdaReport
    from annoloop.loop.convert import FromCocoReport, ToCocoReport
    from annoloop.loop.evaluate import EvaluateReport
    from annoloop.loop.history import LogEntry
    from annoloop.loop.login import LoginReport
    from annoloop.loop.pull import PullReport
    from annoloop.loop.push import PushReport
    from annoloop.loop.retrain import RetrainReport
    from annoloop.loop.start import InitReport
    from annoloop.loop.status import StatusReport
    from annoloop.loop.tasks import TaskProgress, TasksReport
    from annoloop.loop.undo import UndoReport
    from annoloop.metrics.scores import Scores
    from annoloop.simulation.annotator import AnnotateReport

T = TypeVar("T")

_FILE_WIDTH = 200
_MARKS = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "fault": "[red]fault[/]"}


class Screen:
    """Results on stdout, everything else on stderr; ``as_json`` prints results as one JSON object."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False, verbose: bool = False) -> None:
        self.as_json, self.quiet, self.verbose = as_json, quiet, verbose
        self._out = Console(highlight=False, soft_wrap=True)
        if not self._out.is_terminal:
            self._out.width = _FILE_WIDTH  # a file or a pipe has no edge to wrap at
        self._err = Console(stderr=True, highlight=False, quiet=quiet)

    def result(self, report: Any) -> None:
        """Print a report."""
        if self.as_json:
            print(json.dumps(to_plain(report), indent=2, ensure_ascii=False))
        else:
            self.show(report)

    def say(self, text: str) -> None:
        """A line about what is going on, on stderr."""
        self._err.print(text, soft_wrap=True)

    def note(self, text: str) -> None:
        """What goes on, in plain words that may hold brackets: a wait, a repeated request."""
        self.say(f"[dim]{escape(text)}[/]")

    def detail(self, text: str) -> None:
        """A line for those who asked for more."""
        if self.verbose:
            self.say(f"[dim]{text}[/]")

    def error(self, error: AnnoloopError) -> None:
        """An error on stderr and, with ``as_json``, as an object on stdout."""
        if self.as_json:
            fault = {
                "message": error.message,
                "where": error.where,
                "hint": error.hint,
                "exit_code": error.exit_code,
            }
            print(json.dumps({"error": fault}, indent=2, ensure_ascii=False))
        text = f"{escape(error.where)}: {escape(error.message)}" if error.where else escape(error.message)
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        console.print(f"[red]error:[/] {text}")
        if error.hint:
            console.print(f"[cyan]hint:[/] {escape(error.hint)}")

    def track(self, items: Iterable[T], title: str, total: int | None = None) -> Iterator[T]:
        """A progress bar around ``items``; short lists and quiet screens show none."""
        if self.quiet or not self._err.is_terminal:
            yield from items
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._err, transient=True) as bar:
            yield from bar.track(items, total=total, description=title)

    def watch(self) -> TrainingView:
        """A view of a training process."""
        from annoloop.cli.training_view import TrainingView

        return TrainingView(self._err, quiet=self.quiet, verbose=self.verbose)

    def show(self, report: Any) -> None:
        """Print a report for people, by the method that has the name of its class."""
        name = "_" + re.sub(r"(?<!^)(?=[A-Z])", "_", type(report).__name__).lower()
        getattr(self, name)(report)

    def _list(self, report: list) -> None:  # type: ignore[type-arg]
        from annoloop.loop.history import LogEntry

        if report and isinstance(report[0], LogEntry):
            self._log(report)
            return
        for one in report:
            self.show(one)

    def _init_report(self, report: InitReport) -> None:
        images = ", ".join(f"{split} {count}" for split, count in report.images.items())
        self._out.print(
            f"wrote [bold]{escape(str(report.file))}[/]: {images} images, {len(report.config.classes)} classes"
        )
        for odd in report.odd:
            self._out.print(f"[yellow]odd:[/] {escape(odd)}")
        self._next("annoloop doctor", "looks at machine, server and data")

    def _doctor_report(self, report: DoctorReport) -> None:
        table = Table("", "check", "found", box=None, pad_edge=False)
        for check in report.checks:
            table.add_row(_MARKS[check.state], escape(check.name), escape(check.found))
            if check.hint:
                table.add_row("", "", f"[cyan]{escape(check.hint)}[/]")
        self._out.print(table)

    def _eda_report(self, report: EdaReport) -> None:
        from annoloop.cli.data_view import eda_parts

        for part in eda_parts(report):
            self._out.print(part)
        self._next("annoloop retrain", "trains on these masks" if not report.faults else "once the faults are mended")

    def _to_coco_report(self, report: ToCocoReport) -> None:
        kept = f", {report.kept} of them as they were" if report.kept else ""
        self._out.print(
            f"wrote [bold]{escape(str(report.file))}[/]: {report.images} images{kept}, {report.annotations} annotations"
        )
        if report.without_mask:
            self._out.print(f"[yellow]left out:[/] {len(report.without_mask)} images without a mask")

    def _from_coco_report(self, report: FromCocoReport) -> None:
        self._out.print(
            f"{report.written} masks written to [bold]{escape(str(report.folder))}[/], {report.unchanged} were there;"
            f" {report.annotations} annotations, classes: {escape(', '.join(report.classes))}"
        )
        for note in report.notes[:20]:
            self._out.print(f"[yellow]note:[/] {escape(note)}")
        if len(report.notes) > 20:
            self._out.print(f"… and {len(report.notes) - 20} more notes (--json has all)")

    def _retrain_report(self, report: RetrainReport) -> None:
        before = "" if report.current_mean_dice is None else f" (current model {report.current_mean_dice:.3f})"
        self._out.print(
            f"run {report.run}: mDice [bold]{report.mean_dice:.3f}[/]{before}, mIoU {report.mean_iou:.3f} on"
            f" {report.val_images} validation images; {report.iterations} iterations in {report.seconds:.0f} s"
            f" on {report.device}"
        )
        verdict = "[green]promoted[/]" if report.promoted else "[yellow]not promoted[/]"
        self._out.print(f"{verdict}: {escape(report.verdict)}")
        if report.out_of_fold:
            self._out.print(f"{report.out_of_fold} training images predicted by models that have not seen them")
            self._next("annoloop push --worst 50 --by contradiction", "uses these predictions")
        self._next("annoloop evaluate", "shows its best and worst images")

    def _evaluate_report(self, report: EvaluateReport) -> None:
        for split in report.splits.values():
            self._out.print(_score_table(report, split.split, split.images, split.scores))
            worst = ", ".join(f"{escape(i.sample_id)} {i.dice:.3f}" for i in split.worst)
            self._out.print(f"worst images by Dice: {worst}")
            if split.panels:
                self._out.print(f"pictures: {escape(str(split.panels[0].parent))}")
        if report.page is None:
            self._next("annoloop evaluate --report", "one page on all its errors")
        else:
            self._out.print(f"error report: [bold]{escape(str(report.page))}[/]")
        self._next("annoloop push --worst 50", "sends the worst images of the training split to CVAT")

    def _push_report(self, report: PushReport) -> None:
        table = Table("image", "score", "looks like", "shapes", "pinned as issues", box=None, pad_edge=False)
        for frame in report.frames:
            shapes = ", ".join(f"{label} {count}" for label, count in frame.shapes.items())
            score = "" if frame.score is None else f"{frame.score:.3f}"
            issues = ", ".join(issue.partition(":")[0] for issue in frame.issues)
            table.add_row(escape(frame.sample_id), score, frame.reading or "", escape(shapes), escape(issues))
        self._out.print(table)
        if report.alike_left_out:
            self._out.print(f"[yellow]{len(report.alike_left_out)} left out:[/] nearly the same as one that goes")
        if report.corrected_left_out:
            self._out.print(
                f"[yellow]left out:[/] {report.corrected_left_out} images that annotators corrected already;"
                " --corrected takes them in"
            )
        if report.task is None:
            self._out.print(f"dry run: nothing was sent; the task would be [bold]{escape(report.name)}[/]")
            return
        again = " (finished an earlier push)" if report.resumed else ""
        self._out.print(
            f"task [bold]{report.task}[/]: {len(report.frames)} images with {report.source} masks{again}\n{report.url}"
        )
        self._next(f"annoloop pull --task {report.task}", "when its jobs are completed; annoloop tasks shows how far")

    def _pull_report(self, report: PullReport) -> None:
        if report.lost:
            self._out.print(f"[yellow]task {report.task} was deleted in CVAT[/]; its images can be pushed again")
            return
        jobs = ", ".join(f"{count} {state}" for state, count in (report.jobs or {}).items())
        self._out.print(f"task {report.task}: jobs: {jobs}; frames: {_frame_counts(report)}")
        issues = f"; {report.issues_resolved} issues resolved" if report.issues_resolved else ""
        self._out.print(
            f"[bold]{report.edited_px} px changed[/] by annotators; {len(report.written)} masks written{issues}"
        )
        self._out.print(_class_table(report))
        for names, words in (
            (report.deleted, "deleted in CVAT, mask left as it is"),
            (report.reopened, "its job was reopened: pull again when it is completed"),
            (report.shared, "in another open task too: what that one brings will be a conflict"),
        ):
            for name in names[:20]:
                self._out.print(f"[yellow]{words}:[/] {escape(name)}")
            if len(names) > 20:
                self._out.print(f"… and {len(names) - 20} more (--json has all)")
        if report.overlap_px:
            self._out.print(f"[yellow]overlaps:[/] {report.overlap_px} px; the upper shape won")
        if report.uncovered_px:
            self._out.print(
                f"[yellow]covered by no shape:[/] {report.uncovered_px} px; see background in annoloop.yaml"
            )
        if report.written:
            self._next("annoloop retrain", "trains on the corrected masks; annoloop undo takes them back")
        elif report.waiting or report.unopened or report.reopened:
            self._next("annoloop tasks", "shows whose job is how far")

    def _tasks_report(self, report: TasksReport) -> None:
        for task in report.tasks:
            self._out.print(
                f"[bold]task {task.task}[/] {escape(task.state)}: {task.finished} of {task.frames} frames in completed"
                f" jobs, {task.pulled} pulled  {escape(task.name)}\n{task.url}"
            )
            if task.jobs:
                self._out.print(_job_table(task))
        for name in report.half_made:
            self._out.print(f"[yellow]half-made:[/] {escape(name)}; the same push command finishes it")
        done = [task for task in report.tasks if task.finished > task.pulled]
        if done:
            self._next(f"annoloop pull --task {done[0].task}", "brings its finished jobs back")
        elif not report.tasks:
            self._next("annoloop push --worst 50", "there is no open task")

    def _login_report(self, report: LoginReport) -> None:
        if report.username is None:
            self._out.print(f"forgot the credentials of {escape(report.url)}")
        else:
            self._out.print(
                f"[bold]{escape(report.username)}[/] on {escape(report.url)} (CVAT {report.server_version}),"
                f" stored in {escape(str(report.file))}"
            )
        if report.overruled:
            self._out.print("[yellow]CVAT_ACCESS_TOKEN or CVAT_USERNAME is set and goes before what is stored[/]")

    def _undo_report(self, report: UndoReport) -> None:
        self._out.print(f"undid the pull of {report.pulled_at}: {len(report.restored)} masks restored")
        if report.removed:
            self._out.print(f"{len(report.removed)} first masks removed; their bytes stay in the history")

    def _status_report(self, report: StatusReport) -> None:
        splits = ", ".join(f"{s} {n} ({report.labelled.get(s, 0)} labelled)" for s, n in report.images.items())
        self._out.print(f"[bold]{escape(report.project)}[/]: {splits}")
        model = "none yet" if report.current_run is None else f"run {report.current_run}"
        dice = "" if report.current_val_dice is None else f", validation mDice {report.current_val_dice:.3f}"
        self._out.print(
            f"model: {model}{dice}; {report.runs} runs; {report.masks_changed_since_training} masks changed since"
        )
        for task in report.tasks:
            frames = ", ".join(f"{count} {state}" for state, count in task.frames.items())
            self._out.print(f"task {task.task or '-'} {task.state}: {frames}  {escape(task.name)}")
        self._next(report.next_command, report.because)

    def _annotate_report(self, report: AnnotateReport) -> None:
        self._out.print(
            f"task {report.task}: {report.frames_changed} of {report.frames} frames corrected,"
            f" {report.drawn} shapes drawn, {report.deleted} deleted, {report.jobs_completed} jobs completed"
        )
        self._next(f"annoloop pull --task {report.task}", "brings the corrections back")

    def _browse_report(self, report: BrowseReport) -> None:
        self._out.print(
            f"{report.samples} samples, {report.updated} of them new or changed,"
            f" in FiftyOne dataset {escape(report.dataset)}"
        )
        if report.url:
            self._out.print(f"[bold]{report.url}[/]  saved views: worst, suspected label errors, …")
        if report.scored < report.samples:
            self._next("annoloop evaluate --split train --split val", f"{report.samples - report.scored} have no Dice")
        if report.marked:
            self._next("annoloop push --worst 50", f"takes the {report.marked} marked images first")

    def _export_report(self, report: ExportReport) -> None:
        self._out.print(f"{report.samples} samples, {report.scored} with Dice: [bold]{escape(str(report.page))}[/]")

    def _log(self, entries: Sequence[LogEntry]) -> None:
        table = Table("when", "what", "run", "task", "masks", "val mDice", "note", box=None, pad_edge=False)
        for e in entries:
            dice = "" if e.val_dice is None else f"{e.val_dice:.3f}"
            mark = {True: "[green]promoted[/] ", False: "[yellow]not promoted[/] ", None: ""}[e.promoted]
            table.add_row(e.at[:19], e.what, _or(e.run), _or(e.task), _or(e.masks), dice, mark + escape(e.note))
        self._out.print(table)

    def _next(self, command: str, why: str) -> None:
        self._err.print(f"[dim]next:[/] [cyan]{escape(command)}[/] [dim]({escape(why)})[/]", soft_wrap=True)


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


def _frame_counts(report: PullReport) -> str:
    counts = (
        (report.changed, "changed"),
        (report.accepted, "accepted as pushed"),
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


def _number(value: float) -> str:
    return "absent" if math.isnan(value) else f"{value:.3f}"


def _or(value: int | None) -> str:
    return "" if value is None else str(value)
