"""Real trainings of unet_tiny on made images, in real child processes, on the CPU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from annoloop.data.images import image_size_hw
from annoloop.errors import Interrupted, MissingExtraError, TrainingError
from annoloop.training.child import end_of, run_job
from annoloop.training.recipes import recipe_path
from annoloop.training.records import Event, Job, Result

IGNORE = 7
NAMES = ("background", "red", "green")
PALETTE = ((0, 0, 0), (220, 30, 30), (30, 200, 30))
ITERATIONS = 30
ROOT = Path(__file__).parents[2]


def _draw(seed: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """An image with a rectangle per class and its mask, with a stripe to ignore."""
    random = np.random.default_rng(seed)
    image = random.integers(60, 100, (height, width, 3), dtype=np.uint8)
    mask = np.zeros((height, width), np.uint8)
    for index in (1, 2):
        top, left = random.integers(0, height - 20), random.integers(0, width - 22)
        image[top : top + 18, left : left + 20] = PALETTE[index]
        mask[top : top + 18, left : left + 20] = index
    mask[:, -3:] = IGNORE
    return image, mask


def _write(folder: Path, seeds: range, mask_offset: int = 0) -> tuple[tuple[Path, Path], ...]:
    """Image files of several kinds: RGB, grey, with alpha, JPEG, turned by EXIF, 16 bit, an odd size."""
    folder.mkdir()
    pairs = []
    for seed in seeds:
        image, mask = _draw(seed, *((41, 53) if seed % 6 == 5 else (48, 64)))
        picture, options, suffix = Image.fromarray(image), {}, "png"
        if seed % 6 == 1:
            picture = picture.convert("L")
        elif seed % 6 == 2:
            picture = picture.convert("RGBA")
        elif seed % 6 == 3:
            options["exif"] = Image.Exif()
            options["exif"][0x0112], suffix = 6, "jpg"  # shown turned a quarter clockwise
            picture = picture.transpose(Image.Transpose.ROTATE_90)
        elif seed % 6 == 4:
            picture = Image.fromarray(image[..., 0].astype(np.uint16) * 257)
        paths = folder / f"{seed}.{suffix}", folder / f"{seed}_mask.png"
        picture.save(paths[0], **options)
        Image.fromarray(np.where(mask == IGNORE, IGNORE, mask + mask_offset).astype(np.uint8)).save(paths[1])
        pairs.append(paths)
    return tuple(pairs)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A job of 30 iterations; a small crop and batch make an iteration take some 30 ms."""
    folder = tmp_path_factory.mktemp("training")
    recipe = folder / "tiny_crop.py"
    text = recipe_path("unet_tiny").read_text(encoding="utf-8")
    recipe.write_text(text.replace("crop_size = (64, 64)", "crop_size = (32, 64)"), encoding="utf-8")
    return Job(
        "train",
        folder / "run",
        recipe,
        NAMES,
        PALETTE,
        ignore_index=IGNORE,
        train=_write(folder / "train", range(12)),
        val=_write(folder / "val", range(100, 106)),
        iterations=ITERATIONS,
        batch_size=4,
        train_pixels=((900, 50, 50),) * 12,
        precision="float32",
    )


def _targets(job: Job, folder: Path) -> tuple[tuple[Path, Path, Path], ...]:
    return tuple((i, folder / f"{i.stem}.png", folder / f"{i.stem}_conf.png") for i, _ in job.val)


@pytest.fixture(scope="module")
def trained(base: Job) -> tuple[Job, Result, list[Event]]:
    job = replace(base, predictions=_targets(base, base.run_dir / "predictions"))
    events: list[Event] = []
    return job, run_job(job, events.append), events


def _of(events: list[Event], kind: str) -> list[Event]:
    return [event for event in events if event.kind == kind]


def _mean_dice(job: Job, offset: int = 0) -> float:
    """mmseg's mDice by its definition, from the prediction files."""
    total, hits = np.zeros(3), np.zeros(3)
    for (_, mask_png), (_, index_png, _) in zip(job.val, job.predictions, strict=True):
        truth, guess = np.array(Image.open(mask_png)).astype(int) - offset, np.array(Image.open(index_png))
        counted = (truth != job.ignore_index - offset) & (truth >= 0)
        for index in range(3):
            one, other = (truth == index) & counted, (guess == index) & counted
            total[index] += one.sum() + other.sum()
            hits[index] += 2 * (one & other).sum()
    return float(np.mean(hits[total > 0] / total[total > 0]))


