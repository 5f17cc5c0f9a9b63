"""A project with more classes than 8 bits tell apart: found, looked at, scored, sent to CVAT and back, and shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image
from running_loop import Loop, opened

from annoloop.app.app_masks import app_values
from annoloop.cli.demo import Server
from annoloop.cli.main import run
from annoloop.data.config import FILE_NAME, load, render
from annoloop.data.images import IndexImage, encode_index_png, read_index_png, write_atomic
from annoloop.data.mmseg_folders import read_label_map
from annoloop.eda.eda import eda
from annoloop.errors import ConfigError, DataError
from annoloop.loop.conversion.coco import from_coco, to_coco
from annoloop.loop.conversion.cvat_masks import from_cvat, to_cvat
from annoloop.loop.evaluate import evaluate
from annoloop.loop.setup.start import init, values_of
from annoloop.loop.training_request import RetrainRequest, chosen_recipe
from annoloop.loop.undo import undo
from annoloop.masks.classes import WIDE_IGNORE, class_table
from annoloop.masks.regions import LabelMap, Region
from annoloop.metrics.error_regions import largest_mistakes
from annoloop.metrics.scores import MOST_CONFUSION_BYTES, check_confusions, map_dice
from annoloop.project.project import Project

K, SIZE = 400, (24, 32)
SAMPLES = {"train": 4, "val": 2}


def _map(seed: int) -> LabelMap:
    rng = np.random.default_rng(seed)
    found = np.zeros(SIZE, np.uint16)
    for _ in range(6):
        top, left = int(rng.integers(0, 16)), int(rng.integers(0, 24))
        found[top : top + 8, left : left + 8] = rng.choice([3, 255, 256, 299, 390, WIDE_IGNORE])
    found[0, :3] = 399, 255, 260
    return found


def _make(root: Path, suffix: str = ".png", *, names: bool = True) -> dict[str, LabelMap]:
    maps = {}
    rng = np.random.default_rng(0)
    for split, count in SAMPLES.items():
        for number in range(count):
            name = f"{split}/{number}"
            image, mask = root / "images" / f"{name}.jpg", root / "masks" / f"{name}{suffix}"
            image.parent.mkdir(parents=True, exist_ok=True)
            mask.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8)).save(image)
            maps[name] = _map(len(maps))
            Image.fromarray(maps[name]).save(mask)
    if names:
        (root / "classes.txt").write_text("\n".join(["background", *(f"kind {i}" for i in range(1, K))]))
    return maps


@pytest.fixture
def maps(tmp_path: Path) -> dict[str, LabelMap]:
    found = _make(tmp_path / "data")
    init(tmp_path / "data", tmp_path)
    return found


@pytest.fixture
def wide(tmp_path: Path, maps: dict[str, LabelMap], sandbox: Server) -> Iterator[Loop]:
    assert maps
    file = tmp_path / FILE_NAME
    config = load(file)
    cvat = config.cvat.model_copy(update={"url": sandbox.url})
    settings = {"project": f"wide-{uuid4().hex[:8]}", "cvat": cvat}
    data = config.data.model_copy(update={"root": Path("data")})
    file.write_text(render(config.model_copy(update={**settings, "data": data})), encoding="utf-8")
    with opened(tmp_path, sandbox) as (project, session):
        yield Loop(tmp_path, tmp_path / "data" / "masks", sandbox, project, session)


def _add_model(project: Project, maps: dict[str, LabelMap]) -> dict[str, LabelMap]:
    run_id = project.ledger.add_run(kind_digest="m", recipe="unet", parent_id=None, class_digest=project.classes.digest)
    samples = project.samples()
    rows, said = project.scan(samples), {}
    for sample in samples:
        said[sample.id] = np.roll(maps[sample.id], 3, axis=1)
        said[sample.id][said[sample.id] == WIDE_IGNORE] = 300
        index_png, confidence_png = project.prediction_paths(run_id, rows[sample.id].image_sha256)
        write_atomic(index_png, encode_index_png(IndexImage(said[sample.id])))
        write_atomic(confidence_png, encode_index_png(IndexImage(np.full(SIZE, 200, np.uint8))))
    project.ledger.judge_run(run_id, val_dice=0.5, promoted=True, verdict="the first model")
    return said


# init


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_as_many_names_as_numbers_make_classes_of_16_bits(tmp_path: Path, suffix: str) -> None:
    _make(tmp_path / "data", suffix)
    report = init(tmp_path / "data", tmp_path)
    assert report.config.ignore_index == WIDE_IGNORE
    assert len(report.config.classes) == K
    assert report.config.background == "background"
    assert "masks of 16 bits: ignore_index is 65535" in report.notes
    assert load(report.file).data.is_wide


def test_without_names_they_may_be_instances(tmp_path: Path) -> None:
    _make(tmp_path / "data", names=False)
    with pytest.raises(DataError, match="numbers up to 399, which 8 bits cannot: instances, depth") as caught:
        init(tmp_path / "data", tmp_path)
    assert "classes.txt" in str(caught.value.hint)
    with pytest.raises(DataError, match="3 classes are named"):
        init(tmp_path / "data", tmp_path, classes=["a", "b", "c"])


def test_few_numbers_and_65535_are_classes(tmp_path: Path) -> None:
    maps = _make(tmp_path / "data", names=False)
    for name, label_map in maps.items():
        Image.fromarray(np.where(label_map == WIDE_IGNORE, label_map, label_map % 3)).save(
            tmp_path / "data" / "masks" / f"{name}.png"
        )
    report = init(tmp_path / "data", tmp_path)
    assert (report.config.ignore_index, len(report.config.classes)) == (WIDE_IGNORE, 3)


def test_said_numbers_are_classes(tmp_path: Path) -> None:
    maps = _make(tmp_path / "data", names=False)
    for name, label_map in maps.items():
        Image.fromarray(np.where(label_map > 255, np.uint16(2000), np.uint16(1000))).save(
            tmp_path / "data" / "masks" / f"{name}.png"
        )
    report = init(tmp_path / "data", tmp_path, classes=["a", "b"], values=values_of(["1000=a", "2000=b"]))
    assert report.config.ignore_index == WIDE_IGNORE
    with Project(report.file) as project:
        label_map = read_label_map(project.mask_path("train/0"), project.config.data)
        assert np.array_equal(label_map == 1, maps["train/0"] > 255)
        assert project.config.data.values == {1000: 0, 2000: 1}


def test_a_list_that_begins_with_1_makes_a_map_of_values(tmp_path: Path) -> None:
    _make(tmp_path / "data", names=False)
    lines = [f"{i}: kind {i}" for i in range(1, K)]
    (tmp_path / "data" / "classes.txt").write_text("\n".join(lines))
    config = init(tmp_path / "data", tmp_path).config
    assert (len(config.classes), config.data.values[0], config.data.values[399]) == (K - 1, WIDE_IGNORE, 398)
    assert not config.data.reduce_zero_label


# eda, scores, pictures


def test_eda_counts_every_class(tmp_path: Path, maps: dict[str, LabelMap]) -> None:
    with Project(tmp_path / FILE_NAME) as project:
        for report in (eda(project), eda(project)):  # and from what is kept
            assert set(report.counts) == {"class nowhere"}
            every = np.stack(list(maps.values()))
            for index in (3, 255, 256, 399):
                assert report.classes[index].pixels == np.count_nonzero(every == index)
            assert report.ignored_share == pytest.approx(np.mean(every == WIDE_IGNORE))


def test_more_classes_than_are_mapped_are_still_counted(tmp_path: Path) -> None:
    maps = _make(tmp_path / "data", names=False)
    (tmp_path / "data" / "classes.txt").write_text("\n".join(f"kind {i}" for i in range(3000)))
    with Project(init(tmp_path / "data", tmp_path).file) as project:
        report = eda(project)
    assert report.together == ()
    assert report.classes[399].pixels == sum(np.count_nonzero(one == 399) for one in maps.values())
    assert any("3000 classes" in line for line in report.warnings)


def test_scores_are_those_of_a_plain_calculation(wide: Loop, maps: dict[str, LabelMap]) -> None:
    said = _add_model(wide.project, maps)
    report = evaluate(wide.project, splits=("train",), show=1, report=True)
    names = [name for name in maps if name.startswith("train/")]
    truth, prediction = (np.concatenate([m[name].ravel() for name in names]).astype(np.int64) for m in (maps, said))
    truth, prediction = (one[truth != WIDE_IGNORE] for one in (truth, prediction))
    expected = []
    for index in range(K):
        both = np.count_nonzero((truth == index) & (prediction == index))
        sizes = np.count_nonzero(truth == index) + np.count_nonzero(prediction == index)
        expected.append(2 * both / sizes if sizes else np.nan)
    found = report.splits["train"].scores
    assert found.dice == pytest.approx(expected, nan_ok=True)
    assert found.mean_dice == pytest.approx(np.nanmean(expected))
    assert found.pixel_accuracy == pytest.approx(np.mean(truth == prediction))
    one = names[0]
    dices = map_dice(maps[one], said[one], K, WIDE_IGNORE)
    assert np.nanmax(dices) <= 1


def test_the_largest_errors_name_wide_classes(maps: dict[str, LabelMap]) -> None:
    table = class_table([f"c{i}" for i in range(K)], ignore_index=WIDE_IGNORE, background="c0")
    truth = np.zeros(SIZE, np.uint16)
    truth[2:10, 2:10] = 399
    prediction = np.zeros(SIZE, np.uint16)
    prediction[2:10, 2:10] = 300
    prediction[15:17, 20:22] = 299
    found = largest_mistakes(truth, prediction, np.full(SIZE, 255, np.uint8), table, count=5, least_px=1)
    assert [(one.labelled, one.predicted, one.region.area_px) for one in found][:1] == [(399, 300, 64)]


def test_too_many_pairs_of_classes_are_refused_with_their_size() -> None:
    check_confusions(1, 20_000)
    with pytest.raises(DataError, match=r"1000 images with 2000 classes take 29.8 GiB; 4 GiB are the most"):
        check_confusions(1000, 2000)
    assert MOST_CONFUSION_BYTES == 4 << 30


def test_the_app_shows_a_class_beyond_8_bits() -> None:
    shown = app_values(class_table(["road", *(f"c{i}" for i in range(1, K))], ignore_index=WIDE_IGNORE))
    assert shown.dtype == np.uint16
    assert shown[[0, 399, WIDE_IGNORE]].tolist() == [1, 400, WIDE_IGNORE]


def test_classes_without_a_pixel_do_not_bury_the_others(
    tmp_path: Path, maps: dict[str, LabelMap], capsys: pytest.CaptureFixture[str]
) -> None:
    assert maps
    run(["--project", str(tmp_path), "eda"])
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("kind ")]
    assert {line.split()[1] for line in rows} == {"3", "255", "256", "260", "299", "390", "399"}


# conversion


def test_coco_and_back(tmp_path: Path, maps: dict[str, LabelMap]) -> None:
    with Project(tmp_path / FILE_NAME) as project:
        to_coco(project.samples(), project.config.data, project.classes, tmp_path / "all.json")
        from_coco(tmp_path / "all.json", tmp_path / "back", project.config.data, project.classes)
    from_coco(tmp_path / "all.json", tmp_path / "own")
    for name, label_map in maps.items():
        for folder in ("back", "own"):
            assert np.array_equal(read_index_png(tmp_path / folder / f"{name}.png").values, label_map)


def test_coco_of_others_gets_16_bits_where_it_needs_them(tmp_path: Path) -> None:
    categories = [{"id": 7 * i, "name": f"kind {i}"} for i in range(1, 301)]
    annotation = {"id": 1, "image_id": 1, "category_id": 7 * 300, "segmentation": [[0, 0, 4, 0, 4, 4, 0, 4]]}
    document = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 6, "width": 8}],
        "annotations": [annotation | {"area": 16, "bbox": [0, 0, 4, 4], "iscrowd": 0}],
        "categories": categories,
    }
    (tmp_path / "a.json").write_text(json.dumps(document))
    from_coco(tmp_path / "a.json", tmp_path / "out")
    assert np.unique(read_index_png(tmp_path / "out" / "a.png").values).tolist() == [0, 300]


def test_cvats_zip_and_back(tmp_path: Path, maps: dict[str, LabelMap]) -> None:
    with Project(tmp_path / FILE_NAME) as project:
        to_cvat(project.samples(), project.config.data, project.classes, tmp_path / "all.zip")
        from_cvat(tmp_path / "all.zip", tmp_path / "back", project.config.data, project.classes)
    for name, label_map in maps.items():
        assert np.array_equal(read_index_png(tmp_path / "back" / f"{name}.png").values, label_map)


# CVAT


@pytest.mark.parametrize("source", ["label", "prediction"])
def test_nobody_edits_and_nothing_changes(wide: Loop, maps: dict[str, LabelMap], source: str) -> None:
    _add_model(wide.project, maps)
    before = {name: wide.project.mask_path(name).read_bytes() for name in maps}
    task = wide.push(worst=3, source="label").task if source == "label" else wide.push(worst=3).task
    wide.complete(task)
    assert wide.pull(task).edited_px == 0
    assert {name: wide.project.mask_path(name).read_bytes() for name in maps} == before


def test_a_class_beyond_8_bits_that_was_drawn_comes_back(wide: Loop, maps: dict[str, LabelMap]) -> None:
    name = "train/1"
    task = wide.push(only=(name,), source="label").task
    square = Region(397, 4, 5, np.ones((6, 7), np.bool_))
    wide.draw(task, wide.frame_of(task, name), "kind 397", square)
    wide.complete(task)
    report = wide.pull(task)
    expected = maps[name].copy()
    expected[4:10, 5:12] = 397
    assert np.array_equal(wide.label_map(name), expected)
    assert {one.label: one.drawn_px for one in report.classes}["kind 397"] == 42
    undo(wide.project)
    assert np.array_equal(wide.label_map(name), maps[name])


# training


def test_a_recipe_of_others_is_refused_before_anything_is_begun(tmp_path: Path, maps: dict[str, LabelMap]) -> None:
    assert maps
    own = tmp_path / "mine.py"
    own.write_text("model = dict(decode_head=dict())\n")
    with Project(tmp_path / FILE_NAME) as project:
        with pytest.raises(DataError, match=r"400 classes cannot be trained with mine\.py") as caught:
            chosen_recipe(project, RetrainRequest(recipe="mine.py"), None, lambda _: None)
        assert caught.value.exit_code == 4
        assert chosen_recipe(project, RetrainRequest(recipe="unet_lite0"), None, lambda _: None) == "unet_lite0"


def test_init_says_so_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _make(tmp_path / "data", names=False)
    assert run(["--project", str(tmp_path), "init", str(tmp_path / "data")]) == 4
    assert "name all of them" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="is not like 255=1"):
        values_of(["65536=1"])
