"""The error tree: every failure that annoloop foresees, one exit code per branch.

    AnnoloopError
    ├── ConfigError        3   annoloop.yaml, project folder, credentials that are missing
    ├── DataError          4   images, masks, COCO files
    │   ├── ColourMaskError  4   a mask with colours instead of class indices
    │   └── NothingToPushError  4   no image or region is left that fits what was asked for
    ├── LedgerError        5   .annoloop/ledger.db and the mask history
    ├── CvatError          6   the server said no, or could not be reached
    ├── TrainingError      7   the training process failed
    │   └── OutOfMemoryError  7   not even half of the batch fits
    ├── MissingPackageError  8   what a recipe needs is not installed
    │   └── MissingExtraError  8   an optional part of annoloop is not installed
    ├── GateError          9   a check that was asked for did not pass
    ├── StoreError        10   an object store said no, or could not be reached
    ├── FileError         74   a file or a stream cannot be read or written: no room, no permission
    └── Interrupted      130   ^C; what was finished is kept

An error says what happened, where, and what to do next; ``main.py`` alone catches them.
"""

from __future__ import annotations

import difflib
import errno
import json
from collections.abc import Iterable
from importlib import metadata


def meant(word: str, known: Iterable[str]) -> str:
    """A question to put behind an error about an unknown name; empty where nothing known comes near.

    >>> meant("inclusoin", ["background", "inclusion"])
    "; did you mean 'inclusion'?"
    """
    near = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def some_of(names: Iterable[str], most: int) -> str:
    """The first ``most`` names and how many more there are; empty for none.

    >>> some_of("abcd", 3)
    'a, b, c and 1 more'
    """
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def install_command(extra: str) -> str:
    """What installs an optional part, from where annoloop itself was installed: a folder, a repository, or an index.

    Source of ``direct_url.json``: PEP 610.
    """
    try:
        told = json.loads(metadata.distribution("annoloop").read_text("direct_url.json") or "{}")
    except (metadata.PackageNotFoundError, ValueError):
        told = {}
    url = str(told.get("url", ""))
    if "dir_info" in told and url.startswith("file://"):
        return f"pip install '{url.removeprefix('file://')}[{extra}]'"
    if "vcs_info" in told:
        commit = told["vcs_info"].get("commit_id")
        return f"pip install 'annoloop[{extra}] @ {told['vcs_info']['vcs']}+{url}{f'@{commit}' if commit else ''}'"
    if url:
        return f"pip install 'annoloop[{extra}] @ {url}'"
    return f"pip install '.[{extra}]' in a clone of annoloop"


class AnnoloopError(Exception):
    """What went wrong, where (file, key, frame, URL) and what to do about it."""

    exit_code = 70
    after_result = False
    """Whether a result was printed already: with ``--json`` nothing may follow it on stdout."""

    def __init__(self, message: str, *, where: object = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = None if where is None else str(where)
        self.hint = hint

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f"\n  hint: {self.hint}" if self.hint else ""
        return f"{place}{self.message}{advice}"


class ConfigError(AnnoloopError):
    """annoloop.yaml, the project folder or the credentials are not usable."""

    exit_code = 3


class DataError(AnnoloopError):
    """An image, a mask or a COCO file is not what it must be."""

    exit_code = 4


class ColourMaskError(DataError):
    """A mask holds colours, transparency or 16-bit values instead of 8-bit class indices."""


class NothingToPushError(DataError):
    """No image or region is left that fits what was asked for: all are pushed, corrected or answered."""


class LedgerError(AnnoloopError):
    """The ledger or the mask history cannot be read, written or trusted."""

    exit_code = 5


class CvatError(AnnoloopError):
    """The CVAT server refused, failed or could not be reached; ``status`` is its HTTP status.

    ``transient``: it may work the next time, and whether this time had an effect is not known;
    ``retry_after_s``: how long the server asks to wait; ``unreached``: nobody listens there at all.
    """

    exit_code = 6

    def __init__(
        self,
        message: str,
        *,
        where: object = None,
        hint: str | None = None,
        status: int | None = None,
        transient: bool = False,
        retry_after_s: float | None = None,
        unreached: bool = False,
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.status = status
        self.transient = transient
        self.retry_after_s = retry_after_s
        self.unreached = unreached


class TrainingError(AnnoloopError):
    """The training process failed or left no result."""

    exit_code = 7


class OutOfMemoryError(TrainingError):
    """The training process wanted more memory than there is, with batches of ``batch_size`` images; 0: before any."""

    def __init__(self, message: str, batch_size: int, *, where: object = None, hint: str | None = None) -> None:
        super().__init__(message, where=where, hint=hint)
        self.args = (message, batch_size)  # of which it is made anew behind a process border
        self.batch_size = batch_size


class MissingPackageError(AnnoloopError):
    """A package that the work needs is not installed; ``hint`` says how to get it."""

    exit_code = 8

    def __init__(self, package: str, hint: str, *, where: object = None) -> None:
        super().__init__(f"{package} is not installed", where=where, hint=hint)
        self.args = (package, hint)  # as above


class MissingExtraError(MissingPackageError):
    """An optional part is not installed; names the pip extra that brings it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(package, install_command(extra))
        self.args = (package, extra)  # as above
        self.extra = extra


class GateError(AnnoloopError):
    """A check that the user asked for did not pass."""

    exit_code = 9


class StoreError(AnnoloopError):
    """An object store refused, or could not be reached: no fault of one file, and the next would fare no better."""

    exit_code = 10


class FileError(AnnoloopError):
    """The system refused a file or a stream: no room, no permission, nobody who reads it."""

    exit_code = 74


class Interrupted(AnnoloopError):
    """The user pressed ^C; the message says what was kept."""

    exit_code = 130


def file_error(error: OSError) -> FileError:
    """What the system refused, in our words, and what to do about it."""
    where = error.filename if error.filename is not None else "standard output or a file"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return FileError("no room left", where=where, hint="make room, then the same command goes on")
    hint = "is it yours to read and write?" if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else None
    return FileError(str(error.strerror or error), where=where, hint=hint)


def check_argument(name: str, value: object, fits: bool, allowed: str) -> None:
    """Refuse a value that cannot be, before anything is done.

    Raises:
        ConfigError: it does not fit; says what is allowed.
    """
    if not fits:
        raise ConfigError(f"{value!r} is not {allowed}", where=name)
