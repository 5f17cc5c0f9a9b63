"""Files and folders so that a power cut takes nothing back: flushed, exchanged in one step, opened without waiting.

Not here: what the files hold; what goes wrong leaves as OSError, which ``images.py`` puts into words.  The fact to
know: a file that was flushed may still be gone after a power cut, until the folder that names it is flushed too.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import tempfile
from contextlib import suppress
from functools import cache
from io import FileIO
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
"""Of renameat2(2), Linux."""

_CANNOT = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM)
"""What file systems answer that know nothing of what they are asked for."""


def open_regular(path: Path) -> FileIO:
    """A file to be read, unbuffered; never waits for the other end of a pipe, nor for a device.

    Raises:
        OSError: there is none, or it is a folder, a pipe, a socket or a device.
    """
    _require_regular(path.stat().st_mode)  # before it is opened: to open a device may do something
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _require_regular(os.fstat(handle).st_mode)
        return os.fdopen(handle, "rb", buffering=0)
    except BaseException:
        os.close(handle)
        raise


def _require_regular(mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    kinds = (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket")
    kind = next((name for is_it, name in kinds if is_it(mode)), "a device")
    raise OSError(f"it is {kind}, no file")


def real(path: Path) -> Path:
    """The file that a link stands for, so that writing leaves the link; anything else as it is."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing; they are there after a power cut, too."""
    missing = []
    above = folder
    while not above.exists():
        missing.append(above)
        above = above.parent
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        flush_folder(made.parent)


def flush_file(path: Path) -> None:
    """What another library wrote to a file stays there after a power cut."""
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def flush_folder(folder: Path) -> None:
    """What was put into a folder, renamed there or removed from it stays so after a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
    finally:
        os.close(handle)


def flush_disk(folder: Path) -> None:
    """All that was written to the file system of a folder, at once: for many files much quicker than one by one."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        syncfs = getattr(_libc(), "syncfs", None)
        if syncfs is None:
            os.sync()
        elif syncfs(handle) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
    finally:
        os.close(handle)


def stage(path: Path, data: bytes) -> Path:
    """The bytes in a file of their own beside ``path``, flushed, to be put into its place by a rename."""
    make_folder(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    staged = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        staged.chmod(stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    return staged


def exchange(one: Path, other: Path) -> bool:
    """Let two files change places in one step; False where the system or the file system cannot.

    Raises:
        OSError: one of them is not there, or may not be moved.
    """
    renameat2 = getattr(_libc(), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT:
        return False
    raise OSError(number, os.strerror(number), str(other))


@cache
def _libc() -> ctypes.CDLL | None:
    with suppress(OSError):
        return ctypes.CDLL(None, use_errno=True)
    return None
