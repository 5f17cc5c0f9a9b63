"""What a person sees of a watch: a line for each event."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from rich.markup import escape

from annoloop.cli.views.sheet import Sheet

if TYPE_CHECKING:
    from annoloop.watching.diary import WatchEvent

_COLORS = {"done": "green", "failed": "yellow", "begun": "bold", "ended": "bold"}


def watch_event(event: WatchEvent, sheet: Sheet) -> None:
    at = datetime.fromisoformat(event.at).astimezone()
    color = _COLORS.get(event.what, "dim")
    step = f"{event.step.partition(' ')[0]} " if event.step is not None and event.what == "done" else ""
    sheet.print(f"[dim]{at:%H:%M:%S}[/] [{color}]{event.what:8}[/] {step}{escape(event.said)}")
