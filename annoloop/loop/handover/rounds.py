"""Which version of each mask a round has, from the ledger's changes and the files on disk.

A round is a number: round N is the state of the masks after the N-th pull or undo, as ``annoloop log`` numbers them,
and round 0 the one before the first.  The fact to know: what people edit by hand between two changes is in no round of
its own; it is seen only where a later change took it for the old version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from annoloop.data.mmseg_folders import Sample
from annoloop.data.storage import Location
from annoloop.errors import LedgerError
from annoloop.progress import Track, silent
from annoloop.project.project import Project
from annoloop.project.rows import ImageRow, MaskChange


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a mask: its bytes' sha256, and a file that has them."""

    sha256: str
    file: Location


@dataclass(frozen=True, slots=True)
class Labels:
    """The masks of a round, or those on disk now (``round`` None), of the samples that are in the folders today.

    ``masks``: by sample id; None where that sample had none.  ``gone``: samples that the history knows, and that have
    no image any more.  ``edited``: masks that no change touched, so that they are as on disk now, although an earlier
    version was seen; ``edited_since``: masks on disk that are other than the last change left them.
    """

    round: int | None
    samples: tuple[Sample, ...]
    images: Mapping[str, str]
    masks: Mapping[str, Version | None]
    gone: tuple[str, ...] = ()
    edited: tuple[str, ...] = ()
    edited_since: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As a person says it: "round 3", or "now"."""
        return "now" if self.round is None else f"round {self.round}"


def labels_of(
    project: Project, round_number: int | None = None, splits: Sequence[str] | None = None, track: Track = silent
) -> Labels:
    """The masks of a round; None: as they are on disk now.

    Raises:
        LedgerError: no such round, or a version is missing in the history or was altered.
        ConfigError: a split that annoloop.yaml does not name.
        DataError: a file cannot be read.
    """
    changes = require_round(project, round_number)
    listed = project.samples(splits)
    seen = {} if round_number is None else _seen_before(project)
    rows = project.scan(listed, track)
    on_disk = {one.id: _on_disk(one, rows[one.id]) for one in listed}
    images = {name: row.image_sha256 for name, row in rows.items()}
    if round_number is None:
        return Labels(None, tuple(listed), images, on_disk)
    history = [project.ledger.mask_changes(change) for change in changes]
    told, left = digests_of_round(history, round_number), digests_of_round(history, len(history))
    masks = {one.id: _kept(project, told[one.id]) if one.id in told else on_disk[one.id] for one in listed}
    wanted = None if splits is None else set(splits)
    gone = (name for name in told if name not in rows and (wanted is None or name.partition("/")[0] in wanted))
    return Labels(
        round_number,
        tuple(listed),
        images,
        masks,
        tuple(sorted(gone)),
        tuple(n for n, row in rows.items() if n not in told and seen.get(n, set()) - {row.mask_sha256}),
        tuple(n for n, row in rows.items() if n in left and left[n] != row.mask_sha256),
    )


def require_round(project: Project, round_number: int | None) -> list[int]:
    """The numbers of all changes, oldest first, after a look whether there is such a round.

    Raises:
        LedgerError: there is none.
    """
    changes = [change.id for change in project.ledger.changes()]
    if round_number is not None and not 0 <= round_number <= len(changes):
        there = f"rounds are 0 to {len(changes)}" if changes else "nothing was pulled yet, so there is only round 0"
        raise LedgerError(
            f"there is no round {round_number}; {there}",
            where=project.path.parent,
            hint="annoloop log numbers the rounds; without --round the masks are taken as they are now",
        )
    return changes


def digests_of_round(changes: Sequence[Iterable[MaskChange]], round_number: int) -> dict[str, str | None]:
    """The version, by its sha256, of every mask that was ever changed, after the first ``round_number`` changes.

    >>> pulled, undone = MaskChange("train/a", "old", "new"), MaskChange("train/a", "new", "old")
    >>> [digests_of_round([[pulled], [undone]], n)["train/a"] for n in range(3)]
    ['old', 'new', 'old']
    """
    found: dict[str, str | None] = {}
    for number, change in enumerate(changes, 1):
        for one in change:
            if number <= round_number:
                found[one.sample_id] = one.new_sha256
            else:
                found.setdefault(one.sample_id, one.old_sha256)
    return found


def samples_with(labels: Labels) -> list[Sample]:
    """The samples with the masks of a round in place of those on disk, for whatever reads samples."""
    found = []
    for sample in labels.samples:
        version = labels.masks[sample.id]
        found.append(Sample(sample.id, sample.image, None if version is None else version.file, sample.split))
    return found


def _on_disk(sample: Sample, row: ImageRow) -> Version | None:
    return None if sample.mask is None or row.mask_sha256 is None else Version(row.mask_sha256, sample.mask)


def _kept(project: Project, digest: str | None) -> Version | None:
    """A version of the history, whose bytes are looked at."""
    return None if digest is None else Version(digest, project.checked_object(digest))


def _seen_before(project: Project) -> dict[str, set[str]]:
    """The versions of masks that were on record before anybody looks anew: of the last scan, and of pushes."""
    found: dict[str, set[str]] = {}
    for row in project.ledger.images().values():
        if row.mask_sha256 is not None:
            found.setdefault(row.sample_id, set()).add(row.mask_sha256)
    for task in project.ledger.tasks():
        for frame in project.ledger.frames(task.id):
            if frame.label_sha256 is not None:
                found.setdefault(frame.sample_id, set()).add(frame.label_sha256)
    return found
