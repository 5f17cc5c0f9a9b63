"""The page of pictures for people without FiftyOne."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from PIL import Image
from running_loop import Loop

from annoloop.app.browse import export
from annoloop.errors import ConfigError, DataError
from annoloop.selection.scoring import score


def figures(page: Path) -> list[tuple[str, str]]:
    """(sample, Dice) in the order of the page."""
    return re.findall(r'data-name="([^"]+)" .*data-dice="([^"]*)"', page.read_text(encoding="utf-8"))


def test_the_worst_come_first_and_every_picture_is_there(loop: Loop, tmp_path: Path) -> None:
    run = loop.project.current_run()
    assert run is not None
    score(loop.project, run, loop.project.samples(["train"]))
    loop.project.mask_path("val/0001").unlink()
    pushed = loop.push(worst=1)
    report = export(loop.project, tmp_path / "gallery")
    assert (report.samples, report.scored) == (11, 8)
    shown = figures(report.page)
    assert len(shown) == 11
    values = [float(dice) for _, dice in shown if dice]
    assert values == sorted(values)
    assert [dice for _, dice in shown[8:]] == ["", "", ""]
    html = report.page.read_text(encoding="utf-8")
    sources = re.findall(r'<img src="([^"]+)"', html)
    sizes = {Image.open(report.page.parent / source).size for source in sources}
    assert len(sources) == 11
    assert sizes == {(4 * 320 + 3 * 4, 240), (2 * 320 + 4, 240)}, "without a mask there is nothing to be wrong about"
    assert f"/tasks/{pushed.task}/jobs/" in html
    for name in ("disc", "false negative (missed)", "false positive (invented)", "confused"):
        assert f"</span>{name}</span>" in html
    assert "https://" not in html


def test_a_gallery_is_replaced_and_anything_else_is_left_alone(loop: Loop, tmp_path: Path) -> None:
    export(loop.project, tmp_path / "gallery")
    assert export(loop.project, tmp_path / "gallery").samples == 11
    for name in ("thesis.tex", "index.html"):
        mine = tmp_path / "mine" / name
        mine.parent.mkdir()
        mine.write_text("all I have")
        with pytest.raises(ConfigError, match="the folder is not empty, and holds no gallery"):
            export(loop.project, mine.parent)
        assert [p.read_text() for p in mine.parent.iterdir()] == ["all I have"]
        shutil.rmtree(mine.parent)


def test_a_gallery_that_a_broken_mask_cut_off_is_finished_by_the_same_command(loop: Loop, tmp_path: Path) -> None:
    mask = loop.project.mask_path("train/0003")
    assert isinstance(mask, Path)
    whole = mask.read_bytes()
    mask.write_bytes(whole[:60])
    for _ in range(2):
        with pytest.raises(DataError, match="cannot be read"):
            export(loop.project, tmp_path / "gallery")
    mask.write_bytes(whole)
    assert export(loop.project, tmp_path / "gallery").samples == 11
    (tmp_path / "gallery" / "index.html").write_text("all I have")
    with pytest.raises(ConfigError, match="holds no gallery"):
        export(loop.project, tmp_path / "gallery")


def test_without_a_model_there_are_images_and_labels(loop: Loop, tmp_path: Path) -> None:
    loop.project.ledger.judge_run(1, val_dice=0.1, promoted=False, verdict="no")
    report = export(loop.project, tmp_path / "gallery")
    assert (report.samples, report.scored) == (11, 0)
