"""A training process as a person watches it: a live bar on stderr, and one line per validation.

Not here: reports (``screen.py``); this is shown while the child process is at work.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from annoloop.data.durations import NIGHT_S, in_words
from annoloop.training.records import Event


class TrainingView:
    """Live progress of a training process from its events; one line per validation."""

    def __init__(self, console: Console, *, quiet: bool, verbose: bool) -> None:
        self._console, self._verbose = console, verbose
        self._last = "-"
        self._facts: Mapping[str, Any] = {}
        self._told_length = False
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[facts]}"),
            TimeElapsedColumn(), TimeRemainingColumn(),
            console=console, transient=True, disable=quiet or not console.is_terminal,
        )  # fmt: skip
        self._task: TaskID | None = None

    def __enter__(self) -> TrainingView:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        fields = event.fields
        if event.kind == "announced":
            self._announced(fields)
        elif event.kind == "plan":
            for line in fields["lines"]:
                self._say(f"[bold]{line['what']}[/] {escape(line['chosen'])}: {escape(line['because'])}")
        elif event.kind == "starting":
            self._say("loading torch, which takes some seconds")
        elif event.kind == "started" and "iterations" in fields:
            self._facts = fields
            length = f"{fields['iterations']} iterations" if fields["iterations"] else "as long as the budget allows"
            self._say(f"training on {_place(fields)}: {length}")
            self._task = self._bar.add_task("training", total=fields["iterations"], facts="")
        elif event.kind == "planned" and self._task is not None:
            self._planned(fields)
        elif event.kind == "iteration" and self._task is not None:
            facts = f"loss {fields['loss']:.3f}  val mDice {self._last}"
            self._bar.update(self._task, completed=fields["iteration"], facts=facts)
            if self._verbose:
                self._say(f"[dim]iteration {fields['iteration']}: {facts}[/]")
        elif event.kind == "validation":
            self._validated(fields)
        elif event.kind == "prediction":
            self._predicting(fields)
        elif event.kind == "fold":
            number, count, images = fields["number"], fields["count"], fields["images"]
            self._say(f"fold {number} of {count}: a model for its {images} images, trained without them")
        elif event.kind == "tracked":
            note = f"; {escape(fields['note'])}" if fields["note"] else ""
            self._say(f"tracked: {escape(fields['place'])}{note}")
        elif event.kind == "warning":
            self._say(f"[yellow]warning:[/] {escape(str(fields['message']))}")

    def _announced(self, fields: Mapping[str, Any]) -> None:
        folds = f", and {fields['folds']} folds" if fields["folds"] else ""
        if fields["budget_s"] is not None:
            length = f"{in_words(fields['budget_s'])} in all"
        elif "expected_s" in fields:
            length = f"about {in_words(fields['expected_s'])}, going by run {fields['like_run']}"
        else:
            length = "how long is said after a few iterations"
        self._say(
            f"{escape(fields['recipe'])} on {fields['train_images']} training images, validated on"
            f" {fields['val_images']}{folds}: {length}"
        )

    def _validated(self, fields: Mapping[str, Any]) -> None:
        self._last = f"{fields['mdice']:.3f}"
        if fields.get("settled"):
            seen = f"{fields['images']} validation images"
            self._say(f"the weights of iteration {fields['iteration']} are kept: mDice {self._last} on {seen}")
        else:
            best = "  best so far" if fields.get("best") else ""
            self._say(f"iteration {fields['iteration']}: validation mDice {self._last}{best}")
        if never := fields.get("never_predicted"):
            self._say(f"[yellow]not predicted anywhere yet:[/] {escape(', '.join(never))}")

    def _say(self, text: str) -> None:
        self._console.print(text, overflow="ignore", crop=False, soft_wrap=not self._console.is_terminal)

    def _planned(self, fields: Mapping[str, Any]) -> None:
        """How long it will take; said once, the bar follows whatever is learned later."""
        total, each = fields["iterations"], fields["seconds_per_iteration"]
        assert self._task is not None
        self._bar.update(self._task, total=total)
        if self._told_length:
            return
        self._told_length = True
        epochs = total * self._facts["batch_size"] / max(1, self._facts["train_images"])
        self._say(
            f"{each:.2f} s an iteration: {total} iterations, {epochs:.0f} epochs, in {in_words(fields['seconds'])}"
        )
        if self._facts["device"] == "cpu" and (fields["seconds"] > NIGHT_S or epochs < 1):
            self._say(
                "[yellow]that is hardly a training:[/] --recipe auto plans for this machine, --budget 30m ends in time"
            )

    def _predicting(self, fields: Mapping[str, Any]) -> None:
        if fields["done"] == 1 or self._task is None:
            self._task = self._bar.add_task("predicting", total=fields["total"], facts="")
        self._bar.update(self._task, completed=fields["done"])


def _place(facts: Mapping[str, Any]) -> str:
    """Where and how a training runs: cpu, bfloat16, 2 processes."""
    processes = f", {facts['processes']} processes" if facts["processes"] > 1 else ""
    threads, cores = facts["threads"], facts["cores"]
    shared = ""
    if threads is not None and not processes and threads < cores:
        shared = f" ({threads} of {cores} cores, other programs are busy)"
    return f"{facts['device']}{shared}, {facts['precision']}{processes}"
