"""Folds: who is in which, and with real training that interrupted folds go on and no model predicts what it saw."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from running_loop import make_project, train_here

from annoloop.data.config import FILE_NAME
from annoloop.data.images import sha256
from annoloop.data.mmseg_folders import Sample
from annoloop.errors import DataError, Interrupted
from annoloop.loop.folds import fold_of, split_folds
from annoloop.loop.push import push
from annoloop.loop.retrain import retrain
from annoloop.loop.training_request import RetrainRequest
from annoloop.project.project import Project
from annoloop.project.rows import ImageRow
from annoloop.selection.request import PushRequest
from annoloop.training.records import Event, Job

COUNTS = {"train": 6, "val": 2, "pool": 3}
LABELLED_IN_POOL = "pool/0001"

contents = st.lists(st.integers(0, 40), min_size=1, max_size=30)


def made_samples(numbers: list[int]) -> tuple[list[Sample], dict[str, ImageRow]]:
    """Samples whose images hold these numbers: equal numbers are equal images."""
    samples = [Sample(f"train/{i}", Path(f"{i}.png"), Path(f"{i}.mask.png"), "train") for i in range(len(numbers))]
    hashes = (sha256(str(number).encode()) for number in numbers)
    return samples, {s.id: ImageRow(s.id, sha, "", "m", "") for s, sha in zip(samples, hashes, strict=True)}


@given(contents, st.integers(2, 10))
def test_every_image_is_held_out_once_and_its_equals_with_it(numbers: list[int], count: int) -> None:
    samples, rows = made_samples(numbers)
    if len({fold_of(row.image_sha256, count) for row in rows.values()}) == 1:
        with pytest.raises(DataError, match=f"too few for {count} folds"):
            split_folds(samples, rows, count)
        return
    folds = split_folds(samples, rows, count)
    held_out = [sample.id for fold in folds for sample, _ in fold.held_out]
    assert sorted(held_out) == sorted(rows)
    assert all(1 <= fold.number <= fold.count == count for fold in folds)
    inside = [{row.image_sha256 for _, row in fold.held_out} for fold in folds]
    assert sum(map(len, inside)) == len(set.union(*inside)), "equal images share a fold"


@given(contents, contents)
def test_an_image_stays_in_its_fold_when_others_come(before: list[int], added: list[int]) -> None:
    _, first = made_samples(before)
    _, second = made_samples(before + added)
    for name, row in first.items():
        assert fold_of(second[name].image_sha256, 3) == fold_of(row.image_sha256, 3)


def test_folds_are_of_about_equal_size() -> None:
    numbers = [fold_of(sha256(str(i).encode()), 5) for i in range(5000)]
    assert all(900 < numbers.count(fold) < 1100 for fold in range(1, 6))


# with real training


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = make_project(tmp_path, "http://127.0.0.1:9", name="folds-test", counts=COUNTS)
    for mask in (made.root / "ann_dir" / "pool").iterdir():
        if mask.stem != LABELLED_IN_POOL.partition("/")[2]:
            mask.unlink()
    train_here(tmp_path)
    return tmp_path


@dataclass
class Impatient:
    """Watches a training, and presses ^C at the nth event of a kind."""

    kind: str
    left: int
    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self.left -= event.kind == self.kind
        if self.left == 0:
            raise KeyboardInterrupt

    def count(self, kind: str) -> int:
        return sum(event.kind == kind for event in self.events)


def job_of(project: Project, place: str) -> Job:
    return Job.from_json((project.run_dir(1) / place / "job.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_an_interrupted_fold_goes_on_and_what_is_done_is_not_done_again(folder: Path) -> None:
    request = RetrainRequest(allow_missing_classes=True, iterations=4, folds=2)
    with Project(folder / FILE_NAME) as project:
        rows = project.scan(project.samples(["train", "pool"]))
        trained_on = {name for name in rows if name.startswith("train/")} | {LABELLED_IN_POOL}
        impatient = Impatient("iteration", 4 + 4 + 2)
        with pytest.raises(Interrupted):
            retrain(project, request, watch=impatient)
        assert impatient.count("fold") == 2
        assert [run.state for run in project.ledger.runs()] == ["stopped"]

        patient = Impatient("never", 1)
        report = retrain(project, request, watch=patient)
        assert (report.run, report.resumed, report.out_of_fold, report.train_images) == (1, True, 7, 7)
        assert (patient.count("fold"), patient.count("started")) == (1, 1), "model and first fold were there"
        assert report.promoted
        assert {name for name, row in rows.items() if project.has_out_of_fold(1, row.image_sha256)} == trained_on

        whole = job_of(project, "")
        pixels = dict(zip(whole.train, whole.train_pixels, strict=True))
        for number in (1, 2):
            job = job_of(project, f"fold-{number}-of-2")
            held_out = {image for image, _, _ in job.predictions}
            assert held_out.isdisjoint(image for image, _ in job.train)
            assert held_out | {image for image, _ in job.train} == {image for image, _ in whole.train}
            assert (job.iterations, job.recipe, job.init_checkpoint) == (4, whole.recipe, None)
            assert dict(zip(job.train, job.train_pixels, strict=True)).items() <= pixels.items()
            assert not list(job.run_dir.glob("*.pth"))
        assert project.best_checkpoint(1).is_file()

        said: list[str] = []
        pushed = push(project, None, PushRequest(7, by="label-quality", dry_run=True), say=said.append)
        assert (len(pushed.frames), said) == (6, [])


@pytest.mark.slow
def test_the_budget_is_that_of_all_trainings_together(folder: Path) -> None:
    began_at = time.time()
    with Project(folder / FILE_NAME) as project:
        with pytest.raises(Interrupted):
            retrain(project, RetrainRequest(budget_s=90, folds=2), watch=Impatient("started", 1))
        job = job_of(project, "")
        assert (job.budget_s, job.iterations) == (30, None)
        assert job.began_at is not None
        assert began_at <= job.began_at < time.time()
