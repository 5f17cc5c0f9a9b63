"""``annoloop quality``: how far the annotators of one job agree, who stands apart, and what the model can still gain.

Not here: how a task with replicas is pulled (``exchange/replicas.py``), the arithmetic (``metrics/agreement.py``).  The
fact to know: nothing is written; a model that agrees with people as well as they agree with each other has reached what
more labels of that kind could teach it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from annoloop.cvat.server import CvatServer
from annoloop.cvat.wire import Frame, JobAnnotations, JobInfo, class_labels
from annoloop.data.mmseg_folders import mask_name_of, read_label_map, shown_name
from annoloop.errors import ConfigError, CvatError, DataError
from annoloop.loop.exchange.frame_maps import frame_map, painted
from annoloop.loop.exchange.replicas import annotator_of
from annoloop.masks.classes import ClassTable
from annoloop.masks.regions import LabelMap
from annoloop.metrics.agreement import (
    Counts,
    Standing,
    against_the_others,
    agreement,
    dice_of,
    disagreements,
    mean_dice,
    pair_counts,
    standings,
)
from annoloop.progress import Track, silent
from annoloop.project.project import Project
from annoloop.project.rows import FrameRow, TaskRow
from annoloop.selection.scoring import Watch, predict, unwatched

MOST_DISAGREEMENTS = 200
"""So many are listed, the largest; all are counted."""

LEAST_PX = 16
"""Smaller areas in which annotators differ are how outlines are drawn."""

_AS_GOOD = 0.03
"""A model whose Dice is less than this below that between annotators is as good as they are."""

_FEWEST = 2
_ENOUGH = 3
"""So many annotators make a majority of the others."""


@dataclass(frozen=True, slots=True)
class ClassAgreement:
    """One class: ``annotators`` is the Dice between them, ``model`` that of the model with each of them (NaN for none),
    on the same images; ``verdict`` says what follows."""

    label: str
    annotators: float
    model: float
    verdict: str


@dataclass(frozen=True, slots=True)
class FrameAgreement:
    """One image: mean Dice between its annotators over the foreground classes, and by class; where to open it."""

    sample_id: str
    annotators: tuple[str, ...]
    dice: float
    by_class: Mapping[str, float]
    url: str


@dataclass(frozen=True, slots=True)
class AnnotatorQuality:
    """One annotator: mean Dice with the majority of the others, where three or more annotate the same images.

    ``gap``: how much less that is than of the others; ``apart``: surely, and by more than a little.  Of errors that are
    known (``truth``): ``found_px`` of ``planted_px`` were mended, ``spoiled_px`` that were right are not any more.
    """

    annotator: str
    frames: int
    dice: float
    gap: float
    apart: bool
    planted_px: int | None = None
    found_px: int | None = None
    spoiled_px: int | None = None


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A connected area in which annotators differ: what each says there, its box in px, and where to open it."""

    sample_id: str
    px: int
    says: Mapping[str, str]
    box_ltrb: tuple[int, int, int, int]
    url: str


@dataclass(frozen=True, slots=True)
class QualityReport:
    """How far annotators agree; ``frames`` come with the least agreement first, disagreements with the largest.

    ``annotators_dice`` and ``model_dice`` are means over the foreground classes; NaN where there is none.  Both, and
    ``classes``, are without those who stand apart (``left_out``), as long as two others are left.
    """

    tasks: tuple[int, ...]
    run: int | None
    left_out: tuple[str, ...]
    annotators_dice: float
    model_dice: float
    classes: tuple[ClassAgreement, ...]
    annotators: tuple[AnnotatorQuality, ...]
    frames: tuple[FrameAgreement, ...]
    disagreements: tuple[Disagreement, ...]
    disagreement_count: int
    disagreement_px: int


def quality(
    project: Project,
    server: CvatServer,
    *,
    task: int | None = None,
    include_unfinished: bool = False,
    truth: Path | None = None,
    track: Track = silent,
    watch: Watch = unwatched,
) -> QualityReport:
    """Compare the annotators of tasks that were pushed with replicas, and the current model with them.

    Args:
        task: its number in CVAT; default: all tasks of this project that have replicas.
        include_unfinished: also replicas that are not completed.
        truth: masks that are known to be right, laid out as the project's, of some images or all.

    Raises:
        ConfigError: no such task, or none with replicas; the classes have changed since.
        DataError: no image has two masks yet, or a known mask does not fit.
        CvatError: a shape cannot be read, the server failed.
        TrainingError: the predicting process failed.
    """
    looks = list(looks_at(project, server, task, include_unfinished, track))
    if not looks:
        raise DataError(
            "no image has masks of two annotators yet: their jobs are not completed",
            where=server.url,
            hint="annoloop tasks shows whose job is how far; --include-unfinished takes what is there",
        )
    run = project.current_run()
    opinions = {} if run is None else _opinions(project, run.id, looks, track, watch)
    table = project.classes
    people = _annotators(project, looks, truth)
    left_out = {one.annotator for one in people if one.apart}
    left_out = left_out if len(people) - len(left_out) >= _FEWEST else set()
    trusted = [replace(one, maps={who: m for who, m in one.maps.items() if who not in left_out}) for one in looks]
    total: Counts = np.sum([_shared(one, table) for one in trusted], axis=0)
    model = _model(trusted, opinions, table)
    areas = sorted((area for one in looks for area in _areas(one, table)), key=lambda area: -area.px)
    frames = [_frame(one, _shared(one, table), table) for one in looks]
    return QualityReport(
        tasks=tuple(dict.fromkeys(one.task for one in looks)),
        run=None if run is None else run.id,
        left_out=tuple(sorted(left_out)),
        annotators_dice=mean_dice(total, table.background_index),
        model_dice=mean_dice(model, table.background_index),
        classes=_classes(total, model, table),
        annotators=people,
        frames=tuple(sorted(frames, key=lambda one: (math.isnan(one.dice), one.dice, one.sample_id))),
        disagreements=tuple(areas[:MOST_DISAGREEMENTS]),
        disagreement_count=len(areas),
        disagreement_px=sum(area.px for area in areas),
    )


