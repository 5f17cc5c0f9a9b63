"""A COCO instances file written image by image: memory stays flat however many there are.

Not here: what an annotation holds (``coco.py``).  The fact to know: the annotations come first in the file, as they
come; the images, which are small, wait in a temporary file and follow.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from annoloop import coco
from annoloop.classes import ClassTable
from annoloop.images import open_atomic
from annoloop.storage import Location

_KEPT_IN_MEMORY = 1 << 24


class CocoWriter:
    """Numbers images and annotations from 1 in the order in which they are added."""

    def __init__(self, stream: IO[bytes], images: IO[bytes]) -> None:
        """To the list of annotations that is open in ``stream``; ``images`` holds the others' entries meanwhile."""
        self._stream, self._images = stream, images
        self.image_count = self.annotation_count = 0

    def add(self, file_name: str, size_hw: tuple[int, int], annotations: Iterable[str]) -> None:
        """One image and its annotations, each as ``coco.annotation_texts`` gives it."""
        self.image_count += 1
        separator = ", " if self.image_count > 1 else ""
        entry = json.dumps(coco.image_entry(self.image_count, file_name, size_hw))
        self._images.write(f"{separator}{entry}".encode())
        for text in annotations:
            separator = ", " if self.annotation_count else ""
            self.annotation_count += 1
            one = coco.numbered(text, self.annotation_count, self.image_count)
            self._stream.write(f"{separator}{one}".encode())


@contextmanager
def coco_writer(out: Location, classes: ClassTable) -> Iterator[CocoWriter]:
    """Write the file whole or, if anything is raised, not at all.

    Raises:
        DataError: disk full, no permission.
    """
    beside = str(out.parent) if isinstance(out, Path) else None
    with (
        open_atomic(out) as stream,
        tempfile.SpooledTemporaryFile(max_size=_KEPT_IN_MEMORY, dir=beside) as images,
    ):
        stream.write(json.dumps(coco.header(classes))[:-1].encode() + b', "annotations": [')
        yield CocoWriter(stream, images)
        stream.write(b'], "images": [')
        images.seek(0)
        shutil.copyfileobj(images, stream)
        stream.write(b"]}")
