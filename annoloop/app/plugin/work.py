"""Work with a project from the App: in a thread of its own, with progress, and an end that is always told.

Not here: what the work is.  The fact to know: a generator operator's messages are what the App shows; an exception
would be shown as a traceback, so ours are told in their own words.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from fiftyone.operators import types

from annoloop.errors import AnnoloopError

T = TypeVar("T")

_EVERY_S = 0.3


@dataclass(frozen=True, slots=True)
class _Progress:
    label: str
    share: float | None


@dataclass(frozen=True, slots=True)
class _End:
    lines: dict[str, str]
    failed: bool


@dataclass(frozen=True, slots=True)
class Desk:
    """What the work is given: ``say`` and ``track`` as operations take them, shown in the App."""

    messages: SimpleQueue[_Progress | _End] = field(default_factory=SimpleQueue)

    def say(self, text: str) -> None:
        """A line about what is going on."""
        self.messages.put(_Progress(text, None))

    def track(self, items: Iterable[T], title: str, total: int | None = None) -> Iterator[T]:
        """Walk through ``items``; the App is told a few times a second."""
        told = 0.0
        for number, item in enumerate(items):
            if total and time.monotonic() - told > _EVERY_S:
                told = time.monotonic()
                self.messages.put(_Progress(f"{title}: {number} of {total}", number / total))
            yield item


def at_work(ctx: Any, name: str, work: Callable[[Desk], dict[str, str]]) -> Iterator[Any]:
    """Do the work and yield what the App is to show: progress, then its lines or its error, and the new samples."""
    desk = Desk()
    Thread(target=_do, args=(desk, work), name=f"annoloop {name}", daemon=True).start()
    yield ctx.ops.set_progress(label=f"{name} begins", progress=0.0)
    while isinstance(message := desk.messages.get(), _Progress):
        yield ctx.ops.set_progress(label=message.label, progress=message.share)
    if not message.failed:
        yield ctx.ops.clear_selected_samples()  # what was asked for is done
        yield ctx.ops.reload_dataset()
    text = "; ".join(message.lines.values())
    yield ctx.ops.notify(f"{name}: {text}", variant="error" if message.failed else "success")
    yield ctx.ops.show_output(_outputs(name, message), message.lines)


def _do(desk: Desk, work: Callable[[Desk], dict[str, str]]) -> None:
    try:
        end = _End(work(desk), failed=False)
    except AnnoloopError as error:
        place = f"{error.where}: " if error.where else ""
        end = _End({"failed": f"{place}{error.message}"} | ({"hint": error.hint} if error.hint else {}), failed=True)
    except Exception as error:
        traceback.print_exc()
        text = f"{type(error).__name__}: {error}"
        end = _End({"failed": text, "hint": "a bug in annoloop; the App's log has more"}, failed=True)
    desk.messages.put(end)


def _outputs(name: str, end: _End) -> Any:
    outputs = types.Object()
    for line in end.lines:
        outputs.str(line, label=line)
    return types.Property(outputs, view=types.View(label=f"{name} {'failed' if end.failed else 'done'}")).to_json()