def _children() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def _at_iteration(number: int, act: Callable[[], object]) -> Callable[[Event], None]:
    def on_event(event: Event) -> None:
        if event.kind == "iteration" and event.fields["iteration"] == number:
            act()

    return on_event


@pytest.mark.slow
def test_a_training_tells_its_story_in_order(trained: tuple[Job, Result, list[Event]]) -> None:
    job, _, events = trained
    kinds = [event.kind for event in events if event.kind != "warning"]
    assert kinds[0] == "started"
    assert kinds[-len(job.val) :] == ["prediction"] * len(job.val)
    assert [event.fields["iteration"] for event in _of(events, "iteration")] == list(range(1, ITERATIONS + 1))
    assert [event.fields["iteration"] for event in _of(events, "validation")] == [5, 10, 15, 20, 25, 30]
    assert (job.run_dir / "events.jsonl").read_text().splitlines() == [event.to_json() for event in events]


@pytest.mark.slow
def test_a_training_learns(trained: tuple[Job, Result, list[Event]]) -> None:
    _, result, events = trained
    losses = [event.fields["loss"] for event in _of(events, "iteration")]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    scores = [event.fields["mdice"] for event in _of(events, "validation")]
    assert result.mdice == max(scores)
    assert result.best_iteration == 5 * (1 + int(np.argmax(scores)))
    assert result.seconds_per_iteration is not None
    assert 0 < result.seconds_per_iteration < result.seconds


@pytest.mark.slow
def test_predictions_lie_on_the_image_as_stored(trained: tuple[Job, Result, list[Event]]) -> None:
    job, result, _ = trained
    assert result.predicted == len(job.predictions)
    for image, index_png, confidence_png in job.predictions:
        indices, confidence = Image.open(index_png), Image.open(confidence_png)
        assert indices.size == confidence.size == image_size_hw(image)[::-1]
        assert indices.mode == confidence.mode == "L"
        assert np.array(indices).max() < len(NAMES)
        assert np.array(confidence).min() >= 85, "the most probable of three classes has at least a third"


@pytest.mark.slow
def test_the_score_is_the_score_of_the_best_model(trained: tuple[Job, Result, list[Event]]) -> None:
    job, result, _ = trained
    assert result.mdice == pytest.approx(_mean_dice(job), abs=1e-6)
    assert result.mdice == pytest.approx(np.mean(result.dice_per_class), abs=1e-12)


CHECK_WITH_MMSEG = """
import json, sys
import numpy as np, torch
from mmengine.logging import MMLogger
from mmseg.evaluation import IoUMetric
from PIL import Image
best, ignore, *files = sys.argv[1:]
def read(path): return torch.from_numpy(np.array(Image.open(path)).astype(np.int64))
metric = IoUMetric(iou_metrics=["mIoU", "mDice"], ignore_index=int(ignore))
metric.dataset_meta = {"classes": ("background", "red", "green")}
for truth, guess in zip(files[::2], files[1::2]):
    metric.process({}, [{"pred_sem_seg": {"data": read(guess)}, "gt_sem_seg": {"data": read(truth)}}])
scores = metric.compute_metrics(metric.results)
checkpoint = torch.load(best, weights_only=True)
shape = list(checkpoint["state_dict"]["decode_head.conv_seg.weight"].shape)
print(json.dumps({"mDice": float(scores["mDice"]), "mIoU": float(scores["mIoU"]), "shape": shape,
                  "meta": checkpoint["meta"]}))
"""


