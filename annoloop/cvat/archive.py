"""Pictures as one zip without compression, for they are compressed already; on disk, so that memory stays flat."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

from annoloop.errors import DataError

Picture: TypeAlias = tuple[str, Path | bytes]
"""A name in the zip, with folders, and a file or its bytes."""

_SPARE_BYTES = 64 << 20


@contextmanager
def packed(pictures: Iterable[Picture], scratch: Path | None, size_bytes: int) -> Iterator[Path]:
    """The path of a zip that is gone afterwards.

    Args:
        scratch: the folder for it; default: where temporary files go.
        size_bytes: about how large it will be.

    Raises:
        DataError: no room for it, or a file cannot be read.
    """
    with TemporaryDirectory(prefix="upload-", dir=scratch) as folder:
        free = shutil.disk_usage(folder).free
        if free < size_bytes + _SPARE_BYTES:
            raise DataError(
                f"the upload needs {size_bytes >> 20} MiB on disk, {free >> 20} MiB are free",
                where=folder,
                hint="make room, or push fewer images",
            )
        path = Path(folder) / "images.zip"
        try:
            _write(path, pictures)
        except OSError as error:
            raise DataError(f"the upload cannot be packed ({error.strerror or error})", where=folder) from error
        yield path


def _write(path: Path, pictures: Iterable[Picture]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, strict_timestamps=False) as target:
        for name, content in pictures:
            if isinstance(content, bytes):
                target.writestr(name, content)
            else:
                target.write(content, name)
