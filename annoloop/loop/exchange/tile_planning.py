"""What goes to CVAT of an image that is cut: the tiles that hold something to correct, each a frame of its own.

Not here: how windows lie (``masks/tiling.py``) and how they come back (``stitching.py``).  The fact to know: what is
not sent keeps its label: a prediction takes its place only inside the windows that somebody gets to see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from annoloop.cvat.shapes import draw, polygon_loss_px
from annoloop.data.images import decode_index_png, encode_index_png, image_size_hw, read_bytes
from annoloop.data.mmseg_folders import check_label_map, decode_label_map, to_stored
from annoloop.loop.exchange.mask_cargo import draw_with_additions
from annoloop.loop.exchange.planning import Planned, Planner, frame_name
from annoloop.masks.regions import LabelMap, paint
from annoloop.masks.run_lengths import to_cvat_runs
from annoloop.masks.tiling import Tile, tiling
from annoloop.metrics.error_regions import Mistake, additions, largest_mistakes
from annoloop.project.rows import FrameRow, IssueRow, of_tile, tile_name
from annoloop.selection.request import ChosenImage


@dataclass(frozen=True, slots=True, eq=False)
class _Maps:
    """Of one image, (H, W) each: the label, and what a model says; None where there is none."""

    truth: LabelMap | None
    prediction: LabelMap | None
    confidence: npt.NDArray[np.uint8] | None

    @property
    def given(self) -> LabelMap:
        """The label, or what stands in its place."""
        found = self.prediction if self.truth is None else self.truth
        assert found is not None, "there is a label, or a model"
        return found


@dataclass(frozen=True, slots=True)
class TilePlanner(Planner):
    """Plans images that are larger than a tile; ``every``: also tiles that hold nothing to correct."""

    tile_px: int = 0
    overlap_px: int = 0
    every: bool = False

    def plan(self, chosen: ChosenImage) -> Planned:
        """As ``Planner.plan``; of an image that is cut without any tile where none holds anything to correct.

        Raises:
            DataError: mask or prediction does not fit the image.
        """
        size_hw = image_size_hw(chosen.sample.image)
        grid = tiling(size_hw, self.tile_px, self.overlap_px)
        if len(grid) == 1:
            return super(TilePlanner, self).plan(chosen)
        files, sample, row = self.files, chosen.sample, chosen.row
        base_bytes = None if sample.mask is None else read_bytes(sample.mask)
        truth = None
        if base_bytes is not None:
            truth = decode_label_map(base_bytes, files.config.data, sample.mask)
            check_label_map(truth, size_hw, files.classes, sample.mask)
        prediction = confidence = None
        if self.run_id is not None:
            prediction = files.prediction(self.run_id, row.image_sha256)
            check_label_map(prediction, size_hw, files.classes, sample.image)
            confidence = files.confidence(self.run_id, row.image_sha256)
        maps = _Maps(truth, prediction, confidence)
        found = [(tile, self._mistakes(tile, maps)) for tile in grid]
        kept = [one for one in found if self.every or one[1] or (one[1] is None and self._holds_objects(one[0], maps))]
        tiles = tuple(tile for tile, _ in kept)
        label_map = self._map_to_send(maps, tiles)
        base = None if base_bytes is None else files.keep_object(base_bytes)
        sent = base
        if label_map is not truth or sent is None:
            pushed = None if base_bytes is None else decode_index_png(base_bytes, sample.mask)
            stored = to_stored(label_map, files.config.data, pushed)
            stored = stored if base_bytes is not None else replace(stored, palette=self.palette)
            sent = files.keep_object(encode_index_png(stored))
        name = frame_name(files, sample.id)
        digests, loss_px = self._drawn(name, tiles, truth, label_map)
        frame = FrameRow(sample.id, name, chosen.score, base, sent, sent, digests, reading=chosen.reading,
                         label_sha256=base, tiles=tiles)  # fmt: skip
        issues = self._pinned(sample.id, [mistakes or [] for _, mistakes in kept])
        return Planned(frame, issues, loss_px, tiles_left_out=len(grid) - len(kept))

    def _mistakes(self, tile: Tile, maps: _Maps) -> list[Mistake] | None:
        """The largest areas of a tile's own on which label and model differ; None where there are not both."""
        if maps.truth is None or maps.prediction is None or maps.confidence is None:
            return None
        truth, prediction, confidence = (
            np.ascontiguousarray(one[tile.core]) for one in (maps.truth, maps.prediction, maps.confidence)
        )
        found = largest_mistakes(
            truth, prediction, confidence, self.files.classes,
            count=max(1, self.issues_per_frame), least_px=self.drawing.min_region_px,
        )  # fmt: skip
        left, top, _, _ = tile.core_ltrb
        return [replace(one, region=replace(one.region, top_px=one.region.top_px + top,
                                            left_px=one.region.left_px + left)) for one in found]  # fmt: skip

    def _holds_objects(self, tile: Tile, maps: _Maps) -> bool:
        """Whether anything but background, or what is ignored, is a tile's own."""
        classes, own = self.files.classes, maps.given[tile.core]
        return bool(((own != classes.fill_index) & (own != classes.ignore_index)).any()) or (
            classes.background_index is None
        )

    def _map_to_send(self, maps: _Maps, tiles: Sequence[Tile]) -> LabelMap:
        """The label, and in the windows that are sent what the source says."""
        truth, prediction, classes = maps.truth, maps.prediction, self.files.classes
        if truth is None or prediction is None or maps.confidence is None or self.source == "label":
            return maps.given
        result = truth.copy()
        for tile in tiles:
            if self.source == "prediction":
                window = truth[tile.window]
                # What is ignored stays ignored: the model knows nothing of it and would fill it in.
                result[tile.window] = np.where(window == classes.ignore_index, window, prediction[tile.window])
                continue
            own, said, sure = (np.ascontiguousarray(one[tile.core]) for one in (truth, prediction, maps.confidence))
            found = additions(own, said, sure, classes, least_px=max(1, self.drawing.min_region_px))
            more = [replace(one.region, class_index=one.predicted) for one in found]
            result[tile.core] = paint(more, own.shape, fill=classes.fill_index, onto=own)
        return truth if np.array_equal(result, truth) else result

    def _drawn(
        self, name: str, tiles: Sequence[Tile], truth: LabelMap | None, label_map: LabelMap
    ) -> tuple[tuple[str, ...], int]:
        """The digests of the shapes of all tiles, and how many pixels polygons would lose."""
        digests: list[str] = []
        loss_px = 0
        for number, tile in enumerate(tiles):
            shown, where = np.ascontiguousarray(label_map[tile.window]), tile_name(name, tile)
            if self.source == "both" and truth is not None and self.run_id is not None:
                by_people, by_model = draw_with_additions(
                    np.ascontiguousarray(truth[tile.window]), shown, self.files.classes, self.drawing, where
                )
                drawn = [*by_people, *by_model]
            else:
                drawn = draw(shown, self.files.classes, self.drawing, where)
                loss_px += polygon_loss_px(drawn, shown, self.files.classes)
            digests += [of_tile(number, one.digest) for one in drawn]
        return tuple(sorted(digests)), loss_px

    def _pinned(self, sample_id: str, found: Sequence[Sequence[Mistake]]) -> tuple[IssueRow, ...]:
        if self.issues_per_frame == 0:
            return ()
        return tuple(
            IssueRow(sample_id, number, mistake.message(self.files.classes), tuple(to_cvat_runs(mistake.region)))
            for number, mistake in enumerate(one for mistakes in found for one in mistakes)
        )
