"""The content hashes of a sample's files, and when they need not be computed again.

The fact to know: a file whose size, mtime and inode are those of the last time is taken for the same.
"""

from __future__ import annotations

from pathlib import Path

from annoloop.dataset import Sample
from annoloop.images import file_sha256, unreadable
from annoloop.schema import ImageRow


def scan_one(sample: Sample, known: ImageRow | None) -> ImageRow:
    """What a sample's files are like now; only those that changed since ``known`` are read.

    Raises:
        DataError: a file cannot be read.
    """
    image_stamp = _stamp(sample.image)
    mask_stamp = None if sample.mask is None else _stamp(sample.mask)
    same_image = known is not None and known.image_stamp == image_stamp
    same_mask = known is not None and known.mask_stamp == mask_stamp
    return ImageRow(
        sample.id,
        known.image_sha256 if known is not None and same_image else file_sha256(sample.image),
        image_stamp,
        known.mask_sha256 if known is not None and same_mask else _mask_sha256(sample),
        mask_stamp,
    )


def _mask_sha256(sample: Sample) -> str | None:
    return None if sample.mask is None else file_sha256(sample.mask)


def _stamp(path: Path) -> str:
    """Size, mtime and inode: as long as they stay, the file need not be read again."""
    try:
        stat = path.stat()
    except OSError as error:
        raise unreadable(path, error) from error
    return f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ino}"
