"""A job's dataset decodes once and shares nothing; a foreground crop holds foreground, rare classes too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_job import in_child, make_job

from annoloop.training.records import Job, write_job

CROPS = """
import json
import numpy as np
from annoloop.training.mmseg.data import ForegroundCrop

np.random.seed(0)
label_map = np.zeros((100, 120), np.uint8)
label_map[:, 60:] = 1
label_map[90:92, 3:5] = 2          # four pixels of a rare class
label_map[0] = 255
image = np.stack([label_map] * 3, axis=-1)

def crops(share, background, size=(32, 48), n=400):
    crop = ForegroundCrop(size, share=share)
    given = {"img": image, "gt_seg_map": label_map, "seg_fields": ["gt_seg_map"], "background_index": background}
    return [crop.transform(dict(given)) for _ in range(n)]

always, never = crops(1.0, 0), crops(0.0, 0)
everything = ForegroundCrop((32, 48), share=1.0).transform({
    "img": image * 0, "gt_seg_map": label_map * 0, "seg_fields": ["gt_seg_map"], "background_index": 0})
print(json.dumps({
    "shapes": sorted({tuple(c["img"].shape) for c in always}),
    "same window": all((c["img"][..., 0] == c["gt_seg_map"]).all() and c["img_shape"] == (32, 48) for c in always),
    "foreground": float(np.mean([np.isin(c["gt_seg_map"], [1, 2]).any() for c in always])),
    "rare": float(np.mean([(c["gt_seg_map"] == 2).any() for c in always])),
    "rare by chance": float(np.mean([(c["gt_seg_map"] == 2).any() for c in never])),
    "no background class": float(np.mean([(c["gt_seg_map"] == 0).any() for c in crops(1.0, None)])),
    "only background": list(everything["img"].shape),
    "larger than the image": sorted({tuple(c["img"].shape) for c in crops(1.0, 0, (128, 64), 20)}),
}))
"""

DATASET = """
import json, os, sys
from pathlib import Path
import numpy as np
from mmengine.registry import init_default_scope
init_default_scope("mmseg")
import mmseg.datasets
from annoloop.training.mmseg.data import JobDataset
from annoloop.training.mmseg import data

def dataset(**options):
    steps = [dict(type=t) for t in ("LoadImageFromFile", "LoadAnnotations", "PackSegInputs")]
    return JobDataset(sys.argv[1], "train", pipeline=steps, **options)

kept, fresh = dataset(cached=True), dataset()
first = kept[0]["inputs"].clone()
kept[0]["inputs"].zero_()
ahead = dataset(cached=True, ahead=True)
data.free_memory_bytes = lambda: 4 * 48 * 64 * 4 * 3
small = dataset(cached=True)
for index in range(12):
    small[index]
paths = [Path(info["img_path"]) for info in kept.load_data_list()]
ids = kept.get_cat_ids(0)
from mmseg.registry import DATASETS
steps = [dict(type=t) for t in ("LoadImageFromFile", "LoadAnnotations", "PackSegInputs")]
own = dict(type="JobDataset", job_file=sys.argv[1], split="train", pipeline=steps)
repeated = DATASETS.build(dict(type="ClassBalancedDataset", oversample_thr=0.5, dataset=own))
times = [repeated.repeat_indices.count(index) for index in range(12)]
for path in paths:
    path.unlink()
print(json.dumps({
    "equal": bool((kept[0]["inputs"] == first).all()),
    "from memory": bool((ahead[5]["inputs"] == ahead[5]["inputs"]).all()) and len(ahead._cache) == 12,
    "kept of twelve": len(small._cache),
    "ids": ids,
    "times": times,
}))
"""


STORED = """
import json, sys
import numpy as np
from pathlib import Path
from mmengine.registry import init_default_scope
init_default_scope("mmseg")
import mmseg.datasets
from mmseg.datasets.transforms import LoadAnnotations
from annoloop.training.mmseg.data import JobDataset

steps = [dict(type=t) for t in ("LoadImageFromFile", "LoadAnnotations", "PackSegInputs")]
found = []
for file in sys.argv[1:]:
    dataset = JobDataset(file, "train", pipeline=steps)
    ours = dataset[0]["data_samples"].gt_sem_seg.data.numpy()[0]
    theirs = LoadAnnotations()(dict(dataset.get_data_info(0)))["gt_seg_map"]
    found.append([np.unique(ours).tolist(), ours.shape == theirs.shape and bool((ours == theirs).all())])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def crops() -> dict[str, Any]:
    found: dict[str, Any] = in_child(CROPS)
    return found


@pytest.mark.slow
def test_a_foreground_crop_holds_foreground_and_rare_classes_as_often_as_others(crops: dict[str, Any]) -> None:
    assert crops["shapes"] == [[32, 48, 3]]
    assert crops["same window"]
    assert crops["foreground"] == 1.0
    assert crops["rare"] == pytest.approx(0.5, abs=0.1)
    assert crops["rare by chance"] < 0.2


@pytest.mark.slow
def test_images_without_foreground_without_background_or_smaller_than_the_crop(crops: dict[str, Any]) -> None:
    assert crops["only background"] == [32, 48, 3]
    assert 0.4 < crops["no background class"] < 1
    assert crops["larger than the image"] == [[100, 64, 3]]


@pytest.mark.slow
def test_images_are_decoded_once_and_what_was_kept_cannot_be_written_to(tmp_path: Path) -> None:
    job = replace(make_job(tmp_path), train_pixels=((10, 0), *((900, 0),) * 10, (900, 100)))
    job.run_dir.mkdir()
    (job.run_dir / "job.json").write_text(job.to_json(), encoding="utf-8")
    found = in_child(DATASET, str(job.run_dir / "job.json"))
    # The one image of twelve with the rare class: sqrt(0.5 / (1/12)) = 2.4 times.
    times = [1] * 11 + [3]
    assert found == {"equal": True, "from memory": True, "kept of twelve": 3, "ids": [0], "times": times}


@pytest.mark.slow
def test_masks_are_read_as_mmseg_reads_them_and_as_annoloop_does_where_that_cannot(tmp_path: Path) -> None:
    rng, files = np.random.default_rng(0), []
    Image.fromarray(rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(tmp_path / "image.png")
    values = ((1, 254), (254, 255), (255, 1))
    for name, stored, mode, details in (
        ("plain.png", (0, 1, 2, 255), "L", {}),
        ("reduced.png", (0, 1, 2, 3, 255), "L", {"reduce_zero_label": True}),
        ("ignored.png", (0, 1, 9), "L", {"ignore_index": 9}),
        ("values.tif", (0, 254, 255), "L", {"values": values}),
        ("grey.png", (0, 254, 255), "RGB", {"values": values}),
    ):
        mask = Image.fromarray(rng.choice(np.array(stored, np.uint8), (20, 30)))
        mask.convert(mode).save(tmp_path / name)
        run_dir = tmp_path / f"run-{name}"
        job = Job("train", run_dir, tmp_path, ("a", "b", "c"), ((0, 0, 0),) * 3, **details)
        files.append(str(write_job(replace(job, train=((tmp_path / "image.png", tmp_path / name),)))))
    assert in_child(STORED, *files) == [
        [[0, 1, 2, 255], True], [[0, 1, 2, 255], True], [[0, 1, 255], True], [[0, 1, 255], True], [[0, 1, 255], False],
    ]  # fmt: skip
