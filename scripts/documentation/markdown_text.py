"""Pieces of Markdown: tables, cells, blocks of code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are Markdown, see ``cell``."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def cell(text: str) -> str:
    """Text for a table: in one line, a bar is no border, and code is marked as Markdown does."""
    return " ".join(text.split()).replace("|", r"\|").replace("``", "`")


def fenced(text: str, language: str) -> str:
    """A block of code."""
    return f"```{language}\n{text}\n```"
