"""Near-duplicates: copies are found whatever was done to them, other pictures are not, however alike their ground."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from annoloop.data.images import read_image, read_small_grey
from annoloop.metrics.perceptual_hash import MOST_BITS, SIDE, Look, Looks, look
from annoloop.simulation.made_data import make_data

SIZE = (240, 200)
"""Width and height of the pictures here."""


def _picture(seed: int, *, relief: float = 30) -> npt.NDArray[np.float64]:
    """Grey clouds with some noise, (H, W)."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.normal(0, relief, (8, 10)).astype(np.float32)).resize(SIZE, Image.Resampling.BICUBIC)
    return np.asarray(128 + np.asarray(coarse) + rng.normal(0, 6, SIZE[::-1]))


def _image(values: npt.NDArray[np.float64]) -> Image.Image:
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def _look(image: Image.Image, folder: Path, **encoding: object) -> Look:
    """The look of an image after a way through a file; PNG unless a JPEG quality is given."""
    path = folder / ("image.jpg" if encoding else "image.png")
    image.save(path, **encoding)  # type: ignore[arg-type]
    return look(read_small_grey(path, SIDE))


def _alike(one: Look, other: Look) -> bool:
    return Looks({"one": one, "other": other}).any_alike("one", ["other"])


def _resized(share: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.resize((int(image.width * share), int(image.height * share)), Image.Resampling.LANCZOS)


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "the same": lambda image: image,
    "half the size": _resized(0.5),
    "one and a half": _resized(1.5),
    "one row and column less": lambda image: image.crop((1, 1, image.width, image.height)),
    "2 px less on every side": lambda image: image.crop((2, 2, image.width - 2, image.height - 2)),
    "brighter": lambda image: image.point(lambda level: level + 12),
    "less contrast": lambda image: image.point(lambda level: 128 + 0.8 * (level - 128)),
    "in colour": lambda image: image.convert("RGB"),
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES.keys())
@pytest.mark.parametrize("encoding", [{}, {"quality": 90}, {"quality": 50}], ids=str)
def test_a_copy_looks_the_same(tmp_path: Path, copy: Callable[[Image.Image], Image.Image], encoding: dict) -> None:
    for seed in range(5):
        image = _image(_picture(seed))
        assert _alike(_look(image, tmp_path), _look(copy(image), tmp_path, **encoding)), f"seed {seed}"


@pytest.mark.parametrize("turned", [Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180])
def test_a_mirrored_or_turned_picture_is_another_one(tmp_path: Path, turned: Image.Transpose) -> None:
    image = _image(_picture(0))
    assert not _alike(_look(image, tmp_path), _look(image.transpose(turned), tmp_path))


@pytest.mark.parametrize("seed", range(4))
def test_a_small_object_on_the_same_ground_makes_another_picture(tmp_path: Path, seed: int) -> None:
    ground = _picture(seed, relief=8)
    with_object = ground.copy()
    with_object[60:68, 100:108] += 60
    one, other = _look(_image(ground), tmp_path), _look(_image(with_object), tmp_path)
    differing = int(np.bitwise_count(one.bits ^ other.bits).sum())
    assert differing <= MOST_BITS, "the hash alone would take them for the same"
    assert not _alike(one, other)


def test_no_two_made_images_look_the_same_and_each_looks_like_itself(tmp_path: Path) -> None:
    made = make_data(tmp_path, {"train": 60}, size_hw=(48, 64))
    files = sorted((made.root / "img_dir" / "train").iterdir())
    looks = Looks({file.stem: look(read_small_grey(file, SIDE)) for file in files})
    assert looks.partners(looks) == {name: name for name in looks.names}
    for name in looks.names:
        assert not looks.any_alike(name, [other for other in looks.names if other != name])


