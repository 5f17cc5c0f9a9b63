"""What somebody asks to be pushed, and the images that were chosen for it.

Not here: choosing (``choosing.py``), and what becomes of an image on its way (``loop/exchange/planning.py``).  The fact
to know: annoloop.yaml fills in whatever a command leaves open.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any, Literal, get_args

from annoloop.cvat.shapes import Kind
from annoloop.data.config import Config
from annoloop.data.mmseg_folders import Sample
from annoloop.errors import check_argument
from annoloop.masks.tiling import LEAST_TILE_PX
from annoloop.metrics.label_quality import Reading
from annoloop.project.rows import ImageRow

Source = Literal["label", "prediction", "both"]
Carries = Literal["shapes", "proposals", "disputed"]


@dataclass(frozen=True, slots=True)
class PushRequest:
    """What to push, ``by`` being one of ``criteria.py``, and how it is to look in CVAT.

    ``only``: these samples and no others, whatever ``worst``, ``splits`` and ``random_share`` say.  ``corrected``: also
    images whose mask is as annotators left it.  ``source``: what an annotator begins with where there is a label; both:
    the label, and beside it what the model would add.  ``carries``: masks of whole images; or ``worst`` regions that
    ask for a verdict, those where the model contradicts the label, or where annotators differ.  ``replicas``: so many
    people annotate each job for themselves, 0 for one.  ``segment_size``: images per job, 0 for one job.
    ``tolerance_px`` counts for polygons only.  ``tiles``: larger images are cut into squares of so many px, 0: none;
    neighbours share ``overlap`` px.  ``all_tiles``: also tiles that hold nothing to correct.
    """

    worst: int
    only: tuple[str, ...] = ()
    splits: tuple[str, ...] = ("train",)
    by: str = "dice"
    source: Source = "label"
    carries: Carries = "shapes"
    random_share: float = 0.0
    corrected: bool = False
    shape: Kind = "mask"
    tolerance_px: float = 1.0
    segment_size: int = 0
    assignees: tuple[str, ...] = ()
    context: bool = True
    issues_per_frame: int = 2
    dry_run: bool = False
    replicas: int = 0
    tiles: int = 0
    overlap: int = 64
    all_tiles: bool = False

    @property
    def is_review(self) -> bool:
        """Whether regions are to be asked about."""
        return self.carries != "shapes"

    def __post_init__(self) -> None:
        """Raise ConfigError for a value that cannot be."""
        words = (("source", get_args(Source)), ("shape", get_args(Kind)), ("carries", get_args(Carries)))
        for name, choices in words:
            value = getattr(self, name)
            check_argument(name, value, value in choices, " or ".join(choices))
        exact = self.source != "both" or self.shape == "mask"
        check_argument("source", self.source, exact, "label or prediction where shapes are polygons")
        check_argument("replicas", self.replicas, not self.replicas or self.carries == "shapes", "0 for proposals")
        cuts = not self.tiles or (not self.is_review and self.tiles >= LEAST_TILE_PX)
        check_argument("tiles", self.tiles, cuts, f"0, or {LEAST_TILE_PX} or more; 0 for proposals")
        fits = not self.tiles or self.overlap <= self.tiles // 2
        check_argument("overlap", self.overlap, fits, f"at most half a tile: 0 to {self.tiles // 2}")
        for name, least, most in _RANGES:
            value = getattr(self, name)
            check_argument(
                name, value, least <= value <= most, f"{least} to {most}" if most < inf else f"{least} or more"
            )
        count, people = self.replicas, len(set(self.assignees))
        check_argument("replicas", count, count == 0 or 2 <= count <= _MOST_REPLICAS, f"0, or 2 to {_MOST_REPLICAS}")
        said = f"none, or {count} people and more: each of {count} replicas is another's"
        check_argument("assignees", ", ".join(self.assignees), not count or not people or people >= count, said)


_MOST_PROPOSALS = 10_000
"""Of the images that are named: more than anybody answers."""
_MOST_REPLICAS = 10

_RANGES = (
    ("worst", 1, inf),
    ("random_share", 0, 1),
    ("tolerance_px", 0, inf),
    ("segment_size", 0, inf),
    ("issues_per_frame", 0, 20),
    ("overlap", 0, inf),
)


def how_many(worst: int | None, only: tuple[str, ...], carries: Carries | None) -> int | None:
    """How many images or proposals are asked for; None where the arguments do not say it, or say it twice.

    Images that are named are as many as they are; of their regions ``worst`` says how many, and all go without it.
    """
    if carries not in (None, "shapes"):
        return _MOST_PROPOSALS if worst is None and only else worst
    if (worst is None) == (not only):
        return None
    return len(only) if worst is None else worst


def push_request(config: Config, worst: int, **given: Any) -> PushRequest:
    """What annoloop.yaml says, unless an argument that is not None says otherwise; names as in ``PushRequest``.

    Raises:
        ConfigError: a value that cannot be.
    """
    settled = {
        "source": config.push.source,
        "random_share": config.push.random_share,
        "shape": config.push.shape,
        "tolerance_px": config.push.tolerance_px,
        "segment_size": config.cvat.segment_size,
        "assignees": config.cvat.assignees,
        "context": config.push.context,
        "issues_per_frame": config.push.issues_per_frame,
    }
    if given.get("carries") in (None, "shapes"):
        settled |= {"tiles": config.push.tiles, "overlap": config.push.overlap}
    return PushRequest(worst, **(settled | {name: value for name, value in given.items() if value is not None}))


@dataclass(frozen=True, slots=True, eq=False)
class ChosenImage:
    """An image of the task, its score (None where the criterion says nothing) and what that looks like."""

    sample: Sample
    row: ImageRow
    score: float | None
    reading: Reading | None