@pytest.mark.slow
def test_mmseg_agrees_and_reads_the_best_weights(trained: tuple[Job, Result, list[Event]]) -> None:
    job, result, _ = trained
    files = [str(f) for (_, m), (_, p, _) in zip(job.val, job.predictions, strict=True) for f in (m, p)]
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        CHECK_WITH_MMSEG,
        str(result.best_checkpoint),
        str(IGNORE),
    ]
    done = subprocess.run([*command, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert result.mdice is not None
    assert result.miou is not None
    assert seen["mDice"] == pytest.approx(100 * result.mdice, abs=0.00501), "mmseg rounds to two digits"
    assert seen["mIoU"] == pytest.approx(100 * result.miou, abs=0.00501)
    assert seen["shape"][0] == len(NAMES)
    assert seen["meta"]["mdice"] == result.mdice
    assert seen["meta"]["dataset_meta"]["classes"] == list(NAMES)


@pytest.mark.slow
def test_predicting_later_gives_the_same_files(trained: tuple[Job, Result, list[Event]], tmp_path: Path) -> None:
    job, result, _ = trained
    again = replace(
        job,
        kind="predict",
        run_dir=tmp_path / "run",
        recipe=job.run_dir / "config.py",  # as the training left it: a recipe of its own says less
        init_checkpoint=result.best_checkpoint,
        predictions=_targets(job, tmp_path / "again"),
    )
    events: list[Event] = []
    assert run_job(again, events.append).predicted == len(job.val)
    assert [event.fields["done"] for event in _of(events, "prediction")] == list(range(1, len(job.val) + 1))
    for (_, first, _), (_, second, _) in zip(job.predictions, again.predictions, strict=True):
        assert np.array_equal(np.array(Image.open(first)), np.array(Image.open(second)))
    assert sorted(p.name for p in (tmp_path / "again").iterdir() if "part" in p.name) == []


@pytest.mark.slow
def test_zero_labels_are_reduced_as_mmseg_does(base: Job, tmp_path: Path) -> None:
    job = replace(
        base,
        run_dir=tmp_path / "run",
        reduce_zero_label=True,
        train=_write(tmp_path / "train", range(12), mask_offset=1),
        val=_write(tmp_path / "val", range(100, 106), mask_offset=1),
        iterations=3,
        batch_size=16,  # more than there are images
    )
    job = replace(job, predictions=_targets(job, tmp_path / "predictions"))
    result = run_job(job, lambda _: None)
    assert result.mdice == pytest.approx(_mean_dice(job, offset=1), abs=1e-6)
    assert {int(v) for _, p, _ in job.predictions for v in np.unique(np.array(Image.open(p)))} <= {0, 1, 2}


@pytest.mark.slow
def test_a_run_that_was_interrupted_goes_on_as_if_it_had_not_been(
    base: Job, trained: tuple[Job, Result, list[Event]], tmp_path: Path
) -> None:
    job = replace(base, run_dir=tmp_path / "run")
    with pytest.raises(Interrupted, match=r"kept: last\.pth, best\.pth") as caught:
        run_job(job, _at_iteration(12, lambda: signal.raise_signal(signal.SIGINT)))
    assert caught.value.exit_code == 130
    assert not (job.run_dir / "result.json").exists()
    stopped = Event.from_json((job.run_dir / "events.jsonl").read_text().splitlines()[-1])
    assert stopped.kind == "stopped"
    assert 12 <= stopped.fields["iteration"] < ITERATIONS

    events: list[Event] = []
    result = run_job(replace(job, resume=True), events.append)
    (started,) = _of(events, "started")
    assert started.fields["resumed_from"] == stopped.fields["iteration"]
    later = {event.fields["iteration"]: event.fields["loss"] for event in _of(events, "iteration")}
    straight = {event.fields["iteration"]: event.fields["loss"] for event in _of(trained[2], "iteration")}
    assert later == pytest.approx({i: loss for i, loss in straight.items() if i in later}, rel=1e-4)
    assert min(later) == stopped.fields["iteration"] + 1
    assert result.mdice == pytest.approx(trained[1].mdice, abs=0.01)


@pytest.mark.slow
def test_a_killed_child_is_named_by_its_signal(base: Job, tmp_path: Path) -> None:
    job = replace(base, run_dir=tmp_path / "run")
    with pytest.raises(TrainingError, match="the training process was killed by SIGKILL") as caught:
        run_job(job, _at_iteration(3, lambda: os.kill(_children()[-1], signal.SIGKILL)))
    assert "memory" in str(caught.value)
    assert caught.value.where == str(job.run_dir / "train.log")


@pytest.mark.slow
def test_a_killed_child_that_trains_nothing_is_not_called_a_training(base: Job, tmp_path: Path) -> None:
    job = replace(base, kind="measure", run_dir=tmp_path / "run")

    def kill(event: Event) -> None:
        os.kill(_children()[-1], signal.SIGKILL)

    with pytest.raises(TrainingError, match="the process for measuring was killed by SIGKILL"):
        run_job(job, kill)


@pytest.mark.slow
def test_a_child_does_not_outlive_its_parent(base: Job, tmp_path: Path) -> None:
    job = replace(base, run_dir=tmp_path / "run", iterations=100_000)
    (tmp_path / "job.json").write_text(job.to_json(), encoding="utf-8")
    code = "import sys; from annoloop.training.child import *; run_job(Job.from_json(open(sys.argv[1]).read()), print)"
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "job.json")], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    assert any("kind='iteration'" in line for line in parent.stdout)
    (child,) = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{child}").exists()
    assert (job.run_dir / "last.pth").is_file()
    assert not (job.run_dir / "result.json").exists()


