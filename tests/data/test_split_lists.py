"""Lists of a split in the many ways that people write them."""

from __future__ import annotations

import pytest

from annoloop.data.data_section import Place
from annoloop.data.split_lists import listed_stems

PLACE = Place("img dir/train", "ann/train", "", "", (".jpg", ".png"), "_mask.png", "train.txt")


@pytest.mark.parametrize(
    "line",
    [
        "a/b1",
        "  a/b1  ",
        "a/b1.jpg",
        "a/b1.PNG",
        "a\\b1.jpg",
        "./a/b1.jpg",
        "train/a/b1.jpg",
        "img dir/train/a/b1.jpg",
        "/data/some set/img dir/train/a/b1.jpg",
        "C:\\data\\img dir\\train\\a\\b1.jpg",
        "img dir/train/a/b1.jpg ann/train/a/b1_mask.png",
        "img dir/train/a/b1.jpg\tann/train/a/b1_mask.png",
        "img dir/train/a/b1.jpg,ann/train/a/b1_mask.png",
        '"img dir/train/a/b1.jpg", "ann/train/a/b1_mask.png"',
        "a/b1 a/b1",
    ],
)
def test_one_line_names_one_image(line: str) -> None:
    assert listed_stems(f"\ufeff{line}\r\n\n# a comment\n", PLACE) == ["a/b1"]


@pytest.mark.parametrize("stem", ["my image 1", "2_10_0_0_512_512", "v1.2_frame.7", "0001"])
def test_a_stem_stays_as_it_is(stem: str) -> None:
    assert listed_stems(stem, PLACE) == [stem]
