"""What a pull says of each task: which frame came back how, and pixels by class.

Not here: reading, checking, recording (``pull.py``).  The fact to know: every frame of the task is in one of the lists.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from annoloop.cvat.server import CvatServer
from annoloop.loop.exchange.class_counts import Counts, class_pixels
from annoloop.loop.exchange.corrections import Correction, Held, TaskReading
from annoloop.loop.exchange.notices import Notices
from annoloop.loop.exchange.stitching import NOT_CUT, TileCounts
from annoloop.project.project import Project
from annoloop.project.rows import WRONG_TOO, FrameRow


@dataclass(frozen=True, slots=True)
class ClassChange:
    """Pixels of one class.

    ``drawn_px``, ``erased_px``: given to it and taken from it by annotators; ``accepted_px``,
    ``waiting_px``, ``deleted_px``: of it in frames that were accepted as pushed, whose jobs are not
    finished, that were deleted; ``gained_px``, ``lost_px``: in the mask files.
    """

    label: str
    drawn_px: int
    erased_px: int
    accepted_px: int
    waiting_px: int
    deleted_px: int
    gained_px: int
    lost_px: int


@dataclass(frozen=True, slots=True)
class PullReport:
    """What came back from one task; frames are sample ids.

    ``changed``: somebody edited them; ``accepted``: their job is finished and they are as pushed; ``untouched``: a
    prediction was pushed over their label and nobody looked at it, so the label stays; ``undone``: came back earlier,
    and that was undone here; ``settled``: came back earlier and are as they were then; ``waiting``: their job is in
    work; ``unopened``: nobody has begun their job; ``reopened``: came back earlier, and their job is in work again;
    ``held``: a shape of it is no mask of it, so that it waits until somebody mends it; ``kept``: edited on disk too,
    and yours stayed; ``shared``: in another open task as well. ``tags``: labels of whole frames, which masks do not
    hold; ``nowhere``: shapes on frames that were never pushed. ``edited_px`` counts pixels that annotators changed
    against what was pushed; ``lost``: the task was deleted in CVAT. ``tiles``: of images that were cut. ``verdicts``:
    of a review, how many regions have which; ``wrong_too``: images of which label and model are both wrong somewhere,
    which are marked for the next push.
    """

    task: int
    name: str
    url: str
    lost: bool = False
    jobs: Mapping[str, int] | None = None
    changed: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()
    untouched: tuple[str, ...] = ()
    undone: tuple[str, ...] = ()
    settled: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    unopened: tuple[str, ...] = ()
    reopened: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    held: tuple[Held, ...] = ()
    tags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    nowhere: int = 0
    edited_px: int = 0
    verdicts: Mapping[str, int] | None = None
    wrong_too: tuple[str, ...] = ()
    overlap_px: int = 0
    uncovered_px: int = 0
    classes: tuple[ClassChange, ...] = ()
    issues_resolved: int = 0
    issues_reopened: int = 0
    tiles: TileCounts = NOT_CUT
    written: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Parted:
    """What becomes of the frames of a reading: their masks are taken, or for three reasons not."""

    taken: Sequence[Correction]
    kept: Sequence[Correction]
    untouched: Sequence[Correction]
    undone: Sequence[Correction]


def report_of(
    project: Project,
    server: CvatServer,
    reading: TaskReading,
    parted: Parted,
    written: Iterable[str],
    notices: Notices,
) -> PullReport:
    """What is said of a task whose frames are recorded; ``written``: the masks that were."""
    taken = parted.taken
    cvat_id = reading.task.cvat_id
    assert cvat_id is not None
    came_before = {r.sample_id for r in reading.rows if r.state in ("changed", "accepted")}
    review = reading.task.is_review
    # A region without an answer is no acceptance.
    accepted = [c for c in taken if not c.touched and c.row.sample_id not in came_before and not review]
    deleted = [r for r in reading.rows if reading.frames[r.name].deleted]
    kept_ids = {c.row.sample_id for c in parted.kept} | {r.sample_id for r in reading.rows if r.state == "kept"}
    kept_ids -= {c.row.sample_id for c in taken}
    left = [*parted.untouched, *parted.undone]
    held_ids = {one.sample_id for one in reading.held}
    seen = {c.row.sample_id for c in [*taken, *left]} | kept_ids | held_ids | {r.sample_id for r in deleted}
    rest = [r for r in reading.rows if r.sample_id not in seen]
    reopened = [r for r in rest if r.sample_id in came_before]
    unopened = [r for r in rest if r not in reopened and reading.job_of(r).state == "new"]
    waiting = [r for r in rest if r not in reopened and r not in unopened]
    ours = [row.sample_id for row in reading.rows]
    elsewhere = project.ledger.samples_in_open_tasks(other_than=reading.task.id, among=ours)
    return PullReport(
        task=cvat_id,
        name=reading.task.name,
        url=server.task_url(cvat_id),
        jobs=Counter(job.state for job in reading.jobs),
        changed=_ids(c.row for c in taken if c.touched),
        accepted=_ids(c.row for c in accepted),
        untouched=_ids(c.row for c in parted.untouched),
        undone=_ids(c.row for c in parted.undone),
        settled=_ids(c.row for c in taken if not c.touched and c.row.sample_id in came_before),
        waiting=_ids(waiting),
        unopened=_ids(unopened),
        reopened=_ids(reopened),
        deleted=_ids(deleted),
        kept=tuple(sorted(kept_ids)),
        held=tuple(reading.held),
        tags=reading.tags,
        nowhere=reading.nowhere,
        shared=_ids(r for r in reading.rows if r.sample_id in elsewhere),
        edited_px=sum(c.edited_px for c in taken),
        verdicts=Counter(one.verdict for one in project.ledger.proposals(reading.task.id)) if review else None,
        wrong_too=tuple(wrong_too(taken)),
        overlap_px=sum(c.overlap_px for c in taken),
        uncovered_px=sum(c.uncovered_px for c in taken),
        classes=_class_changes(project, taken, accepted, [*waiting, *unopened], deleted),
        issues_resolved=notices.resolved,
        issues_reopened=notices.reopened,
        tiles=TileCounts.total(one.tiles for one in taken),
        written=tuple(written),
    )


def wrong_too(corrections: Iterable[Correction]) -> list[str]:
    """Images that need a full correction, as reviewers say."""
    return [one.row.sample_id for one in corrections if WRONG_TOO in one.verdicts.values()]


def _ids(rows: Iterable[FrameRow]) -> tuple[str, ...]:
    return tuple(row.sample_id for row in rows)


def _class_changes(
    project: Project, taken: Sequence[Correction], accepted: Sequence[Correction], waiting: Sequence[FrameRow],
    deleted: Sequence[FrameRow],
) -> tuple[ClassChange, ...]:  # fmt: skip
    nothing: Counts = np.zeros(project.classes.levels, np.int64)
    columns = [
        sum((c.gained for c in taken), nothing),
        sum((c.lost for c in taken), nothing),
        sum((c.pixels for c in accepted), nothing),
        class_pixels(project, waiting),
        class_pixels(project, deleted),
        sum((c.file_gained for c in taken), nothing),
        sum((c.file_lost for c in taken), nothing),
    ]
    table = np.stack(columns)
    present = np.flatnonzero(table.any(axis=0))
    return tuple(ClassChange(project.classes.label_of(int(i)), *map(int, table[:, i])) for i in present)
