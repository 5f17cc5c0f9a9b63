"""Files that are to be predicted, on this machine: as they are, fetched from a store, or frames out of a video.

Not here: what is done with them.  The fact to know: what is here already is one portion, for each costs a start of the
network; what has to come here comes in portions that are removed again, so that the disk need not hold all of it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from annoloop.data.images import unwritable
from annoloop.data.storage import Location, RemotePath, side_by_side
from annoloop.data.videos import frames_to_files, video_facts
from annoloop.errors import DataError
from annoloop.loop.prediction.results import Fault, IsDone, Item, Results, stamp
from annoloop.loop.prediction.sources import Named
from annoloop.progress import Track

_FETCHED = 500
_FRAMES_BYTES = 1 << 32
_MOST_FRAMES = 5000


@dataclass(frozen=True, slots=True)
class Ready:
    """An image to predict, what changes with it (``results.stamp``), and a local file of it."""

    item: Item
    seen: str
    local: Path


class Portions:
    """Walks through what was named; ``there`` are the images whose results are there."""

    def __init__(self, results: Results, every: int, is_done: IsDone, fault: Fault, track: Track) -> None:
        self._results, self._every, self._is_done, self._fault, self._track = results, every, is_done, fault, track
        self.there: list[Item] = []
        self._order: dict[str, int] = {}

    def of(self, named: Sequence[Named]) -> Iterator[list[Ready]]:
        """All that lacks results, ready to be predicted; a portion's files may be gone when the next one comes."""
        self._order = {str(one.place): number for number, one in enumerate(named)}
        lacking = list(self.lacking(named))
        here = [Ready(item, seen, item.place.absolute()) for item, seen in lacking if isinstance(item.place, Path)]
        if here:
            yield here
        elsewhere = iter([(item, seen) for item, seen in lacking if isinstance(item.place, RemotePath)])
        while some := list(islice(elsewhere, _FETCHED)):
            with _emptied(self._results.scratch / "fetched") as folder:
                yield self._fetched(some, folder)
        videos = [one for one in named if one.is_video]
        frames = self._frames(videos, self._results.scratch.absolute() / "frames")
        while True:
            with _emptied(self._results.scratch / "frames"):
                several = list(self._track(_no_larger(frames), f"reading frames of {len(videos)} videos"))
                if not several:
                    return
                yield several

    def in_order(self) -> list[Item]:
        """The images with results in the order in which they, or their videos, were named."""
        return sorted(self.there, key=lambda item: (self._order.get(str(item.place), 0), item.frame or 0))

    def lacking(self, named: Iterable[Named]) -> Iterator[tuple[Item, str]]:
        """The images, not the videos, without results, and what changes with them."""
        for one in named:
            if one.is_video:
                continue
            item = Item(one.name, one.place)
            seen = self._stamp(one.place)
            if seen is not None and self._is_done(item, seen):
                self.there.append(item)
            elif seen is not None:
                yield item, seen

    def frames_of(self, videos: Iterable[Named]) -> int:
        """How many frames would be predicted, as far as videos on this machine say how long they are."""
        frames = 0
        for one in videos:
            if isinstance(one.place, Path):
                try:
                    frames += -(-video_facts(one.place).frames // self._every)
                except DataError as error:
                    self._fault(one.place, error.message)
        return frames

    def _stamp(self, place: Location) -> str | None:
        try:
            return stamp(place)
        except FileNotFoundError:
            self._fault(place, "file is missing")
        except OSError as error:
            self._fault(place, f"cannot be read ({error.strerror or error})")
        return None

    def _fetched(self, some: Sequence[tuple[Item, str]], folder: Path) -> list[Ready]:
        def fetch(numbered: tuple[int, tuple[Item, str]]) -> Ready | None:
            number, (item, seen) = numbered
            assert isinstance(item.place, RemotePath)
            local = folder / f"{number:06d}{Path(item.place.name).suffix}"
            try:
                item.place.get(local)
            except FileNotFoundError:
                self._fault(item.place, "file is missing")
                return None
            return Ready(item, seen, local)

        fetched = self._track(side_by_side(fetch, enumerate(some)), "fetching images", len(some))
        return [one for one in fetched if one is not None]

    def _frames(self, videos: Sequence[Named], folder: Path) -> Iterator[Ready]:
        """The frames of all videos that lack results, each when its file is in the folder."""
        for number, one in enumerate(videos):
            seen = self._stamp(one.place)
            if seen is None:
                continue
            with _emptied(self._results.scratch / "video") as beside:
                local = beside / one.place.name if isinstance(one.place, RemotePath) else one.place
                try:
                    if isinstance(one.place, RemotePath):
                        with suppress(FileNotFoundError):  # then it is missing where it is read
                            one.place.get(local)
                    yield from self._frames_of(one, local, seen, folder / str(number))
                except DataError as error:
                    self._fault(one.place, error.message)

    def _frames_of(self, video: Named, local: Path, seen: str, folder: Path) -> Iterator[Ready]:
        def item(number: int) -> Item:
            return Item(f"{video.name}/{number:06d}", video.place, number)

        def wanted(number: int) -> bool:
            done = self._is_done(item(number), seen)
            if done:
                self.there.append(item(number))
            return not done

        for number, frame in frames_to_files(local, self._every, wanted, folder):
            yield Ready(item(number), seen, frame)


def _no_larger(frames: Iterator[Ready]) -> Iterator[Ready]:
    """The next frames, as many as the disk may have to hold at a time."""
    room = _FRAMES_BYTES
    for one in islice(frames, _MOST_FRAMES):
        yield one
        room -= one.local.stat().st_size
        if room < 0:
            return


@contextmanager
def _emptied(folder: Path) -> Iterator[Path]:
    """A new folder that is gone afterwards."""
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
