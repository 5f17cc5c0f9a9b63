"""What was answered last, as far as a number of bytes goes: the least recently used goes first.

Not here: what is kept.  The fact to know: several threads may ask at once.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """Something that knows how many bytes it takes."""

    @property
    def size_bytes(self) -> int: ...


S = TypeVar("S", bound=Sized)


class Recent(Generic[S]):
    """A bounded memory by key."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._held: OrderedDict[str, S] = OrderedDict()
        self._lock = threading.Lock()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: str) -> S | None:
        """What is kept under a key, which is now the most recently used."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
            return self._held.get(key)

    def put(self, key: str, value: S) -> None:
        """Keep a value; others go until there is room, and one that alone takes more than there is is not kept."""
        with self._lock:
            self._drop(key)
            if value.size_bytes > self._most_bytes:
                return
            while self.size_bytes + value.size_bytes > self._most_bytes:
                self._drop(next(iter(self._held)))
            self._held[key] = value
            self.size_bytes += value.size_bytes

    def _drop(self, key: str) -> None:
        gone = self._held.pop(key, None)
        if gone is not None:
            self.size_bytes -= gone.size_bytes
