"""Images and index PNGs: what comes back, what is refused by name, and files that are never half-written."""

from __future__ import annotations

import hashlib
import io
import os
import resource
import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from annoloop.data.images import (
    IndexImage,
    decode_index_png,
    encode_index_png,
    file_sha256,
    image_size_hw,
    partial_files,
    read_bytes,
    read_image,
    read_index_png,
    read_small_grey,
    sha256,
    write_atomic,
)
from annoloop.errors import ColourMaskError, DataError

VALUES = np.arange(6, dtype=np.uint8).reshape(2, 3)
NOISE = np.random.default_rng(0).integers(0, 255, (50, 70), dtype=np.uint8)

NOISE_PNG = encode_index_png(IndexImage(NOISE))

index_images = st.builds(
    IndexImage,
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))),
    st.none() | st.binary(min_size=3, max_size=768).map(lambda b: b[: len(b) // 3 * 3]),
)


@given(index_images)
def test_an_index_png_keeps_every_value_and_its_palette(mask: IndexImage) -> None:
    read = decode_index_png(encode_index_png(mask), "mask")
    assert np.array_equal(read.values, mask.values)
    assert (read.palette is None) == (mask.palette is None)
    if mask.palette is not None and read.palette is not None:
        used = 3 * (int(mask.values.max()) + 1)
        assert read.palette[:used] == mask.palette.ljust(used, b"\0")[:used]


@given(index_images)
def test_other_readers_read_what_is_written(mask: IndexImage) -> None:
    png = encode_index_png(mask)
    with Image.open(io.BytesIO(png)) as image:
        assert image.mode == ("L" if mask.palette is None else "P")
        assert np.array_equal(np.asarray(image), mask.values)
    seen = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    if mask.palette is None:
        assert np.array_equal(seen, mask.values)
    else:
        colours = np.frombuffer(mask.palette.ljust(768, b"\0")[:768], np.uint8).reshape(256, 3)
        assert np.array_equal(seen[..., ::-1], colours[mask.values])


def test_values_beyond_a_short_palette_survive() -> None:
    mask = IndexImage(VALUES, bytes([0, 0, 0, 255, 255, 255]))
    assert decode_index_png(encode_index_png(mask), "mask").values.tolist() == VALUES.tolist()


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40))), st.data())
def test_masks_of_other_writers_are_read_as_pillow_reads_them(
    values: npt.NDArray[np.uint8], data: st.DataObject
) -> None:
    picture = Image.fromarray(values)
    if data.draw(st.booleans(), "with palette"):
        picture.putpalette(data.draw(st.binary(min_size=768, max_size=768), "palette"))
    extra: dict[str, Any] = {"dpi": (72, 72)} if data.draw(st.booleans(), "with a chunk more") else {}
    if data.draw(st.booleans(), "with a transparent value"):
        extra["transparency"] = data.draw(st.integers(0, 255))
    stream = io.BytesIO()
    picture.save(stream, "PNG", compress_level=data.draw(st.integers(0, 9), "level"), **extra)
    png = stream.getvalue() + data.draw(st.binary(max_size=4), "behind the end")

    read = decode_index_png(png, "mask")
    assert np.array_equal(read.values, values)
    with Image.open(io.BytesIO(png)) as same:
        palette = same.getpalette()
    assert read.palette == (None if palette is None else bytes(palette))


@pytest.mark.parametrize("filter_type", range(5))
@pytest.mark.parametrize("colour_type", [0, 3], ids=["grey", "palette"])
def test_every_filter_of_png_is_undone(filter_type: int, colour_type: int) -> None:
    assert np.array_equal(decode_index_png(_png(NOISE, filter_type, colour_type), "mask").values, NOISE)


@pytest.mark.parametrize("colours", [2, 4, 16])
def test_a_palette_of_few_colours_is_stored_in_fewer_bits_and_read(tmp_path: Path, colours: int) -> None:
    values = np.random.default_rng(0).integers(0, colours, (7, 9), dtype=np.uint8)
    picture = Image.fromarray(values)
    picture.putpalette(bytes(range(3 * colours)))
    picture.save(tmp_path / "mask.png", bits=colours.bit_length() - 1)
    assert np.array_equal(read_index_png(tmp_path / "mask.png").values, values)


