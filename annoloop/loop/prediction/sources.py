"""What people name to have it predicted: folders, images, videos, patterns, lists, URLs; and how results are called.

Not here: what the files hold.  The fact to know: a result has the name of its image without the suffix, relative to
the folder that was named, or to the deepest one that holds all that was; two that would get the same keep their suffix.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from annoloop.data.folders import folder, tree
from annoloop.data.images import IMAGE_SUFFIXES, read_bytes
from annoloop.data.storage import Location, RemotePath, location
from annoloop.data.videos import VIDEO_SUFFIXES
from annoloop.errors import DataError, some_of

_LISTS = (".txt", ".lst", ".list")
_MAGIC = re.compile(r"[*?[]")
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Named:
    """An image or a video, and what the results of it are called: parts divided by "/", without a suffix."""

    name: str
    place: Location
    is_video: bool = False


@dataclass(frozen=True, slots=True)
class Sources:
    """All that was named, in the order of naming, each file once; ``notes`` says what was left out."""

    found: tuple[Named, ...]
    folders: tuple[Location, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Source:
    """The files that one path stands for, and the folder that their names are relative to."""

    base: str
    files: tuple[Location, ...]
    folder: Location | None = None
    left_out: tuple[str, ...] = ()


IsMask = Callable[[Location], bool]
"""Whether a file is a mask of the data set, which nobody wants to have predicted who names a folder of both."""


def sources(paths: Sequence[Location], is_mask: IsMask = lambda _: False) -> Sources:
    """Find the images and videos of folders, files, patterns, list files, and their like in a store.

    What a list names need not be there: that is found out when it is read.  Masks are left out of folders and patterns;
    one that is named itself is an image.

    Raises:
        DataError: nothing there; names every path of which that is so.
        StoreError: the store refuses, or cannot be reached.
    """
    found, faults = [], []
    for path in paths:
        try:
            found.append(_source(path, is_mask))
        except DataError as error:
            faults.append(error)
    if len(faults) == 1:
        raise faults[0]
    if faults:
        said = "".join(f"\n  {fault.where}: {fault.message}" for fault in faults)
        raise DataError(f"{len(faults)} of what was named cannot be used:{said}", hint=faults[0].hint)
    files = {address(file): file for one in found for file in one.files}
    base = _common([one.base for one in found])
    return Sources(
        tuple(_named(files, base)),
        tuple(one.folder for one in found if one.folder is not None),
        tuple(note for one in found for note in one.left_out),
    )


def _source(path: Location, is_mask: IsMask) -> _Source:
    if isinstance(path, RemotePath):
        return _remote(path, is_mask)
    if path.is_dir():
        return _folder(path, is_mask)
    if path.suffix.lower() in _LISTS and path.is_file():
        return _list(path)
    if path.exists():
        return _Source(address(path.parent), (path,))
    if _MAGIC.search(str(path)):
        return _pattern(path, is_mask)
    hint = "a folder, an image, a video, a pattern in quotes, or a list in a .txt"
    raise DataError("there is no such file or folder", where=path, hint=hint)


def _folder(path: Location, is_mask: IsMask) -> _Source:
    """All images below; videos are long, so they are predicted where they were named."""
    files = folder(path)
    names = tree(files)
    videos = [name for name in names if name.lower().endswith(VIDEO_SUFFIXES)]
    images, notes = _without_masks([files.at(n) for n in names if n.lower().endswith(IMAGE_SUFFIXES)], path, is_mask)
    if videos:
        notes += (f"{len(videos)} videos in {path} are left out: {some_of(videos, 2)}; name those that you want",)
    if not images:
        raise DataError(f"holds no image{_seen(names)}", where=path, hint=f"images end in {', '.join(IMAGE_SUFFIXES)}")
    return _Source(address(path), images, path, notes)


def _without_masks(
    files: Sequence[Location], path: Location, is_mask: IsMask
) -> tuple[tuple[Location, ...], tuple[str, ...]]:
    """The files that are no masks, and a word on those that are."""
    images = tuple(file for file in files if not is_mask(file))
    masks = len(files) - len(images)
    return images, ((f"{masks} masks of the data set in {path} are left out",) if masks else ())


def _seen(names: Iterable[str]) -> str:
    """What is there in place of images: ", but 3 .mp4, 1 .csv"."""
    counts = Counter(PurePosixPath(name).suffix.lower() or "without suffix" for name in names)
    return f", but {some_of((f'{count} {suffix}' for suffix, count in counts.most_common()), 3)}" if counts else ""


def _pattern(path: Path, is_mask: IsMask) -> _Source:
    base = _above_magic(str(path))
    found = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 - Path.glob takes no whole pattern
    fitting = [one for one in map(Path, found) if one.is_file() and _is_known(one.name)]
    files, notes = _without_masks(fitting, path, is_mask)
    if not files:
        raise DataError("no image or video fits this pattern", where=path, hint="** stands for folders of any depth")
    return _Source(address(Path(base)), files, left_out=notes)


def _list(path: Path) -> _Source:
    """A path or URL a line, relative to the list or to the working folder; blank lines and # comments do not count."""
    lines = (line.strip() for line in read_bytes(path).decode("utf-8-sig", "surrogateescape").splitlines())
    entries = [line for line in lines if line and not line.startswith("#")]
    if not entries:
        raise DataError("this list names nothing", where=path, hint="a path or URL a line")
    files = tuple(_listed(entry, path.parent) for entry in entries)
    return _Source(_common([_above(address(file)) for file in files]), files)


