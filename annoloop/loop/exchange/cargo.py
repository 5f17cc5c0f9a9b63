"""What a task carries to CVAT and back: masks to be corrected, or proposals to be answered.

Not here: how it travels (``delivery.py``) and what becomes of it (``corrections.py``).  The fact to know: both are
masks of a frame in the end, so that conflicts, history and undo are the same for both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Protocol, TypeAlias

from annoloop.cvat import archive
from annoloop.cvat.wire import Frame, Label, LabelSpec, Shape
from annoloop.masks.regions import LabelMap
from annoloop.project.rows import FrameRow
from annoloop.reports.context import CONTEXT_FOLDER, Picture
from annoloop.reports.plots import Rgb

ReadImage: TypeAlias = Callable[[], Rgb]
"""Gives what a frame shows of its image, RGB uint8 (H, W, 3); called only where pictures are drawn."""


@dataclass(frozen=True, slots=True, eq=False)
class Unloaded:
    """The mask (H, W) that a frame comes to, and how many pixels several shapes and none of them cover.

    ``verdicts``: of proposals, by their numbers in the task.
    """

    label_map: LabelMap
    overlap_px: int = 0
    uncovered_px: int = 0
    verdicts: Mapping[int, str] = field(default_factory=dict)


class Cargo(Protocol):
    """What a task carries; worker processes can be given it."""

    @property
    def project_name(self) -> str:
        """Of the project in CVAT that holds such tasks."""

    @property
    def labels(self) -> Sequence[LabelSpec]:
        """The labels of that project."""

    @property
    def guide(self) -> str:
        """What annotators are to know, as Markdown."""

    def digest(self, shape: Shape, label: Label) -> str:
        """What an annotator can change about a shape."""

    def loaded(self, row: FrameRow, frame: Frame, labels: Mapping[str, Label]) -> list[Shape]:
        """The shapes of one frame; ``labels`` by name."""

    def unloaded(self, row: FrameRow, frame: Frame, shapes: Sequence[Shape], labels: Mapping[int, Label]) -> Unloaded:
        """What the shapes of a frame that was touched come to; ``labels`` by number.

        Raises:
            CvatError: it cannot be told; says why.
        """

    def pictures(self, row: FrameRow, image: ReadImage, image_sha256: str) -> list[archive.Picture]:
        """The pictures beside a frame."""


def in_related_folder(frame: str, pictures: Sequence[Picture]) -> list[archive.Picture]:
    """Pictures under the names by which CVAT takes them for context of a frame."""
    name = PurePosixPath(frame)
    folder = name.parent / CONTEXT_FOLDER / f"{name.stem}_{name.suffix[1:]}"
    return [(str(folder / picture.name), picture.jpeg) for picture in pictures]