@pytest.mark.slow
def test_a_recipe_that_fails_shows_the_end_of_the_log(base: Job, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text(base.recipe.read_text().replace('type="UNet"', 'type="NoSuchNet"'), encoding="utf-8")
    with pytest.raises(TrainingError) as caught:
        run_job(replace(base, run_dir=tmp_path / "run", recipe=broken), lambda _: None)
    text = str(caught.value)
    assert "NoSuchNet is not in the" in text
    assert "exit code 1" in text
    assert "annoloop.training.mmseg.worker" in text
    assert str(tmp_path / "run" / "train.log") in text


@pytest.mark.slow
def test_a_checkpoint_of_other_classes_is_refused(
    trained: tuple[Job, Result, list[Event]], base: Job, tmp_path: Path
) -> None:
    job = replace(
        base,
        run_dir=tmp_path / "run",
        class_names=(*NAMES, "blue"),
        palette=(*PALETTE, (0, 0, 255)),
        train_pixels=None,
        init_checkpoint=trained[1].best_checkpoint,
    )
    with pytest.raises(TrainingError, match="were the classes changed") as caught:
        run_job(job, lambda _: None)
    assert "conv_seg" in str(caught.value)
    assert "(3, 8, 1, 1)" in str(caught.value)


CHECKPOINTS = """
import os, sys
from pathlib import Path
import numpy as np, torch
from mmengine.logging import MessageHub
from annoloop.data.images import image_size_hw
from annoloop.errors import TrainingError
from annoloop.training.mmseg.checkpoint import load

folder = Path(sys.argv[1])
hub = MessageHub.get_instance("any")
hub.update_scalar("train/loss", np.float64(1.5))
torch.save({"state_dict": {"w": torch.ones(2)}, "message_hub": hub.state_dict()}, folder / "mmengine.pth")
assert load(folder / "mmengine.pth")["state_dict"]["w"].tolist() == [1, 1]

class Evil:
    def __reduce__(self):
        return os.system, (f"touch {folder}/ran",)

torch.save({"state_dict": {"w": Evil()}}, folder / "evil.pth")
try:
    load(folder / "evil.pth")
except TrainingError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_checkpoint_runs_nothing(base: Job, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHECKPOINTS, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "not a checkpoint that can be loaded safely" in done.stdout
    recipe = tmp_path / "loads.py"
    loading = f"\nload_from = {str(tmp_path / 'evil.pth')!r}\n"
    recipe.write_text(base.recipe.read_text(encoding="utf-8") + loading, encoding="utf-8")
    with pytest.raises(TrainingError, match=r"evil|[Ww]eights"):
        run_job(replace(base, run_dir=tmp_path / "run", recipe=recipe), lambda _: None)
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_interrupting_as_soon_as_it_started_is_quick(base: Job, tmp_path: Path) -> None:
    def on_event(event: Event) -> None:
        began.append(time.monotonic())
        signal.raise_signal(signal.SIGINT)

    began: list[float] = []
    with pytest.raises(Interrupted, match=r"training stopped at iteration \d"):
        run_job(replace(base, run_dir=tmp_path / "run"), on_event)
    assert time.monotonic() - began[0] < 10


@pytest.mark.slow
def test_a_mask_value_that_is_no_class_is_named(base: Job, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=f"the value {IGNORE} is no class") as caught:
        run_job(replace(base, run_dir=tmp_path / "run", ignore_index=255), lambda _: None)
    assert "_mask.png" in str(caught.value)


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_the_run(base: Job, tmp_path: Path) -> None:
    wild = tmp_path / "wild.py"
    wild.write_text(base.recipe.read_text().replace("lr=0.003", "lr=float('inf')"), encoding="utf-8")
    with pytest.raises(TrainingError, match=r"the loss of iteration \d+ is nan"):
        run_job(replace(base, run_dir=tmp_path / "run", recipe=wild), lambda _: None)


@pytest.mark.slow
def test_measuring_keeps_nothing(base: Job, tmp_path: Path) -> None:
    result = run_job(replace(base, kind="measure", run_dir=tmp_path / "run"), lambda _: None)
    assert result.seconds_per_iteration is not None
    assert result.seconds_per_image is not None
    assert result.iterations == base.iterations, "how many a training would run, for the estimate"
    assert 0 < result.seconds_per_iteration < 10
    assert 0 < result.seconds_per_image < 10
    assert list((tmp_path / "run").rglob("*.pth")) == []


def test_a_python_without_torch_names_the_extra(base: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    venv.create(tmp_path / "bare", symlinks=True)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with pytest.raises(MissingExtraError, match="torch is not installed") as caught:
        run_job(replace(base, run_dir=tmp_path / "run"), lambda _: None, python=str(tmp_path / "bare/bin/python"))
    assert caught.value.extra == "train"


def test_a_python_that_does_not_exist_is_an_error(base: Job, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="did not start"):
        run_job(replace(base, run_dir=tmp_path / "run"), lambda _: None, python=str(tmp_path / "nowhere"))


def test_training_needs_no_torch() -> None:
    heavy = {"torch", "mmseg", "mmengine", "mmcv", "numpy"}
    code = f"import sys, annoloop.training.child; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


paths = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1).map(Path)
colors = st.tuples(*[st.integers(0, 255)] * 3)
jobs = st.builds(
    Job,
    kind=st.sampled_from(["train", "predict", "measure"]),
    run_dir=paths,
    recipe=paths,
    class_names=st.lists(st.text()).map(tuple),
    palette=st.lists(colors).map(tuple),
    ignore_index=st.integers(0, 255),
    reduce_zero_label=st.booleans(),
    device=st.sampled_from(["auto", "cpu", "cuda"]),
    seed=st.integers(0),
    train=st.lists(st.tuples(paths, paths), max_size=3).map(tuple),
    val=st.lists(st.tuples(paths, paths), max_size=3).map(tuple),
    iterations=st.none() | st.integers(1),
    batch_size=st.none() | st.integers(1),
    init_checkpoint=st.none() | paths,
    resume=st.booleans(),
    predictions=st.lists(st.tuples(paths, paths, paths), max_size=3).map(tuple),
    train_pixels=st.none() | st.lists(st.lists(st.integers(0)).map(tuple), max_size=3).map(tuple),
    background_index=st.none() | st.integers(0, 254),
    accumulate=st.integers(1),
    precision=st.sampled_from(["auto", "bfloat16", "float32"]),
    pretrained=st.text(),
    processes=st.integers(1),
    nodes=st.integers(1),
)
results = st.builds(
    Result,
    best_checkpoint=st.none() | paths,
    mdice=st.none() | st.floats(0, 1),
    dice_per_class=st.lists(st.none() | st.floats(0, 1)).map(tuple),
)


@given(jobs)
def test_a_job_survives_json(job: Job) -> None:
    assert Job.from_json(job.to_json()) == job


@given(results)
def test_a_result_survives_json(result: Result) -> None:
    assert Result.from_json(result.to_json()) == result


@given(st.text(), st.dictionaries(st.text().filter(lambda key: key != "kind"), st.integers() | st.text()))
def test_an_event_survives_json(kind: str, fields: dict[str, object]) -> None:
    line = Event(kind, fields).to_json()
    assert "\n" not in line
    assert Event.from_json(line) == Event(kind, fields)


def test_the_end_of_a_log_is_its_last_lines_or_that_it_has_none(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.touch()
    assert end_of(log) == "  its log is empty"
    log.write_text("".join(f"line {number}\n" for number in range(5000)), encoding="utf-8")
    assert end_of(log).splitlines() == ["  last lines of its log:", *(f"    line {n}" for n in range(4985, 5000))]
