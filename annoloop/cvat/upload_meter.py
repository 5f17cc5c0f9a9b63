"""How far an upload is, as the SDK tells it, as steps of one MiB of a ``Track``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from annoloop.progress import Track

_MIB = 1 << 20


class UploadMeter:
    """Shows where the SDK is in a file; has what its own reporters have."""

    def __init__(self, track: Track, title: str) -> None:
        self._track, self._title = track, title
        self._steps: Iterator[int] = iter(())
        self._at = self._shown = 0

    @contextmanager
    def task(self, total: int, **_: object) -> Iterator[None]:
        """From the first byte to the last."""
        size_mib = -(-total // _MIB)
        self._steps = iter(self._track(range(size_mib), f"{self._title} (MiB)", size_mib))
        yield
        for _step in self._steps:
            pass  # the bar goes when its steps are over

    def advance(self, delta: int) -> None:
        """So many bytes further in the file; it is read before it is sent, so the lower end has arrived."""
        before, self._at = self._at, self._at + delta
        while self._shown < min(before, self._at) // _MIB:
            next(self._steps, None)
            self._shown += 1
