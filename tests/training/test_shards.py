"""Predictions in shards on a real Ray cluster: the same files as here, and the events and errors of one job."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from small_job import make_job, of, pairs

from annoloop.compute.ray_cluster import Machine
from annoloop.compute.workers import on_ray
from annoloop.errors import Interrupted, TrainingError
from annoloop.training.child import run_job
from annoloop.training.records import Device, Event, Job
from annoloop.training.shards import Share, predict_job

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize(
    ("machines", "device", "share"),
    [
        ([(64, 0), (8, 0)], "auto", Share(cores=2, gpus=0, places=36)),
        ([(5, 0), (1, 0)], "cpu", Share(cores=1, gpus=0, places=6)),
        ([(16, 2), (64, 0)], "auto", Share(cores=2, gpus=1, places=2)),
        ([(4, 4), (16, 2)], "cuda", Share(cores=1, gpus=1, places=6)),
        ([(16, 2), (3, 0)], "cpu", Share(cores=2, gpus=0, places=9)),
        ([(0, 0)], "auto", None),
    ],
)
def test_every_gpu_or_pair_of_cores_gets_a_shard(
    machines: list[tuple[int, int]], device: Device, share: Share | None
) -> None:
    assert Share.of([Machine("one", cores, gpus) for cores, gpus in machines], device) == share


@pytest.fixture(scope="module")
def predicting(ray_address: str, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A trained model and 70 images of two sizes."""
    folder = tmp_path_factory.mktemp("model")
    trained = make_job(folder, iterations=3, device="cpu", predictions=())
    best = run_job(trained, lambda _: None).best_checkpoint
    images = [image for image, _ in pairs(folder / "images", 70)]
    for image in images[::9]:  # so that batches are not the same on both sides of a cut
        Image.open(image).crop((0, 0, 53, 41)).save(image)
    return replace(_to(trained, folder / "here", images), kind="predict", init_checkpoint=best)


def _to(job: Job, folder: Path, images: list[Path]) -> Job:
    targets = tuple((image, folder / f"{image.stem}.png", folder / f"{image.stem}.c.png") for image in images)
    return replace(job, run_dir=folder / "predict", predictions=targets)


@pytest.mark.slow
def test_predictions_are_the_same_files_in_two_shards(predicting: Job, ray_address: str, tmp_path: Path) -> None:
    run_job(predicting, lambda _: None)
    there = _to(predicting, tmp_path, [image for image, _, _ in predicting.predictions])
    events: list[Event] = []
    with on_ray(ray_address, tmp_path):
        predict_job(there, events.append)
    for ours, theirs in zip(predicting.predictions, there.predictions, strict=True):
        assert [path.read_bytes() for path in ours[1:]] == [path.read_bytes() for path in theirs[1:]]
    assert [event.fields["done"] for event in of(events, "prediction")] == list(range(1, 71))
    assert {event.fields["total"] for event in of(events, "prediction")} == {70}
    assert len(of(events, "started")) == 1
    assert sorted(path.name for path in (there.run_dir / "shards").iterdir()) == ["000", "001"]


@pytest.mark.slow
def test_a_failing_shard_fails_as_it_would_here(predicting: Job, ray_address: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    images = [image for image, _, _ in predicting.predictions]
    events: list[Event] = []
    with on_ray(ray_address, tmp_path), pytest.raises(TrainingError, match=r"broken\.png: cannot be read as an image"):
        predict_job(_to(predicting, tmp_path, [*images, broken]), events.append)
    assert of(events, "error")


@pytest.mark.slow
def test_a_shard_that_may_go_past_faults_tells_of_each_once(predicting: Job, ray_address: str, tmp_path: Path) -> None:
    broken = tmp_path / "in" / "broken.png"
    broken.parent.mkdir()
    broken.write_bytes(b"no image")
    images = [image for image, _, _ in predicting.predictions]
    job = _to(predicting, tmp_path, [broken, *images])
    without = tuple((image, mask, None) for image, mask, _ in job.predictions)
    events: list[Event] = []
    with on_ray(ray_address, tmp_path):
        predict_job(replace(job, predictions=without, past_faults=True), events.append)
    assert [event.fields["image"] for event in of(events, "unpredicted")] == [str(broken)]
    assert len(of(events, "prediction")) == len(images)
    assert all(mask.is_file() for _, mask, _ in without[1:])
    assert not list(tmp_path.glob("*.c.png"))


@pytest.mark.slow
def test_interrupted_predictions_are_kept_and_their_processes_end(
    predicting: Job, ray_address: str, tmp_path: Path
) -> None:
    job = _to(predicting, tmp_path, [image for image, _, _ in predicting.predictions])

    def stop(event: Event) -> None:
        if event.kind == "prediction":
            signal.raise_signal(signal.SIGINT)

    with on_ray(ray_address, tmp_path), pytest.raises(Interrupted, match="of 70 predictions are kept"):
        predict_job(job, stop)
    deadline = time.monotonic() + 20
    while _at_work(job.run_dir) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not _at_work(job.run_dir)


def _at_work(run_dir: Path) -> list[str]:
    """Processes whose command line names the folder of a run."""
    lines = (path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if os.access(path, os.R_OK))
    return [line.decode() for line in lines if str(run_dir).encode() in line]
