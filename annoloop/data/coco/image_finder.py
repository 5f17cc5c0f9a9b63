"""Which image a path in somebody else's file means, found by the tail of the path.

Names only; nothing is opened.  The fact to know: the longest tail that some image has decides, and where several have
it, none is meant.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property
from pathlib import PurePosixPath

from annoloop.data.folders import Folder


class ImageFinder:
    """The files of a folder by the parts of their paths."""

    def __init__(self, files: Folder) -> None:
        self._files = files

    def find(self, path: str) -> str | tuple[str, ...] | None:
        """The relative name of the file that a path means; None for none, several where it is not clear which.

        ``path`` has ``/`` between its parts, and may be relative or absolute, with a drive or without.
        """
        parts = tuple(part for part in path.split("/") if part not in ("", ".", ".."))
        if not parts:
            return None
        if path == "/".join(parts) and self._files.has(path):
            return path
        alike = self._by_name.get(parts[-1], ())
        for length in range(len(parts), 0, -1):
            tail = parts[-length:]
            found = [one for one in alike if one.parts[-length:] == tail]
            exact = [one for one in found if len(one.parts) == length]
            if len(found) == 1 or exact:
                return str((exact or found)[0])
            if found:
                return tuple(sorted(map(str, found)))
        return None

    @cached_property
    def _by_name(self) -> dict[str, list[PurePosixPath]]:
        found: dict[str, list[PurePosixPath]] = defaultdict(list)
        for name in self._files.names():
            path = PurePosixPath(name)
            found[path.name].append(path)
        return found
