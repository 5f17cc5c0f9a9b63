"""What goes to CVAT of one image: which mask, as which shapes, the issues on it, and what its score looks like.

Not here: which images (``push.py``) and how they travel (``delivery.py``).  The fact to know: everything that
is sent lies in the mask history before the plan is written down, so a broken push can be finished without a
look at the data.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np

from annoloop.cvat.shapes import Drawing, draw, polygon_loss_px
from annoloop.data.images import decode_index_png, encode_index_png, image_size_hw, needs_view, read_bytes
from annoloop.data.mmseg_folders import Sample, check_label_map, decode_label_map, shown_name, to_stored
from annoloop.errors import DataError
from annoloop.loop.exchange.mask_cargo import draw_with_additions
from annoloop.masks.regions import LabelMap, paint
from annoloop.masks.run_lengths import to_cvat_runs
from annoloop.metrics.error_regions import additions, largest_mistakes
from annoloop.metrics.label_quality import Reading
from annoloop.project.files import ProjectFiles
from annoloop.project.rows import FrameRow, ImageRow, IssueRow, ProposalRow
from annoloop.reports.context import CONTEXT_FOLDER
from annoloop.selection.request import ChosenImage, Source

_SENDABLE = re.compile(r"[^\\\x00-\x1f\x7f-\x9f]+")
"""Names that travel: the server takes a backslash for a folder, and control characters do not survive a zip."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One image of a plan; ``loss_px`` would change if somebody edited all its polygons.

    ``tiles_left_out``: of a cut image, those that hold nothing to correct.
    """

    frame: FrameRow
    issues: tuple[IssueRow, ...]
    loss_px: int
    proposals: tuple[ProposalRow, ...] = ()
    tiles_left_out: int = 0

    @property
    def holds_nothing(self) -> bool:
        """Whether no tile of a cut image is worth sending."""
        return bool(self.tiles_left_out) and not self.frame.tiles


@dataclass(frozen=True, slots=True)
class Planner:
    """How the images of one task are planned; worker processes can be given it.

    ``run_id``: the model that says what is wrong with a label; None: nobody does, and only labels go.
    ``palette``: of the masks that images without one will get.
    """

    files: ProjectFiles
    run_id: int | None
    source: Source
    drawing: Drawing
    issues_per_frame: int
    palette: bytes | None

    def plan(self, chosen: ChosenImage) -> Planned:
        """Both masks into the history, the digests of the shapes that will be sent, and the largest mistakes.

        Raises:
            DataError: mask or prediction does not fit the image.
        """
        sample, row = chosen.sample, chosen.row
        if sample.mask is None:
            return self._first(sample, row, chosen.score)
        files = self.files
        base_bytes = read_bytes(sample.mask)
        truth = decode_label_map(base_bytes, files.config.data, sample.mask)
        check_label_map(truth, image_size_hw(sample.image), files.classes, sample.mask)
        base = files.keep_object(base_bytes)
        if self.run_id is None:
            return self._planned(sample, chosen.score, base, base, truth, (), chosen.reading)
        prediction = files.prediction(self.run_id, row.image_sha256)
        label_map, sent = truth, base
        if self.source == "prediction":
            # What is ignored stays ignored: the model knows nothing of it and would fill it in.
            label_map = np.where(truth == files.classes.ignore_index, truth, prediction)
            stored = to_stored(label_map, files.config.data, decode_index_png(base_bytes, sample.mask))
            sent = files.keep_object(encode_index_png(stored))
        elif self.source == "both":
            return self._with_additions(chosen, self.run_id, base_bytes, base, truth, prediction)
        issues = self._issues(sample, row, truth, prediction, self.run_id)
        return self._planned(sample, chosen.score, base, sent, label_map, issues, chosen.reading)

    def _with_additions(
        self,
        chosen: ChosenImage,
        run_id: int,
        base_bytes: bytes,
        base: str,
        truth: LabelMap,
        prediction: LabelMap,
    ) -> Planned:
        """The label, and beside it what the model would surely add."""
        files, sample = self.files, chosen.sample
        confidence = files.confidence(run_id, chosen.row.image_sha256)
        found = additions(truth, prediction, confidence, files.classes, least_px=max(1, self.drawing.min_region_px))
        more = [replace(one.region, class_index=one.predicted) for one in found]
        label_map = paint(more, truth.shape, fill=files.classes.fill_index, onto=truth)
        stored = to_stored(label_map, files.config.data, decode_index_png(base_bytes, sample.mask))
        sent = files.keep_object(encode_index_png(stored)) if more else base
        name = frame_name(files, sample.id)
        by_people, by_model = draw_with_additions(truth, label_map, files.classes, self.drawing, name)
        digests = tuple(sorted(one.digest for one in (*by_people, *by_model)))
        reading = chosen.reading
        frame = FrameRow(sample.id, name, chosen.score, base, sent, sent, digests, reading=reading, label_sha256=base)
        return Planned(frame, self._issues(sample, chosen.row, truth, prediction, run_id), 0)

    def _first(self, sample: Sample, row: ImageRow, score: float | None) -> Planned:
        """An image without labels: the prediction is all there is, and nothing to hold it against."""
        files = self.files
        assert self.run_id is not None
        prediction = files.prediction(self.run_id, row.image_sha256)
        check_label_map(prediction, image_size_hw(sample.image), files.classes, sample.image)
        stored = replace(to_stored(prediction, files.config.data, None), palette=self.palette)
        sent = files.keep_object(encode_index_png(stored))
        return self._planned(sample, score, None, sent, prediction, (), None)

    def _planned(
        self,
        sample: Sample,
        score: float | None,
        base: str | None,
        sent: str,
        label_map: LabelMap,
        issues: tuple[IssueRow, ...],
        reading: Reading | None,
    ) -> Planned:
        name = frame_name(self.files, sample.id)
        drawn = draw(label_map, self.files.classes, self.drawing, name)
        digests = tuple(sorted(one.digest for one in drawn))
        frame = FrameRow(sample.id, name, score, base, sent, sent, digests, reading=reading, label_sha256=base)
        return Planned(frame, issues, polygon_loss_px(drawn, label_map, self.files.classes))

    def _issues(
        self, sample: Sample, row: ImageRow, truth: LabelMap, prediction: LabelMap, run_id: int
    ) -> tuple[IssueRow, ...]:
        if self.issues_per_frame == 0:
            return ()
        classes = self.files.classes
        found = largest_mistakes(
            truth,
            prediction,
            self.files.confidence(run_id, row.image_sha256),
            classes,
            count=self.issues_per_frame,
            least_px=self.drawing.min_region_px,
        )
        return tuple(
            IssueRow(sample.id, number, mistake.message(classes), tuple(to_cvat_runs(mistake.region)))
            for number, mistake in enumerate(found)
        )


def check_names(files: ProjectFiles, sample_ids: Iterable[str]) -> None:
    """Say before anything is made which images CVAT cannot take because of their names; all of them at once.

    Raises:
        DataError: there are some.
    """
    names = [frame_name(files, sample_id) for sample_id in sample_ids]
    bad = [name for name in names if CONTEXT_FOLDER in PurePosixPath(name).parts or not _SENDABLE.fullmatch(name)]
    if bad:
        listed = "".join(f"\n  {name!r}" for name in bad[:20]) + (f"\n  and {len(bad) - 20} more" if bad[20:] else "")
        raise DataError(
            f"CVAT cannot take images of these names ({len(bad)}):{listed}",
            where=files.config.data.root,
            hint=f"rename them: no backslash, no control character, no folder {CONTEXT_FOLDER!r}",
        )


def frame_name(files: ProjectFiles, sample_id: str) -> str:
    """What the frame of a sample is called in CVAT; the view of a raster is sent as a PNG."""
    image = files.image_path(sample_id)
    name = shown_name(sample_id, image, files.config.data)
    return f"{name.rpartition('.')[0]}.png" if needs_view(image) else name
