"""TensorBoard: the only module that knows tensorboardX, which writes its files without TensorFlow.

The facts to know: tensorboardX loads torch where it is installed, only to know its type, which would cost seconds and
hundreds of MB here; and its ``SummaryWriter`` writes in a thread of its own, some seconds later, so that here stands
what is below that: what was told is in the file, however the training ends.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Any

from annoloop.data.images import read_image
from annoloop.errors import ConfigError
from annoloop.tracking.tracker import NO_TRACKING, Begun, Point, Status


class TensorboardTracker:
    """Event files of a run, in a folder of its own."""

    name = "tensorboard"

    def __init__(self, folder: Path) -> None:
        """Make the folder of all runs.

        Raises:
            ConfigError: that cannot be.
        """
        self._all, self.place = folder, str(folder)
        self._writer: Any = None
        self._params: dict[str, str] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            hint = f"train.track_uri names a folder; {NO_TRACKING}"
            raise ConfigError(f"cannot be made: {error.strerror}", where=folder, hint=hint) from error
        with _torch_stays_out():
            import tensorboardX  # noqa: F401

    def begin(self, name: str, known_id: str | None) -> Begun:
        """As ``Tracker.begin``; the id is the name of the folder, to which a run that goes on adds a file."""
        from tensorboardX.event_file_writer import EventsWriter

        own = known_id or self._free(name)
        folder = self._all / own
        folder.mkdir(parents=True, exist_ok=True)
        # Files are named by the second, and one of that name would be written over.
        self._writer = EventsWriter(str(folder / "events"), filename_suffix=f".{time.time_ns()}")
        return Begun(own, str(folder), f"tensorboard --logdir {quote(str(self._all))}")

    def _free(self, name: str) -> str:
        """A name that no folder has: a run of a ledger that was lost may have had this one."""
        plain = re.sub(r"[^\w.]+", "-", name).strip("-.")
        names = (plain, *(f"{plain}-{number}" for number in range(2, 1000)))
        return next(one for one in names if not (self._all / one).exists())

    def params(self, values: Mapping[str, str]) -> None:
        """As ``Tracker.params``; a table, which grows."""
        self._params |= values
        rows = (f"| {name} | {value.replace('|', '/')} |" for name, value in self._params.items())
        self._text("parameters", "\n".join(["| | |", "|---|---|", *rows]), len(self._params))
        self._writer.flush()

    def scalars(self, points: Sequence[Point]) -> None:
        """As ``Tracker.scalars``."""
        from tensorboardX.summary import scalar

        for point in points:
            self._write(scalar(point.name, point.value), point.step)
        self._writer.flush()

    def picture(self, name: str, file: Path) -> None:
        """As ``Tracker.picture``."""
        from tensorboardX.summary import image

        self._write(image(name, read_image(file), dataformats="HWC"), 0)
        self._writer.flush()

    def texts(self, values: Mapping[str, str]) -> None:
        """As ``Tracker.texts``."""
        for name, value in values.items():
            self._text(name, value, 0)
        self._writer.flush()

    def end(self, status: Status) -> None:
        """As ``Tracker.end``."""
        self._text("status", status, 0)
        self._writer.close()

    def _text(self, name: str, value: str, step: int) -> None:
        from tensorboardX.summary import text

        self._write(text(name, value), step)

    def _write(self, summary: Any, step: int) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._writer.write_event(Event(step=step, wall_time=time.time(), summary=summary))


@contextmanager
def _torch_stays_out() -> Iterator[None]:
    """An import of torch meanwhile finds none, unless it is there already."""
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["torch"]
