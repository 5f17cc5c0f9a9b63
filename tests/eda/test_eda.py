"""``annoloop eda``: every planted fault is found with its file, and nothing in clean data."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from html import unescape
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from annoloop.cli.main import run
from annoloop.compute.workers import processes
from annoloop.data.config import FILE_NAME, DataConfig, load, render
from annoloop.data.images import IndexImage, encode_index_png, read_index_png, write_atomic
from annoloop.data.mmseg_folders import Sample
from annoloop.eda import facts_cache
from annoloop.eda.eda import EdaReport, eda
from annoloop.eda.sample_facts import SampleFacts, sample_facts
from annoloop.loop.setup.start import init
from annoloop.masks.classes import ClassTable
from annoloop.masks.regions import LabelMap, regions
from annoloop.project.project import Project
from annoloop.simulation.made_data import COLORS, NAMES, make_data

COUNTS = {"train": 24, "val": 8, "test": 8}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project on clean made data; every test copies it, none writes."""
    folder = tmp_path_factory.mktemp("eda")
    made = make_data(folder, COUNTS, damaged_share=0.0, seed=1)
    init(made.root, folder, classes=NAMES, palette=COLORS)
    return folder


@pytest.fixture
def folder(clean: Path, tmp_path: Path) -> Path:
    """The clean project once more, to plant faults in."""
    shutil.copytree(clean, tmp_path / "project")
    return tmp_path / "project"


def looked_at(folder: Path, **details: object) -> EdaReport:
    with Project(folder / FILE_NAME) as project:
        return eda(project, **details)  # type: ignore[arg-type]


def found(folder: Path) -> list[tuple[str, str]]:
    report = looked_at(folder)
    return [(one.kind, report.place(one)) for one in report.findings]


def image_path(folder: Path, name: str) -> Path:
    return folder / "data/img_dir" / f"{name}.png"


def mask_path(folder: Path, name: str) -> Path:
    return folder / "data/ann_dir" / f"{name}.png"


def label_map(folder: Path, name: str) -> LabelMap:
    return read_index_png(mask_path(folder, name)).values.copy()


def write(folder: Path, name: str, values: LabelMap) -> None:
    write_atomic(mask_path(folder, name), encode_index_png(IndexImage(values)))


def copy_pair(folder: Path, source: str, target: str) -> None:
    shutil.copy(image_path(folder, source), image_path(folder, target))
    shutil.copy(mask_path(folder, source), mask_path(folder, target))


# what is planted: one fault each, in one file


def truncated_image(folder: Path, name: str) -> None:
    path = image_path(folder, name)
    path.write_bytes(path.read_bytes()[:-900])


def truncated_mask(folder: Path, name: str) -> None:
    path = mask_path(folder, name)
    path.write_bytes(path.read_bytes()[:-60])


def colour_mask(folder: Path, name: str) -> None:
    palette = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in COLORS], np.uint8)
    Image.fromarray(palette[label_map(folder, name)]).save(mask_path(folder, name))


def grey_mask(folder: Path, name: str) -> None:
    colour_mask(folder, name)
    Image.open(mask_path(folder, name)).convert("L").save(mask_path(folder, name))


def black_and_white(folder: Path, name: str) -> None:
    write(folder, name, np.where(label_map(folder, name) > 0, 255, 0).astype(np.uint8))


def unknown_index(folder: Path, name: str) -> None:
    values = label_map(folder, name)
    values[40:43, 50:54] = 7
    write(folder, name, values)


def other_size(folder: Path, name: str) -> None:
    write(folder, name, label_map(folder, name)[:-3])


def all_background(folder: Path, name: str) -> None:
    write(folder, name, np.zeros_like(label_map(folder, name)))


def all_ignored(folder: Path, name: str) -> None:
    write(folder, name, np.full_like(label_map(folder, name), 255))


def speck(folder: Path, name: str) -> None:
    values = label_map(folder, name)
    row, column = free_place(values)
    values[row, column : column + 2] = 2
    write(folder, name, values)


def hole(folder: Path, name: str) -> None:
    values = label_map(folder, name)
    disc = next(r for r in regions(values) if r.class_index in (1, 2))
    height, width = disc.bits.shape
    row, column = disc.top_px + height // 2, disc.left_px + width // 2
    values[row - 1 : row + 1, column - 1 : column + 1] = 0
    write(folder, name, values)


