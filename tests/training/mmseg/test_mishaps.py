"""Trainings that go wrong: out of memory, a loss that is no number, a full disk. None ends without a word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_job import make_job, of

from annoloop.errors import OutOfMemoryError, TrainingError
from annoloop.training.child import run_job
from annoloop.training.records import Event

TROUBLE = """
import resource, shutil
from types import SimpleNamespace
import torch
from mmseg.registry import MODELS
from annoloop.training.mmseg.losses import LovaszSoftmax

calls = 0

class Counting(LovaszSoftmax):
    def forward(self, logits, label, **given):
        global calls
        calls += 1
        return self.trouble(logits) + super().forward(logits, label, **given)

@MODELS.register_module()
class GreedyLoss(Counting):
    def trouble(self, logits):
        if len(logits) > {fits} and calls > {after}:
            raise torch.OutOfMemoryError("simulated")
        return 0.0

@MODELS.register_module()
class WildLoss(Counting):
    def trouble(self, logits):
        return logits.sum() * float("nan") if calls > {after} else 0.0

if {full}:
    shutil.disk_usage = lambda path: SimpleNamespace(free=300_000)
if {limit}:
    resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
"""


@pytest.fixture
def trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What to replace in a recipe so that the child imports the module of ``write_trouble``."""
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[3]}")
    return {'"annoloop.training.mmseg.losses"]': '"annoloop.training.mmseg.losses", "trouble"]'}


def write_trouble(folder: Path, *, fits: int = 100, after: int = 0, full: bool = False, limit: int = 0) -> None:
    (folder / "trouble.py").write_text(TROUBLE.format(fits=fits, after=after, full=full, limit=limit))


@pytest.mark.slow
@pytest.mark.parametrize("after", [0, 7])
def test_out_of_memory_is_tried_once_more_with_half_the_batch(
    tmp_path: Path, trouble: dict[str, str], after: int
) -> None:
    write_trouble(tmp_path, fits=2, after=after)
    job = make_job(tmp_path, replaced={**trouble, '"LovaszSoftmax"': '"GreedyLoss"'}, iterations=12)
    events: list[Event] = []
    result = run_job(job, events.append)
    assert [e.fields["message"] for e in of(events, "warning")] == [
        "out of memory with a batch of 4: going on with 2, two of them to a step"
    ]
    first, second = of(events, "started")
    assert (first.fields["batch_size"], second.fields["batch_size"]) == (4, 2)
    assert second.fields["resumed_from"] == (0 if after == 0 else 2 * 6), "two small batches for each large one"
    assert result.iterations == 24
    rates = [event.fields["lr"] for event in of(events, "iteration")]
    assert rates[-1] < 0.1 * max(rates), "the schedule came to its end"
    assert all(index_png.is_file() for _, index_png, _ in job.predictions)


@pytest.mark.slow
def test_what_does_not_fit_at_all_is_said_in_plain_words(tmp_path: Path, trouble: dict[str, str]) -> None:
    write_trouble(tmp_path, fits=0)
    job = make_job(tmp_path, replaced={**trouble, '"LovaszSoftmax"': '"GreedyLoss"'}, iterations=12)
    with pytest.raises(OutOfMemoryError, match="this machine has too little memory") as caught:
        run_job(job, lambda _: None)
    assert caught.value.batch_size == 2
    assert "crop_size" in str(caught.value.hint)


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_with_the_last_good_model(tmp_path: Path, trouble: dict[str, str]) -> None:
    write_trouble(tmp_path, after=50)
    job = make_job(tmp_path, replaced={**trouble, '"LovaszSoftmax"': '"WildLoss"'}, iterations=60)
    events: list[Event] = []
    result = run_job(job, events.append)
    (warning,) = of(events, "warning")
    assert "the loss of iteration 51 is nan: training ended with the model" in warning.fields["message"]
    assert result.iterations == 50
    assert result.mdice == max(e.fields["mdice"] for e in of(events, "validation"))
    assert all(np.asarray(Image.open(index_png)).max() <= 1 for _, index_png, _ in job.predictions)


@pytest.mark.slow
def test_a_full_disk_is_said_before_training_begins(tmp_path: Path, trouble: dict[str, str]) -> None:
    write_trouble(tmp_path, full=True)
    events: list[Event] = []
    with pytest.raises(TrainingError, match="this training needs 4 MiB of disk, 0 MiB are free") as caught:
        run_job(make_job(tmp_path, replaced=trouble, iterations=12), events.append)
    assert "make room" in str(caught.value.hint)
    assert not of(events, "iteration")


@pytest.mark.slow
def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path: Path, trouble: dict[str, str]) -> None:
    """best.pth (half a megabyte) still fits, last.pth with Adam's moments does not."""
    write_trouble(tmp_path, limit=900_000)
    job = make_job(tmp_path, replaced=trouble, iterations=12, resume=True)
    job.run_dir.mkdir()
    with pytest.raises(TrainingError, match=r"last\.pth: cannot be saved") as caught:
        run_job(job, lambda _: None)
    assert "make room" in str(caught.value.hint)
    assert not list(job.run_dir.glob("*.part")) + list(job.run_dir.glob(".*.part"))
