"""A COCO instances file, written image by image, and what of it may be kept when it is written again.

Not here: what an annotation holds (``instances.py``).  The facts to know: memory is flat however many images there are;
the annotations come first in the file, as they come, one a line; the images, which are small, wait in a temporary
file and follow, each with the sha256 of its mask; and the file ends with the sha256 of all before, so that one that
was changed by hand is known.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from annoloop.data.coco import instances
from annoloop.data.images import open_atomic, partial_files, remove
from annoloop.data.storage import Location
from annoloop.masks.classes import ClassTable

_KEPT_IN_MEMORY = 1 << 24
_BLOCK = 1 << 16
_IMAGES = b'], "images": [\n'
_LAST = '], "sha256": "{}"}}'


class CocoWriter:
    """Numbers images and annotations from 1 in the order in which they are added."""

    def __init__(self, stream: IO[bytes], images: IO[bytes]) -> None:
        """To the list of annotations that is begun in ``stream``; ``images`` holds the others' entries meanwhile."""
        self._stream, self._images = stream, images
        self._digest = hashlib.sha256()
        self.image_count = self.annotation_count = 0

    def add(self, file_name: str, size_hw: tuple[int, int], annotations: Iterable[str], *, mask_sha256: str) -> None:
        """One image and its annotations, each as ``instances.annotation_texts`` gives it."""
        separator = ",\n" if self.image_count else ""
        self.image_count += 1
        entry = instances.image_entry(self.image_count, file_name, size_hw) | {"mask_sha256": mask_sha256}
        self._images.write(f"{separator}{json.dumps(entry)}".encode())
        first = self.annotation_count + 1
        lines = [instances.numbered(text, number, self.image_count) for number, text in enumerate(annotations, first)]
        if lines:
            self.annotation_count += len(lines)
            self.write(((",\n" if first > 1 else "") + ",\n".join(lines)).encode())

    def write(self, data: bytes) -> None:
        """Bytes as they are."""
        self._stream.write(data)
        self._digest.update(data)

    def finish(self) -> None:
        """The images, and what all comes to."""
        self.write(b"\n" + _IMAGES)
        self._images.seek(0)
        while block := self._images.read(_BLOCK):
            self.write(block)
        self.write(b"\n")
        self._stream.write(_LAST.format(self._digest.hexdigest()).encode())


@contextmanager
def coco_writer(out: Location, classes: ClassTable, how: Mapping[str, object] | None = None) -> Iterator[CocoWriter]:
    """Write the file whole or, if anything is raised, not at all; ``how`` is all that the annotations depend on else.

    Raises:
        DataError: disk full, no permission.
    """
    beside = str(out.parent) if isinstance(out, Path) else None
    for rest in partial_files(out) if isinstance(out, Path) else ():
        remove(rest)
    with (
        open_atomic(out) as stream,
        tempfile.SpooledTemporaryFile(max_size=_KEPT_IN_MEMORY, dir=beside) as images,
    ):
        writer = CocoWriter(stream, images)
        writer.write(_begin(classes, how))
        yield writer
        writer.finish()


@dataclass(frozen=True, slots=True)
class Written:
    """What a file holds of an image: its mask's sha256, its size (height, width), and where its annotations are."""

    mask_sha256: str
    size_hw: tuple[int, int]
    start: int
    end: int


def written_before(out: Path, classes: ClassTable, how: Mapping[str, object] | None = None) -> dict[str, Written]:
    """What can be kept of a file, by file name, when it is written again from the same classes in the same way.

    Nothing, where there is no such file or it is not as we wrote it.
    """
    try:
        with out.open("rb") as stream:
            begin = _begin(classes, how)
            if stream.read(len(begin)) != begin:
                return {}
            return _placed(stream, begin)
    except (OSError, ValueError, KeyError):
        return {}


def kept_texts(out: Path, written: Written) -> list[str]:
    """The annotations of an image as ``instances.annotation_texts`` gave them.

    Raises:
        OSError: the file is not there any more.
    """
    with out.open("rb") as stream:
        stream.seek(written.start)
        lines = stream.read(written.end - written.start).decode().splitlines()
    return [line.removesuffix(",").removesuffix("}").split(", ", 2)[2] for line in lines]


def _begin(classes: ClassTable, how: Mapping[str, object] | None) -> bytes:
    return json.dumps(instances.header(classes, how))[:-1].encode() + b', "annotations": [\n'


def _placed(stream: IO[bytes], begin: bytes) -> dict[str, Written]:
    """The images of a file that was read up to its first annotation; none, if it was changed since."""
    places: dict[int, tuple[int, int]] = {}
    entries: list[dict[str, Any]] = []
    lines, digest, end = iter(stream), hashlib.sha256(begin), len(begin)
    for line in lines:
        start, end = end, end + len(line)
        digest.update(line)
        if line == _IMAGES:
            break
        if line != b"\n":
            image_id = int(line.split(b", ", 2)[1].removeprefix(b'"image_id": '))
            places[image_id] = (places.get(image_id, (start, end))[0], end)
    for line in lines:
        if line.startswith(b"]"):
            is_whole = line == _LAST.format(digest.hexdigest()).encode()
            return {entry["file_name"]: _written(entry, places) for entry in entries} if is_whole else {}
        digest.update(line)
        entries.append(json.loads(line.rstrip(b",\n")))
    return {}


def _written(entry: dict[str, Any], places: dict[int, tuple[int, int]]) -> Written:
    return Written(entry["mask_sha256"], (entry["height"], entry["width"]), *places.get(entry["id"], (0, 0)))
