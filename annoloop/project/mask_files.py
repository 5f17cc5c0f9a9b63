"""One mask in the working tree replaced or removed, as a row of the ledger says, without losing anybody's edit.

Not here: which rows are open (``project.py``).  The facts to know: the new file and the old one change places in one
step, and what comes out is compared with what was expected, so that a save by another program at the last moment is
seen; and a process may be killed between any two lines, so what lies beside a mask may be somebody's bytes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from annoloop.data import durable
from annoloop.data.images import partial_files, read_bytes, remove, sha256, unwritable, write_atomic
from annoloop.data.storage import RemotePath
from annoloop.errors import DataError
from annoloop.project.files import ProjectFiles
from annoloop.project.rows import MaskChange

Outcome = Literal["written", "removed", "conflict", "as it should be"]


def put_in_place(files: ProjectFiles, change: MaskChange) -> Outcome:
    """Do a change, or what is left of it; a mask that somebody edited meanwhile stays, and is a conflict.

    Raises:
        DataError: the data are not there, the disk is full, no permission.
        LedgerError: the new version is not in the history.
        StoreError: the store refuses, or cannot be reached.
    """
    place = files.mask_path(change.sample_id)
    if isinstance(place, RemotePath):
        return _put_in_store(files, place, change)
    path = durable.real(place)
    try:
        return _put_on_disk(files, path, change)
    except OSError as error:
        raise unwritable(path, error) from error


def _put_in_store(files: ProjectFiles, place: RemotePath, change: MaskChange) -> Outcome:
    stored = files.mask_sha256(change.sample_id)
    if stored is None:
        _require_data(files, place, change)
    if stored not in (change.old_sha256, change.new_sha256):
        return "conflict"
    if change.new_sha256 is None:
        return "removed" if remove(place) else "as it should be"
    if stored == change.new_sha256:
        return "as it should be"
    write_atomic(place, files.object_bytes(change.new_sha256))
    return "written"


def _put_on_disk(files: ProjectFiles, path: Path, change: MaskChange) -> Outcome:
    if _bring_back(files, path, change):
        return "conflict"
    on_disk = files.mask_sha256(change.sample_id)
    if on_disk is None:
        _require_data(files, path, change)
    if on_disk not in (change.old_sha256, change.new_sha256):
        return "conflict"
    if on_disk == change.new_sha256:
        durable.flush_folder(_nearest(path.parent))  # whoever put it there may have been killed just before
        return "as it should be"
    if change.new_sha256 is None:
        assert on_disk is not None, "or it would be as it should be"
        return "removed" if _take_away(files, path, on_disk) else "conflict"
    new = files.object_bytes(change.new_sha256)
    done = _put_first(path, new) if on_disk is None else _put_over(files, path, new, on_disk)
    return "written" if done else "conflict"


def _require_data(files: ProjectFiles, path: Path | RemotePath, change: MaskChange) -> None:
    """Where a mask is missing: raise unless that is how the change found it, or is to leave it."""
    was_there = change.old_sha256 is not None and change.new_sha256 is not None
    has_folder = isinstance(path, RemotePath) or change.old_sha256 is None or path.parent.is_dir()
    if was_there or not has_folder or not files.image_path(change.sample_id).exists():
        raise DataError(
            f"the mask of {change.sample_id} is not there, or the data are not: nothing was done about it",
            where=path,
            hint="mount the disk or bring the data back; a mask that you deleted: put any file there, which counts as"
            " your edit, and delete it once this change is done",
        )


def _nearest(folder: Path) -> Path:
    return next(one for one in (folder, *folder.parents) if one.is_dir())


# one step, and a look at what came out


def _put_first(path: Path, new: bytes) -> bool:
    """Put a mask where none is; False where another program was quicker."""
    staged = durable.stage(path, new)
    try:
        os.link(staged, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        if path.exists():
            return False
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)
        durable.flush_folder(path.parent)
    return True


def _put_over(files: ProjectFiles, path: Path, new: bytes, expected: str) -> bool:
    """Replace a mask; False where another program saved it in between: its bytes stay, and go into the history."""
    staged = durable.stage(path, new)
    try:
        if not durable.exchange(staged, path):
            return _replace_after_a_look(files, path, staged, expected)
        if sha256(read_bytes(staged)) == expected:
            return True
        _give_back(files, path, staged, new)
        return False
    finally:
        durable.flush_folder(path.parent)  # what is in place stays so, before the other one goes
        staged.unlink(missing_ok=True)
        durable.flush_folder(path.parent)


def _give_back(files: ProjectFiles, path: Path, staged: Path, new: bytes) -> None:
    """Put a save of another program back into its place; one that came while we did so is newer, and wins."""
    files.keep_object(read_bytes(staged))
    durable.exchange(staged, path)
    newest = read_bytes(staged)
    if newest != new:
        files.keep_object(newest)
        durable.exchange(staged, path)


def _replace_after_a_look(files: ProjectFiles, path: Path, staged: Path, expected: str) -> bool:
    """For file systems where files cannot change places."""
    data = read_bytes(path)
    if sha256(data) != expected:
        files.keep_object(data)
        return False
    staged.replace(path)
    return True


def _take_away(files: ProjectFiles, path: Path, expected: str) -> bool:
    """Remove a mask; False where another program saved it in between."""
    aside = durable.stage(path, b"")
    path.replace(aside)
    taken = read_bytes(aside)
    if sha256(taken) != expected:
        files.keep_object(taken)
        _put_first(path, taken)
    durable.flush_folder(path.parent)
    aside.unlink()
    durable.flush_folder(path.parent)
    return sha256(taken) == expected


def _bring_back(files: ProjectFiles, path: Path, change: MaskChange) -> bool:
    """Clear away what a killed process left beside a mask; True where that is a save of another program.

    It came out when the files changed places, and there was no time to put it back.
    """
    found = False
    for rest in partial_files(path):
        data = read_bytes(rest)
        if not _is_ours(files, data, change):
            files.keep_object(data)
            if files.mask_sha256(change.sample_id) in (change.new_sha256, None):
                rest.replace(path)
                found = True
        rest.unlink(missing_ok=True)
        durable.flush_folder(path.parent)
    return found


def _is_ours(files: ProjectFiles, data: bytes, change: MaskChange) -> bool:
    """Whether bytes are of this change, or the beginning of what it writes."""
    if not data or sha256(data) in (change.old_sha256, change.new_sha256):
        return True
    return change.new_sha256 is not None and files.object_bytes(change.new_sha256).startswith(data)