# what there is


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One image that two people or more have annotated: their label maps by who they are."""

    task: int
    row: FrameRow
    maps: Mapping[str, LabelMap]
    url: str


def looks_at(
    project: Project, server: CvatServer, task: int | None, include_unfinished: bool, track: Track
) -> Iterator[Look]:
    """The images that two people or more have annotated, one by one.

    Raises:
        ConfigError: no such task, or none with replicas; the classes have changed since.
        CvatError: a shape cannot be read, the server failed.
    """
    for row, jobs, replicas in _with_replicas(project, server, task):
        assert row.cvat_id is not None
        labels = {label.id: label.name for label in server.task_labels(row.cvat_id, class_labels(project.classes))}
        frames = {frame.name: frame for frame in server.frames(row.cvat_id)}
        for job in track(jobs, f"reading task {row.cvat_id}", len(jobs)):
            own = [one for one in replicas if one.parent == job.id and (one.finished or include_unfinished)]
            if len(own) < _FEWEST:
                continue
            said = {annotator_of(one): server.job_annotations(one.id) for one in own}
            for frame_row in (part for one in project.ledger.frames(row.id) for part in one.parts):
                frame = frames.get(frame_row.name)
                if frame is not None and not frame.deleted and frame.index in job.frames:
                    maps = _maps(project, row, labels, frame_row, frame, said)
                    url = f"{server.task_url(row.cvat_id)}/jobs/{job.id}?frame={frame.index}"
                    yield Look(row.cvat_id, frame_row, maps, url)


def _with_replicas(
    project: Project, server: CvatServer, task: int | None
) -> list[tuple[TaskRow, list[JobInfo], list[JobInfo]]]:
    here = [one for one in project.ledger.tasks_on(server.url) if one.state in ("open", "done")]
    wanted = [one for one in here if task is None or one.cvat_id == task]
    if not wanted and task is not None:
        known = ", ".join(str(one.cvat_id) for one in here) or "none yet"
        raise ConfigError(f"task {task} was not pushed from here", where=server.url, hint=f"pushed from here: {known}")
    found = []
    for one in wanted:
        assert one.cvat_id is not None
        jobs, replicas = server.jobs_and_replicas(one.cvat_id)
        if replicas and one.class_digest == project.classes.digest:
            found.append((one, jobs, replicas))
        elif replicas and task is not None:
            raise ConfigError(f"the classes have changed since task {task} was pushed", where=project.path)
    if not found:
        what = "no task has replicas" if task is None else f"task {task} has no replicas"
        raise ConfigError(
            f"{what}, so nobody's masks can be compared with another's",
            where=server.url,
            hint="annoloop push --worst 20 --replicas 2 gives the same images to two people",
        )
    return found


def _maps(
    project: Project,
    task: TaskRow,
    labels: Mapping[int, str],
    row: FrameRow,
    frame: Frame,
    said: Mapping[str, JobAnnotations],
) -> dict[str, LabelMap]:
    found = {}
    for who, one in said.items():
        shapes = [shape for shape in one.shapes if shape.frame == frame.index]
        unknown = {shape.label_id for shape in shapes} - set(labels)
        if unknown:
            raise CvatError(f"a shape of {who} has the unknown label id {min(unknown)}", where=f"frame {frame.name}")
        found[who] = painted(project.files, task, labels, row, frame, shapes)[0]
    return found


def _opinions(project: Project, run_id: int, looks: Sequence[Look], track: Track, watch: Watch) -> dict[str, LabelMap]:
    """What the model says of the images, out of fold where that is known, by sample id."""
    wanted = {one.row.sample_id for one in looks}
    samples = [sample for sample in project.samples() if sample.id in wanted]
    rows = project.scan(samples, track)
    run = project.ledger.run(run_id)
    predict(project, run, [(sample, rows[sample.id]) for sample in samples], track=track, watch=watch)
    return {sample.id: project.opinion(run_id, rows[sample.id].image_sha256).prediction for sample in samples}


# what follows


def _shared(one: Look, table: ClassTable) -> Counts:
    return agreement(list(one.maps.values()), len(table), table.ignore_index)


def _model(looks: Sequence[Look], opinions: Mapping[str, LabelMap], table: ClassTable) -> Counts:
    """What the model shares with each annotator of each image, summed."""
    total: Counts = np.zeros((len(table), 2), np.int64)
    for one in looks:
        opinion = opinions.get(one.row.sample_id)
        prediction = None if opinion is None else _shown(opinion, one.row)
        for own in () if prediction is None else one.maps.values():
            if prediction is not None and own.shape == prediction.shape:
                total += pair_counts(own, prediction, len(table), table.ignore_index)
    return total


def _classes(total: Counts, model: Counts, table: ClassTable) -> tuple[ClassAgreement, ...]:
    between, theirs = dice_of(total), dice_of(model)
    return tuple(
        ClassAgreement(one.name, float(between[one.index]), float(theirs[one.index]),
                       _verdict(one.name, float(between[one.index]), float(theirs[one.index])))
        for one in table.classes
        if not np.isnan(between[one.index]) and one.index != table.background_index
    )  # fmt: skip


def _verdict(label: str, annotators: float, model: float) -> str:
    """What the noise ceiling says of a class."""
    said = f"annotators agree to {annotators:.2f} on {label}"
    if math.isnan(model):
        return f"{said}; no model has been asked"
    if model >= annotators - _AS_GOOD:
        return f"{said}; the model has {model:.2f}: more labels of this kind will not help"
    return f"{said}; the model has {model:.2f}: more or better labels of it can still help"


def _frame(one: Look, counts: Counts, table: ClassTable) -> FrameAgreement:
    per_class = dice_of(counts)
    by_class = {c.name: float(per_class[c.index]) for c in table.classes if not np.isnan(per_class[c.index])}
    dice = mean_dice(counts, table.background_index)
    return FrameAgreement(one.row.sample_id, tuple(one.maps), dice, by_class, one.url)


def _areas(one: Look, table: ClassTable) -> Iterator[Disagreement]:
    found = disagreements(list(one.maps.values()), table.ignore_index, least_px=LEAST_PX)
    for region, said in found:
        says = {who: table.label_of(index) for who, index in zip(one.maps, said, strict=True)}
        yield Disagreement(one.row.sample_id, region.area_px, says, region.box_ltrb, one.url)


def _annotators(project: Project, looks: Sequence[Look], truth: Path | None) -> tuple[AnnotatorQuality, ...]:
    table = project.classes
    people = sorted({who for one in looks for who in one.maps})
    judged = [one for one in looks if len(one.maps) >= _ENOUGH]
    counts = np.zeros((len(judged), len(people), len(table), 2), np.int64)
    for place, one in enumerate(judged):
        shared = against_the_others(list(one.maps.values()), len(table), table.ignore_index)
        for who, theirs in zip(one.maps, shared, strict=True):
            counts[place, people.index(who)] = theirs
    nobody = Standing(float("nan"), 0.0, apart=False)
    # Of thousands of classes an image holds a few: the others would only be resampled.
    there = np.union1d(np.flatnonzero(counts.any(axis=(0, 1, 3))), [table.background_index or 0])
    background = None if table.background_index is None else int(np.searchsorted(there, table.background_index))
    stands = standings(counts[:, :, there], background) if judged else [nobody] * len(people)
    planted = {} if truth is None else _planted(project, looks, truth)
    return tuple(
        AnnotatorQuality(
            who, sum(who in one.maps for one in looks), stand.dice, stand.gap, stand.apart, *planted.get(who, ())
        )
        for who, stand in zip(people, stands, strict=True)
    )


def _shown(label_map: LabelMap, row: FrameRow) -> LabelMap:
    """What a frame shows of a map of its image: of a cut one a tile's window."""
    return label_map if row.window is None else np.ascontiguousarray(label_map[row.window.window])


def _planted(project: Project, looks: Iterable[Look], truth: Path) -> dict[str, tuple[int, int, int]]:
    """Of every annotator, in images whose right mask is known: wrong px that were sent, those mended, those spoiled."""
    found: dict[str, tuple[int, int, int]] = {}
    for one in looks:
        shown = shown_name(one.row.sample_id, project.image_path(one.row.sample_id), project.config.data)
        path = truth / mask_name_of(shown, project.config.data)
        if not path.is_file():
            continue
        right, sent = (
            _shown(read_label_map(path, project.config.data), one.row),
            frame_map(project.files, one.row, one.row.sent_sha256),
        )
        if right.shape != sent.shape:
            raise DataError(f"is {right.shape} px (h, w), the image {sent.shape}", where=path)
        known = right != project.classes.ignore_index
        wrong = known & (sent != right)
        for who, own in one.maps.items():
            planted, mended, spoiled = found.get(who, (0, 0, 0))
            found[who] = (
                planted + int(np.count_nonzero(wrong)),
                mended + int(np.count_nonzero(wrong & (own == right))),
                spoiled + int(np.count_nonzero(known & ~wrong & (own != right))),
            )
    if not found:
        raise DataError("no image that was annotated has a known mask there", where=truth)
    return found
