"""Progress as an argument: operations call ``track`` as they would call ``iter``.

The default is silent; ``console.py`` passes one that draws a bar on stderr.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


class Track(Protocol):
    """Walk through ``items``; ``total`` is their number where ``len`` cannot tell."""

    def __call__(self, items: Iterable[T], title: str, total: int | None = None) -> Iterator[T]: ...


def silent(items: Iterable[T], title: str, total: int | None = None) -> Iterator[T]:  # noqa: ARG001
    """Walk through ``items`` and show nothing."""
    return iter(items)
