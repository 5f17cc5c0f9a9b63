"""Where an export or a snapshot may go, and how it gets there: whole, and over nothing that somebody else made.

Knows manifests, not what they are of.  The fact to know: only what a manifest says that annoloop made, and what is
still as it made it, is ever replaced, and only with ``force``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from annoloop.data.durable import exchange, flush_disk, make_folder
from annoloop.data.images import file_sha256, unwritable, write_atomic
from annoloop.errors import DataError, some_of
from annoloop.loop.handover import manifest
from annoloop.loop.handover.manifest import Manifest

_SHOWN = 5
_ELSEWHERE = "choose another --out, or move it away"


def manifest_beside(file: Path) -> Path:
    """Where the manifest of a single file lies."""
    return file.with_name(f"{file.name}.{manifest.FILE_NAME}")


def require_free_folder(folder: Path, *, force: bool) -> None:
    """Raise unless a folder is new or empty, or with ``force`` one that annoloop made and nobody touched since.

    Raises:
        DataError: it is not; says what is in the way.
    """
    _require_folder_above(folder)
    if not folder.exists():
        return
    if not folder.is_dir():
        raise DataError("is a file, and a folder is to be written there", where=folder, hint=_ELSEWHERE)
    there = {path.relative_to(folder).as_posix() for path in _files_below(folder)}
    if not there and not any(folder.iterdir()):
        return
    if not (folder / manifest.FILE_NAME).is_file():
        raise DataError("is not empty, and annoloop did not make it", where=folder, hint=_ELSEWHERE)
    made = manifest.read(folder / manifest.FILE_NAME)
    if not force:
        raise DataError(
            f"is there already: {made.made}, {made.state}", where=folder, hint=f"--force replaces it; or {_ELSEWHERE}"
        )
    foreign = sorted(there - made.files.keys() - {manifest.FILE_NAME})
    edited = sorted(name for name in there & made.files.keys() if _is_other(folder / name, made.files[name]))
    if foreign or edited:
        faults = [("did not make", foreign), ("made otherwise", edited)]
        said = "; ".join(f"files that annoloop {what}: {some_of(names, _SHOWN)}" for what, names in faults if names)
        raise DataError(
            f"holds {said}", where=folder, hint="move them away; --force replaces only annoloop's own files"
        )


def require_free_file(file: Path, *, force: bool) -> None:
    """The same of a single file, whose manifest lies beside it.

    Raises:
        DataError: it is there and is not to be replaced.
    """
    _require_folder_above(file)
    beside = manifest_beside(file)
    if file.is_dir():
        raise DataError("is a folder, and a file is to be written there", where=file, hint="name a file in it")
    if not file.exists() and not beside.exists():
        return
    if not beside.is_file():
        raise DataError("is there already, and no manifest says that annoloop made it", where=file, hint=_ELSEWHERE)
    made = manifest.read(beside)
    if not force:
        raise DataError(
            f"is there already: {made.made}, {made.state}", where=file, hint=f"--force replaces it; or {_ELSEWHERE}"
        )
    if file.exists() and _is_other(file, made.files.get(file.name, "")):
        raise DataError("was changed since annoloop made it", where=file, hint=_ELSEWHERE)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to be filled, which takes its place when all is in it; if anything is raised, nothing is there.

    What was in its place is removed, so ``require_free_folder`` comes first.

    Raises:
        DataError: the disk is full, no permission.
    """
    part = _part_of(folder)
    try:
        make_folder(folder.parent)
        part.mkdir()
        yield part
        flush_disk(part)
        if folder.exists() and any(folder.iterdir()):
            if not exchange(part, folder):
                shutil.rmtree(folder)
                part.rename(folder)
        else:
            part.rename(folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def new_file(file: Path) -> Iterator[Path]:
    """A place to write a file at, which is then put where it belongs; if anything is raised, nothing is there.

    Raises:
        DataError: the disk is full, no permission.
    """
    part = _part_of(file)
    try:
        make_folder(file.parent)
        part.touch()
        part.unlink()
    except OSError as error:
        raise unwritable(file, error) from error
    try:
        yield part
        part.replace(file)
    except OSError as error:
        raise unwritable(file, error) from error
    finally:
        with suppress(FileNotFoundError):
            part.unlink()


def hashes_below(folder: Path, known: dict[str, str]) -> dict[str, str]:
    """The sha256 of every file below a folder, by its path in it; of those that are ``known`` nothing is read."""
    names = (path.relative_to(folder).as_posix() for path in _files_below(folder))
    return {name: known.get(name) or file_sha256(folder / name) for name in names}


def write_manifest(path: Path, made: Manifest) -> Path:
    """Write a manifest; returns its place."""
    write_atomic(path, manifest.render(made))
    return path


def _part_of(place: Path) -> Path:
    return place.with_name(f".annoloop-{uuid4().hex[:8]}.part")


def _require_folder_above(place: Path) -> None:
    """Raise where a place cannot be: its name is too long, or what should be a folder above it is none."""
    try:
        place.exists()
        above = next(one for one in place.parents if one.exists())
    except OSError as error:
        raise unwritable(place, error) from error
    if not above.is_dir():
        raise DataError(f"cannot be below {above}, which is a file", where=place, hint="choose another --out")


def _files_below(folder: Path) -> Iterator[Path]:
    for below, _, names in os.walk(folder):
        yield from (Path(below, name) for name in names)


def _is_other(file: Path, sha256: str) -> bool:
    """Whether a file was edited; a link holds nothing of its own that could be lost."""
    return not file.is_symlink() and file_sha256(file) != sha256
