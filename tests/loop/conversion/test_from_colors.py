"""Masks in colours become index masks beside them: every pixel, nothing written over, unknown colours counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from annoloop.cli.main import run
from annoloop.data.images import read_index_png
from annoloop.errors import ConfigError, DataError
from annoloop.loop.conversion.colors import Palette, beside, from_colors, palette_near
from annoloop.masks.classes import class_table

COLORS = ("#000000", "#fa3253", "#33ddff")
PALETTE = Palette(("background", "cat", "dog"), COLORS)
RGB = np.array([(0, 0, 0), (250, 50, 83), (51, 221, 255)], np.uint8)


def _save(folder: Path, name: str, label_map: np.ndarray, mode: str = "RGB") -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if mode == "P":
        image = Image.fromarray(label_map)
        image.putpalette(RGB.ravel().tolist())
        image.save(path)
    else:
        Image.fromarray(RGB[label_map]).save(path)


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 2)))
def test_every_pixel_has_the_index_of_its_colour(label_map: np.ndarray) -> None:
    from annoloop.loop.conversion.colors import _indices

    values, unknown = _indices(RGB[label_map], PALETTE.codes(()))
    assert np.array_equal(values, label_map)
    assert not unknown


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".gif"])
def test_index_masks_lie_beside_and_a_second_time_nothing_is_written(tmp_path: Path, suffix: str) -> None:
    label_map = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    _save(tmp_path / "masks", f"train/a{suffix}", label_map, "P" if suffix == ".gif" else "RGB")
    report = from_colors(tmp_path / "masks", PALETTE)
    assert (report.folder, report.written, report.unchanged) == (tmp_path / "masks-index", 1, 0)
    assert np.array_equal(read_index_png(tmp_path / "masks-index/train/a.png").values, label_map)
    assert from_colors(tmp_path / "masks", PALETTE).unchanged == 1


def test_unknown_colours_are_counted_and_nothing_is_written(tmp_path: Path) -> None:
    _save(tmp_path / "masks", "a.png", np.array([[0, 1]], np.uint8))
    Image.new("RGB", (3, 2), (1, 2, 3)).save(tmp_path / "masks/b.png")
    with pytest.raises(DataError, match=r"1 colours are in no class of --palette: #010203 \(6 px\)") as caught:
        from_colors(tmp_path / "masks", PALETTE)
    assert "cat #fa3253" in (caught.value.hint or "")
    assert not beside(tmp_path / "masks").exists()
    from_colors(tmp_path / "masks", PALETTE, ignored=["#010203"])
    assert read_index_png(tmp_path / "masks-index/b.png").values.tolist() == [[255] * 3] * 2


def test_another_file_in_the_way_stays(tmp_path: Path) -> None:
    _save(tmp_path / "masks", "a.png", np.array([[0, 1]], np.uint8))
    from_colors(tmp_path / "masks", PALETTE)
    before = (tmp_path / "masks-index/a.png").read_bytes()
    _save(tmp_path / "masks", "a.png", np.array([[1, 1]], np.uint8))
    with pytest.raises(DataError, match="is there already with other pixels"):
        from_colors(tmp_path / "masks", PALETTE)
    assert (tmp_path / "masks-index/a.png").read_bytes() == before


def test_two_files_that_would_become_one_are_refused(tmp_path: Path) -> None:
    for name in ("a.png", "a.bmp"):
        _save(tmp_path / "masks", name, np.array([[0]], np.uint8))
    with pytest.raises(DataError, match="two files would become one mask"):
        from_colors(tmp_path / "masks", PALETTE)
    assert from_colors(tmp_path / "masks", PALETTE, suffix=".bmp").written == 1


def test_a_lossy_mask_is_named(tmp_path: Path) -> None:
    _save(tmp_path / "masks", "a.jpg", np.array([[0, 1]], np.uint8))
    with pytest.raises(DataError, match="is lossy") as caught:
        from_colors(tmp_path / "masks", PALETTE)
    assert caught.value.where == str(tmp_path / "masks/a.jpg")


def test_a_palette_image_with_other_colours_is_taken_for_indices_only_where_nothing_else_can_be_meant(
    tmp_path: Path,
) -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8))
    image.putpalette([0, 0, 0, 9, 9, 200])
    image.save(tmp_path / "a.png")
    with pytest.raises(DataError, match="#0909c8"):
        from_colors(tmp_path, PALETTE, tmp_path / "out")
    from_colors(tmp_path, Palette((), ()), tmp_path / "out")
    assert read_index_png(tmp_path / "out/a.png").values.tolist() == [[0, 1]]


def test_one_colour_for_two_classes_is_refused(tmp_path: Path) -> None:
    _save(tmp_path, "a.png", np.array([[0]], np.uint8))
    with pytest.raises(ConfigError, match="#000000 stands for two classes: 0 and 1"):
        from_colors(tmp_path, Palette(("a", "b"), ("#000000", "#000000")))


def test_the_palette_is_that_of_labelmap_txt_in_the_projects_order(tmp_path: Path) -> None:
    lines = "# label:color_rgb:parts:actions\ncat:250,50,83::\nbackground:0,0,0::\nignore:255,255,255::\n"
    (tmp_path / "labelmap.txt").write_text(lines)
    _save(tmp_path / "SegmentationClass", "a.png", np.array([[0, 1]], np.uint8))
    own = Palette.of(class_table(["background", "cat"], ["#111111", "#222222"]), "annoloop.yaml")
    told = palette_near(tmp_path / "SegmentationClass", None)
    assert told.names == ("cat", "background")
    assert told.ignored == ("#ffffff",)
    assert own.with_colors_of(told).colors == ("#000000", "#fa3253")


def test_the_command_writes_what_init_then_finds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(3):
        Image.fromarray(rng.integers(0, 255, (16, 20, 3), dtype=np.uint8)).save(data / f"images/{i}.jpg")
        _save(data / "masks", f"{i}.png", rng.integers(0, 3, (4, 5)).repeat(4, 0).repeat(4, 1))
    assert run(["init", str(data), "--project", str(tmp_path)]) == 4
    assert f"annoloop convert from-colors {data}/masks" in capsys.readouterr().err
    colors = ["--classes", "background,cat,dog", "--palette", ",".join(COLORS)]
    assert run(["convert", "from-colors", str(data / "masks"), *colors]) == 0
    assert run(["init", str(data), "--project", str(tmp_path), "--classes", "background,cat,dog"]) == 0
    assert "mask_dir: masks-index" in (tmp_path / "annoloop.yaml").read_text()