def frame(folder: Path, name: str) -> None:
    values = label_map(folder, name)
    inner = values[2:-2, 2:-2].copy()
    values[:] = 255
    values[2:-2, 2:-2] = inner
    write(folder, name, values)


def missing_mask(folder: Path, name: str) -> None:
    mask_path(folder, name).unlink()


def lost_image(folder: Path, name: str) -> None:
    image_path(folder, name).unlink()


def leak(folder: Path, name: str) -> None:
    copy_pair(folder, "train/0000", name)


def near_leak(folder: Path, name: str) -> None:
    copy_pair(folder, "train/0001", name)
    with Image.open(image_path(folder, name)) as image:
        ImageEnhance.Brightness(image).enhance(1.05).save(image_path(folder, name))


def duplicate(folder: Path, name: str) -> None:
    copy_pair(folder, "train/0002", name)


def contradiction(folder: Path, name: str) -> None:
    shutil.copy(image_path(folder, "train/0003"), image_path(folder, name))


def duplicate_stem(folder: Path, name: str) -> None:
    Image.open(image_path(folder, name)).save(image_path(folder, name).with_suffix(".jpg"))


PLANTED: dict[str, tuple[str, Callable[[Path, str], None], str, str]] = {
    "a truncated image": ("train/0004", truncated_image, "unreadable image", "img_dir/train/0004.png"),
    "a truncated mask": ("train/0005", truncated_mask, "unreadable mask", "ann_dir/train/0005.png"),
    "a mask in colours": ("train/0006", colour_mask, "colour mask", "ann_dir/train/0006.png"),
    "a mask of grey levels": ("train/0007", grey_mask, "palette confusion", "ann_dir/train/0007.png"),
    "a black and white mask": ("train/0008", black_and_white, "black and white mask", "ann_dir/train/0008.png"),
    "an index that is no class": ("train/0009", unknown_index, "unknown index", "ann_dir/train/0009.png"),
    "a mask of another size": ("train/0010", other_size, "size mismatch", "ann_dir/train/0010.png"),
    "a mask without an object": ("train/0011", all_background, "all background", "ann_dir/train/0011.png"),
    "a mask that is ignored": ("train/0012", all_ignored, "all ignored", "ann_dir/train/0012.png"),
    "a speck": ("train/0013", speck, "speck", "ann_dir/train/0013.png"),
    "a hole": ("train/0014", hole, "hole", "ann_dir/train/0014.png"),
    "a frame": ("train/0015", frame, "border frame", "ann_dir/train/0015.png"),
    "a missing mask": ("train/0016", missing_mask, "missing mask", "img_dir/train/0016.png"),
    "a mask without image": ("train/0017", lost_image, "mask without image", "ann_dir/train/0017.png"),
    "a training image in test": ("test/0004", leak, "leak", "img_dir/test/0004.png"),
    "a brighter training image in val": ("val/0003", near_leak, "near leak", "img_dir/val/0003.png"),
    "an image twice": ("train/0018", duplicate, "duplicate", "img_dir/train/0018.png"),
    "an image with two masks": ("train/0019", contradiction, "contradicting labels", "img_dir/train/0019.png"),
    "an image in two formats": ("train/0020", duplicate_stem, "duplicate stem", "img_dir/train/0020.jpg"),
}


def free_place(values: LabelMap) -> tuple[int, int]:
    """The top left of the first 6 x 6 px of background that keep away from the border; its middle."""
    for row in range(4, values.shape[0] - 10):
        for column in range(4, values.shape[1] - 10):
            if not values[row : row + 6, column : column + 6].any():
                return row + 2, column + 2
    raise AssertionError("the mask is full")


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found_with_its_file_and_nothing_else(folder: Path, fault: str) -> None:
    name, plant, kind, where = PLANTED[fault]
    plant(folder, name)
    assert found(folder) == [(kind, where)]


def test_all_planted_faults_are_found_together_and_nothing_else(folder: Path) -> None:
    for name, plant, _, _ in PLANTED.values():
        plant(folder, name)
    assert sorted(found(folder)) == sorted((kind, where) for _, _, kind, where in PLANTED.values())


