"""What the ledger gives out and takes in: its rows as dataclasses.

Not here: the tables (``schema.py``) and what is asked of them (``journal.py``, ``ledger.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from annoloop.masks.tiling import Tile
from annoloop.metrics.label_quality import Belief
from annoloop.metrics.scores import Confusion

PROPOSALS: Literal["proposals"] = "proposals"
"""The source of a task that is a review."""

UNANSWERED, ACCEPT, REJECT, WRONG_TOO = "unanswered", "accept", "reject", "wrong too"
VERDICTS = (UNANSWERED, ACCEPT, REJECT, WRONG_TOO)
"""What may be said of a proposal, in the order of the digits that say it in CVAT."""


@dataclass(frozen=True, slots=True)
class ImageRow:
    sample_id: str
    image_sha256: str
    image_stamp: str
    mask_sha256: str | None
    mask_stamp: str | None


@dataclass(frozen=True, slots=True)
class Census:
    """How many images and masks some folders hold as long as their ``stamps`` are these, by path."""

    stamps: Mapping[str, str]
    images: int
    labelled: int


@dataclass(frozen=True, slots=True)
class FactRow:
    """What ``eda`` saw in a sample (see ``eda/facts_cache.py``), as long as its ``stamps`` are these."""

    sample_id: str
    stamps: str
    image_sha256: str
    facts: bytes


@dataclass(frozen=True, slots=True)
class RunRow:
    id: int
    kind_digest: str
    state: str
    recipe: str
    parent_id: int | None
    class_digest: str
    started_at: str
    finished_at: str | None
    val_dice: float | None
    promoted: bool
    verdict: str | None
    config_sha256: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ScoreRow:
    sample_id: str
    image_sha256: str
    mask_sha256: str
    dice: float
    confusion: Confusion


@dataclass(frozen=True, slots=True)
class BeliefRow:
    """``mask_sha256`` is empty where there is no mask."""

    image_sha256: str
    mask_sha256: str
    out_of_fold: bool
    belief: Belief


@dataclass(frozen=True, slots=True)
class TaskRow:
    id: int
    name: str
    plan_digest: str
    state: str
    source: str
    run_id: int | None
    class_digest: str
    server: str
    cvat_id: int | None
    created_at: str
    shape: Literal["mask", "polygon"]
    tolerance_px: float
    min_region_px: int
    opened_at: str | None = None

    @property
    def is_review(self) -> bool:
        """Whether it asks for verdicts on proposals."""
        return self.source == PROPOSALS


@dataclass(frozen=True, slots=True)
class FrameRow:
    """An image of a task; the masks are versions in the history.

    ``base_sha256``: on disk when it was last in step, ``pushed_sha256``: what the shapes in CVAT made then.  Of the
    push itself: ``sent_sha256``, what was sent, and ``label_sha256``, the label on disk (None: none, or an old task).
    A large image may be cut: ``tiles`` are the windows that were sent, each a frame in CVAT, and ``shapes`` those of
    all of them, see ``of_tile``.  ``window``: of such a frame, which ``parts`` gives.
    """

    sample_id: str
    name: str
    score: float | None
    base_sha256: str | None
    pushed_sha256: str
    sent_sha256: str
    shapes: tuple[str, ...]
    state: str = "open"
    reading: str | None = None
    label_sha256: str | None = None
    tiles: tuple[Tile, ...] = ()
    window: Tile | None = None

    @property
    def parts(self) -> tuple[FrameRow, ...]:
        """Its frames in CVAT: itself, or one for each tile, with the name and the shapes of that frame."""
        if not self.tiles:
            return (self,)
        shapes: list[list[str]] = [[] for _ in self.tiles]
        for digest in self.shapes:
            number, _, plain = digest.partition("@")
            shapes[int(number)].append(plain)
        return tuple(
            replace(self, name=tile_name(self.name, tile), shapes=tuple(sorted(own)), tiles=(), window=tile)
            for tile, own in zip(self.tiles, shapes, strict=True)
        )

    @property
    def plain_shapes(self) -> tuple[str, ...]:
        """The digests of its shapes, whichever tile they are on."""
        return tuple(digest for part in self.parts for digest in part.shapes)


def of_tile(number: int, digest: str) -> str:
    """How the row of a cut image has the digest of a shape on one of its tiles."""
    return f"{number}@{digest}"


def tile_name(name: str, tile: Tile) -> str:
    """The name of a tile's frame: that of the image, and where the tile begins in it.

    >>> tile_name("train/a.tif", Tile((960, 0, 1984, 1024), (992, 0, 1984, 1024)))
    'train/a@y00000x00960.png'
    """
    stem, _, suffix = name.rpartition(".")
    kept = f".{suffix}" if suffix.lower() in ("jpg", "jpeg") else ".png"
    return f"{stem}@y{tile.top_px:05d}x{tile.left_px:05d}{kept}"


@dataclass(frozen=True, slots=True)
class ProposalRow:
    """A region of a review: the class that the label gives it, and the one that is proposed; its number in the task.

    ``runs``: its pixels as CVAT mask points.  ``confidence``: the model's mean over it, 0 ... 1.  ``weight``: as in
    ``error_regions.contradictions``.  ``verdict``: one of ``VERDICTS``.
    """

    sample_id: str
    number: int
    labelled: int
    becomes: int
    runs: tuple[int, ...]
    confidence: float
    weight: float
    verdict: str = UNANSWERED


@dataclass(frozen=True, slots=True)
class FramePlace:
    """Where a sample waits in CVAT: numbers of its task, of its job and of the frame there; a task from before
    schema 4 does not tell the last two."""

    sample_id: str
    server: str
    task: int
    job: int | None
    number: int | None


@dataclass(frozen=True, slots=True)
class IssueRow:
    """An issue: open; settled, its area was corrected and CVAT is to hear of it; resolved there too; unsettled, that
    pull was undone and CVAT is to hear of that.  ``settled_by``: the pull, by its mask change."""

    sample_id: str
    number: int
    message: str
    runs: tuple[int, ...]
    cvat_id: int | None = None
    state: str = "open"
    settled_by: int | None = None

    @property
    def box_ltrb(self) -> tuple[int, int, int, int]:
        """The box of its area in px, left, top, right, bottom, inclusive: the end of CVAT's runs."""
        left, top, right, bottom = self.runs[-4:]
        return left, top, right, bottom


@dataclass(frozen=True, slots=True)
class MaskChange:
    """A mask file replaced; without an old version it is new, without a new one it goes."""

    sample_id: str
    old_sha256: str | None
    new_sha256: str | None


@dataclass(frozen=True, slots=True)
class ChangeRow:
    id: int
    kind: str
    task_id: int | None
    undone_by: int | None
    made_at: str
    told: bool
    masks: int


@dataclass(frozen=True, slots=True)
class MaskEvent:
    """One step in a mask's history: a pull or an undo, of which task in CVAT, and both versions."""

    sample_id: str
    change_id: int
    kind: str
    at: str
    task: int | None
    old_sha256: str | None
    new_sha256: str | None
