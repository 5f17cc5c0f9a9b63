"""``annoloop predict``: the masks that ``evaluate`` scores, of any images, and nothing lost where it was cut off."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from made_model import add_made_model
from PIL import Image
from pycocotools.coco import COCO
from running_loop import make_project, train_here
from store import Store

from annoloop.cli.main import run
from annoloop.data.config import FILE_NAME
from annoloop.data.images import read_index_png
from annoloop.data.storage import Location
from annoloop.data.videos import frames_to_files
from annoloop.errors import ConfigError, DataError, Interrupted
from annoloop.loop.prediction.predict import PredictReport, PredictRequest, plan_prediction, predict
from annoloop.project.project import Project
from annoloop.selection import scoring
from annoloop.training.records import Event


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project with a made model, and the predictions of all its images as ``evaluate`` makes them."""
    folder = tmp_path_factory.mktemp("home")
    make_project(folder, "http://127.0.0.1:9", name="predicted")
    train_here(folder)
    with Project(folder / FILE_NAME) as project:
        add_made_model(project)
        samples = project.samples()
        rows, current = project.scan(samples), project.current_run()
        assert current is not None
        scoring.predict(project, current, [(s, rows[s.id]) for s in samples], watch=scoring.unwatched)
        yield project


@pytest.fixture(scope="module")
def photos(home: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same images elsewhere: other names, in another order, some in a folder, one twice as large among them."""
    folder = tmp_path_factory.mktemp("photos")
    samples = home.samples()
    for number, sample in enumerate(reversed(samples)):
        place = folder / ("night" if number % 3 == 0 else ".") / f"p{number:02d}.png"
        place.parent.mkdir(exist_ok=True)
        shutil.copy(sample.image, place)
    Image.effect_noise((128, 96), 50).convert("RGB").save(folder / "p05b.png")
    return folder


def of_evaluate(project: Project, photos: Path) -> dict[str, tuple[bytes, bytes]]:
    """By the name that a result gets: mask and confidence of ``evaluate``."""
    samples = project.samples()
    rows, found = project.scan(samples), {}
    for number, sample in enumerate(reversed(samples)):
        name = f"night/p{number:02d}" if number % 3 == 0 else f"p{number:02d}"
        mask, confidence = project.prediction_paths(1, rows[sample.id].image_sha256)
        found[name] = mask.read_bytes(), confidence.read_bytes()
    return found


def asked(project: Project, out: Path, *paths: Location, **how: Any) -> PredictReport:
    return predict(project, PredictRequest(paths, out, **how))


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_masks_are_those_of_evaluate_byte_for_byte(home: Project, photos: Path, tmp_path: Path) -> None:
    before = everything(home.state_dir)
    report = asked(home, tmp_path / "out", photos, confidence=True)
    expected = of_evaluate(home, photos)
    assert (report.images, report.predicted, report.kept, report.faults) == (
        len(expected) + 1,
        len(expected) + 1,
        0,
        (),
    )
    assert report.images_per_second is not None
    assert report.device == "cpu"
    for name, (mask, confidence) in expected.items():
        assert (tmp_path / "out/masks" / f"{name}.png").read_bytes() == mask
        assert (tmp_path / "out/confidence" / f"{name}.png").read_bytes() == confidence
    assert read_index_png(tmp_path / "out/masks/p05b.png").values.shape == (96, 128)
    assert everything(home.state_dir) == before
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == [
        "confidence", "images.jsonl", "masks", "predict.json",
    ]  # fmt: skip


def test_a_stranger_reads_the_coco_file_and_the_pictures(home: Project, photos: Path, tmp_path: Path) -> None:
    first = asked(home, tmp_path / "out", photos / "night")
    report = asked(home, tmp_path / "out", photos / "night", overlay=True, coco=True)
    assert (report.predicted, report.kept) == (0, first.predicted)
    coco = COCO(str(report.coco))
    about = json.loads((tmp_path / "out/predict.json").read_text())
    names = {one["name"]: one["index"] for one in about["classes"]}
    assert len(coco.imgs) == report.images > 1
    assert len(coco.anns) == report.regions > 0
    for image in coco.loadImgs(coco.getImgIds()):
        mask = np.asarray(Image.open(tmp_path / "out/masks" / image["file_name"]))
        with Image.open(tmp_path / "out/overlay" / image["file_name"].replace(".png", ".jpg")) as overlay:
            assert overlay.size == (image["width"], image["height"])
        painted = np.full(mask.shape, about["background_index"])
        for one in coco.loadAnns(coco.getAnnIds(imgIds=image["id"])):
            painted[coco.annToMask(one) == 1] = names[coco.cats[one["category_id"]]["name"]]
        assert np.array_equal(painted, mask)


def test_what_cannot_be_predicted_is_told_when_the_rest_is_done(
    home: Project, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(photos / "night", mixed)
    whole = len(list(mixed.iterdir()))
    data = (mixed / "p00.png").read_bytes()
    (mixed / "cut.png").write_bytes(data[: len(data) // 2])
    Image.open(mixed / "p00.png").save(mixed / "photo.jpg", quality=95)
    jpeg = (mixed / "photo.jpg").read_bytes()
    (mixed / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (mixed / "text.png").write_text("hallo", encoding="utf-8")
    (mixed / "empty.png").touch()
    Image.new("RGB", (1, 1)).save(mixed / "dot.png")
    Image.new("L", (2, 90)).save(mixed / "thin.png")
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"mixed/{one.name}\n" for one in mixed.iterdir()) + "mixed/gone.png\n", encoding="utf-8")

    code = run(["--project", str(home.path.parent), "predict", str(listed), "--out", str(tmp_path / "out"), "--json"])

    out, err = capsys.readouterr()
    told = json.loads(out)
    assert code == 4
    assert "5 of" in err
    assert "bug" not in err
    assert {Path(one["place"]).name for one in told["faults"]} == {
        "cut.png", "cut.jpg", "text.png", "empty.png", "gone.png",
    }  # fmt: skip
    made = {one.name for one in (tmp_path / "out/masks").iterdir()}
    assert len(made) == told["predicted"] == whole + 3
    assert {"dot.png", "thin.png", "photo.png"} <= made


def test_frames_of_a_video_are_predicted_as_images(home: Project, tmp_path: Path) -> None:
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for number in range(7):
        writer.write(np.roll(np.arange(48 * 64 * 3).reshape(48, 64, 3) % 251, 9 * number, 1).astype(np.uint8))
    writer.release()
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"hallo")
    frames = tmp_path / "frames"
    assert len(list(frames_to_files(clip, 1, lambda _: True, frames))) == 7

    first = asked(home, tmp_path / "out", clip, broken, every=3)
    assert [Path(one.place).name for one in first.faults] == ["broken.mp4"]
    assert (first.predicted, first.kept, first.videos) == (3, 0, 2)
    plan = plan_prediction(home, PredictRequest((clip,), tmp_path / "out"))
    assert (plan.videos, plan.frames, plan.images) == (1, 7, 0)
    second = asked(home, tmp_path / "out", clip, frames, coco=True)
    assert (second.predicted, second.kept) == (4 + 7, 3)
    masks = tmp_path / "out/masks"
    for number in range(7):
        name = f"{number:06d}.png"
        assert (masks / "clip" / name).read_bytes() == (masks / "frames" / name).read_bytes()
    images = json.loads((tmp_path / "out/coco.json").read_text())["images"]
    assert [one["file_name"] for one in images[:7]] == [f"clip/{number:06d}.png" for number in range(7)]


def test_a_store_is_predicted_as_the_local_disk(home: Project, photos: Path, tmp_path: Path, store: Store) -> None:
    root = store.put(photos, "photos")
    report = asked(home, tmp_path / "out", root)
    expected = of_evaluate(home, photos)
    assert report.predicted == len(expected) + 1
    for name, (mask, _) in expected.items():
        assert (tmp_path / "out/masks" / f"{name}.png").read_bytes() == mask
    (root / "p01.png").unlink()
    (tmp_path / "list.txt").write_text(f"{root}/p01.png\n{root}/p02.png\n{root}/night/p00.png\n", encoding="utf-8")
    again = asked(home, tmp_path / "out", tmp_path / "list.txt")
    assert (again.predicted, again.kept, [one.message for one in again.faults]) == (0, 2, ["file is missing"])


def test_the_masks_of_the_data_set_are_no_images(home: Project, tmp_path: Path) -> None:
    samples, root = home.samples(), home.config.data.root
    assert isinstance(root, Path)
    report = asked(home, tmp_path / "out", root)
    assert (report.images, report.faults) == (len(samples), ())
    masks = sum(one.mask is not None for one in samples)
    assert report.notes == (f"{masks} masks of the data set in {root} are left out",)
    everywhere = plan_prediction(home, PredictRequest((root / "**/*.png",), tmp_path / "two"))
    assert (everywhere.images, len(everywhere.notes)) == (len(samples), 1)
    named = next(one.mask for one in samples if one.mask is not None)
    assert plan_prediction(home, PredictRequest((named,), tmp_path / "three")).images == 1


def test_it_goes_on_where_it_was_stopped_and_takes_what_is_new(home: Project, photos: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(photos, mine)
    heard: list[Event] = []

    def press_ctrl_c(event: Event) -> None:
        heard.append(event)
        if sum(one.kind == "prediction" for one in heard) == 5:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="masks were made and are kept"):
        predict(home, PredictRequest((mine,), tmp_path / "out"), watch=press_ctrl_c)
    assert not (tmp_path / "out/.annoloop-predict").exists()
    rest = asked(home, tmp_path / "out", mine)
    assert rest.kept >= 4
    assert rest.predicted + rest.kept == rest.images

    shutil.copy(mine / "p01.png", mine / "p02.png")  # another picture under an old name
    Image.effect_noise((64, 48), 50).convert("RGB").save(mine / "new.png")
    (tmp_path / "out/masks/p04.png").unlink()
    third = asked(home, tmp_path / "out", mine)
    assert (third.predicted, third.kept) == (3, rest.images - 2)
    masks = tmp_path / "out/masks"
    assert (masks / "p02.png").read_bytes() == (masks / "p01.png").read_bytes()
    assert (masks / "p04.png").read_bytes() == of_evaluate(home, photos)["p04"][0]


def test_kill_9_leaves_nothing_wrong(home: Project, photos: Path, tmp_path: Path) -> None:
    many = tmp_path / "many"
    for number in range(12):
        shutil.copytree(photos, many / f"{number:02d}")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "annoloop", "--project", str(home.path.parent), "predict", str(many)]
    child = subprocess.Popen([*command, "--out", str(out), "-q"], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(out.glob("masks/**/*.png"))) < 20 and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    report = asked(home, out, many)
    assert report.predicted + report.kept == report.images
    expected = of_evaluate(home, photos)
    for number in range(12):
        for name, (mask, _) in expected.items():
            assert (out / "masks" / f"{number:02d}" / f"{name}.png").read_bytes() == mask


def test_only_one_predicts_into_a_folder(home: Project, photos: Path, tmp_path: Path) -> None:
    second: list[DataError] = []

    def try_it_too(event: Event) -> None:
        if event.kind == "started":
            with pytest.raises(DataError, match="another annoloop predicts") as caught:
                asked(home, tmp_path / "out", photos)
            second.append(caught.value)

    predict(home, PredictRequest((photos / "night",), tmp_path / "out"), watch=try_it_too)
    assert len(second) == 1


def test_a_plan_writes_nothing(home: Project, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    command = ["--project", str(home.path.parent), "predict", str(photos), "--out", str(out), "--dry-run"]
    assert run(command) == 0
    said = capsys.readouterr().out
    assert f"would predict {len(home.samples()) + 1} images" in said
    assert str(out / "masks") in said
    assert not out.exists()


@pytest.mark.parametrize("inside", ["", "night/new", "elsewhere/../night"])
def test_masks_do_not_go_among_images(home: Project, photos: Path, inside: str) -> None:
    before = everything(photos)
    with pytest.raises(ConfigError, match="holds images"):
        asked(home, photos / inside, photos)
    assert everything(photos) == before


def test_masks_do_not_go_into_the_data_set(home: Project, photos: Path) -> None:
    image = home.samples()[0].image
    assert isinstance(image, Path)
    with pytest.raises(ConfigError, match="holds images or masks"):
        asked(home, image.parent / "predicted", photos)


def test_without_a_model_it_says_why(home: Project, photos: Path, tmp_path: Path) -> None:
    number = home.ledger.add_run(kind_digest="x", recipe="unet", parent_id=None, class_digest=home.classes.digest)
    with pytest.raises(ConfigError, match=f"nothing to predict with: run {number} is not finished"):
        asked(home, tmp_path / "out", photos, run_id=number)
    other = home.ledger.add_run(kind_digest="y", recipe="unet", parent_id=None, class_digest="of other classes")
    home.ledger.judge_run(other, val_dice=0.5, promoted=False, verdict="no")
    with pytest.raises(ConfigError, match=f"run {other} was trained on other classes"):
        asked(home, tmp_path / "out", photos, run_id=other)
    assert not (tmp_path / "out").exists()
