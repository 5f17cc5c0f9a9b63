"""What a person sees: rich tables on stdout, progress on stderr, and every report as JSON.

Not here: what a report looks like (``views/``), and deciding anything.  The fact to know: in a terminal lines break
between words, in a file or a pipe not at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.text import Text

from annoloop.cli.foreign_text import shown, shown_json
from annoloop.errors import AnnoloopError
from annoloop.reports.as_json import to_plain, to_plain_event

if TYPE_CHECKING:
    from annoloop.cli.training_view import TrainingView

T = TypeVar("T")

_FILE_WIDTH = 200
_VIEWS = {
    "data": ("init_report", "eda_report", "to_coco_report", "from_coco_report", "from_colors_report"),
    "formats": ("to_yolo_report", "from_yolo_report", "to_cvat_report", "from_cvat_report"),
    "handover": ("export_data_report", "export_model_report", "snapshot_report", "diff_report"),
    "training": ("retrain_report", "plan_report", "evaluate_report"),
    "prediction": ("predict_report", "predict_plan"),
    "annotators": ("effort_report", "quality_report"),
    "exchange": ("push_report", "pull_report", "tasks_report", "login_report", "undo_report", "annotate_report"),
    "simulation": ("simulate_report",),
    "project": ("doctor_report", "status_report", "browse_report", "export_report", "log_entry"),
    "serving": ("serve_report",),
    "watching": ("watch_event",),
}
"""In which module of ``views/`` the view of a report is."""


class _Console(Console):
    """Where all text for people goes through, tables and progress bars too: no name in it commands the terminal."""

    def render_str(self, text: str, **how: Any) -> Text:
        """Text with markup, also of the cells of a table."""
        return super().render_str(shown(text), **how)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Everything, in pieces; rich's own commands to the terminal are pieces of another kind."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else shown(text), style, control)


class Screen:
    """Results on stdout, everything else on stderr; ``as_json`` prints results as one JSON object."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False, verbose: bool = False) -> None:
        self.as_json, self.quiet, self.verbose = as_json, quiet, verbose
        self._out = _Console(highlight=False)
        if not self._out.is_terminal:
            self._out.width = _FILE_WIDTH  # a file or a pipe has no edge to wrap at
        self._err = _Console(stderr=True, highlight=False, quiet=quiet)

    def result(self, report: Any) -> None:
        """Print a report."""
        if self.as_json:
            print(shown_json(json.dumps(to_plain(report), indent=2, ensure_ascii=False)))
        else:
            self.show(report)

    def event(self, event: Any) -> None:
        """Print one of many events as it happens; with ``as_json`` each is a line of its own."""
        if self.as_json:
            print(shown_json(json.dumps(to_plain_event(event), ensure_ascii=False)), flush=True)
        else:
            self.show(event)

    def end(self, report: Any, error: AnnoloopError) -> NoReturn:
        """Print a report, and end with an error all the same.

        Raises:
            AnnoloopError: the error.
        """
        self.result(report)
        error.after_result = True
        raise error

    def say(self, text: str) -> None:
        """A line about what is going on, on stderr."""
        _print(self._err, text)

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
            print(shown_json(json.dumps({"error": fault}, indent=2, ensure_ascii=False)))
        text = f"{escape(error.where)}: {escape(error.message)}" if error.where else escape(error.message)
        console = _Console(stderr=True, highlight=False)
        _print(console, f"[red]error:[/] {text}")
        if error.hint:
            _print(console, f"[cyan]hint:[/] {escape(error.hint)}")

    def track(self, items: Iterable[T], title: str, total: int | None = None) -> Iterator[T]:
        """A progress bar around ``items``; short lists and quiet screens show none."""
        if self.quiet or not self._err.is_terminal:
            yield from items
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._err, transient=True) as bar:
            yield from bar.track(items, total=total, description=shown(title))

    def watch(self) -> TrainingView:
        """A view of a training process."""
        from annoloop.cli.training_view import TrainingView

        return TrainingView(self._err, quiet=self.quiet, verbose=self.verbose)

    def show(self, report: Any) -> None:
        """Print a report for people, by the view that has the name of its class; of a list, one after the other."""
        if isinstance(report, list) and type(next(iter(report), None)).__name__ != "LogEntry":
            for one in report:
                self.show(one)
            return
        name = _snake(type(report[0] if isinstance(report, list) else report).__name__)
        family = next(family for family, names in _VIEWS.items() if name in names)
        getattr(import_module(f"annoloop.cli.views.{family}"), name)(report, self)

    def print(self, part: RenderableType) -> None:
        """A line or a table of the result."""
        _print(self._out, part)

    def next(self, command: str, why: str) -> None:
        """The command that comes next, and why, on stderr."""
        _print(self._err, f"[dim]next:[/] [cyan]{escape(command)}[/] [dim]({escape(why)})[/]")


def _print(console: Console, part: RenderableType) -> None:
    """In a terminal lines break between words, and nowhere else: a path that is cut in two is of no use."""
    console.print(part, overflow="ignore", crop=False, soft_wrap=not console.is_terminal)


def _snake(name: str) -> str:
    """The name of a class as that of a function."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
