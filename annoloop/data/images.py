"""Reading and writing images and index PNGs, content hashes, and files that are never half-written.

Not here: what an index means, nor how a store is talked to (``storage.py``), whose errors pass.  The fact to know:
sizes are those of the picture as it is shown, with its EXIF orientation applied, because mmcv and CVAT both apply it.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from annoloop.data import geotiff, jpeg, mask_formats, png
from annoloop.data.durable import flush_folder, make_folder, open_regular, real
from annoloop.data.mask_formats import PLAIN, Form
from annoloop.data.storage import Location, RemotePath
from annoloop.data.tiff_header import raster_header
from annoloop.errors import DataError, StoreError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")

Image.MAX_IMAGE_PIXELS = png.MOST_PX // 2
"""Satellite and microscope scenes pass Pillow's default limit; beyond twice its own limit it still refuses."""

_TRANSPOSED_ORIENTATIONS = range(5, 9)
_EXIF_ORIENTATION = 0x0112
_JPEG_SUFFIXES = (".jpg", ".jpeg")
_HEADER_BYTES = 1 << 14
_HEADER_BYTES_IN_STORE = 1 << 17
"""More than most JPEGs need, since to ask a second time takes longer."""
_UNREADABLE = (OSError, SyntaxError, ValueError, IndexError, Image.DecompressionBombError)
"""What Pillow raises for files that are damaged; a damaged header may claim any size."""


@dataclass(frozen=True, slots=True, eq=False)
class IndexImage:
    """A mask as stored: values uint8 or uint16 (H, W), its palette's bytes, if any, and how else it is stored."""

    values: npt.NDArray[np.unsignedinteger[Any]]
    palette: bytes | None = None
    form: Form = PLAIN


@dataclass(frozen=True, slots=True, eq=False)
class Glance:
    """What a quick look at an image tells: its size as it is shown, in px, and its grey levels, 0 ... 255.

    ``grey`` float32 (side, side) is the whole image averaged into cells.  ``brightness`` and ``contrast`` are mean
    and standard deviation of the levels, measured on a reduced picture, so that single pixels' noise counts little.
    """

    size_hw: tuple[int, int]
    grey: npt.NDArray[np.float32]
    brightness: float
    contrast: float


def sha256(data: bytes) -> str:
    """SHA-256 of bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def file_sha256(path: Location) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        if isinstance(path, RemotePath):
            return sha256(path.read_bytes())
        with open_regular(path) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def read_bytes(path: Location) -> bytes:
    """The bytes of a file.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        if isinstance(path, RemotePath):
            return path.read_bytes()
        with open_regular(path) as stream:
            return stream.read()
    except OSError as error:
        raise unreadable(path, error) from error


def image_size_hw(path: Location) -> tuple[int, int]:
    """Height and width of an image as it is shown; decodes nothing but a PNG that says how it is to be turned.

    Raises:
        DataError: missing, not an image, or a truncated PNG.
    """
    if isinstance(path, RemotePath):
        return _size_hw_in_store(path)
    raster = raster_header(path)
    if raster is not None:
        return raster.size_hw
    return _plain_size_hw(_first_bytes(path)) or _size_hw_by_pillow(path, path)


def image_bands(path: Location) -> tuple[str, ...]:
    """The names of an image's channels as Pillow has them, like R, G, B; from the file's header.

    Raises:
        DataError: missing, or not an image.
    """
    if needs_view(path):
        return ("R", "G", "B")
    try:
        with _opened(path) as image:
            return image.getbands()
    except _UNREADABLE as error:
        raise unreadable(path, error) from error


def read_image(path: Location) -> npt.NDArray[np.uint8]:
    """An image as RGB uint8 (H, W, 3), upright; 16-bit grey is scaled to its own range; of many bands their view.

    Raises:
        DataError: missing, truncated, or not an image.
        MissingExtraError: it has many bands, and rasterio is not installed.
    """
    source = read_bytes(path) if isinstance(path, RemotePath) else path
    if raster_header(source) is not None:
        return geotiff.read_view(source, path)
    with _opened(path, source if isinstance(source, bytes) else None) as image:
        try:
            return np.asarray(_upright(image).convert("RGB"))
        except _UNREADABLE as error:
            raise unreadable(path, error) from error


def needs_view(path: Location) -> bool:
    """Whether an image is a TIFF that is shown, sent and trained on as the RGB view of its bands, see geotiff.py."""
    return raster_header(path) is not None


