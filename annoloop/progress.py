"""Progress as an argument: operations call ``track`` as they would call ``iter``, and ``say`` for a line.

The defaults are silent; ``screen.py`` passes ones that draw on stderr.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")

Say = Callable[[str], None]
"""Tells the user something that happens meanwhile: a wait, a repeated request."""


class Track(Protocol):
    """Walk through ``items``; ``total`` is their number where ``len`` cannot tell."""

    def __call__(self, items: Iterable[T], title: str, total: int | None = None) -> Iterator[T]: ...


def silent(items: Iterable[T], title: str, total: int | None = None) -> Iterator[T]:  # noqa: ARG001
    """Walk through ``items`` and show nothing."""
    return iter(items)


def unsaid(_: str) -> None:
    """Nobody listens."""
