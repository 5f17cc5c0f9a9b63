"""Whether a task in CVAT still holds the frames that were pushed, in the size that they had.

Not here: their shapes (``corrections.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from annoloop.cvat.wire import Frame, JobInfo
from annoloop.errors import CvatError
from annoloop.project.rows import FrameRow


def check_frames(rows: Sequence[FrameRow], frames: Mapping[str, Frame], jobs: Sequence[JobInfo], where: str) -> None:
    """Raise where a frame that was pushed is not in the task, or in no job of it.

    Raises:
        CvatError: there are some.
    """
    lost = [row.name for row in rows if row.name not in frames]
    if lost:
        raise CvatError(f"{len(lost)} pushed frames are not in the task, first {lost[0]}", where=where)
    homeless = [row.name for row in rows if not any(frames[row.name].index in job.frames for job in jobs)]
    if homeless:
        raise CvatError(f"{len(homeless)} frames are in no job, first {homeless[0]}", where=where)


def check_size(frame: Frame, size_hw: tuple[int, ...]) -> None:
    """The server's word on sizes counts for nothing: what was pushed has the size of the image."""
    if frame.size_hw != size_hw:
        told, known = (f"{width} x {height} px" for height, width in (frame.size_hw, size_hw))
        raise CvatError(
            f"the server says that it is {told}, but the image that was pushed is {known}",
            where=f"frame {frame.name}",
            hint="was the task's data replaced, or does a proxy answer in the server's place? Nothing was written",
        )