@pytest.mark.parametrize("suffix", [".bmp", ".tif"])
def test_an_index_image_of_another_format_is_read(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(NOISE).save(tmp_path / f"mask{suffix}")
    assert np.array_equal(read_index_png(tmp_path / f"mask{suffix}").values, NOISE)


def test_label_maps_take_less_room_than_pillows_own_way() -> None:
    label_map = np.kron(NOISE[:20, :20] // 64, np.ones((16, 16), np.uint8))
    stream = io.BytesIO()
    Image.fromarray(label_map).save(stream, "PNG")
    assert len(encode_index_png(IndexImage(label_map))) < len(stream.getvalue())


@pytest.mark.parametrize("mode", ["L", "P", "1"])
def test_grey_palette_and_bilevel_masks_are_read(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(np.array([[0, 1, 1], [1, 0, 0]], np.uint8))
    if mode == "P":
        picture.putpalette([0, 0, 0, 255, 0, 0])
    if mode == "1":
        picture = picture.point(lambda v: v * 255).convert("1")
    picture.save(tmp_path / "mask.png")
    assert read_index_png(tmp_path / "mask.png").values.tolist() == [[0, 1, 1], [1, 0, 0]]


@pytest.mark.parametrize(
    ("mode", "color"),
    [("RGB", (1, 2, 1)), ("RGBA", (1, 1, 2, 255)), ("RGBA", (1, 1, 1, 254)), ("LA", (1, 0))],
)
def test_a_mask_with_colours_is_refused_by_name(tmp_path: Path, mode: str, color: Any) -> None:
    path = tmp_path / "mask.png"
    Image.new(mode, (3, 2), color).save(path)
    with pytest.raises(ColourMaskError, match="one 8-bit channel of class indices") as caught:
        read_index_png(path)
    assert caught.value.where == str(path)
    assert caught.value.hint


def test_a_damaged_header_that_claims_a_giant_size_is_an_error_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "image.bmp"
    Image.new("L", (4, 4)).save(path)
    data = bytearray(path.read_bytes())
    data[20] = data[24] = 4  # the third bytes of width and height
    path.write_bytes(data)
    for read in (read_image, image_size_hw, lambda path: read_small_grey(path, 8)):
        with pytest.raises(DataError, match="cannot be read"):
            read(path)


@given(st.integers(0, 8 * len(NOISE_PNG) - 1))
def test_a_flipped_bit_is_noticed_or_harmless(bit: int) -> None:
    damaged = bytearray(NOISE_PNG)
    damaged[bit // 8] ^= 1 << bit % 8
    with suppress(DataError):
        assert np.array_equal(decode_index_png(bytes(damaged), "mask").values, NOISE)


def test_a_mask_cut_off_anywhere_is_refused_or_complete() -> None:
    whole = encode_index_png(IndexImage(NOISE))
    complete = 0
    for length in range(0, len(whole), 7):
        with suppress(DataError):
            assert np.array_equal(decode_index_png(whole[:length], "mask").values, NOISE)
            complete += 1
    assert complete <= 3  # what lacks nothing but the trailer


@pytest.mark.parametrize("read", [read_image, read_index_png, image_size_hw, read_bytes, file_sha256])
def test_a_missing_file_is_named(tmp_path: Path, read: object) -> None:
    with pytest.raises(DataError, match="file is missing") as caught:
        read(tmp_path / "no.png")  # type: ignore[operator]
    assert caught.value.where == str(tmp_path / "no.png")


@pytest.mark.parametrize("read", [read_image, read_index_png, image_size_hw])
@pytest.mark.parametrize("content", ["text", "half a png", "empty"])
def test_an_unusable_file_is_named(tmp_path: Path, read: object, content: str) -> None:
    path = tmp_path / "bad.png"
    png = encode_index_png(IndexImage(NOISE))
    path.write_bytes({"text": b"hello", "half a png": png[: len(png) // 2], "empty": b""}[content])
    with pytest.raises(DataError, match="cannot be read") as caught:
        read(path)  # type: ignore[operator]
    assert caught.value.where == str(path)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_sizes_and_pixels_are_those_of_the_upright_picture(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = tmp_path / f"turned.{suffix}"
    picture = Image.new("RGB", (30, 20))
    exif = picture.getexif()
    exif[0x0112] = orientation
    picture.save(path, exif=exif)
    expected = (30, 20) if orientation >= 5 else (20, 30)
    assert image_size_hw(path) == expected
    assert read_image(path).shape == (*expected, 3)


def test_an_orientation_behind_the_pixels_of_a_png_counts_too(tmp_path: Path) -> None:
    path = tmp_path / "turned.png"
    picture = Image.new("RGB", (30, 20))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(path, exif=exif)
    png = path.read_bytes()
    start = png.index(b"eXIf") - 4
    stop = start + 12 + int.from_bytes(png[start : start + 4], "big")
    end = png.index(b"IEND") - 4
    path.write_bytes(png[:start] + png[stop:end] + png[start:stop] + png[end:])
    assert image_size_hw(path) == read_image(path).shape[:2] == (30, 20)


def test_16_bit_grey_is_scaled_to_its_range(tmp_path: Path) -> None:
    Image.fromarray(np.array([[1000, 2000, 3000]], np.uint16)).save(tmp_path / "x.tif")
    assert read_image(tmp_path / "x.tif")[..., 0].tolist() == [[0, 128, 255]]


def test_hashes_are_sha_256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert file_sha256(tmp_path / "a") == sha256(b"abc") == hashlib.sha256(b"abc").hexdigest()


# atomic writes


def test_a_write_makes_folders_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "mask.png"
    write_atomic(path, b"one")
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["mask.png"]


@pytest.mark.parametrize("mode", [0o600, 0o664])
def test_a_write_keeps_the_files_permissions(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "mask.png"
    path.write_bytes(b"old")
    path.chmod(mode)
    write_atomic(path, b"new")
    assert path.stat().st_mode & 0o777 == mode


def test_a_new_file_can_be_read_by_others(tmp_path: Path) -> None:
    write_atomic(tmp_path / "mask.png", b"new")
    assert (tmp_path / "mask.png").stat().st_mode & 0o777 == 0o644


def _write_in_child(path: Path, most_bytes: int) -> subprocess.CompletedProcess[str]:
    """Replace ``path`` by 4 kB in a process whose files may not grow beyond ``most_bytes``."""
    code = (
        "import signal, sys\nfrom pathlib import Path\nfrom annoloop.errors import DataError\n"
        "from annoloop.data.images import write_atomic\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "try:\n    write_atomic(Path(sys.argv[1]), bytes(4096))\n"
        "except DataError as error:\n    sys.exit(str(error))\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes)),
    )


def test_where_writing_stops_midway_the_old_file_stays_whole(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    path.write_bytes(b"old")
    child = _write_in_child(path, most_bytes=1000)
    assert child.returncode == 1
    assert f"{path}: cannot be written (File too large)" in child.stderr
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["mask.png"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's always full device")
def test_a_full_disk_is_told_and_nothing_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mask.png"
    path.write_bytes(b"old")
    real = os.fsync

    def full(handle: int) -> None:
        real(handle)
        with Path("/dev/full").open("wb", buffering=0) as device:
            device.write(b"x")  # the kernel's own ENOSPC

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="the disk is full; nothing was overwritten") as caught:
        write_atomic(path, b"new")
    assert caught.value.where == str(path)
    assert caught.value.hint == "make room, then run again"
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["mask.png"]


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(DataError, match="cannot be written") as caught:
        write_atomic(tmp_path / "a" / "mask.png", b"new")
    assert caught.value.where == str(tmp_path / "a" / "mask.png")


def test_an_array_read_from_a_file_is_uint8(tmp_path: Path) -> None:
    write_atomic(tmp_path / "mask.png", encode_index_png(IndexImage(VALUES)))
    values: npt.NDArray[np.uint8] = read_index_png(tmp_path / "mask.png").values
    assert values.dtype == np.uint8
    assert values.tolist() == VALUES.tolist()


def test_what_a_killed_write_left_beside_a_file_is_found_and_nothing_else(tmp_path: Path) -> None:
    left, other, whole = (tmp_path / name for name in (".a[1].png.x1y2.part", ".b.png.x1y2.part", "a[1].png"))
    for path in (left, other, whole):
        path.write_bytes(b"x")
    assert partial_files(whole) == [left]


def _png(values: npt.NDArray[np.uint8], filter_type: int, colour_type: int) -> bytes:
    """A PNG all of whose rows are filtered in one way (https://www.w3.org/TR/png-3/#9Filters)."""
    x = np.pad(values, ((1, 0), (1, 0))).astype(int)
    left, above, corner = x[1:, :-1], x[:-1, 1:], x[:-1, :-1]
    estimate = left + above - corner
    far = [abs(estimate - one) for one in (left, above, corner)]
    nearest = np.where((far[0] <= far[1]) & (far[0] <= far[2]), left, np.where(far[1] <= far[2], above, corner))
    predicted = (0, left, above, (left + above) // 2, nearest)[filter_type]
    rows = np.pad((values - predicted).astype(np.uint8), ((0, 0), (1, 0)), constant_values=filter_type)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", *values.shape[::-1], 8, colour_type, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(768)) if colour_type == 3 else b""
    pixels = chunk(b"IDAT", zlib.compress(rows.tobytes()))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + palette + pixels + chunk(b"IEND", b"")
