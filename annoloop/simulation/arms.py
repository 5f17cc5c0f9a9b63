"""What each arm of a simulation would have a person do, step by step: whole images, or verdicts on regions.

An oracle does the work, who knows the true labels; the steps say what it cost and what it mended.  The fact to know: an
arm's order is fixed before its first step, as that of a task in CVAT is.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from annoloop.compute.workers import spread
from annoloop.data.mmseg_folders import UNLABELLED, Sample, read_label_map
from annoloop.masks.regions import LabelMap
from annoloop.progress import Say, Track
from annoloop.project.files import ProjectFiles
from annoloop.project.project import Project
from annoloop.project.rows import ACCEPT, RunRow
from annoloop.selection.choosing import choose_images
from annoloop.selection.criteria import needs_labels
from annoloop.selection.proposals import Proposal, find_proposals
from annoloop.selection.request import PushRequest
from annoloop.selection.scoring import Watch, predict
from annoloop.simulation.costs import Edits, edits_between
from annoloop.simulation.reviewer import verdict
from annoloop.simulation.working_copy import true_map

NOTHING, EVERYTHING, RANDOM, PROPOSALS = "nothing", "everything", "random", "proposals"

_MOST_PROPOSALS = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One piece of work on a sample: the edits, and how many wrong pixels fewer its label has then.

    ``label_map``: the label after it (H, W); None: the true one.
    """

    sample_id: str
    edits: Edits
    mended_px: int
    label_map: LabelMap | None = None


@dataclass(frozen=True, slots=True)
class Bench:
    """A working project, open, with the model that every arm starts from; ``folder`` has the true masks."""

    project: Project
    folder: Path
    run: RunRow
    seed: int

    def samples(self) -> list[Sample]:
        """All that could be worked on: the training images, and those whose label was taken away."""
        splits = [name for name in ("train", UNLABELLED) if name in self.project.config.data.splits]
        return self.project.samples(splits)


def whole_images(bench: Bench, track: Track, watch: Watch) -> dict[str, Step]:
    """What it takes to correct each image as a whole, by sample id: from its label, or where it has none the
    prediction.

    Raises:
        DataError: a file cannot be read.
        TrainingError: the predicting process failed.
    """
    project, samples = bench.project, bench.samples()
    rows = project.scan(samples, track)
    bare = [(one, rows[one.id]) for one in samples if one.mask is None]
    predict(project, bench.run, bare, track=track, watch=watch)
    work = partial(_whole_image, files=project.files, folder=bench.folder, run_id=bench.run.id)
    images = [(one, rows[one.id].image_sha256) for one in samples]
    return {step.sample_id: step for step in track(spread(work, images), "counting edits", len(images))}


def _whole_image(image: tuple[Sample, str], files: ProjectFiles, folder: Path, run_id: int) -> Step:
    sample, image_sha256 = image
    data, classes = files.config.data, files.classes
    truth = true_map(folder, sample.id, data)
    if sample.mask is None:
        label = np.full_like(truth, classes.fill_index)
        begun = files.prediction(run_id, image_sha256)
    else:
        label = begun = read_label_map(sample.mask, data)
    return Step(sample.id, edits_between(begun, truth, classes), wrong_px(label, truth, classes.ignore_index))


def steps(bench: Bench, arm: str, whole: Mapping[str, Step], say: Say, track: Track, watch: Watch) -> Iterable[Step]:
    """The work of an arm in its order, to the end.

    Raises:
        ConfigError: the arm is no criterion.
        DataError: a file cannot be read.
        TrainingError: the predicting process failed.
    """
    if arm == NOTHING:
        return ()
    if arm == PROPOSALS:
        return _verdicts(bench, proposals(bench, track, watch))
    return [whole[name] for name in _order(bench, arm, say, track, watch)]


def proposals(bench: Bench, track: Track, watch: Watch) -> list[Proposal]:
    """All that the model would ask about, heaviest first."""
    project = bench.project
    samples = [sample for sample in project.samples(["train"]) if sample.mask is not None]
    rows = project.scan(samples, track)
    pairs = [(sample, rows[sample.id]) for sample in samples]
    predict(project, bench.run, pairs, track=track, watch=watch)
    return find_proposals(project, bench.run.id, pairs, _MOST_PROPOSALS, track=track)


def _order(bench: Bench, arm: str, say: Say, track: Track, watch: Watch) -> Sequence[str]:
    everything = sorted(sample.id for sample in bench.samples())
    if arm == EVERYTHING:
        return everything
    if arm == RANDOM:
        return random.Random(f"random {bench.seed}").sample(everything, len(everything))  # noqa: S311 - no secret
    splits = {name.partition("/")[0] for name in everything}
    usable = ("train",) if needs_labels(arm) else tuple(sorted(splits))
    request = PushRequest(worst=len(everything), by=arm, splits=usable, corrected=True)
    chosen = choose_images(bench.project, bench.run, request, say, track, watch)
    return [one.sample.id for one in chosen.images]


def _verdicts(bench: Bench, found: Iterable[Proposal]) -> Iterator[Step]:
    """An annotator says yes wherever the proposal makes more pixels right than wrong, and no everywhere else."""
    data, ignored = bench.project.config.data, bench.project.classes.ignore_index
    labels: dict[str, LabelMap] = {}
    for one in found:
        name = one.sample.id
        if name not in labels:
            assert one.sample.mask is not None
            labels[name] = read_label_map(one.sample.mask, data)
        truth, gain = true_map(bench.folder, name, data), 0
        if verdict(one.region, one.becomes, truth, ignored) == ACCEPT:
            before = wrong_px(labels[name], truth, ignored)
            labels[name] = labels[name].copy()
            labels[name][one.region.window][one.region.bits] = one.becomes
            gain = before - wrong_px(labels[name], truth, ignored)
        yield Step(name, Edits(verdicts=1), gain, labels[name])


def wrong_px(label_map: LabelMap, truth: LabelMap, ignore_index: int) -> int:
    """How many pixels of a label are not the true ones; pixels whose truth is ignored do not count."""
    return int(np.count_nonzero((label_map != truth) & (truth != ignore_index)))
