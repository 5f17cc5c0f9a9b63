"""More classes than 8 bits tell apart: none of them is trained as ignored pixels, and predictions have 16 bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_job import in_child, make_job

from annoloop.data.images import read_index_png
from annoloop.masks.classes import WIDE_IGNORE
from annoloop.training.child import run_job
from annoloop.training.records import Job, Result, write_job

K = 300
LOOK = """
import json, sys
import numpy as np
from mmengine.registry import init_default_scope
init_default_scope("mmseg")
import mmseg.datasets
from annoloop.training.mmseg.data import JobDataset

steps = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"), dict(type="Resize", scale=(40, 30)),
         dict(type="ForegroundCrop", crop_size=(24, 24), share=1.0), dict(type="RandomFlip", prob=1.0),
         dict(type="PackSegInputs")]
whole = JobDataset(sys.argv[1], "train", pipeline=[steps[0], steps[1], steps[-1]])
labels = whole[0]["data_samples"].gt_sem_seg.data
cut = JobDataset(sys.argv[1], "train", pipeline=steps)
held = set()
for _ in range(8):
    held |= set(np.unique(cut[0]["data_samples"].gt_sem_seg.data.numpy()).tolist())
print(json.dumps({"type": str(labels.dtype), "labels": labels.numpy()[0].tolist(), "held": sorted(held)}))
"""


def _wide(folder: Path, *, classes: int = K, values: tuple[int, ...] = (255, 256, 299), **details: Any) -> Job:
    """Masks of 16 bits: red squares of several classes, an ignored stripe."""
    folder.mkdir()
    palette = tuple((i % 250, i // 250, 90) for i in range(classes))
    pixels = [1] * classes
    job = replace(
        make_job(folder, device="cpu", train_pixels=(tuple(pixels),) * 12, **details),
        class_names=tuple(f"c{i}" for i in range(classes)),
        palette=palette,
        ignore_index=WIDE_IGNORE,
    )
    for number, (_, mask) in enumerate((*job.train, *job.val)):
        narrow = np.asarray(Image.open(mask)).astype(np.uint16)
        wide = np.where(narrow == 1, values[number % len(values)], narrow).astype(np.uint16)
        wide[:, :2] = WIDE_IGNORE
        Image.fromarray(wide).save(mask)
    return job


def test_the_loader_gives_wide_masks_as_they_are(tmp_path: Path) -> None:
    job = _wide(tmp_path / "job")
    write_job(job)
    found = in_child(LOOK, str(job.run_dir / "job.json"))
    expected = read_index_png(job.train[0][1]).values
    assert found["type"] == "torch.int64"
    assert np.array_equal(found["labels"], expected)
    assert {0, 255} <= set(found["held"]) <= {0, 255, WIDE_IGNORE}


def test_few_classes_in_wide_masks_are_ignored_as_mmseg_has_it(tmp_path: Path) -> None:
    job = _wide(tmp_path / "job", classes=3, values=(1, 2))
    write_job(job)
    found = in_child(LOOK, str(job.run_dir / "job.json"))
    expected = read_index_png(job.train[0][1]).values
    assert np.array_equal(found["labels"], np.where(expected == WIDE_IGNORE, 255, expected))


@pytest.mark.slow
def test_a_training_with_300_classes_predicts_in_16_bits(tmp_path: Path) -> None:
    job = _wide(tmp_path / "job", iterations=4)
    result: Result = run_job(job, lambda _: None)
    assert result.iterations == 4
    assert len(result.dice_per_class) == K
    for _, prediction, confidence in job.predictions:
        with Image.open(prediction) as image:
            assert image.mode == "I;16"
        assert read_index_png(prediction).values.max() < K
        assert read_index_png(confidence).values.dtype == np.uint8
