"""Masks of a foreign format written into a folder, one index PNG for each image.

Not here: where the label maps come from (``coco.py`` and its neighbours).  The fact to know: a mask that is there
already with other pixels is never overwritten (law 3); one that a power cut left empty or in part is no mask, and is
written anew.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path, PurePosixPath

import numpy as np

from annoloop.data import png
from annoloop.data.config import DataConfig
from annoloop.data.durable import flush_disk
from annoloop.data.images import (
    IndexImage,
    decode_index_png,
    encode_index_png,
    read_bytes,
    remove,
    unwritable,
    write_atomic,
)
from annoloop.data.mmseg_folders import mask_name_of, to_stored
from annoloop.data.storage import Location
from annoloop.errors import ColourMaskError, DataError
from annoloop.masks.regions import LabelMap


def mask_place(out: Location, image_name: str, data: DataConfig | None) -> Location:
    """Where the mask of an image goes, whose name is relative and does not leave the folder."""
    if data is None:
        return out / PurePosixPath(image_name).with_suffix(".png").as_posix()
    return out / mask_name_of(image_name, data)


def write_mask(target: Location, label_map: LabelMap, data: DataConfig | None) -> bool:
    """True if the file was written, False if it was there with the same pixels.

    Raises:
        DataError: it is there with other pixels, or cannot be written.
    """
    stored = IndexImage(label_map) if data is None else to_stored(label_map, data, None)
    if target.exists() and _is_there(target, stored):
        return False
    write_atomic(target, encode_index_png(stored), durable=False)
    return True


def clear_away(out: Location, targets: Collection[Location]) -> None:
    """What a killed command left of the files that this one writes; their names are those that ``mkstemp`` gave."""
    if isinstance(out, Path):
        for rest in list(out.rglob(".*.part")):
            if rest.with_name(rest.name[1:].rsplit(".", 2)[0]) in targets:
                remove(rest)


def flush(out: Location) -> None:
    """All files at once: to flush each by itself takes longer than all the rest.

    Raises:
        DataError: the disk is full.
    """
    if not isinstance(out, Path) or not out.is_dir():
        return
    try:
        flush_disk(out)
    except OSError as error:
        raise unwritable(out, error) from error


def _is_there(target: Location, stored: IndexImage) -> bool:
    """Whether a file has these pixels; False for what is left of one that was not yet on disk when the power went."""
    held = read_bytes(target)
    with suppress(ColourMaskError):
        try:
            if np.array_equal(decode_index_png(held, target).values, stored.values):
                return True
        except ColourMaskError:
            raise
        except DataError:
            if held.startswith(png.SIGNATURE) or not held.strip(b"\0"):
                return False
    raise DataError("is there already with other pixels", where=target, hint="choose another --out folder")
