"""The files below a folder by their names, on the local disk or in a store.

Names in, locations out; not here: what a name means (``mmseg_folders.py``).  The facts to know: a local folder is
looked at for every question, and that of a store is listed once, when it is first asked, because every
request takes its time; and hidden files, and what systems drop beside ours (``is_dropping``), are not there for us.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Protocol

from annoloop.data.storage import Location, RemotePath


class Folder(Protocol):
    """A folder; names are relative to it, with ``/`` between their parts."""

    @property
    def path(self) -> Location:
        """Where it is."""
        ...

    def below(self, name: str) -> Folder:
        """A folder in it, which need not be there."""
        ...

    def exists(self) -> bool:
        """Whether there is such a folder; in a store, whether there is anything below it."""
        ...

    def names(self) -> Iterator[str]:
        """All files below that people put there: nothing hidden, no droppings."""
        ...

    def at(self, name: str) -> Location:
        """Where a file of this name lies, or would lie."""
        ...

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        ...

    def finder(self, suffix: str, *, few: bool = False) -> Callable[[str], bool]:
        """Whether there is a file for a stem; ``few``: only few of the files below will be asked for."""
        ...


def folder(path: Location) -> Folder:
    """The folder at a path, which need not be there."""
    return _RemoteFolder(path) if isinstance(path, RemotePath) else _LocalFolder(path)


def stems(files: Folder, suffix: str) -> Iterator[str]:
    """The names of a folder's files of this suffix, without it."""
    return (name.removesuffix(suffix) for name in files.names() if name.endswith(suffix))


def tree(files: Folder) -> list[str]:
    """The names of all files below a folder, in order; also of those in folders that are links, each folder once."""
    if not isinstance(files.path, Path):
        return sorted(files.names())
    top, found, seen = str(files.path), [], {os.path.realpath(files.path)}
    for below, folders, names in os.walk(top, followlinks=True):
        folders[:] = [one for one in folders if not is_dropping(one) and _is_new(f"{below}/{one}", seen)]
        prefix = "" if below == top else f"{Path(below).relative_to(top).as_posix()}/"
        found += [prefix + name for name in names if not is_dropping(name)]
    return sorted(found)


def _is_new(folder: str, seen: set[str]) -> bool:
    if not Path(folder).is_symlink():
        return True
    place = os.path.realpath(folder)
    known = any(place == one or one.startswith(f"{place}/") for one in seen)
    seen.add(place)
    return not known


_DROPPINGS = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "__pycache__", "$recycle.bin", "@eadir"})
"""Files and folders, by their names in lower case, that file managers and others leave."""


def is_dropping(name: str) -> bool:
    """Whether a file or folder is hidden, or one that no person made: ``.DS_Store``, ``._a.jpg``, ``Thumbs.db``.

    >>> is_dropping(".ipynb_checkpoints"), is_dropping("Thumbs.db"), is_dropping("a.jpg")
    (True, True, False)
    """
    return name[:1] == "." or name.lower() in _DROPPINGS


class _LocalFolder:
    def __init__(self, path: Path) -> None:
        self.path = path

    def below(self, name: str) -> Folder:
        return _LocalFolder(self.path / name)

    def exists(self) -> bool:
        return self.path.is_dir()

    def names(self) -> Iterator[str]:
        for below, folders, names in os.walk(self.path):  # many times faster than rglob, a Path of everything
            folders[:] = [name for name in folders if not is_dropping(name)]
            prefix = "" if below == str(self.path) else f"{Path(below).relative_to(self.path).as_posix()}/"
            yield from (f"{prefix}{name}" for name in names if not is_dropping(name))

    def at(self, name: str) -> Path:
        return Path(f"{self.path}/{name}")  # joined as text: for a million files / would take seconds more

    def has(self, name: str) -> bool:
        return self.at(name).is_file()

    def finder(self, suffix: str, *, few: bool = False) -> Callable[[str], bool]:
        """The names of the whole folder are read at once, many times faster than a look at each file.

        Only what is not among them, as in a folder that is a link, is looked for by itself.
        """
        found = set() if few else set(_stems_of_files(str(self.path), suffix))
        return lambda stem: stem in found or Path(f"{self.path}/{stem}{suffix}").is_file()


class _RemoteFolder:
    def __init__(self, path: RemotePath) -> None:
        self.path = path

    @cached_property
    def _found(self) -> dict[str, RemotePath]:
        return {name: at for name, at in self.path.found().items() if not any(map(is_dropping, name.split("/")))}

    def below(self, name: str) -> Folder:
        inner = _RemoteFolder(self.path / name)
        start = f"{name}/"
        inner._found = {file.removeprefix(start): at for file, at in self._found.items() if file.startswith(start)}
        return inner

    def exists(self) -> bool:
        return bool(self._found)

    def names(self) -> Iterator[str]:
        return iter(self._found)

    def at(self, name: str) -> RemotePath:
        return self._found.get(name) or self.path / name

    def has(self, name: str) -> bool:
        return name in self._found

    def finder(self, suffix: str, *, few: bool = False) -> Callable[[str], bool]:  # noqa: ARG002 - a listing has all
        return lambda stem: f"{stem}{suffix}" in self._found


def _stems_of_files(path: str, suffix: str, prefix: str = "") -> Iterator[str]:
    """Relative stems of the files below a folder that can be opened; of none if there is no such folder."""
    with suppress(OSError), os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if not is_dropping(entry.name):
                    yield from _stems_of_files(entry.path, suffix, f"{prefix}{entry.name}/")
            elif entry.name.endswith(suffix) and entry.name[0] != "." and entry.is_file():
                yield prefix + entry.name.removesuffix(suffix)
