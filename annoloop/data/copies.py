"""Local copies of objects, for those who need files: the training process, FiftyOne's App, an upload to CVAT.

Not here: who needs them.  The fact to know: beside each copy stands the stamp of what it is a copy of, written last;
a copy without it, or with another, is fetched again, and the whole folder may be deleted at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from annoloop.data.images import file_sha256, read_bytes, remove, unreadable, write_atomic
from annoloop.data.storage import Location, RemotePath, side_by_side
from annoloop.progress import Track, silent


@dataclass(frozen=True, slots=True)
class Copies:
    """Copies of what lies below ``root``, under the same names below ``folder``; none if it is a local one."""

    root: Location
    folder: Path

    def fetched(self, places: Sequence[Location], track: Track = silent) -> list[Path]:
        """A local file for every place: itself, or its copy, which is brought up to date.

        Raises:
            DataError: there is no such object, or the disk is full.
            StoreError: the store refuses, or cannot be reached.
        """
        remote = [place for place in places if isinstance(place, RemotePath)]
        if remote:
            for _ in track(side_by_side(self._fetch, remote), "fetching files", len(remote)):
                pass
        return [self._copy(place) if isinstance(place, RemotePath) else place for place in places]

    def file_sha256(self, place: Location) -> str:
        """SHA-256 of a file's bytes, of its copy where that is up to date.

        Raises:
            DataError: it cannot be read.
        """
        return file_sha256((self._fresh(place) if isinstance(place, RemotePath) else None) or place)

    def _copy(self, place: RemotePath) -> Path:
        return self.folder / place.url.removeprefix(f"{self.root}/")

    def _fresh(self, place: RemotePath) -> Path | None:
        """The copy of an object if it is up to date."""
        copy = self._copy(place)
        try:
            up_to_date = _stamp_file(copy).read_text(encoding="utf-8") == _version(place) and copy.is_file()
        except OSError:
            return None
        return copy if up_to_date else None

    def _fetch(self, place: RemotePath) -> None:
        copy = self._copy(place)
        try:
            stamped = RemotePath(place.url, place.stamp())  # before it is read: if it changes, that is seen next time
        except FileNotFoundError as error:
            raise unreadable(place, error) from error
        if self._fresh(stamped) is None:
            remove(_stamp_file(copy))
            write_atomic(copy, read_bytes(place))
            write_atomic(_stamp_file(copy), _version(stamped).encode(), durable=False)


@contextmanager
def on_disk_meanwhile(place: Location) -> Iterator[Path]:
    """A local file of a place: itself, or a copy that is gone afterwards; where there is no object there is no copy.

    Raises:
        StoreError: the store refuses, or cannot be reached.
    """
    if isinstance(place, Path):
        yield place
        return
    with TemporaryDirectory(prefix="annoloop-") as folder:
        copy = Path(folder) / place.name
        with suppress(FileNotFoundError):
            place.get(copy)
        yield copy


def _version(place: RemotePath) -> str:
    return f"{place}\n{place.stamp()}"


def _stamp_file(copy: Path) -> Path:
    return copy.with_name(f"{copy.name}.stamp")