def read_small_grey(path: Location, side: int) -> npt.NDArray[np.float32]:
    """An image in grey, 0 ... 255, upright, averaged into ``side`` x ``side`` cells whatever its shape.

    Raises:
        DataError: missing, truncated, or not an image.
    """
    return glance(read_bytes(path), path, side).grey


def glance(data: bytes, where: object, side: int) -> Glance:
    """A quick look at an image's bytes; ``where`` names them in an error.

    A JPEG is decoded at a fraction of its size, which is many times faster; a truncated one is still noticed.

    Raises:
        DataError: truncated, or not an image.
    """
    viewed = None if raster_header(data) is None else Image.fromarray(geotiff.read_view(data, where))
    try:
        with viewed or Image.open(io.BytesIO(data)) as image:
            size_hw = _shown_size_hw(image)
            image.draft("L", (4 * side, 4 * side))
            grey = _upright(image).convert("L")
            # Whole levels are fine enough while a cell still averages sixteen of them, and take a quarter of the room.
            grey = grey.reduce((max(1, grey.width // (4 * side)), max(1, grey.height // (4 * side))))
            cells = np.asarray(grey.convert("F").resize((side, side), Image.Resampling.BOX))
            levels = np.asarray(grey)
    except _UNREADABLE as error:
        raise unreadable(where, error) from error
    return Glance(size_hw, cells, float(levels.mean()), float(levels.std()))


def read_index_png(path: Location) -> IndexImage:
    """A mask: an index PNG, grey or palette, 8 bit; or what holds the same in another way.

    That is a TIFF or BMP, grey saved as RGB or with an opaque alpha, 16 bits, a grey JPEG.  Of 16 bits that need no
    more than 8 the values are uint8.

    Raises:
        ColourMaskError: colours, transparency, or numbers beyond 16 bits.
        DataError: missing or truncated.
    """
    return decode_index_png(read_bytes(path), path)


def decode_index_png(data: bytes, where: object) -> IndexImage:
    """The same from bytes; ``where`` names them in an error."""
    header = png.read_header(data)
    try:
        if header is not None and header.bits == 8 and header.colour_type == png.GREY:
            return IndexImage(png.decode(data, header.size_hw))  # as most are; only to open it, Pillow takes as long
        with Image.open(io.BytesIO(data)) as image:
            palette = None if image.palette is None else bytes(image.palette.getdata()[1])
            if header is not None and header.bits == 8 and image.mode == "P":
                return IndexImage(png.decode(data, header.size_hw), palette)
            values, form = mask_formats.decoded(image, where)
            if palette is not None and form.kind != "PNG":  # other formats have their own order of bytes
                palette = bytes(image.getpalette("RGB") or ())
            return IndexImage(values, palette, form)
    except DataError:
        raise
    except _UNREADABLE as error:
        raise unreadable(where, error) from error


def encode_index_png(mask: IndexImage) -> bytes:
    """The file of a mask in its form, an 8-bit index PNG as a rule; the inverse of ``decode_index_png``.

    What is stored as a JPEG comes back within a few levels.
    """
    values, form = mask.values, mask.form
    if values.dtype == np.uint16:
        form = mask_formats.widened(form)
    if form.is_plain:
        return png.encode(values.astype(np.uint8, copy=False), mask.palette)
    return mask_formats.encoded(values, mask.palette, form)


def write_atomic(path: Location, data: bytes, *, durable: bool = True) -> None:
    """Write a file whole or not at all; as ``open_atomic``."""
    with open_atomic(path, durable=durable) as stream:
        stream.write(data)


@contextmanager
def open_atomic(path: Location, *, durable: bool = True) -> Iterator[IO[bytes]]:
    """A file that is there whole or, if anything is raised, not at all.

    It is written beside its place, flushed to disk, put there by ``os.replace``, and its folder is flushed; a link
    stays, and the file that it stands for is replaced.  For a store it is written where temporary files go, and sent
    whole.

    Args:
        durable: False for what can be made again: not flushed, which takes longer than all the rest.

    Raises:
        DataError: disk full, no permission.
        StoreError: the store refuses, or cannot be reached.
    """
    if isinstance(path, RemotePath):
        with _sent(path) as stream:
            yield stream
        return
    temporary: str | None = None
    try:
        path = real(path)
        if durable:
            make_folder(path.parent)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        with os.fdopen(handle, "wb") as stream:
            yield stream
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        os.chmod(temporary, path.stat().st_mode if path.exists() else 0o644)  # noqa: PTH101 - mkstemp's path is a str
        os.replace(temporary, path)  # noqa: PTH105
        if durable:
            flush_folder(path.parent)
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise unwritable(path, error) from error
        raise


def remove(path: Location) -> bool:
    """Remove a file, for good even after a power cut; False where there is none.

    Raises:
        DataError: no permission.
        StoreError: the store refuses, or cannot be reached.
    """
    try:
        path.unlink()
        if isinstance(path, Path):
            flush_folder(path.parent)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise unwritable(path, error) from error
    return True


def partial_files(path: Path) -> list[Path]:
    """What a process that was killed while it wrote this file has left beside it."""
    return sorted(path.parent.glob(f".{glob.escape(path.name)}.*.part"))


def unreadable(where: object, error: Exception) -> DataError:
    """The error for a file that cannot be read."""
    if isinstance(error, FileNotFoundError):
        return DataError("file is missing", where=where)
    return DataError(f"cannot be read ({error})", where=where, hint="the file may be truncated or no image")


def unwritable(where: object, error: OSError) -> DataError:
    """The error for a file that cannot be written."""
    if error.errno == errno.ENOSPC:
        return DataError("the disk is full; nothing was overwritten", where=where, hint="make room, then run again")
    return DataError(f"cannot be written ({error.strerror or error})", where=where)


@contextmanager
def _sent(path: RemotePath) -> Iterator[IO[bytes]]:
    """A file that becomes an object when it is closed, unless anything is raised."""
    try:
        with tempfile.NamedTemporaryFile(prefix="annoloop-") as stream:
            yield stream
            stream.flush()
            path.put(Path(stream.name))
    except OSError as error:
        raise unwritable(path, error) from error


def _opened(path: Location, data: bytes | None = None) -> Image.Image:
    try:
        if isinstance(path, Path):
            open_regular(path).close()  # Pillow would wait for a pipe
        return Image.open(path if isinstance(path, Path) else io.BytesIO(data or path.read_bytes()))
    except _UNREADABLE as error:
        raise unreadable(path, error) from error


def _first_bytes(path: Path) -> bytes:
    """All bytes of a PNG, which may be turned by what stands behind its pixels; the header of a JPEG."""
    try:
        with open_regular(path) as stream:
            first = stream.read(_HEADER_BYTES)
            return first + stream.read() if first.startswith(png.SIGNATURE) else first
    except OSError as error:
        raise unreadable(path, error) from error


def _size_hw_in_store(path: RemotePath) -> tuple[int, int]:
    """Of a JPEG only the first bytes come over the line, unless its header is longer."""
    if path.name.lower().endswith(_JPEG_SUFFIXES):
        with suppress(DataError, FileNotFoundError, StoreError):  # which the whole file will tell; or it is empty
            return _encoded_size_hw(path.read_bytes(first=_HEADER_BYTES_IN_STORE), path)
    return _encoded_size_hw(read_bytes(path), path)


def _encoded_size_hw(data: bytes, where: object) -> tuple[int, int]:
    raster = raster_header(data)
    if raster is not None:
        return raster.size_hw
    return _plain_size_hw(data) or _size_hw_by_pillow(io.BytesIO(data), where)


def _plain_size_hw(data: bytes) -> tuple[int, int] | None:
    """Of a PNG or a JPEG that holds no orientation, as most do: Pillow needs longer than it takes to decode a mask."""
    return png.plain_size_hw(data) or jpeg.plain_size_hw(data)


def _size_hw_by_pillow(source: Path | io.BytesIO, where: object) -> tuple[int, int]:
    try:
        with Image.open(source) as image:
            return _shown_size_hw(image)
    except _UNREADABLE as error:
        raise unreadable(where, error) from error


def _shown_size_hw(image: Image.Image) -> tuple[int, int]:
    # Pillow gives the size of a TIFF, and only of a TIFF, as it is shown.
    turned = image.format != "TIFF" and image.getexif().get(_EXIF_ORIENTATION) in _TRANSPOSED_ORIENTATIONS
    return image.size if turned else image.size[::-1]


def _upright(image: Image.Image) -> Image.Image:
    """As it is shown, in 8 bits a channel."""
    upright = ImageOps.exif_transpose(image)
    return _to_8_bit(upright) if upright.mode.startswith("I") or upright.mode == "F" else upright


def _to_8_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image, np.float64)
    low, high = float(values.min()), float(values.max())
    scaled = (values - low) * (255 / (high - low) if high > low else 0)
    return Image.fromarray(np.rint(scaled).astype(np.uint8))
