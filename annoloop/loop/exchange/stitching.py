"""The tiles of a cut image as annotators left them, put together to one mask of the image.

Not here: what becomes of that mask (``corrections.py``).  The facts to know: an image waits until the jobs of all its
tiles are finished; a tile that nobody touched gives back the pixels of the last time, whatever its shapes would give;
and of a prediction in the place of a label only what somebody looked at counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from annoloop.cvat.wire import Frame
from annoloop.loop.exchange.cargo import Unloaded
from annoloop.masks.regions import LabelMap
from annoloop.masks.tiling import put_back, stitched
from annoloop.project.files import ProjectFiles
from annoloop.project.rows import FrameRow, IssueRow, of_tile


@dataclass(frozen=True, slots=True, eq=False)
class TileReading:
    """A tile as it is in CVAT now; ``found`` is what its shapes make, None where nobody touched it."""

    part: FrameRow
    digests: tuple[str, ...]
    found: Unloaded | None
    finished: bool


@dataclass(frozen=True, slots=True)
class TileCounts:
    """Of cut images that came back: tiles deleted in CVAT, whose pixels stay; tiles of a prediction that nobody looked
    at, whose label stays; and pixels that two tiles changed differently, of which the tile that owns them counts."""

    deleted: tuple[str, ...] = ()
    unseen: int = 0
    disputed_px: int = 0

    @staticmethod
    def total(some: Iterable[TileCounts]) -> TileCounts:
        """Of several images."""
        every = list(some)
        deleted = tuple(name for one in every for name in one.deleted)
        return TileCounts(deleted, sum(one.unseen for one in every), sum(one.disputed_px for one in every))


NOT_CUT = TileCounts()


@dataclass(frozen=True, slots=True, eq=False)
class Whole:
    """A cut image whose tiles are all there: its digests, its mask, and whether all of its jobs are finished.

    ``before`` (H, W): what the mask was before anybody edited it, with labels where a prediction was not looked at.
    """

    digests: tuple[str, ...]
    found: Unloaded
    before: LabelMap
    finished: bool
    counts: TileCounts


def put_together(
    files: ProjectFiles,
    row: FrameRow,
    frames: Mapping[str, Frame],
    readings: Sequence[TileReading],
    resolved: Sequence[IssueRow],
    last: LabelMap,
    *,
    accept_untouched: bool,
) -> Whole | None:
    """What the tiles of an image come to; None as long as one of them is not to be read.

    Args:
        resolved: issues of this image that a person resolved: whoever did has looked at their tiles.
        last: the mask (H, W) as it was last in step.
        accept_untouched: also tiles of a prediction that nobody looked at, where somebody looked at others.
    """
    there = {one.part.name: one for one in readings}
    digests: list[str] = []
    deleted = []
    for number, part in enumerate(row.parts):
        if frames[part.name].deleted:
            deleted.append(part.name)
            own = part.shapes
        elif part.name in there:
            own = there[part.name].digests
        else:
            return None
        digests += [of_tile(number, digest) for digest in own]
    if not readings:
        return None
    finished, now = all(one.finished for one in readings), tuple(sorted(digests))
    if now == row.shapes and not resolved:
        return Whole(now, Unloaded(last), last, finished, TileCounts(tuple(deleted)))
    seen = [one for one in readings if one.found is not None or _was_looked_at(one.part, resolved)]
    edited = [(one.part.window, one.found.label_map) for one in readings if one.found and one.part.window]
    before, unseen = last, [] if accept_untouched else _unseen(row, seen)
    if unseen:
        assert row.base_sha256 is not None
        before, label = last.copy(), files.object_label_map(row.base_sha256)
        windows = [[one.window for one in some if one.window] for some in (unseen, [one.part for one in seen])]
        put_back(before, label, *windows)
    # Nobody edited what nobody looked at, so that edits are told from ``before`` as well as from ``last``.
    label_map, disputed_px = stitched(before, edited) if edited or unseen else (last, 0)
    found = [one.found for one in readings if one.found is not None]
    mask = Unloaded(label_map, sum(one.overlap_px for one in found), sum(one.uncovered_px for one in found))
    return Whole(now, mask, before, finished, TileCounts(tuple(deleted), len(unseen), disputed_px))


def _was_looked_at(part: FrameRow, resolved: Sequence[IssueRow]) -> bool:
    return any(part.window is not None and part.window.owns(*issue.box_ltrb[:2]) for issue in resolved)


def _unseen(row: FrameRow, seen: Sequence[TileReading]) -> list[FrameRow]:
    """Tiles that show a prediction in the place of a label, and that nobody looked at."""
    over_a_label = row.base_sha256 is not None and row.sent_sha256 != row.base_sha256
    if not over_a_label or row.state not in ("open", "untouched", "deleted"):
        return []
    names = {one.part.name for one in seen}
    return [part for part in row.parts if part.name not in names]
