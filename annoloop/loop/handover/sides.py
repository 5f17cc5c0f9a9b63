"""The two sides of ``annoloop diff``: a round, now, a run, a snapshot, or a folder of masks.

Not here: comparing them (``compare.py``).  The fact to know: a side says which samples it knows of, and only those that
both sides know of are compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from annoloop.data.images import file_sha256
from annoloop.data.mmseg_folders import Sample
from annoloop.data.storage import Location
from annoloop.errors import ConfigError, DataError, LedgerError
from annoloop.loop.handover import manifest
from annoloop.loop.handover.rounds import Labels, labels_of
from annoloop.loop.handover.snapshot import mask_place_below_root, snapshot_folder
from annoloop.progress import Track, silent
from annoloop.project.files import is_made
from annoloop.project.project import Project

_NUMBERED = re.compile(r"(?:(round|run):)?(\d{1,9})")
_KINDS = (
    "a round (3, or round:3, as annoloop log numbers them), now, a run (run:2), a snapshot's name, folder or"
    " manifest, or a folder of masks"
)


@dataclass(frozen=True, slots=True)
class Mask:
    """A mask: its sha256 and a file that has it, None where no file is known to; or a prediction, whose file it is."""

    sha256: str
    file: Location | None
    is_prediction: bool = False


@dataclass(frozen=True, slots=True)
class Side:
    """``masks``: of every sample that the side knows of; None: it has no mask there.

    ``told``: what it is and which samples it knows of, in words; ``images``: the sha256 of images, where it tells them.
    """

    name: str
    told: str
    masks: Mapping[str, Mask | None]
    images: Mapping[str, str]


def side_of(project: Project, text: str, splits: Sequence[str] | None = None, track: Track = silent) -> Side:
    """What a person means by a word of ``annoloop diff``.

    Raises:
        ConfigError: nothing of that name, classes other than the project's, or an unknown split.
        LedgerError: no such round or run.
        DataError: no masks there, or a file that cannot be read.
    """
    numbered = _NUMBERED.fullmatch(text)
    if numbered is not None and numbered[1] == "run":
        return _run(project, int(numbered[2]), splits, track)
    if numbered is not None or text == "now":
        return _labels(labels_of(project, None if numbered is None else int(numbered[2]), splits, track))
    return _path(project, text, splits, track)


def _labels(labels: Labels) -> Side:
    masks = {name: None if one is None else Mask(one.sha256, one.file) for name, one in labels.masks.items()}
    return Side(labels.name, _told(labels.round), masks, labels.images)


def _told(round_number: int | None) -> str:
    if round_number is None:
        return "the masks on disk"
    return f"the masks after pull or undo {round_number}" if round_number else "the masks before the first pull"


def _run(project: Project, number: int, splits: Sequence[str] | None, track: Track) -> Side:
    run = project.ledger.run(number)
    if run.class_digest != project.classes.digest:
        raise ConfigError(
            f"run {number} was trained with other classes", where="annoloop.yaml", hint="compare a run of these classes"
        )
    rows = project.scan(project.samples(splits), track)
    masks: dict[str, Mask | None] = {}
    for name, row in rows.items():
        path = project.prediction_paths(number, row.image_sha256)[0]
        if is_made(path):
            masks[name] = Mask("", path, is_prediction=True)
    if not masks:
        raise LedgerError(
            f"run {number} has no predictions of these images",
            where=project.run_dir(number),
            hint=f"annoloop evaluate --run {number} makes them",
        )
    images = {name: row.image_sha256 for name, row in rows.items()}
    return Side(f"run {number}", "its predictions, of the images that it was asked about", masks, images)


def _path(project: Project, text: str, splits: Sequence[str] | None, track: Track) -> Side:
    named = snapshot_folder(project, text) if "/" not in text else Path(text)
    try:
        path = named if (named / manifest.FILE_NAME).is_file() else Path(text)
        is_there = bool(text) and path.exists()
    except OSError:  # no file can have such a name
        is_there = False
    if not is_there:
        raise ConfigError(f"{text!r} is nothing that can be compared", where="diff", hint=f"it takes {_KINDS}")
    file = path if path.is_file() else path / manifest.FILE_NAME
    if file.is_file():
        return _snapshot(project, file, text, splits, track)
    return _folder(project, path, text, splits, track)


def _snapshot(project: Project, file: Path, text: str, splits: Sequence[str] | None, track: Track) -> Side:
    made = manifest.read(file)
    if made.class_digest != project.classes.digest:
        raise ConfigError(
            f"was made with other classes: {', '.join(made.classes[:10])}",
            where=file,
            hint="compare it in a project with its classes, or take a folder of masks",
        )
    rows = project.scan(project.samples(splits), track)  # unknown splits are refused, and masks are found by hash
    there = {digest: file.parent / name for name, digest in made.files.items()}
    on_disk = {row.mask_sha256: project.mask_path(name) for name, row in rows.items()}
    masks: dict[str, Mask | None] = {}
    for one in made.samples:
        if splits is None or one.split in splits:
            masks[one.id] = None if one.mask is None else Mask(one.mask, _found(project, one.mask, there, on_disk))
    images = {one.id: one.image for one in made.samples}
    return Side(text, f"{made.made} of {made.state}", masks, images)


def _found(
    project: Project, digest: str, there: Mapping[str, Path], on_disk: Mapping[str | None, Location]
) -> Location | None:
    """A file with a version: a copy beside the manifest, in the history, or a mask that is on disk now."""
    copy = there.get(digest)
    if copy is not None and copy.is_file():
        return copy
    return project.object_place(digest) or on_disk.get(digest)


def _folder(project: Project, folder: Path, text: str, splits: Sequence[str] | None, track: Track) -> Side:
    """Masks named as the project's, below a folder that stands for its data set's, or for that of its masks."""
    samples = project.samples(splits)
    layouts = [dict(_as_root(project, folder, samples)), dict(_as_mask_dir(project, folder, samples))]
    found = max(layouts, key=len)
    if not found:
        first = mask_place_below_root(project, samples[0].id) if samples else "ann_dir/train/NAME.png"
        raise DataError(
            "holds no mask under the name that the project's have", where=folder, hint=f"as {folder / first}"
        )
    hashed = track(found.items(), "looking at files", len(found))
    masks: dict[str, Mask | None] = {name: Mask(file_sha256(path), path) for name, path in hashed}
    return Side(text, "the masks that are in that folder", masks, {})


def _as_root(project: Project, folder: Path, samples: Iterable[Sample]) -> Iterable[tuple[str, Path]]:
    for one in samples:
        path = folder / mask_place_below_root(project, one.id)
        if path.is_file():
            yield one.id, path


def _as_mask_dir(project: Project, folder: Path, samples: Iterable[Sample]) -> Iterable[tuple[str, Path]]:
    mask_dir = project.config.data.mask_dir
    for one in samples:
        above = mask_dir.get(one.split, "") if isinstance(mask_dir, dict) else mask_dir  # type: ignore[call-overload]
        below = mask_place_below_root(project, one.id).removeprefix(f"{above}/")
        path = folder / below
        if path.is_file():
            yield one.id, path
