"""Frames of a video, one after the other, as files that lose nothing.

The only module that knows OpenCV.  The fact to know: a frame's number counts from 0 in the order of showing, and only
who has read all frames before it finds it exactly; so those that are not wanted are passed over, and not sought.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annoloop.errors import DataError, MissingExtraError

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".ogv", ".mts")

_FAST = 1
"""Of PNG's levels of compression: a frame is read once, and gone."""

_ROUNDED = 1
"""Some containers say how long they are in seconds, and frames are made of that."""


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What a video says of itself; ``frames`` is a guess of its container, 0 where it has none."""

    frames: int
    size_hw: tuple[int, int]


def require_video() -> None:
    """Say what is missing before anything is begun.

    Raises:
        MissingExtraError: OpenCV is not installed.
    """
    if importlib.util.find_spec("cv2") is None:
        raise MissingExtraError("opencv-python", "train")


def video_facts(video: Path) -> VideoFacts:
    """How long and how large a video says that it is.

    Raises:
        DataError: missing, or no video.
    """
    cv2 = _opencv()
    with _opened(video) as capture:
        width, height = (int(capture.get(what)) for what in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        return VideoFacts(_frames_said(capture), (height, width))


def frames_to_files(video: Path, every: int, wanted: Callable[[int], bool], folder: Path) -> Iterator[tuple[int, Path]]:
    """Write every so many-th frame that is wanted as a PNG; yields the number and the file of each when it is there.

    Raises:
        DataError: missing, no video, one without a frame, or the disk is full; after the last frame, where fewer can
            be read than the video says it has.
    """
    cv2 = _opencv()
    undecoded = 0
    with _opened(video) as capture:
        said = _frames_said(capture)
        number = -1
        while capture.grab():
            number += 1
            if number % every or not wanted(number):
                continue
            there, pixels = capture.retrieve()
            if not there:
                undecoded += 1
                continue
            path = folder / f"{number:06d}.png"
            folder.mkdir(parents=True, exist_ok=True)
            if not cv2.imwrite(str(path), pixels, [cv2.IMWRITE_PNG_COMPRESSION, _FAST]):
                raise DataError("a frame cannot be written", where=path, hint="is there room?")
            yield number, path
    if number < 0:
        raise DataError("no frame of it can be read", where=video, hint="the file may be truncated or no video")
    missing = said - (number + 1)
    lost = undecoded + (missing if missing > _ROUNDED else 0)
    if lost:
        raise DataError(
            f"{lost} of {max(said, number + 1)} frames cannot be read, the others are there, numbered without them",
            where=video,
            hint="the file may be truncated or damaged",
        )


def _frames_said(capture: Any) -> int:
    """How many frames its container says that there are; 0 where it says nothing."""
    return max(0, int(capture.get(_opencv().CAP_PROP_FRAME_COUNT)))


@contextmanager
def _opened(video: Path) -> Iterator[Any]:
    cv2 = _opencv()
    if not video.is_file():
        raise DataError("file is missing", where=video)
    capture = cv2.VideoCapture(str(video), cv2.CAP_FFMPEG)
    try:
        if not capture.isOpened():
            raise DataError("cannot be read as a video", where=video, hint="the file may be truncated or no video")
        yield capture
    finally:
        capture.release()


def _opencv() -> Any:
    """OpenCV, kept from writing to stderr by itself."""
    for name, quiet in (("OPENCV_FFMPEG_LOGLEVEL", "-8"), ("OPENCV_LOG_LEVEL", "SILENT")):
        os.environ.setdefault(name, quiet)
    import cv2

    return cv2
