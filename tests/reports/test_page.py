"""Pages in one file, and the charts in them."""

from __future__ import annotations

import base64
import io
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from annoloop.reports import page, plots


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_a_page_escapes_what_it_is_given_and_needs_nothing_else(tmp_path: Path) -> None:
    html = page.render("page.html", title="<b>steel</b>", subtitle="a & b")
    assert "<title>&lt;b&gt;steel&lt;/b&gt;</title>" in html
    assert "a &amp; b" in html
    for outside in ("http://", "https://", "src=", "url("):
        assert outside not in html


def test_a_name_that_is_not_given_is_an_error() -> None:
    with pytest.raises(Exception, match="'subtitle' is undefined"):
        page.render("page.html", title="a")


def test_a_map_keeps_its_colours_and_a_photo_is_shrunk() -> None:
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (30, 50, 3), np.uint8)
    assert np.array_equal(np.asarray(decoded(page.picture(rgb, photo=False))), rgb)
    assert decoded(page.picture(np.repeat(rgb, 40, axis=1), longest_px=100)).size == (100, 1)


CHARTS: dict[str, Callable[[], str]] = {
    "bars": lambda: plots.bars({"a < b": 0.5, "c": float("nan")}, label="Dice", intervals=[(0.4, 0.6), (0, 0)]),
    "log bars": lambda: plots.bars({"a": 5e6, "b": 12}, label="px", logarithmic=True, colors=[(255, 0, 0)]),
    "histogram": lambda: plots.histogram([0.1, 0.2, 0.9], label="Dice", range_=(0, 1)),
    "steps": lambda: plots.steps([1, 2, 4], {"a": [3, 1], "b": [0, 2]}, x_label="px", y_label="n", logarithmic=True),
    "lines": lambda: plots.lines({"run 1": ([1, 2], [0.2, 0.4])}, x_label="x", y_label="y", diagonal=True),
    "matrix": lambda: plots.matrix(np.array([[1.0, np.nan], [0.3, 0.7]]), ["a", "b"], x_label="p", y_label="t"),
    "points": lambda: plots.points([0.1], [0.9], x_label="before", y_label="after"),
}


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_one_piece_of_svg_with_its_text(name: str) -> None:
    svg = CHARTS[name]()
    assert ET.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    assert "</text>" in svg


def test_a_heat_map_goes_from_dark_to_light() -> None:
    rgb = plots.heat(np.array([[0.0, 0.5, 1.0]]))
    assert rgb.shape == (1, 3, 3)
    assert list(rgb.sum(2)[0]) == sorted(rgb.sum(2)[0])
