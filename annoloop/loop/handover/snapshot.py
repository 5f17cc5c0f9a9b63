"""``annoloop snapshot``: the hashes of a round's labels in one file for git or DVC, and with ``copy`` the masks, too.

The fact to know: a snapshot of the same labels has the same name and the same bytes, so taking it again does nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from annoloop.data.images import read_bytes, sha256, write_atomic
from annoloop.data.storage import Location
from annoloop.errors import ConfigError, DataError
from annoloop.loop.handover import delivery, manifest
from annoloop.loop.handover.export import manifest_of, require_outside, require_unchanged
from annoloop.loop.handover.manifest import Manifest
from annoloop.loop.handover.rounds import Labels, labels_of
from annoloop.progress import Track, silent
from annoloop.project.files import ProjectFiles
from annoloop.project.project import Project

FOLDER = "snapshots"
"""Below ``.annoloop``, where snapshots lie that are given no other place."""

_NAME = re.compile(r"(?!\d+$|now$)[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_NAME_DIGITS = 12


@dataclass(frozen=True, slots=True)
class SnapshotReport:
    """Where it is; ``is_new``: False where the same was there already. The rest as in ``ExportDataReport``."""

    folder: Path
    manifest: Path
    state: str
    samples: int
    masks: int
    copied: int
    content_sha256: str
    is_new: bool
    gone: tuple[str, ...]
    edited: tuple[str, ...]
    edited_since: tuple[str, ...]


def snapshot(
    project: Project,
    name: str | None = None,
    *,
    round_number: int | None = None,
    splits: Sequence[str] | None = None,
    out: Path | None = None,
    copy: bool = False,
    force: bool = False,
    track: Track = silent,
) -> SnapshotReport:
    """Write ``manifest.json`` of the labels of a round, or as they are now.

    Args:
        name: of the folder in ``.annoloop/snapshots``; default: the first digits of the labels' hash.
        out: another folder instead.
        copy: put the masks beside it, under the names that they have below the data set's root.
        force: another snapshot of that name, which nobody changed since, is replaced.

    Raises:
        LedgerError: no such round, or its masks are not whole in the history.
        ConfigError: a split that annoloop.yaml does not name, or a name that cannot be.
        DataError: a file cannot be read, or something is in the way.
    """
    if name is not None and out is not None:
        raise ConfigError("a name or a folder, not both", where="--out", hint="leave one of them out")
    if name is not None and not _NAME.fullmatch(name):
        hint = "letters, digits, '.', '_' and '-', not digits alone, which are a round, and not now"
        raise ConfigError(f"{name!r} cannot be the name of a snapshot", where="NAME", hint=hint)
    if out is None:
        project.require_writing("snapshot")
    else:
        out = out.resolve()
        require_outside(project, out)
    labels = labels_of(project, round_number, splits, track)
    files = _files(project, labels) if copy else {}
    digests = {path: version for path, (version, _) in files.items()}
    made = manifest_of(project, "snapshot", labels, digests)
    folder = snapshot_folder(project, name or _default_name(made)) if out is None else out
    is_new = not _is_there(folder, made)
    if is_new:
        delivery.require_free_folder(folder, force=force)
        with delivery.new_folder(folder) as part:
            for path, (digest, file) in track(files.items(), "copying masks", len(files)):
                stored = read_bytes(file)
                if sha256(stored) != digest:
                    raise DataError("was changed meanwhile", where=file, hint="run again")
                write_atomic(part / path, stored, durable=False)
            require_unchanged(project, labels)
            delivery.write_manifest(part / manifest.FILE_NAME, made)
    masks = sum(one is not None for one in labels.masks.values())
    return SnapshotReport(
        folder, folder / manifest.FILE_NAME, labels.name, len(labels.masks), masks, len(files), made.content_sha256,
        is_new, labels.gone, labels.edited, labels.edited_since,
    )  # fmt: skip


def snapshot_folder(project: ProjectFiles, name: str) -> Path:
    """Where a snapshot of a name lies, if there is one."""
    return project.state_dir / FOLDER / name


def mask_place_below_root(project: ProjectFiles, sample_id: str) -> str:
    """The path of a sample's mask below the data set's root."""
    split, _, stem = sample_id.partition("/")
    place = project.config.data.place(split)
    return f"{place.masks}/{place.mask_name(stem)}".removeprefix("./")


def _files(project: Project, labels: Labels) -> dict[str, tuple[str, Location]]:
    versions = ((name, one) for name, one in labels.masks.items() if one is not None)
    return {mask_place_below_root(project, name): (one.sha256, one.file) for name, one in versions}


def _default_name(made: Manifest) -> str:
    """Never digits alone, which would be a round."""
    return f"labels-{made.content_sha256[:_NAME_DIGITS]}"


def _is_there(folder: Path, made: Manifest) -> bool:
    """Whether a folder holds just this already."""
    file = folder / manifest.FILE_NAME
    if not file.is_file():
        return False
    there = manifest.read(file)
    if (there.content_sha256, dict(there.files)) != (made.content_sha256, dict(made.files)):
        return False
    hashes = delivery.hashes_below(folder, {manifest.FILE_NAME: "itself"})
    return {name: digest for name, digest in hashes.items() if name != manifest.FILE_NAME} == made.files
