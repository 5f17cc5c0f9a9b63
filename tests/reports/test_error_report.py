"""``evaluate --report``: one page that holds everything, says what the scores say, and stays whole for odd projects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running_loop import add_model, make_project

from annoloop.cli.main import run as run_command
from annoloop.data.config import FILE_NAME, ClassConfig, load, render
from annoloop.data.images import IndexImage, encode_index_png, write_atomic
from annoloop.data.mmseg_folders import read_label_map
from annoloop.errors import ConfigError, LedgerError
from annoloop.loop.evaluate import EvaluateReport, evaluate
from annoloop.project.project import Project
from annoloop.reports.error_report import _picture_px

COUNTS = {"train": 3, "val": 3, "test": 2}
ODD_NAME = "disc <b>&$1$</b>"
GALLERIES = (
    "Worst images", "Best images", "Worst of each class", "Biggest false negatives (missed)",
    "Biggest false positives (invented)", "Biggest confused",
    "Suspected label errors", "Got most better", "Got most worse",
)  # fmt: skip


class Page(HTMLParser):
    """What a page consists of: its links, its headings with the pictures below each, and its words."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html, self.links, self.text = html, list[str](), ""
        self.pictures: dict[tuple[str, str], int] = {}
        self._tag, self._split, self._heading = "", "", ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._tag = tag
        self.links += [str(given[name]) for name in ("src", "href", "xlink:href") if name in given]
        if tag == "h2":
            self._split = str(given["id"]).split("-")[0]
        if tag == "img":
            self.pictures[self._split, self._heading] += 1

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._tag == "h3" and data.strip():
            self._heading = data.strip()
            self.pictures[self._split, self._heading] = 0

    def handle_endtag(self, tag: str) -> None:
        self._tag = ""


def page_of(report: EvaluateReport) -> Page:
    assert report.page is not None
    return Page(report.page.read_text(encoding="utf-8"))


def words_of(project: Project, show: int = 0, **asked: Any) -> str:
    """The words of the page that an evaluation writes; pictures take longest and are left out."""
    return page_of(evaluate(project, report=True, show=show, **asked)).text


def rename_classes(folder: Path, names: list[str], **settings: object) -> None:
    """Other names in annoloop.yaml, and other settings."""
    file = folder / FILE_NAME
    config = load(file)
    classes = [ClassConfig(name=name, color=one.color) for name, one in zip(names, config.classes, strict=False)]
    file.write_text(render(config.model_copy(update={"classes": classes, **settings})), encoding="utf-8")


