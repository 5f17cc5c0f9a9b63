"""Image files of a task: taken out of what was uploaded, put in order, given back as bytes.

No database here. Frame names are paths below ``images/`` with forward slashes: a zip keeps its
folders, single files have none. Files below a ``related_images`` folder are context, not frames.
"""

from __future__ import annotations

import io
import mimetypes
import re
import shutil
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image, ImageOps, UnidentifiedImageError

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
SORTINGS = ("lexicographical", "natural", "predefined")
CONTEXT_FOLDER = "related_images"

_EXIF_ORIENTATION = 0x0112
_PREVIEW_PX = 256


class BrokenUploadError(Exception):
    """What was uploaded cannot become frames; the text is the failed request's message."""


@dataclass(frozen=True, slots=True)
class Media:
    """One frame: its name, its size in px as shown (EXIF applied), its context images."""

    name: str
    width: int
    height: int
    related: tuple[str, ...]


def unpack(incoming: Path, images: Path) -> list[str]:
    """Move uploaded files, or what is in an uploaded zip, to ``images``; names in arrival order.

    Raises:
        BrokenUploadError: a zip is damaged, or an entry would land outside the folder.
    """
    images.mkdir(parents=True, exist_ok=True)
    names: list[str] = []
    for path in sorted(incoming.iterdir()):
        if path.suffix.lower() == ".zip":
            names += _unzip(path, images)
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            shutil.move(path, images / path.name)
            names.append(path.name)
    shutil.rmtree(incoming)
    return names


def _unzip(archive_path: Path, images: Path) -> list[str]:
    try:
        with zipfile.ZipFile(archive_path) as archive:
            names = [name for name in archive.namelist() if _is_image(name)]
            for name in names:
                target = images / _inside(name)
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(name) as packed, target.open("wb") as file:
                    shutil.copyfileobj(packed, file)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError) as error:
        raise BrokenUploadError(f"{archive_path.name}: {error}") from error
    return names


def _is_image(name: str) -> bool:
    return not name.startswith("__MACOSX/") and PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise BrokenUploadError(f"the archive's entry {name!r} points outside the archive")
    return path


def ordered(names: Iterable[str], sorting: str, given: Sequence[str] = ()) -> list[str]:
    """Names in the order of a ``sorting_method``; ``given`` is the client's order for predefined."""
    if sorting == "natural":
        return sorted(names, key=_natural)
    if sorting == "predefined":
        places = {name: place for place, name in enumerate(given)}
        return sorted(names, key=lambda name: places.get(name, len(places)))
    return sorted(names)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d+)", name)]


def inspect(images: Path, names: Sequence[str]) -> list[Media]:
    """The frames among files, in their order, each with its context images.

    Raises:
        BrokenUploadError: a file is not an image, or there is no frame at all.
    """
    context: dict[PurePosixPath, list[str]] = {}
    for name in sorted(name for name in names if CONTEXT_FOLDER in PurePosixPath(name).parts):
        context.setdefault(PurePosixPath(name).parent, []).append(name)
    frames = [name for name in names if CONTEXT_FOLDER not in PurePosixPath(name).parts]
    if not frames:
        raise BrokenUploadError("No media data found")
    return [_media(images, name, context.get(_context_of(name), [])) for name in frames]


def _context_of(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    return path.parent / CONTEXT_FOLDER / f"{path.stem}_{path.suffix[1:]}"


def _media(images: Path, name: str, related: Sequence[str]) -> Media:
    try:
        with Image.open(images / name) as image:
            width, height = image.size
            if image.getexif().get(_EXIF_ORIENTATION, 1) >= 5:
                width, height = height, width
            image.draft("L", (1, 1))  # a JPEG is decoded at an eighth: enough to see that it is whole
            image.load()
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise BrokenUploadError(f"{name}: {type(error).__name__}: {error}") from error
    return Media(name, width, height, tuple(related))


def frame_bytes(path: Path, quality: str, jpeg_quality: int) -> tuple[bytes, str]:
    """A frame's file as it was sent (``original``) or as JPEG (``compressed``), and its media type."""
    if quality == "original":
        return path.read_bytes(), mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return jpeg(path, jpeg_quality), "image/jpeg"


def jpeg(path: Path, quality: int) -> bytes:
    """An image upright, as JPEG."""
    with Image.open(path) as image:
        return _jpeg(ImageOps.exif_transpose(image), quality)


def preview(path: Path) -> bytes:
    """A small JPEG of an image."""
    with Image.open(path) as image:
        image.draft("RGB", (2 * _PREVIEW_PX, 2 * _PREVIEW_PX))
        upright = ImageOps.exif_transpose(image)
        upright.thumbnail((_PREVIEW_PX, _PREVIEW_PX))
        return _jpeg(upright, 90)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def chunk(paths: Sequence[Path], quality: str, jpeg_quality: int) -> bytes:
    """Frames in order as a stored zip of ``000000.png``, ``000001.png``, ..."""
    named = []
    for place, path in enumerate(paths):
        content, _ = frame_bytes(path, quality, jpeg_quality)
        suffix = path.suffix if quality == "original" else ".jpeg"
        named.append((f"{place:06d}{suffix}", content))
    return zipped(named)


def context(paths: Sequence[Path]) -> bytes:
    """Context images as a zip of JPEGs, each under its own stem; an empty zip for none."""
    return zipped([(f"{path.stem}.jpg", jpeg(path, 90)) for path in paths])


def zipped(entries: Sequence[tuple[str, bytes]]) -> bytes:
    """A zip without compression: images are compressed already."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()
