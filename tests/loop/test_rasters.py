"""The loop over GeoTIFFs of many bands: seen as RGB, never rewritten, masks keep their place; large ones in tiles."""

from __future__ import annotations

import io
import os
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from memory import most_bytes, tells_memory
from PIL import Image
from running_loop import opened
from test_killed import in_child

from annoloop.cli.demo import Server
from annoloop.data.config import load, render
from annoloop.data.images import image_size_hw, read_image
from annoloop.loop.pull import pull
from annoloop.loop.push import push
from annoloop.loop.setup.start import init
from annoloop.masks.regions import LabelMap
from annoloop.project.rows import FrameRow
from annoloop.selection.request import PushRequest
from annoloop.simulation.annotator import annotate
from annoloop.simulation.made_data import COLORS, NAMES

rasterio = pytest.importorskip("rasterio")

from rasterio.transform import from_origin  # noqa: E402

PLACE = {"crs": "EPSG:32633", "transform": from_origin(500_000, 5_300_000, 10, 10)}
NO_MODEL = {"only": ("train/a",), "source": "label"}


def write_raster(path: Path, bands: np.ndarray, **details: object) -> None:
    """A GeoTIFF of (bands, H, W)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = bands.shape
    options = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": bands.dtype, **PLACE}
    with rasterio.open(path, "w", **(options | details)) as target:
        target.write(bands)


def make_rasters(folder: Path, url: str, image: np.ndarray, label_map: LabelMap, **details: object) -> None:
    """A project of one labelled raster each for train and val, masks as GeoTIFF."""
    for split, part in (("train", np.s_[:, :]), ("val", np.s_[:32, :32])):
        write_raster(folder / "data/img_dir" / split / "a.tif", image[:, *part], **details)
        write_raster(folder / "data/ann_dir" / split / "a.tif", label_map[part][None], compress="lzw")
    file = init(folder / "data", folder, classes=NAMES, palette=COLORS).file
    config = load(file)
    cvat = config.cvat.model_copy(update={"url": url})
    changed = {"project": f"rasters-{uuid4().hex[:8]}", "cvat": cvat}
    file.write_text(render(config.model_copy(update=changed)), encoding="utf-8")


@pytest.mark.parametrize("tiles", [0, 64])
def test_a_raster_of_many_bands_goes_as_rgb_and_its_mask_stays_a_geotiff(
    tmp_path: Path, sandbox: Server, tiles: int
) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 4000, (6, 90, 130)).astype(np.uint16)
    label_map = np.zeros((90, 130), np.uint8)
    label_map[20:50, 30:80] = 2
    make_rasters(tmp_path, sandbox.url, image, label_map)
    place = tmp_path / "data/img_dir/train/a.tif"
    before = place.read_bytes()
    truth = label_map.copy()
    truth[60:80, 90:120] = 3
    write_raster(tmp_path / "truth/train/a.tif", truth[None])
    with opened(tmp_path, sandbox) as (project, cvat):
        report = push(project, cvat, PushRequest(1, tiles=tiles, overlap=8, **NO_MODEL))  # type: ignore[arg-type]
        task = int(report.task or 0)
        shown = read_image(place)
        part: FrameRow
        for part in project.ledger.frames(1)[0].parts:
            frame = next(frame for frame in cvat.frames(task) if frame.name == part.name)
            assert part.name.endswith(".png")
            window = (slice(None), slice(None)) if part.window is None else part.window.window
            assert frame.size_hw == shown[window].shape[:2]
        tiles_sent = project.ledger.frames(1)[0].tiles
        annotate(project, cvat, task, tmp_path / "truth")
        assert pull(project, cvat)[0].changed == ("train/a",)
    assert place.read_bytes() == before
    with rasterio.open(tmp_path / "data/ann_dir/train/a.tif") as mask:
        assert (mask.crs, mask.transform) == (PLACE["crs"], PLACE["transform"])
        shown_px = np.full(truth.shape, not tiles)
        for tile in tiles_sent:
            shown_px[tile.window] = True
        assert np.array_equal(mask.read(1)[shown_px], truth[shown_px])


@tells_memory
def test_a_large_raster_is_pushed_and_pulled_in_bounded_memory(tmp_path: Path, sandbox: Server) -> None:
    side = 6000
    rng = np.random.default_rng(0)
    image = np.tile(rng.integers(0, 256, (3, 500, 500)).astype(np.uint8), (1, 12, 12))
    label_map = np.zeros((side, side), np.uint8)
    for _ in range(60):
        top, left = rng.integers(0, side - 200, 2)
        label_map[top : top + 150, left : left + 180] = int(rng.integers(1, len(NAMES)))
    make_rasters(tmp_path, sandbox.url, image, label_map, tiled=True, blockxsize=512, blockysize=512, compress="zstd")
    del image
    assert image_size_hw(tmp_path / "data/img_dir/train/a.tif") == (side, side)
    grown = tmp_path / "grown"

    def work() -> None:
        before = most_bytes(os.getpid())
        with opened(tmp_path, sandbox) as (project, cvat):
            request = PushRequest(1, tiles=1024, overlap=64, **NO_MODEL)  # type: ignore[arg-type]
            report = push(project, cvat, request)
            for job in cvat.jobs(int(report.task or 0)):
                cvat.set_job(job.id, state="completed")
            assert pull(project, cvat)[0].accepted == ("train/a",)
        grown.write_text(str(most_bytes(os.getpid()) - before))

    _, status = os.waitpid(in_child(work), 0)
    assert status == 0
    assert int(grown.read_text()) < 12 * side * side, "the image alone has three bytes for a pixel"


def test_a_tile_of_a_raster_is_the_window_of_its_view(tmp_path: Path) -> None:
    from annoloop.data.image_windows import encode_picture, open_windows

    image = np.random.default_rng(2).integers(0, 5000, (5, 70, 90)).astype(np.uint16)
    write_raster(tmp_path / "a.tif", image)
    with open_windows(tmp_path / "a.tif") as read:
        data = encode_picture(read((10, 20, 60, 65)), "a@y00020x00010.png")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), read_image(tmp_path / "a.tif")[20:65, 10:60])
