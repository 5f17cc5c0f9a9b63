"""A model that stays loaded: images in, predictions out, over the pipes of a child process.

Not here: torch (``mmseg/answering.py``), and which model.  The facts to know: one image is predicted at a time, and
what comes back is what ``evaluate`` writes for the same file; a child that died is started once more, one that takes
too long is ended.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
import numpy.typing as npt

from annoloop.compute.launch import launch
from annoloop.errors import AnnoloopError, DataError, MissingExtraError, TrainingError
from annoloop.progress import Say, unsaid
from annoloop.training.child import end_of, kill_group, require_training
from annoloop.training.framing import write_framed
from annoloop.training.records import Event, Job, write_job

START_S = 180.0
"""How long a child may take to load torch and the model."""

IMAGE_S = 100.0
"""How long one image may take."""

_END_S = 5.0

_SETTINGS = {
    "OMP_WAIT_POLICY": "passive",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
    "MALLOC_TOP_PAD_": str(1 << 26),
}
"""It lives for days beside a CVAT, a training, a browser: threads that spin would be several times slower then.  And
memory that goes back to the system after every image, and comes again, takes as much time as the network (mallopt(3)).
"""


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What a model says of an image: class indices and round(255 * probability of that class), uint8 (H, W) each."""

    label_map: npt.NDArray[np.uint8]
    confidence: npt.NDArray[np.uint8]

    @property
    def size_bytes(self) -> int:
        return self.label_map.nbytes + self.confidence.nbytes


class _Gone(Exception):
    """The child has closed its stream."""


class Predictor:
    """A child process with a model in it; may be asked from several threads."""

    def __init__(self, job: Job, *, python: str = sys.executable, image_s: float = IMAGE_S, say: Say = unsaid) -> None:
        """Start the child of a job of kind "answer" and wait until its model is loaded.

        Args:
            job: its ``run_dir`` is replaced by a folder that is gone when this is closed.
            image_s: how long one image may take.
            say: hears of the child's warnings and of new starts.

        Raises:
            MissingExtraError: torch, mmengine, mmcv or mmseg is not installed.
            TrainingError: the child did not start, or the model cannot be loaded.
        """
        require_training()
        self._folder = tempfile.TemporaryDirectory(prefix="annoloop-predictor-")
        self._job = replace(job, run_dir=Path(self._folder.name))
        self._python, self._image_s, self._say = python, image_s, say
        self._lock = threading.Lock()
        self._closed = False
        try:
            self._child = self._started()
        except BaseException:
            self._folder.cleanup()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    def predict(self, image: bytes) -> Prediction:
        """The prediction of an image file's bytes.

        Raises:
            DataError: they cannot be read as an image, or are too large for this machine's memory.
            TrainingError: the child died twice, or took too long.
        """
        with self._lock:
            if self._closed:
                raise TrainingError("this predictor was closed")
            for first in (True, False):
                try:
                    if (code := self._child.poll()) is not None:
                        self._say(f"the predicting process ended (exit code {code}): it is started once more")
                        self._child = self._started()
                    return self._asked(image)
                except (_Gone, BrokenPipeError):
                    code = self._ended()
                    if not first:
                        raise self._failed("the predicting process ended", code) from None
        raise AssertionError("either answered or raised")

    def close(self) -> None:
        """End the child when it has answered; once more does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._ended()
            self._folder.cleanup()

    def _started(self) -> subprocess.Popen[bytes]:
        command = launch(self._python, write_job(self._job)).command
        try:
            # A session of its own keeps the terminal's ^C away from the child, as in child.py.
            with (self._job.run_dir / "train.log").open("ab") as log:
                child = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env={**_SETTINGS, **os.environ},
                    start_new_session=True,
                )
        except OSError as error:
            raise TrainingError(f"the predicting process did not start: {error}", where=command[0]) from error
        self._child = child
        try:
            with _ends_after(child, START_S) as late:
                self._await_start(child)
        except _Gone:
            code = self._ended()
            if late.is_set():
                raise self._failed(f"the model was not loaded after {START_S:.0f} s", code) from None
            raise self._failed("the predicting process ended before its model was loaded", code) from None
        except BaseException:
            self._ended()
            raise
        return child

    def _await_start(self, child: subprocess.Popen[bytes]) -> None:
        while (event := _event(child)).kind != "started":
            if event.kind == "missing":
                raise MissingExtraError(event.fields["package"], "train")
            if event.kind == "error":
                raise TrainingError(event.fields["message"], where=event.fields["where"], hint=event.fields["hint"])
            if event.kind == "warning":
                self._say(event.fields["message"])

    def _asked(self, image: bytes) -> Prediction:
        child = self._child
        assert child.stdin is not None
        assert child.stdout is not None
        with _ends_after(child, self._image_s) as late:
            try:
                write_framed(child.stdin, image)
                event = _event(child)
                while event.kind not in ("prediction", "error"):
                    event = _event(child)
                if event.kind == "error":
                    raise DataError(event.fields["message"])
                size_hw = event.fields["height"], event.fields["width"]
                label_map = _map(child.stdout, size_hw, np.dtype(event.fields["dtype"]))
                return Prediction(label_map, _map(child.stdout, size_hw, np.dtype(np.uint8)))
            except (_Gone, BrokenPipeError):
                if not late.is_set():
                    raise
        self._ended()
        raise TrainingError(f"the prediction took more than {self._image_s:.0f} s, and was ended")

    def _ended(self) -> int:
        """End the child, which may be dead already; its exit code."""
        child = self._child
        with contextlib.suppress(OSError):
            if child.stdin is not None:
                child.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_END_S)
        kill_group(child)
        code = child.wait()
        if child.stdout is not None:
            child.stdout.close()
        return code

    def _failed(self, what: str, code: int) -> AnnoloopError:
        return TrainingError(f"{what} (exit code {code})\n{end_of(self._job.run_dir / 'train.log')}")


def _event(child: subprocess.Popen[bytes]) -> Event:
    """The next event; raises ``_Gone`` at the end of the stream, also in the middle of a line."""
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line.endswith(b"\n"):
        raise _Gone
    return Event.from_json(line.decode())


def _map(stream: IO[bytes], size_hw: tuple[int, int], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    wanted = size_hw[0] * size_hw[1] * dtype.itemsize
    data = stream.read(wanted)
    if len(data) < wanted:
        raise _Gone
    return np.frombuffer(data, dtype).reshape(size_hw)


@contextmanager
def _ends_after(child: subprocess.Popen[bytes], seconds: float) -> Iterator[threading.Event]:
    """Inside, the child has so long; then it is killed and the event is set."""
    late = threading.Event()

    def end() -> None:
        late.set()
        kill_group(child)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()
