"""Masks as what a task carries: label maps to shapes when it is loaded, and back when it is unloaded.

Not here: servers, jobs and the ledger.  The fact to know: what the model alone would add to a label travels as shapes
of its own, so that each can be kept or deleted; where labels and additions touch they would else become one shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from annoloop.cvat.archive import Picture
from annoloop.cvat.guide import annotation_guide
from annoloop.cvat.shapes import Drawing, Drawn, draw
from annoloop.cvat.wire import Frame, Label, LabelSpec, Shape, class_labels, shape_digest
from annoloop.errors import CvatError
from annoloop.loop.exchange.cargo import ReadImage, Unloaded, in_related_folder
from annoloop.loop.exchange.frame_maps import frame_map, frame_prediction, painted
from annoloop.masks.classes import ClassTable
from annoloop.masks.regions import LabelMap
from annoloop.project.files import ProjectFiles
from annoloop.project.rows import FrameRow, TaskRow
from annoloop.reports.context import context_pictures


def draw_with_additions(
    label_map: LabelMap, with_additions: LabelMap, classes: ClassTable, how: Drawing, where: object
) -> tuple[list[Drawn], list[Drawn]]:
    """The shapes of a label map, and those of what another one has more on its background; both (H, W)."""
    more = np.where(with_additions == label_map, classes.fill_index, with_additions).astype(label_map.dtype)
    return draw(label_map, classes, how, where), draw(more, classes, how, where)


@dataclass(frozen=True, slots=True)
class MaskCargo:
    """The masks of a task; worker processes can be given it."""

    files: ProjectFiles
    task: TaskRow

    @property
    def project_name(self) -> str:
        """Of the project in CVAT."""
        return self.files.config.cvat_project

    @property
    def labels(self) -> Sequence[LabelSpec]:
        """One for each class that can be drawn."""
        return class_labels(self.files.classes)

    @property
    def guide(self) -> str:
        """Markdown for annotators."""
        return annotation_guide(self.files.classes)

    def digest(self, shape: Shape, label: Label) -> str:
        """What an annotator can change about a shape."""
        return shape_digest(shape, label.name)

    def loaded(self, row: FrameRow, frame: Frame, labels: Mapping[str, Label]) -> list[Shape]:
        """The shapes of one frame; those that a model made are CVAT's AUTO.

        Raises:
            CvatError: the frame has another size than its mask.
        """
        label_map = frame_map(self.files, row, row.sent_sha256)
        if frame.size_hw != label_map.shape:
            raise CvatError(
                f"frame {frame.name} is {frame.size_hw} (h, w) on the server, its mask {label_map.shape}",
                where=self.task.server,
                hint="does the server turn the image by its EXIF orientation, and the mask was made without?",
            )
        by_people, by_model = self._drawn(row, label_map)
        return [
            replace(one.shape, frame=frame.index, label_id=labels[one.label].id, source=source)
            for drawn, source in ((by_people, "manual"), (by_model, "auto"))
            for one in drawn
        ]

    def _drawn(self, row: FrameRow, sent: LabelMap) -> tuple[list[Drawn], list[Drawn]]:
        how, classes = self._how, self.files.classes
        if self.task.source == "both" and row.label_sha256 is not None:
            label_map = frame_map(self.files, row, row.label_sha256)
            return draw_with_additions(label_map, sent, classes, how, row.name)
        drawn = draw(sent, classes, how, row.name)
        return (drawn, []) if row.label_sha256 == row.sent_sha256 else ([], drawn)

    @property
    def _how(self) -> Drawing:
        return Drawing(self.task.shape, self.task.tolerance_px, self.task.min_region_px)

    def unloaded(self, row: FrameRow, frame: Frame, shapes: Sequence[Shape], labels: Mapping[int, Label]) -> Unloaded:
        """The mask that shapes make.

        Raises:
            CvatError: a shape is no area of this image.
        """
        names = {number: label.name for number, label in labels.items()}
        return Unloaded(*painted(self.files, self.task, names, row, frame, shapes))

    def pictures(self, row: FrameRow, image: ReadImage, image_sha256: str) -> list[Picture]:
        """Labels, prediction and errors, beside the frame; none without a model."""
        if self.task.run_id is None:
            return []
        found = context_pictures(
            image(),
            None if row.base_sha256 is None else frame_map(self.files, row, row.base_sha256),
            frame_prediction(self.files, row, self.task.run_id, image_sha256),
            self.files.classes,
        )
        return in_related_folder(row.name, found)
