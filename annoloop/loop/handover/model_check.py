"""Whether an exported model is the run's: its own script predicts images that the run was scored on, and is scored.

Not here: what is done where it is not.  The facts to know: what is tried is what is delivered, in a process that knows
nothing of annoloop; and a run that predicts in bfloat16 is also held against itself in float32, in which a graph is.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from annoloop.compute.workers import spread
from annoloop.data.config import DataConfig
from annoloop.data.images import needs_view, read_image, read_index_png
from annoloop.data.mmseg_folders import Sample, read_label_map
from annoloop.errors import TrainingError
from annoloop.masks.classes import ClassTable
from annoloop.metrics.scores import Confusion, Scores, confusion, scores
from annoloop.progress import Track
from annoloop.project.project import Project
from annoloop.project.rows import RunRow
from annoloop.selection.scoring import Scored, Watch, checked_config
from annoloop.training.child import kill_group
from annoloop.training.shards import predict_job

TOLERANCE = 1e-3
"""Of Dice; rounding makes a hundredth of it."""

_ROUNDED = 0.02
"""The most that bfloat16 may make of it: what differs more is another model."""

_AT_ONCE = 500
"""Images of one call of the script: a command line has an end."""

_LAST_LINES = 8
_BFLOAT16 = re.compile(r"^precision = 'bfloat16'", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ClassCheck:
    """A class and its Dice, NaN where it is in neither the labels nor the prediction."""

    name: str
    run: float
    exported: float

    @property
    def off(self) -> float:
        """How far the two are apart; 1 where only one of them is there."""
        if np.isnan(self.run) and np.isnan(self.exported):
            return 0.0
        return 1.0 if np.isnan(self.run) or np.isnan(self.exported) else abs(self.run - self.exported)


@dataclass(frozen=True, slots=True)
class Check:
    """Dice of the exported model and of the run on the same images, and the share of pixels on which they differ.

    ``largest``: the most that a class or the mean differs.  ``in_float32``: the run predicts in bfloat16, and what is
    compared with is what it predicts in float32, ``rounding`` away from its own scores.
    """

    images: int
    mean_dice: float
    exported_mean_dice: float
    classes: tuple[ClassCheck, ...]
    largest: float
    differing_share: float
    tolerance: float = TOLERANCE
    in_float32: bool = False
    rounding: float | None = None

    @property
    def passed(self) -> bool:
        return self.largest <= self.tolerance and (self.rounding is None or self.rounding <= _ROUNDED)


def require_passed(check: Check, run_id: int) -> None:
    """Raise where an exported model is not the run's.

    Raises:
        TrainingError: it is not; says how far it is off.
    """
    if check.passed:
        return
    worst = sorted(check.classes, key=lambda one: -one.off)[0]
    reference = " in float32" if check.in_float32 else ""
    rounding = "" if check.rounding is None else f"; float32 and bfloat16 differ by {check.rounding:.4f}"
    raise TrainingError(
        f"the exported model does not score as run {run_id}{reference}: on {check.images} images class {worst.name}"
        f" has Dice {worst.exported:.4f} where the run has {worst.run:.4f}, the mean {check.exported_mean_dice:.4f}"
        f" where it has {check.mean_dice:.4f}; {check.differing_share:.2%} of the pixels differ{rounding}; nothing was"
        " delivered",
        hint="were the run's weights replaced? if not, another --format, and please report the recipe",
    )


def check_model(
    project: Project,
    run: RunRow,
    script: Path,
    scored: Sequence[Scored],
    track: Track,
    watch: Watch,
    *,
    tolerance: float = TOLERANCE,
) -> Check:
    """Predict images with a delivered script, and compare what it writes with the run's own predictions and scores.

    Args:
        tolerance: the most that Dice may differ, of any class and on the mean.

    Raises:
        TrainingError: the script failed.
        DataError: a file cannot be read.
    """
    scratch = project.scratch_dir()
    try:
        samples = project.on_disk([one.sample for one in scored], track)
        names = _laid_out(samples, scratch / "images")
        for _ in track(_predicted(script, names, scratch), "checking the exported model", len(names)):
            pass
        found = [scratch / "predicted" / Path(name).with_suffix(".png").name for name in names]
        own = [project.prediction_paths(run.id, one.row.image_sha256)[0] for one in scored]
        check = replace(_compared(project, samples, found, own, track), tolerance=tolerance)
        if check.passed or not _rounds(project, run):
            return check
        exact = [scratch / "float32" / path.name for path in found]
        job = project.job(
            "predict", project.run_dir(run.id) / "export", recipe=checked_config(project, run.id),
            init_checkpoint=project.best_checkpoint(run.id), precision="float32", device="cpu",
            predictions=tuple((one.image, png, None) for one, png in zip(samples, exact, strict=True)),
        )  # fmt: skip
        predict_job(job, watch)
        in_float32 = _compared(project, samples, found, exact, track)
        rounding = max(
            ClassCheck(one.name, one.run, rounded.run).off
            for one, rounded in zip(in_float32.classes, check.classes, strict=True)
        )
        return replace(in_float32, tolerance=tolerance, in_float32=True, rounding=rounding)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def scores_of(project: Project, counts: Confusion) -> Scores:
    """The scores of a summed confusion."""
    return scores(counts, project.classes.background_index)


def _laid_out(samples: Sequence[Sample], folder: Path) -> list[str]:
    """The images under short names, all different; of many bands the view that the network is given."""
    folder.mkdir(parents=True)
    names = []
    for number, sample in enumerate(samples):
        image = sample.image
        if needs_view(image):
            names.append(f"{number:06d}.png")
            Image.fromarray(read_image(image)).save(folder / names[-1])
        else:
            names.append(f"{number:06d}{Path(image.name).suffix}")
            (folder / names[-1]).symlink_to(str(image))
    return names


def _predicted(script: Path, names: Sequence[str], scratch: Path) -> Iterator[str]:
    """A line for each image that the script has predicted."""
    for start in range(0, len(names), _AT_ONCE):
        command = [sys.executable, str(script), *names[start : start + _AT_ONCE], "--out", str(scratch / "predicted")]
        log = scratch / "script.log"
        with (
            log.open("wb") as said,
            subprocess.Popen(
                command, cwd=scratch / "images", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said,
                encoding="utf-8", errors="replace", start_new_session=True,
            ) as child,
        ):  # fmt: skip
            try:
                assert child.stdout is not None
                yield from child.stdout
                code = child.wait()
            finally:
                kill_group(child)
        if code:
            last = "\n  ".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:])
            raise TrainingError(
                f"the script of the exported model ended with exit code {code}:\n  {last}", where=script.name
            )


def _compared(
    project: Project, samples: Sequence[Sample], exported: Sequence[Path], own: Sequence[Path], track: Track
) -> Check:
    """What two lists of predictions make of the masks of the same samples."""
    classes = project.classes
    count = partial(_counted, data=project.config.data, classes=classes)
    items = list(zip(samples, own, exported, strict=True))
    summed: list[Confusion] = [np.zeros((len(classes), len(classes)), np.int64) for _ in "ab"]
    differing, pixels = 0, 0
    for found in track(spread(count, items), "comparing predictions", len(items)):
        summed = [whole + one for whole, one in zip(summed, found.confusions, strict=True)]
        differing, pixels = differing + found.differing, pixels + found.pixels
    a, b = (scores_of(project, counts) for counts in summed)
    per_class = tuple(ClassCheck(*each) for each in zip(classes.names, a.dice, b.dice, strict=True))
    mean = ClassCheck("mean", a.mean_dice, b.mean_dice)
    largest = max(one.off for one in (*per_class, mean))
    return Check(len(samples), a.mean_dice, b.mean_dice, per_class, largest, differing / pixels)


@dataclass(frozen=True, slots=True)
class _Counted:
    """Of one sample the confusions of the run's and of the exported prediction, and on how many pixels they differ."""

    confusions: tuple[Confusion, Confusion]
    differing: int
    pixels: int


def _counted(one: tuple[Sample, Path, Path], data: DataConfig, classes: ClassTable) -> _Counted:
    sample, *predictions = one
    assert sample.mask is not None
    truth = read_label_map(sample.mask, data)
    own, exported = (read_index_png(path).values for path in predictions)
    a, b = (confusion(truth, found, len(classes), classes.ignore_index) for found in (own, exported))
    return _Counted((a, b), int((own != exported).sum()), own.size)


def _rounds(project: Project, run: RunRow) -> bool:
    """Whether predictions of a run were made in bfloat16, which takes less time and rounds more than a graph does."""
    configs = (project.run_config(run.id), project.run_dir(run.id) / "predict" / "config.py")
    return any(_BFLOAT16.search(one.read_text(encoding="utf-8")) for one in configs if one.is_file())
