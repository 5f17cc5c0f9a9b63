"""Rasters of many bands: one RGB view everywhere, the file stays, and what cannot be shown is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from annoloop.data import geotiff
from annoloop.data.image_windows import open_windows
from annoloop.data.images import (
    IndexImage,
    decode_index_png,
    encode_index_png,
    glance,
    image_bands,
    image_size_hw,
    needs_view,
    read_image,
)
from annoloop.data.tiff_header import tiff_header
from annoloop.errors import DataError, MissingExtraError

rasterio = pytest.importorskip("rasterio")

from rasterio.transform import from_origin  # noqa: E402

PLACE = {"crs": "EPSG:32633", "transform": from_origin(500_000, 5_300_000, 10, 10)}


def write(path: Path, bands: np.ndarray, **details: Any) -> Path:
    """A GeoTIFF of (bands, H, W)."""
    count, height, width = bands.shape
    options = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": bands.dtype, **PLACE}
    colors = details.pop("colorinterp", None)
    with rasterio.open(path, "w", **(options | details)) as target:
        target.write(bands)
        if colors is not None:
            target.colorinterp = colors
    return path


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4000, (6, 40, 70)).astype(np.uint16)


@pytest.mark.parametrize("details", [{}, {"BIGTIFF": "YES"}, {"tiled": True, "blockxsize": 16, "blockysize": 16},
                                     {"interleave": "pixel"}, {"compress": "deflate"}])  # fmt: skip
def test_a_raster_of_many_bands_is_seen_as_its_first_three_stretched(
    tmp_path: Path, values: np.ndarray, details: dict[str, Any]
) -> None:
    path = write(tmp_path / "a.tif", values, **details)
    before = path.read_bytes()
    assert (needs_view(path), image_size_hw(path), image_bands(path)) == (True, (40, 70), ("R", "G", "B"))
    shown = read_image(path)
    for channel in range(3):
        low, high = np.percentile(values[channel], [2, 98])
        wanted = np.rint(np.clip((values[channel] - low) * 255 / (high - low), 0, 255))
        assert np.array_equal(shown[..., channel], wanted)
    assert glance(before, path, 8).size_hw == (40, 70)
    with open_windows(path) as read:
        assert np.array_equal(read((13, 7, 61, 33)), shown[7:33, 13:61]), "windows are parts of the whole"
    assert path.read_bytes() == before


def test_bands_that_say_that_they_are_red_green_and_blue_are_shown(tmp_path: Path) -> None:
    from rasterio.enums import ColorInterp as Color

    bands = np.stack([np.full((8, 9), value, np.uint8) for value in (10, 20, 30, 40, 50)])
    colors = [Color.blue, Color.green, Color.red, Color.undefined, Color.undefined]
    assert read_image(write(tmp_path / "a.tif", bands, colorinterp=colors))[0, 0].tolist() == [30, 20, 10]
    assert read_image(write(tmp_path / "b.tif", bands))[0, 0].tolist() == [10, 20, 30]


def test_pixels_without_data_are_black_and_do_not_count(tmp_path: Path) -> None:
    bands = np.tile(np.linspace(0.2, 0.4, 100, dtype=np.float32).reshape(10, 10), (5, 1, 1))
    bands[:, 0, 0], bands[:, 9, 9] = -9999, np.nan
    shown = read_image(write(tmp_path / "a.tif", bands, nodata=-9999))
    assert shown[0, 0].tolist() == shown[9, 9].tolist() == [0, 0, 0]
    assert 100 < shown[5, 0, 0] < 140
    assert shown[9, 8].tolist() == [255, 255, 255]


def test_plain_pictures_are_read_as_ever(tmp_path: Path) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    for name, image in {
        "rgb.tif": Image.fromarray(rgb), "grey.tif": Image.fromarray(rgb[..., 0]),
        "palette.tif": Image.fromarray(rgb).quantize(16), "alpha.tif": Image.fromarray(rgb).convert("RGBA"),
        "cmyk.tif": Image.fromarray(rgb).convert("CMYK"), "bits.tif": Image.fromarray(rgb[..., 0] > 99),
        "wide.tif": Image.fromarray(rgb[..., 0].astype(np.uint16) * 100), "a.png": Image.fromarray(rgb),
    }.items():  # fmt: skip
        path = tmp_path / name
        image.save(path)
        assert not needs_view(path)
        if name != "wide.tif":
            assert np.array_equal(read_image(path), np.asarray(image.convert("RGB"))), name
        with open_windows(path) as read:
            assert np.array_equal(read((3, 2, 17, 19)), read_image(path)[2:19, 3:17]), name


def test_windows_of_a_picture_whose_zero_is_white_are_those_of_the_whole(tmp_path: Path) -> None:
    grey = np.random.default_rng(3).integers(0, 256, (1, 20, 30)).astype(np.uint8)
    path = write(tmp_path / "a.tif", grey, photometric="MINISWHITE")
    with open_windows(path) as read:
        assert np.array_equal(read((3, 2, 17, 19)), read_image(path)[2:19, 3:17])


def test_what_cannot_be_shown_is_said(tmp_path: Path, values: np.ndarray) -> None:
    path = write(tmp_path / "complex.tif", values.astype(np.complex64))
    with pytest.raises(DataError, match="type complex64, which are no intensities"):
        read_image(path)
    path = write(tmp_path / "cut.tif", values)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="cannot be read"):
        read_image(path)
    path = write(tmp_path / "huge.tif", np.zeros((5, 4, 4), np.uint8))
    huge = tmp_path / "bomb.tif"
    with rasterio.open(huge, "w", driver="GTiff", count=5, height=90_000, width=90_000, dtype="uint8",
                       SPARSE_OK="TRUE", tiled=True, BIGTIFF="YES", **PLACE):  # fmt: skip
        pass
    with pytest.raises(DataError, match="90000 x 90000 px"):
        read_image(huge)
    for data in (b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff", b""):
        (tmp_path / "broken.tif").write_bytes(data)
        assert tiff_header(tmp_path / "broken.tif") is None
        with pytest.raises(DataError):
            read_image(tmp_path / "broken.tif")


def test_without_rasterio_the_extra_is_named(
    tmp_path: Path, values: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.tif", values)
    monkeypatch.setattr(geotiff, "is_installed", lambda: False)
    with pytest.raises(MissingExtraError, match="rasterio"):
        read_image(path)
    with pytest.raises(MissingExtraError, match="rasterio"):
        geotiff.require_for([tmp_path / "no.png", path])
    geotiff.require_for([tmp_path / "no.png"])


def test_a_mask_that_is_a_geotiff_stays_one(tmp_path: Path) -> None:
    path = write(tmp_path / "mask.tif", np.zeros((1, 30, 40), np.uint8), nodata=255)
    stored = decode_index_png(path.read_bytes(), path)
    changed = stored.values.copy()
    changed[3:9, 4:8] = 2
    path.write_bytes(encode_index_png(IndexImage(changed, stored.palette, stored.form)))
    with rasterio.open(path) as source:
        assert (source.crs, source.transform, source.nodata) == (PLACE["crs"], PLACE["transform"], 255)
        assert np.array_equal(source.read(1), changed)


def test_training_reads_the_view_that_people_see(tmp_path: Path, values: np.ndarray) -> None:
    data = pytest.importorskip("annoloop.training.mmseg.data")
    from mmengine.dataset import Compose

    path = write(tmp_path / "a.tif", values)
    Image.fromarray(read_image(path)).save(tmp_path / "a.png")
    steps = Compose([{"type": "LoadImageFromFile"}])
    data.read_views(steps)
    view, png = (steps({"img_path": str(one)})["img"] for one in (path, tmp_path / "a.png"))
    assert np.array_equal(view, png)
    assert np.array_equal(view[..., ::-1], read_image(path))
