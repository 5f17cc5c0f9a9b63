"""Pictures for people: colours by class, three kinds of errors, and files that open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import ImageFont

from annoloop.data.images import read_image
from annoloop.masks.classes import class_table
from annoloop.reports.gallery import ERROR_COLORS, Panel, close_up, colorize, error_map, framed, overlay, save_panels
from annoloop.reports.plots import font_path

CLASSES = class_table(["background", "car", "tree"], ["#000000", "#ff0000", "#00ff00"], background="background")
NO_BACKGROUND = class_table(["road", "car", "tree"])

IMAGE = np.full((2, 5, 3), 100, np.uint8)
TRUTH = np.array([[0, 1, 0, 1, 255], [0, 1, 2, 2, 255]], np.uint8)
PREDICTION = np.array([[0, 0, 2, 2, 1], [0, 1, 2, 2, 0]], np.uint8)


def test_a_label_map_takes_its_classes_colours_and_ignore_is_white() -> None:
    picture = colorize(TRUTH, CLASSES)
    assert picture.shape == (2, 5, 3)
    assert picture[0, :, :].tolist() == [[0, 0, 0], [255, 0, 0], [0, 0, 0], [255, 0, 0], [255, 255, 255]]


def test_an_overlay_leaves_the_background_as_it_is() -> None:
    tinted = overlay(IMAGE, TRUTH, CLASSES)
    assert (tinted[TRUTH == 0] == IMAGE[TRUTH == 0]).all()
    assert tinted[0, 1].tolist() == [193, 40, 40]


def test_a_frame_surrounds_a_place_and_hides_nothing_of_it() -> None:
    picture = np.full((40, 60, 3), 90, np.uint8)
    shown = framed(picture, (20, 10, 24, 13))
    assert (shown[10:13, 20:24] == 90).all()
    assert (shown[9, 19:25] == 255).all()
    assert (shown[8, 18:26] == 0).all()
    assert (picture == 90).all(), "the picture itself stays as it is"
    assert framed(picture, (0, 0, 60, 40)).shape == picture.shape


def test_a_close_up_keeps_to_the_picture() -> None:
    picture = np.arange(40 * 60 * 3, dtype=np.uint32).reshape(40, 60, 3).astype(np.uint8)
    assert np.array_equal(close_up(picture, (30, 20, 32, 21)), picture[4:37, 14:48])
    assert np.array_equal(close_up(picture, (0, 0, 60, 40)), picture)


def test_missed_invented_and_confused_have_their_colours_and_ignore_none() -> None:
    picture = error_map(TRUTH, PREDICTION, CLASSES, IMAGE)
    grey = [70, 70, 70]
    assert picture[0].tolist() == [
        grey,
        *(list(ERROR_COLORS[k]) for k in ("false negative", "false positive", "confused")),
        grey,
    ]
    assert picture[1].tolist() == [grey] * 5


def test_without_background_every_error_is_confused() -> None:
    picture = error_map(TRUTH, PREDICTION, NO_BACKGROUND, IMAGE)
    assert {tuple(p) for p in picture[0, 1:4].tolist()} == {ERROR_COLORS["confused"]}


def test_the_font_knows_names_in_other_scripts() -> None:
    font = ImageFont.truetype(str(font_path()), 20)
    unknown = bytes(font.getmask("\U0010fffd"))
    assert all(bytes(font.getmask(letter)) != unknown for letter in "éøłΩжš…")


def test_panels_are_written_and_older_ones_go(tmp_path: Path) -> None:
    (tmp_path / "old.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("mine")
    written = save_panels(tmp_path, [Panel("0001.png", "worst: train/1", IMAGE, TRUTH, PREDICTION)], CLASSES)
    assert written == (tmp_path / "0001.png",)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0001.png", "notes.txt"]
    height, width, _ = read_image(written[0]).shape
    assert width == 1400
    assert height > 100
