"""A folder of predictions holds those of one model, and nothing that somebody else put there is touched."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from annoloop.errors import DataError
from annoloop.loop.prediction.results import Item, Model, looked_at, opened
from annoloop.masks.classes import ClassTable
from annoloop.project.project import Project

MODEL = Model(3, "unet", "c" * 64, "d" * 64)


@pytest.fixture
def classes(project: Project) -> ClassTable:
    return project.classes


@pytest.fixture
def image(tmp_path: Path) -> Item:
    place = tmp_path / "in" / "a.png"
    place.parent.mkdir()
    place.write_bytes(b"an image")
    return Item("a", place)


def filled(out: Path, classes: ClassTable, image: Item) -> Path:
    with opened(out, MODEL, classes, force=False) as results:
        results.mask(image).parent.mkdir()
        results.mask(image).write_bytes(b"a mask")
        results.note(image, "1")
    return out


def test_what_was_made_is_known_again(tmp_path: Path, classes: ClassTable, image: Item) -> None:
    out = filled(tmp_path / "out", classes, image)
    with opened(out, MODEL, classes, force=False) as results:
        assert results.is_done(image, "1", confidence=False)
        assert not results.is_done(image, "2", confidence=False)
        assert not results.is_done(image, "1", confidence=True)
        assert not results.is_done(replace(image, frame=0), "1", confidence=False)
        assert not results.is_done(Item("a", tmp_path / "b.png"), "1", confidence=False)
        results.mask(image).write_bytes(b"")  # as a power cut leaves it
        assert not results.is_done(image, "1", confidence=False)


def test_a_line_that_was_cut_off_is_no_row(tmp_path: Path, classes: ClassTable, image: Item) -> None:
    out = filled(tmp_path / "out", classes, image)
    with (out / "images.jsonl").open("a", encoding="utf-8") as record:
        record.write('{"name": "b", "ima')
    with opened(out, MODEL, classes, force=False) as results:
        assert results.is_done(image, "1", confidence=False)
        results.note(Item("b", image.place), "1")
    assert looked_at(out, MODEL, force=False).is_done(image, "1", confidence=False)
    rows = looked_at(out, MODEL, force=False)
    rows.mask(Item("b", image.place)).write_bytes(b"a mask")
    assert rows.is_done(Item("b", image.place), "1", confidence=False)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (replace(MODEL, run=4), "run 3, and now it is run 4"),
        (replace(MODEL, checkpoint_sha256="e" * 64), "run 3 with another checkpoint"),
        (replace(MODEL, run=4, class_digest="e" * 64), "other classes"),
    ],
)
def test_another_model_gets_another_folder_or_force(
    tmp_path: Path, classes: ClassTable, image: Item, other: Model, said: str
) -> None:
    out = filled(tmp_path / "out", classes, image)
    (out / "masks" / "mine.txt").write_text("a note of mine", encoding="utf-8")
    with pytest.raises(DataError, match=said), opened(out, other, classes, force=False):
        pass
    assert (out / "masks" / "a.png").exists()
    with opened(out, other, classes, force=True) as results:
        assert not results.mask(image).exists()
    assert (out / "masks" / "mine.txt").exists()
    assert json.loads((out / "predict.json").read_text())["run"] == other.run


def test_a_record_that_was_edited_leads_nowhere_else(tmp_path: Path, classes: ClassTable, image: Item) -> None:
    out = filled(tmp_path / "out", classes, image)
    victim = tmp_path / "victim.png"
    victim.write_bytes(b"mine")
    with (out / "images.jsonl").open("a", encoding="utf-8") as record:
        record.writelines(json.dumps({"name": name}) + "\n" for name in ("../../victim", str(tmp_path / "victim")))
    with opened(out, replace(MODEL, run=4), classes, force=True):
        pass
    assert victim.exists()


@pytest.mark.parametrize("there", ["a.png", "masks/a.png", ".hidden"])
def test_a_folder_of_others_is_left_alone(tmp_path: Path, classes: ClassTable, there: str) -> None:
    place = tmp_path / "out" / there
    place.parent.mkdir(parents=True)
    place.write_bytes(b"mine")
    for force in (False, True):
        with pytest.raises(DataError, match="did not make it"), opened(tmp_path / "out", MODEL, classes, force=force):
            pass
    assert place.read_bytes() == b"mine"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"annoloop predictions": 1}', '{"annoloop predictions": 99}'])
def test_a_file_of_the_model_that_cannot_be_read_is_said(tmp_path: Path, classes: ClassTable, content: str) -> None:
    (tmp_path / "predict.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"newer annoloop|writes it"), opened(tmp_path, MODEL, classes, force=False):
        pass


def test_a_file_in_the_way_is_said(tmp_path: Path, classes: ClassTable) -> None:
    (tmp_path / "out").write_text("x", encoding="utf-8")
    for out in (tmp_path / "out", tmp_path / "out" / "below"):
        with pytest.raises(DataError, match=r"is a file|cannot be written"), opened(out, MODEL, classes, force=False):
            pass


def test_names_in_the_coco_file_keep_their_suffix() -> None:
    assert Item("cam/a", Path("x/a.JPG")).file_name == "cam/a.JPG"
    assert Item("a.jpg", Path("a.jpg")).file_name == "a.jpg"
    assert Item("clip/000003", Path("clip.mp4"), 3).file_name == "clip/000003.png"