@pytest.mark.parametrize(("seed", "size_hw"), [(0, (96, 96)), (1, (48, 64)), (2, (160, 120)), (3, (256, 256))])
def test_clean_data_has_no_fault(tmp_path: Path, seed: int, size_hw: tuple[int, int]) -> None:
    made = make_data(tmp_path, COUNTS, size_hw=size_hw, damaged_share=0.0, seed=seed)
    init(made.root, tmp_path, classes=NAMES, palette=COLORS)
    assert found(tmp_path) == []


def test_labels_that_are_wrong_but_possible_are_no_faults(tmp_path: Path) -> None:
    made = make_data(tmp_path, COUNTS, seed=4)  # as the demo makes it
    init(made.root, tmp_path, classes=NAMES, palette=COLORS)
    report = looked_at(tmp_path)
    assert report.faults == 0
    assert {one.kind for one in report.findings} <= {"all background", "speck"}


def test_a_report_says_what_the_data_are_like(folder: Path) -> None:
    report = looked_at(folder)
    maps = {split: [label_map(folder, f"{split}/{n:04d}") for n in range(count)] for split, count in COUNTS.items()}
    every = np.stack([one for some in maps.values() for one in some])
    assert [(s.split, s.images, s.readable, s.labelled) for s in report.splits] == [
        (s, n, n, n) for s, n in COUNTS.items()
    ]
    assert [(s.height, s.width, s.images) for s in report.splits[0].sizes] == [(96, 96, 24)]
    assert [sum(s.brightness) for s in report.splits] == [sum(s.contrast) for s in report.splits] == [24, 8, 8]
    for index, one in enumerate(report.classes):
        assert (one.name, one.pixels) == (NAMES[index], np.count_nonzero(every == index))
        assert one.images == (every == index).any((1, 2)).sum()
        assert one.share == pytest.approx((every == index).mean())
        assert one.share_by_split["val"] == pytest.approx((np.stack(maps["val"]) == index).mean())
        parts = [part.area_px for values in every for part in regions(values) if part.class_index == index]
        assert one.components == len(parts) == sum(one.sizes)
        assert one.median_px == pytest.approx(float(np.median(parts)), rel=0.3)
        assert np.mean(one.heat) == pytest.approx(100 * one.share, abs=0.5)
    both = (every == 1).any((1, 2)) & (every == 2).any((1, 2))
    assert report.together[1][2] == pytest.approx(both.sum() / (every == 1).any((1, 2)).sum())
    assert report.background_share == pytest.approx((every == 0).mean())
    assert any("91 % of the pixels are background" in text for text in report.warnings)
    assert report.classes[3].weight > report.classes[0].weight
    assert [(line.what, line.chosen) for line in report.planned] == [("scale", "1"), ("crop", "96 x 96 px")]


def test_a_class_that_only_val_holds_is_named(folder: Path) -> None:
    for number in range(COUNTS["train"]):
        values = label_map(folder, f"train/{number:04d}")
        values[values == 3] = 0
        write(folder, f"train/{number:04d}", values)
    (one,) = looked_at(folder).findings
    assert (one.kind, one.where, one.severity) == ("class not in train", "ring", "fault")


def test_what_most_masks_share_is_said_once(folder: Path) -> None:
    for number in range(COUNTS["train"]):
        frame(folder, f"train/{number:04d}")
    (one,) = looked_at(folder).findings
    assert one.kind == "border frame"
    assert one.message.startswith("24 of 40 masks: a frame of ignore, 2 px wide")


def test_honest_holes_and_small_parts_of_a_class_are_left_alone(folder: Path) -> None:
    for number in range(12):
        hole(folder, f"train/{number:04d}")
        speck(folder, f"train/{number:04d}")
    assert looked_at(folder).counts == {}


def test_stored_zero_is_ignored_with_reduce_zero_label(folder: Path) -> None:
    for path in (folder / "data/ann_dir").rglob("*.png"):
        write_atomic(path, encode_index_png(IndexImage(read_index_png(path).values + np.uint8(1))))
    file = folder / FILE_NAME
    file.write_text(file.read_text().replace("reduce_zero_label: false", "reduce_zero_label: true"))
    write(folder, "train/0002", np.zeros_like(label_map(folder, "train/0002")))
    report = looked_at(folder)
    assert [one.name for one in report.classes if one.images] == list(NAMES)
    assert [(one.kind, report.place(one)) for one in report.findings] == [("all ignored", "ann_dir/train/0002.png")]


