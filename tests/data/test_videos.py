"""Frames come out of a video by their numbers, and as they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from annoloop.data.images import read_image
from annoloop.data.videos import frames_to_files, video_facts
from annoloop.errors import DataError

FRAMES, SIZE_HW = 12, (48, 64)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each frame is brighter than the one before it."""
    path = tmp_path_factory.mktemp("video") / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, SIZE_HW[::-1])
    for number in range(FRAMES):
        writer.write(np.full((*SIZE_HW, 3), 20 * number, np.uint8))
    writer.release()
    return path


def test_a_video_says_how_long_and_how_large_it_is(video: Path) -> None:
    facts = video_facts(video)
    assert (facts.frames, facts.size_hw) == (FRAMES, SIZE_HW)


@pytest.mark.parametrize(("every", "numbers"), [(1, list(range(FRAMES))), (5, [0, 5, 10]), (100, [0])])
def test_every_so_many_th_frame_is_written_under_its_number(
    video: Path, tmp_path: Path, every: int, numbers: list[int]
) -> None:
    found = dict(frames_to_files(video, every, lambda _: True, tmp_path))
    assert list(found) == numbers
    for number, file in found.items():
        assert read_image(file).shape == (*SIZE_HW, 3)
        assert abs(float(read_image(file).mean()) - 20 * number) < 3


def test_what_is_not_wanted_is_passed_over(video: Path, tmp_path: Path) -> None:
    found = dict(frames_to_files(video, 2, lambda number: number > 5, tmp_path))
    assert sorted(found) == [6, 8, 10]
    assert len(list(tmp_path.iterdir())) == 3


def test_of_one_that_breaks_off_the_frames_before_are_there_and_the_others_are_counted(
    video: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.avi"
    cut.write_bytes(video.read_bytes()[: video.stat().st_size * 4 // 5])
    with pytest.raises(DataError, match=r"frames cannot be read") as caught:
        list(frames_to_files(cut, 1, lambda _: True, tmp_path / "frames"))
    told = list((tmp_path / "frames").iterdir())
    assert 3 <= len(told) < FRAMES
    assert caught.value.message.startswith(f"{FRAMES - len(told)} of {FRAMES} frames")


@pytest.mark.parametrize("content", [b"", b"hallo", None])
def test_what_is_no_video_is_said(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"no video|missing|as a video"):
        list(frames_to_files(path, 1, lambda _: True, tmp_path / "frames"))


def test_opencv_writes_nothing_by_itself(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"hallo")
    code = """
import sys
from pathlib import Path
from annoloop.data.videos import video_facts
from annoloop.errors import DataError
try:
    video_facts(Path(sys.argv[1]))
except DataError:
    print("refused")
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.mp4")], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("refused\n", "")
