"""What a view writes on: a line or a table of the result, and the command that comes next.

Not here: where it goes (``screen.py``).
"""

from __future__ import annotations

from typing import Protocol

from rich.console import RenderableType


class Sheet(Protocol):
    """A terminal, a file or a test."""

    def print(self, part: RenderableType) -> None:
        """A line or a table of the result."""

    def next(self, command: str, why: str) -> None:
        """What to do now, and why."""
