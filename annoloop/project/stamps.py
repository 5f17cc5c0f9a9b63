"""The content hashes of a sample's files, and when they need not be computed again.

The fact to know: a file whose size, mtime, ctime and inode are those of the last time is taken for the same, and so is
an object of which its store says the same.  Programs set an mtime as they like (``rsync -t``, ``touch -r``); a ctime
moves whatever they do.
"""

from __future__ import annotations

from collections.abc import Callable

from annoloop.data.images import file_sha256, unreadable
from annoloop.data.mmseg_folders import Sample
from annoloop.data.storage import Location, RemotePath
from annoloop.project.rows import ImageRow


def scan_one(sample: Sample, known: ImageRow | None, sha256_of: Callable[[Location], str] = file_sha256) -> ImageRow:
    """What a sample's files are like now; only those that changed since ``known`` are read, by ``sha256_of``.

    Raises:
        DataError: a file cannot be read.
    """
    image_stamp = stamp(sample.image)
    mask_stamp = None if sample.mask is None else stamp(sample.mask)
    same_image = known is not None and known.image_stamp == image_stamp
    same_mask = known is not None and known.mask_stamp == mask_stamp
    mask_sha256 = known.mask_sha256 if known is not None and same_mask else None
    if sample.mask is not None and mask_sha256 is None:
        mask_sha256 = sha256_of(sample.mask)
    return ImageRow(
        sample.id,
        known.image_sha256 if known is not None and same_image else sha256_of(sample.image),
        image_stamp,
        mask_sha256,
        mask_stamp,
    )


def stamp(path: Location) -> str:
    """Size, mtime, inode and ctime: as long as they stay, the file need not be read again.

    Raises:
        DataError: there is no such file.
    """
    try:
        if isinstance(path, RemotePath):
            return path.stamp()
        stat = path.stat()
    except OSError as error:
        raise unreadable(path, error) from error
    return f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ino}:{stat.st_ctime_ns}"