def test_images_of_a_pool_need_no_mask_and_may_be_copies_of_training_images(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = folder / "data/img_dir/pool"
    shutil.copytree(folder / "data/img_dir/val", pool)
    for number in range(COUNTS["val"]):
        (folder / "data/ann_dir/val" / f"{number:04d}.png").unlink()
        (folder / "data/img_dir/val" / f"{number:04d}.png").unlink()
    shutil.copy(image_path(folder, "train/0000"), image_path(folder, "pool/0000"))
    shutil.copy(image_path(folder, "test/0001"), image_path(folder, "pool/0001"))
    file = folder / FILE_NAME
    file.write_text(file.read_text().replace("val: val", "pool: pool"))
    report = looked_at(folder)
    assert [(s.split, s.images, s.labelled) for s in report.splits] == [
        ("train", 24, 24),
        ("pool", 8, 0),
        ("test", 8, 8),
    ]
    assert {one.kind for one in report.findings} == {"duplicate", "leak"}
    assert run(["eda", "--project", str(folder), "--split", "pool"]) == 0, "a page without any mask"
    assert "There is no mask that can be read" in capsys.readouterr().out


@pytest.mark.usefixtures("spread_early")
def test_other_processes_find_the_same(folder: Path) -> None:
    for name, plant, _, _ in PLANTED.values():
        plant(folder, name)
    for kind in ("img_dir", "ann_dir"):
        shutil.copytree(folder / "data" / kind / "train", folder / "data" / kind / "train/again")
        shutil.copytree(folder / "data" / kind / "train/again", folder / "data" / kind / "val/again")
    with processes(1):
        alone = looked_at(folder)
    shutil.rmtree(folder / ".annoloop")
    with processes(2):
        assert looked_at(folder) == alone


def test_the_looks_are_kept_for_later_commands(folder: Path) -> None:
    with Project(folder / FILE_NAME) as project:
        eda(project)
        rows = project.scan(project.samples())
        assert set(project.ledger.looks()) == {row.image_sha256 for row in rows.values()}


# a second time


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The samples whose files were read since the list was last cleared."""
    ids: list[str] = []

    def noted(sample: Sample, data: DataConfig, classes: ClassTable) -> SampleFacts:
        ids.append(sample.id)
        return sample_facts(sample, data, classes)

    monkeypatch.setattr(facts_cache, "sample_facts", noted)
    return ids


def test_a_second_look_reads_only_what_could_not_be_read_and_says_the_same(folder: Path, read: list[str]) -> None:
    for name, plant, _, _ in PLANTED.values():
        plant(folder, name)
    first = looked_at(folder)
    assert len(read) == len(set(read)) > 30
    read.clear()
    assert looked_at(folder) == first
    unreadable = ("unreadable image", "unreadable mask", "colour mask")
    assert sorted(read) == sorted(one.sample_id or "" for one in first.findings if one.kind in unreadable)
    assert read


def test_what_changed_since_is_looked_at_again(folder: Path, read: list[str]) -> None:
    assert looked_at(folder).counts == {}
    read.clear()
    speck(folder, "train/0003")
    truncated_image(folder, "val/0001")
    copy_pair(folder, "train/0004", "train/new")
    assert looked_at(folder).counts == {"speck": 1, "unreadable image": 1, "duplicate": 1}
    assert sorted(read) == ["train/0003", "train/new", "val/0001"]


@pytest.mark.parametrize(
    ("old", "new"), [("name: ring", "name: hoop"), ("reduce_zero_label: false", "reduce_zero_label: true")]
)
def test_other_classes_or_values_are_looked_for_in_all_files(folder: Path, read: list[str], old: str, new: str) -> None:
    looked_at(folder)
    read.clear()
    text = (folder / FILE_NAME).read_text()
    assert old in text
    (folder / FILE_NAME).write_text(text.replace(old, new))
    looked_at(folder)
    assert len(read) == sum(COUNTS.values())


def test_a_look_that_was_cut_short_goes_on_where_it_was(
    folder: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts_cache, "_AT_ONCE", 10)

    def cut_short(items: Iterable[SampleFacts], what: str, total: int) -> Iterator[SampleFacts]:
        yield from islice(items, 25)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        looked_at(folder, track=cut_short)
    read.clear()
    assert looked_at(folder).counts == {}
    assert len(read) == sum(COUNTS.values()) - 20


# the command and its page


def test_the_page_is_one_file_with_its_charts_and_the_worst_files(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, plant, _, _ in PLANTED.values():
        plant(folder, name)
    page = tmp_path / "report.html"
    assert run(["eda", "--project", str(folder), "--out", str(page), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "eda.json").read_text())
    assert printed["page"] == str(page)
    assert printed["counts"]["leak"] == 1
    assert (tmp_path / "eda.json").stat().st_size < 200_000
    html = unescape(page.read_text())
    assert html.count("<svg") == 1 + 4 + 1 + 2, "shares, sizes of four classes, which come together, grey levels"
    assert html.count('<figure class="panel">') >= 14
    assert html.count("at most") >= 5, "where each class lies"
    for one in printed["findings"]:
        assert one["message"] in html
    outside = re.findall(r"(?:src|href)=\"(?!data:|#)[^\"]*", html)
    assert outside == []
    assert "@import" not in html


def test_the_terminal_has_a_class_table_the_first_faults_and_where_the_page_is(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(COUNTS["train"]):
        missing_mask(folder, f"train/{number:04d}")
    assert run(["eda", "--project", str(folder)]) == 0
    shown = capsys.readouterr()
    assert re.search(r"^ring +\d\.\d\d %", shown.out, re.MULTILINE)
    assert "24 faults, 0 worth a look" in shown.out
    assert shown.out.count("missing mask") == 20
    assert "… and 4 more" in shown.out
    assert str(folder / ".annoloop/reports/eda/index.html") in shown.out
    assert (folder / ".annoloop/reports/eda/index.html").is_file()
    assert "annoloop retrain" in shown.err


def test_one_split_can_be_looked_at(folder: Path) -> None:
    leak(folder, "test/0004")
    report = looked_at(folder, splits=["test"])
    assert [one.split for one in report.splits] == ["test"]
    assert report.findings == ()


def with_recipe(folder: Path, recipe: str) -> Path:
    """The same project, with another recipe in use."""
    file = folder / FILE_NAME
    config = load(file)
    train = config.train.model_copy(update={"recipe": recipe})
    file.write_text(render(config.model_copy(update={"train": train})), encoding="utf-8")
    return folder


def test_what_is_said_of_weights_and_crops_is_true_of_the_recipe_in_use(folder: Path) -> None:
    planned, shipped = looked_at(folder), looked_at(with_recipe(folder, "unet_small"))
    assert any("auto is given class weights, and crops around foreground" in text for text in planned.warnings)
    assert any("unet_small is given class weights, and crops around foreground" in text for text in shipped.warnings)
    assert "to the power of 0.33" in shipped.weights_said
    own = folder / "own.py"
    own.write_text("head = dict(class_weight=[1.0, 2.0, 2.0, 2.0])\nannoloop = dict(class_weight_power=1.0)\n")
    report = looked_at(with_recipe(folder, "own.py"))
    assert any("own.py has class weights of its own, but does not crop" in text for text in report.warnings)
    assert report.weights_said.startswith("own.py has class weights of its own, which are kept")
    steeper = [one.weight / report.classes[0].weight for one in report.classes]
    assert steeper[3] > shipped.classes[3].weight / shipped.classes[0].weight


def test_values_that_annoloop_yaml_names_are_not_guessed_at(folder: Path) -> None:
    """Black and white masks are a fault until ``data.values`` says what 255 means."""
    for path in (folder / "data" / "ann_dir").rglob("*.png"):
        values = read_index_png(path).values
        write_atomic(path, encode_index_png(IndexImage(np.where(values > 0, 255, 0).astype(np.uint8))))
    file = folder / FILE_NAME
    config = load(file)
    config = config.model_copy(update={"classes": config.classes[:2]})
    file.write_text(render(config), encoding="utf-8")
    assert looked_at(folder).counts["black and white mask"] == sum(COUNTS.values())
    data = config.data.model_copy(update={"values": {0: 0, 255: 1}})
    file.write_text(render(config.model_copy(update={"data": data})), encoding="utf-8")
    report = looked_at(folder)
    assert report.faults == 0
    assert report.classes[1].images > 0
