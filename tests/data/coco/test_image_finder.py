"""Which image a path means: the one with the longest tail of it, and none where several have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from annoloop.data.coco.image_finder import ImageFinder
from annoloop.data.folders import folder

FILES = ("a.jpg", "x/a.jpg", "x/b.jpg", "y/b.jpg", "deep/x/c.jpg")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.jpg", "a.jpg"),
        ("x/a.jpg", "x/a.jpg"),
        ("data/x/a.jpg", "x/a.jpg"),
        ("data/z/a.jpg", "a.jpg"),
        ("/home/me/x/b.jpg", "x/b.jpg"),
        ("../y/b.jpg", "y/b.jpg"),
        ("c.jpg", "deep/x/c.jpg"),
        ("z/b.jpg", ("x/b.jpg", "y/b.jpg")),
        ("d.jpg", None),
        ("..", None),
    ],
)
def test_the_longest_tail_decides(tmp_path: Path, path: str, expected: object) -> None:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert ImageFinder(folder(tmp_path)).find(path) == expected