def test_the_partner_is_the_nearest_of_those_that_look_the_same(tmp_path: Path) -> None:
    image = _image(_picture(2))
    among = {
        "another": _look(_image(_picture(3)), tmp_path),
        "cut": _look(image.crop((2, 2, *image.size)), tmp_path),
        "encoded": _look(image, tmp_path, quality=90),
    }
    asked = {"new": _look(_image(_picture(4)), tmp_path), "known": _look(image, tmp_path)}
    assert Looks(asked).partners(Looks(among)) == {"known": "encoded"}
    assert Looks({}).partners(Looks(among)) == Looks(asked).partners(Looks({})) == {}


def test_a_repeat_is_paired_with_the_nearest_one_before_it(tmp_path: Path) -> None:
    image = _image(_picture(2))
    looks = Looks(
        {
            "first": _look(image, tmp_path),
            "another": _look(_image(_picture(3)), tmp_path),
            "encoded": _look(image, tmp_path, quality=90),
            "again": _look(image, tmp_path),
        }
    )
    assert looks.repeats() == {"encoded": "first", "again": "first"}
    assert Looks({}).repeats() == {}


def test_blank_pictures_look_the_same_and_like_nothing_else(tmp_path: Path) -> None:
    blank = Image.new("L", SIZE, 117)
    assert _alike(_look(blank, tmp_path), _look(blank, tmp_path, quality=60))
    assert not _alike(_look(blank, tmp_path), _look(_image(_picture(5)), tmp_path))


@given(
    hnp.arrays(np.uint8, (SIDE, SIDE)),
    hnp.arrays(np.uint8, (SIDE, SIDE)) | st.integers(0, 255).map(lambda v: np.full((SIDE, SIDE), v, np.uint8)),
)
def test_whoever_looks_like_another_is_looked_like_too(one: npt.NDArray[np.uint8], two: npt.NDArray[np.uint8]) -> None:
    looks = Looks({"one": look(one.astype(np.float32)), "two": look(two.astype(np.float32))})
    assert looks.any_alike("one", ["two"]) == looks.any_alike("two", ["one"])
    assert looks.any_alike("one", ["one"])


@given(hnp.arrays(np.uint8, (SIDE, SIDE)))
def test_the_bits_are_the_signs_of_the_lowest_cosines(grey: npt.NDArray[np.uint8]) -> None:
    levels = grey.astype(np.float64)
    row = np.arange(SIDE)
    bits = np.unpackbits(look(levels).bits).reshape(16, 16)
    for down, across in ((0, 1), (3, 2), (15, 15)):
        wave = np.outer(
            np.cos(np.pi * (2 * row + 1) * down / (2 * SIDE)), np.cos(np.pi * (2 * row + 1) * across / (2 * SIDE))
        )
        amount = float((wave * (levels - levels.mean())).sum())
        if abs(amount) > 1e-6:
            assert bits[down, across] == (amount > 0)
    assert bits[0, 0] == 0


def test_small_grey_is_the_mean_of_every_cell(tmp_path: Path) -> None:
    image = _image(_picture(6)).resize((320, 160))
    image.save(tmp_path / "image.png")
    cells = np.asarray(image, np.float64).reshape(SIDE, 5, SIDE, 10).mean((1, 3))
    assert np.abs(read_small_grey(tmp_path / "image.png", SIDE) - cells).max() < 1


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_kind_of_image_has_the_look_of_what_it_shows(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "image.tif"
    plain = _image(_picture(7))
    other = Image.fromarray(np.asarray(plain).astype(np.uint16) * 200) if mode == "I;16" else plain.convert(mode)
    other.save(path)
    Image.fromarray(read_image(path)).save(tmp_path / "shown.png")
    assert _alike(look(read_small_grey(path, SIDE)), look(read_small_grey(tmp_path / "shown.png", SIDE)))


def test_the_orientation_of_a_photo_counts(tmp_path: Path) -> None:
    image, exif = _image(_picture(8)), Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter
    stream = io.BytesIO()
    image.save(stream, "JPEG", exif=exif)
    (tmp_path / "photo.jpg").write_bytes(stream.getvalue())
    upright = _look(image.transpose(Image.Transpose.ROTATE_270), tmp_path)
    assert _alike(look(read_small_grey(tmp_path / "photo.jpg", SIDE)), upright)
