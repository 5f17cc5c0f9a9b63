"""The script of an exported model, held against what annoloop and OpenCV do; it is run in ``test_export_model.py``."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from annoloop.data.images import read_index_png
from annoloop.training.mmseg import standalone
from annoloop.training.windows import windows

TURNED = Image.Exif()
TURNED[0x0112] = 6


def test_it_has_the_windows_that_annoloop_has() -> None:
    for length in (1, 64, 1023, 1024, 1025, 1800, 2049, 5000):
        for side, margin in ((1024, 128), (1365, 171), (384, 128)):
            ours = [(one.rows, one.used_rows) for one in windows((length, 1), side, margin)]
            assert list(standalone._spans(length, side, margin)) == ours


@pytest.mark.parametrize("kind", ["jpg", "turned.jpg", "png", "alpha.png", "palette.png", "16.png", "grey.png", "tif"])
def test_it_reads_images_as_the_network_is_given_them(tmp_path: Path, kind: str) -> None:
    rng, path = np.random.default_rng(0), tmp_path / f"image.{kind}"
    pixels = rng.integers(0, 256, (5, 9, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    image = Image.fromarray(pixels)
    if kind == "16.png":
        Image.fromarray(pixels[..., 0].astype(np.uint16) * 200 + 77).save(path)
    elif kind == "alpha.png":
        Image.fromarray(np.dstack([pixels, pixels[..., :1]])).save(path)
    elif kind == "turned.jpg":
        image.save(path, exif=TURNED)
    else:
        {"palette.png": image.quantize(20), "grey.png": image.convert("L")}.get(kind, image).save(path)
    expected = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert expected is not None
    assert np.array_equal(standalone.read_image(path), expected[..., ::-1])


def test_it_writes_more_than_256_classes(tmp_path: Path) -> None:
    indices = np.arange(700, dtype=np.uint16).reshape(20, 35)
    standalone.write_indices(tmp_path / "a.png", indices, [{"rgb": [1, 2, 3]}] * 700)
    assert np.array_equal(read_index_png(tmp_path / "a.png").values, indices)
