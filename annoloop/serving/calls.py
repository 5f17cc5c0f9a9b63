"""What a call of a function is bounded by, and what it comes to: the words between HTTP and the model.

Not here: either of the two.  The fact to know: it needs no web framework, so that looking at the Python API loads none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from annoloop.serving.nuclio import Function


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request and all of them together may take."""

    body_bytes: int = 64 << 20
    at_once: int = 2
    waiting: int = 64
    read_s: float = 30.0
    wait_s: float = 60.0
    drain_s: float = 10.0
    answer_s: float = 120.0


@dataclass(frozen=True, slots=True)
class Tool:
    """A function and what it does: the pieces of its JSON answer; runs in a thread."""

    function: Function
    answer: Callable[[dict[str, object]], list[bytes]]


Tools = Callable[[], Iterable[Tool]]
"""The tools as they are now: a newer model may have other classes."""