def _listed(entry: str, beside: Path) -> Location:
    place = location(entry)
    if isinstance(place, RemotePath):
        return place
    return place if not (beside / place).exists() and place.exists() else beside / place


def _remote(path: RemotePath, is_mask: IsMask) -> _Source:
    if _MAGIC.search(path.url):
        top = RemotePath(_above_magic(path.url))
        rule = path.url.removeprefix(f"{top.url}/")
        found = top.found().items()
        fitting = [at for name, at in sorted(found) if fnmatch.fnmatchcase(name, rule) and _is_known(name)]
        files, notes = _without_masks(fitting, path, is_mask)
        if not files:
            raise DataError("no image or video fits this pattern", where=path)
        return _Source(top.url, files, left_out=notes)
    if path.is_file():
        return _Source(_above(path.url), (path,))
    if _is_known(path.name):
        raise DataError("there is no such object", where=path)
    return _folder(path, is_mask)


def _is_known(name: str) -> bool:
    return name.lower().endswith((*IMAGE_SUFFIXES, *VIDEO_SUFFIXES))


def _above_magic(pattern: str) -> str:
    """The folders before the first part that stands for several."""
    parts = pattern.split("/")
    first = next(number for number, part in enumerate(parts) if _MAGIC.search(part))
    return "/".join(parts[:first]) or ("/" if pattern.startswith("/") else ".")


def address(place: Location) -> str:
    """A place as text that is the same however it was written; links stay as they are."""
    return place.url if isinstance(place, RemotePath) else os.path.abspath(place)  # noqa: PTH100 - resolve() follows links


def _above(text: str) -> str:
    return text.rpartition("/")[0] or "/"


def _common(folders: Sequence[str]) -> str:
    """The deepest folder that holds all of them."""
    parts = [one.rstrip("/").split("/") for one in folders]
    same = 0
    for column in zip(*parts, strict=False):
        if len(set(column)) > 1:
            break
        same += 1
    return "/".join(parts[0][:same])


def _named(files: dict[str, Location], base: str) -> list[Named]:
    short = {text: PurePosixPath(text.removeprefix(base).lstrip("/")) for text in files}
    stems = Counter(str(name.with_suffix("")) for name in short.values())
    named, taken = [], Counter[str]()
    for text, place in files.items():
        is_video = text.lower().endswith(VIDEO_SUFFIXES)
        name = short[text].with_suffix("")
        shown = str(short[text] if stems[str(name)] > 1 else name)
        taken[shown] += 1
        named.append(Named(shown, place, is_video))
    _refuse_same(named, taken)
    return named


def _refuse_same(named: Sequence[Named], taken: Counter[str]) -> None:
    """Frames are below a folder that is called as their video, so an image in such a folder is in the way, too."""
    videos = {one.name for one in named if one.is_video}
    below = [one for one in named if videos and videos.intersection(map(str, PurePosixPath(one.name).parents))]
    same = [*(one for one in named if taken[one.name] > 1), *below]
    if same:
        raise DataError(
            f"{len(same)} files would get results of the same names: {some_of((str(s.place) for s in same), _SHOWN)}",
            where=same[0].name,
            hint="predict them into several folders",
        )