@pytest.fixture(scope="module")
def two_rounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project whose second model makes larger mistakes than the first."""
    folder = tmp_path_factory.mktemp("two-rounds")
    made = make_project(folder, "http://127.0.0.1:9", name="<i>steel</i>", counts=COUNTS)
    rename_classes(folder, ["background", ODD_NAME, "square", "ring", "cross"])
    with Project(folder / FILE_NAME) as project:
        add_model(project, made.truth, mistakes=40)
        add_model(project, made.truth, mistakes=300, seed=1)
        yield project


@pytest.fixture(scope="module")
def report(two_rounds: Project) -> EvaluateReport:
    return evaluate(two_rounds, splits=("val", "test"), show=2, report=True)


@pytest.fixture(scope="module")
def page(report: EvaluateReport) -> Page:
    return page_of(report)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Project]:
    """A project with one model and one image to score."""
    made = make_project(tmp_path, "http://127.0.0.1:9", name="small", counts={"train": 1, "val": 1})
    with Project(tmp_path / FILE_NAME) as project:
        add_model(project, made.truth, mistakes=300)
        yield project


def test_the_page_is_one_file_that_asks_for_no_other(page: Page) -> None:
    assert page.links
    assert [link for link in page.links if not link.startswith(("data:image/", "#"))] == []
    assert not re.search(r"url\((?!#)|@import|<link|<iframe|fetch\(", page.html)


def test_without_being_asked_there_is_no_page(small: Project) -> None:
    assert evaluate(small).page is None
    assert not (small.state_dir / "reports" / "run-0001").exists()


@pytest.mark.parametrize("split", ["val", "test"])
def test_every_gallery_is_there_with_no_more_than_was_asked_for(page: Page, split: str) -> None:
    rows = {heading: count / 4 for (where, heading), count in page.pictures.items() if where == split}
    assert set(GALLERIES) <= rows.keys()
    assert rows["Worst images"] == rows["Best images"] == 2
    assert 1 <= rows["Worst of each class"] <= 4
    assert (
        max(rows[f"Biggest {kind}"] for kind in ("false negatives (missed)", "false positives (invented)", "confused"))
        == 2
    )
    assert 1 <= rows["Got most worse"] <= COUNTS[split]


def test_every_anchor_leads_somewhere(page: Page) -> None:
    inside = {link[1:] for link in page.links if link.startswith("#") and not re.match(r"#[mp][0-9a-f]{10}", link)}
    assert {"val", "test-rounds", "training"} <= inside
    assert all(f'id="{name}"' in page.html for name in inside)


def test_the_legend_is_there_and_stays(page: Page) -> None:
    legend = page.html[page.html.index('<div class="legend">') :].partition("</div>")[0]
    for name in (
        "missed",
        "invented",
        "confused",
        "square",
        "ring",
        "cross",
        "ignore",
        "disc &lt;b&gt;&amp;$1$&lt;/b&gt;",
    ):
        assert name in legend
    assert re.search(r"\.legend \{ position: sticky", page.html)


def test_names_are_shown_as_they_are(page: Page) -> None:
    assert "<b>&" not in page.html
    assert "<i>steel" not in page.html
    assert "<i>steel</i>: errors of run 2" in page.text
    assert page.text.count(ODD_NAME) >= 10  # tables, captions and charts


def test_the_page_says_what_the_scores_say(report: EvaluateReport, page: Page) -> None:
    for split, found in report.splits.items():
        dice, worst = found.scores.mean_dice, report.classes[int(np.nanargmin(found.scores.dice))]
        assert f"mDice is {dice:.3f} on {found.images} images of {split}" in page.text
        assert f"The worst class is {worst}: Dice {min(found.scores.dice):.3f}" in page.text
        assert all(f"{image.sample_id}, Dice {image.dice:.3f}" in page.text for image in (*found.worst, *found.best))
    kinds = r"\d+ % false negative \(missed\), \d+ % false positive \(invented\), \d+ % confused"
    assert re.search(rf"[\d.]+ % of the pixels are wrong: {kinds}", page.text)
    assert re.search(r"\d of 3 images holds? half of the wrong pixels", page.text)


def test_round_against_round_names_who_got_better_and_worse(two_rounds: Project, page: Page) -> None:
    older, newer = (
        {name: one.dice for name, one in two_rounds.ledger.scores(run).items() if name.startswith("val/")}
        for run in (1, 2)
    )
    worse = [name for name in older if newer[name] < older[name]]
    assert worse
    assert f"Against run 1: {len(older) - len(worse)} of 3 images got better, {len(worse)} got worse" in page.text
    for name in worse:
        assert f"{name}: Dice {older[name]:.3f} before, {newer[name]:.3f} after" in page.text


def test_without_record_of_a_training_it_says_that_there_are_no_curves(page: Page) -> None:
    assert "There are none: this run left no record of its training." in page.text


def test_curves_come_from_the_record_of_the_training(small: Project) -> None:
    record = small.run_dir(1) / "events.jsonl"
    record.parent.mkdir(parents=True)
    events = [{"kind": "iteration", "iteration": i, "loss": 1 / i} for i in range(1, 300)]
    scored = {"kind": "validation", "iteration": 299, "mdice": 0.7, "dice_per_class": [0.9, None, 0.5, 0.6, 0.7]}
    record.write_text("".join(json.dumps(one) + "\n" for one in [*events, scored]) + '{"kind": "itera')
    said = words_of(small)
    assert "training loss" in said
    assert "Dice on the validation split while training" in said


def test_a_first_run_has_nothing_to_be_compared_with(small: Project) -> None:
    assert "There is no earlier run of these classes to compare with." in words_of(small)


def test_only_images_that_the_older_run_predicted_are_compared(small: Project, tmp_path: Path) -> None:
    add_model(small, tmp_path / "truth", seed=2)
    rows = small.scan(small.samples(["val"]))
    for path in small.prediction_paths(1, rows["val/0000"].image_sha256):
        path.unlink()
    said = words_of(small)
    assert "No image of this split was predicted by run 1; --against 1 predicts them." in said


@pytest.mark.parametrize(
    ("against", "state", "error", "message"),
    [
        (9, "finished", LedgerError, "there is no run 9"),
        (2, "failed", ConfigError, "run 2 is not finished, but failed"),
        (1, "finished", ConfigError, "run 1 is the run that is evaluated"),
        (2, "finished", ConfigError, "run 2 was trained on other classes"),
    ],
)
def test_a_run_that_cannot_be_compared_is_an_error_that_says_why(
    small: Project, against: int, state: str, error: type[Exception], message: str
) -> None:
    other = small.ledger.add_run(kind_digest="made", recipe="unet_tiny", parent_id=None, class_digest="other")
    small.ledger.end_run(other, state)
    with pytest.raises(error, match=message):
        evaluate(small, run_id=1, report=True, against=against)


def test_an_unfinished_or_foreign_run_is_not_taken_for_the_one_before(small: Project, tmp_path: Path) -> None:
    for state in ("failed", "finished"):
        other = small.ledger.add_run(kind_digest="made", recipe="unet_tiny", parent_id=None, class_digest="other")
        small.ledger.end_run(other, state)
    add_model(small, tmp_path / "truth", seed=2)
    assert "Against run 1: " in words_of(small)


def test_labels_are_judged_by_models_that_have_not_seen_them(small: Project) -> None:
    sample = small.samples(["train"])[0]
    assert sample.mask is not None
    said = words_of(small, splits=["train"])
    assert "may have learned their errors" in said
    row = small.scan([sample])[sample.id]
    label_map = read_label_map(sample.mask, small.config.data)
    other, sure = (label_map + 1) % 5, np.full_like(label_map, 250)
    index_png, confidence_png = small.out_of_fold_paths(1, row.image_sha256)
    write_atomic(index_png, encode_index_png(IndexImage(other)))
    write_atomic(confidence_png, encode_index_png(IndexImage(sure)))
    judged = words_of(small, show=1, splits=["train"])
    assert "Judged by models that have not seen the label (out-of-fold): 1 of 1 images." in judged
    assert "contradicts 96 % of the objects" in judged, "everywhere, with a confidence of 250"
    assert "annoloop push --worst 20 --by contradiction --split train" in judged


def test_a_split_that_is_ignored_everywhere_makes_a_page_all_the_same(small: Project) -> None:
    mask = small.mask_path("val/0000")
    shape = read_label_map(mask, small.config.data).shape
    mask.write_bytes(encode_index_png(IndexImage(np.full(shape, 255, np.uint8))))
    page = page_of(evaluate(small, report=True))
    assert "No pixel of this split is labelled: there is nothing to score." in page.text
    assert "There is no labelled pixel to compare confidences with." in page.text
    assert page.pictures["val", "Worst images"] == 4


@pytest.mark.parametrize("background", ["ignore", "background"])
def test_a_single_class_makes_a_page(tmp_path: Path, background: str) -> None:
    made = make_project(tmp_path, "http://127.0.0.1:9", name="single", counts={"val": 1})
    rename_classes(tmp_path, ["background"], background=background)
    for mask in [*made.truth.rglob("*.png"), *(made.root / "ann_dir").rglob("*.png")]:
        shape = read_label_map(mask, load(tmp_path / FILE_NAME).data).shape
        mask.write_bytes(encode_index_png(IndexImage(np.zeros(shape, np.uint8))))
    with Project(tmp_path / FILE_NAME) as project:
        run_id = add_model(project, made.truth)
        for sample in project.samples():
            digest = project.scan([sample])[sample.id].image_sha256
            index_png, _ = project.prediction_paths(run_id, digest)
            write_atomic(index_png, encode_index_png(IndexImage(np.zeros(shape, np.uint8))))
        page = page_of(evaluate(project, report=True))
    assert "No pixel is wrong." in page.text
    assert page.pictures["val", "Biggest false negatives (missed)"] == 0


def test_without_a_background_every_error_is_confused(tmp_path: Path) -> None:
    made = make_project(tmp_path, "http://127.0.0.1:9", name="no-background", counts={"val": 1})
    rename_classes(tmp_path, ["floor", "disc", "square", "ring", "cross"], background="ignore")
    with Project(tmp_path / FILE_NAME) as project:
        add_model(project, made.truth)
        page = page_of(evaluate(project, report=True))
    assert "0 % false negative (missed), 0 % false positive (invented), 100 % confused" in page.text
    assert (page.pictures["val", "Biggest false negatives (missed)"], page.pictures["val", "Biggest confused"]) == (
        0,
        4,
    )


def test_the_command_prints_where_the_page_is(small: Project, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(small.path.parent)
    assert run_command(["evaluate", "--report", "--project", folder]) == 0
    assert f"error report: {small.state_dir / 'reports' / 'run-0001' / 'index.html'}" in capsys.readouterr().out
    assert run_command(["evaluate", "--report", "--json", "--project", folder]) == 0
    assert Path(json.loads(capsys.readouterr().out)["page"]).is_file()
    assert run_command(["evaluate", "--against", "1", "--project", folder]) == 2
    assert "--report" in capsys.readouterr().err


@pytest.mark.parametrize(("shots", "expected"), [(0, 480), (10, 480), (50, 338), (1000, 160)])
def test_the_more_pictures_the_smaller_they_are(shots: int, expected: int) -> None:
    assert _picture_px(shots) == expected
