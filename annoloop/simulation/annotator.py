"""An annotator for trying and testing: corrects a task to given masks and completes its jobs.

It works through the same API on any CVAT server: shapes that are right stay, wrong ones are deleted,
missing ones drawn.  ``annoloop sandbox annotate`` and the demo use it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from annoloop.cvat.server import CvatServer
from annoloop.cvat.shapes import Drawing, draw
from annoloop.cvat.wire import Frame, JobInfo, Shape, class_labels, shape_digest
from annoloop.data.mmseg_folders import check_label_map, mask_name_of, read_label_map, shown_name
from annoloop.errors import DataError
from annoloop.masks.regions import LabelMap
from annoloop.masks.tiling import Tile
from annoloop.progress import Track, silent
from annoloop.project.project import Project
from annoloop.project.rows import TaskRow
from annoloop.simulation.reviewer import answer


@dataclass(frozen=True, slots=True)
class AnnotateReport:
    """What was done to a task: frames changed, shapes drawn and deleted, jobs completed, proposals answered."""

    task: int
    frames_changed: int
    frames: int
    drawn: int
    deleted: int
    jobs_completed: int
    answered: int = 0


def annotate(
    project: Project, server: CvatServer, task_id: int, truth_dir: Path, *, track: Track = silent
) -> AnnotateReport:
    """Correct every frame of a task to the mask in ``truth_dir/<frame's path>``, or answer its proposals by it.

    Its jobs are completed.

    Raises:
        DataError: a mask is missing or does not fit its frame; nothing was changed then.
        CvatError: the server refused.
    """
    frames = {f.index: f for f in server.frames(task_id) if not f.deleted}
    here = (one for one in project.ledger.tasks() if (one.server, one.cvat_id) == (server.url, task_id))
    task = next(here, None)
    cut = {} if task is None else _cut(project, task)
    truths = {f.index: _truth(project, truth_dir, f, cut.get(f.name)) for f in frames.values()}
    _whole.cache_clear()
    if task is not None and task.is_review:
        sample_of = {row.name: row.sample_id for row in project.ledger.frames(task.id)}
        by_sample = {sample_of[f.name]: truths[f.index] for f in frames.values()}
        count, answered = answer(project, server, task, by_sample, track)
        return AnnotateReport(task_id, count, len(frames), 0, 0, len(server.jobs(task_id)), answered)
    label_ids = {label.name: label.id for label in server.task_labels(task_id, class_labels(project.classes))}
    jobs = server.jobs(task_id)
    corrected = [
        _correct_job(project, server, job, {i: truths[i] for i in job.frames if i in truths}, label_ids)
        for job in track(jobs, "correcting jobs", len(jobs))
    ]
    return AnnotateReport(
        task_id,
        sum(changed for changed, _, _ in corrected),
        len(frames),
        sum(drawn for _, drawn, _ in corrected),
        sum(deleted for _, _, deleted in corrected),
        len(jobs),
    )


def _cut(project: Project, task: TaskRow) -> dict[str, tuple[str, Tile | None]]:
    """Of the frames of a task: the name of their image, and where tiles lie in it."""
    data = project.config.data
    return {
        part.name: (shown_name(row.sample_id, project.image_path(row.sample_id), data), part.window)
        for row in project.ledger.frames(task.id)
        for part in row.parts
    }


def _truth(project: Project, truth_dir: Path, frame: Frame, cut: tuple[str, Tile | None] | None) -> LabelMap:
    name, tile = (frame.name, None) if cut is None else cut
    path = truth_dir / mask_name_of(name, project.config.data)
    if not path.is_file():
        raise DataError("no true mask for this frame", where=path, hint="the folder is laid out as ann_dir is")
    label_map = read_label_map(path, project.config.data) if tile is None else _whole(path, project)[tile.window]
    check_label_map(label_map, frame.size_hw, project.classes, path)
    return np.ascontiguousarray(label_map)


@lru_cache(1)
def _whole(path: Path, project: Project) -> LabelMap:
    """The mask of a cut image, for its tiles come one after another."""
    return read_label_map(path, project.config.data)


def _correct_job(
    project: Project,
    server: CvatServer,
    job: JobInfo,
    truths: Mapping[int, LabelMap],
    label_ids: Mapping[str, int],
) -> tuple[int, int, int]:
    """Frames changed, shapes drawn, shapes deleted."""
    names = {number: name for name, number in label_ids.items()}
    present: dict[int, dict[str, Shape]] = {index: {} for index in truths}
    for shape in server.job_shapes(job.id):
        present.setdefault(shape.frame, {})[shape_digest(shape, names[shape.label_id])] = shape
    create: list[Shape] = []
    delete: list[Shape] = []
    changed = 0
    for index, truth in truths.items():
        wanted = _wanted_shapes(project, truth, index, label_ids)
        create += [shape for digest, shape in wanted.items() if digest not in present[index]]
        delete += [shape for digest, shape in present[index].items() if digest not in wanted]
        changed += set(wanted) != set(present[index])
    _save(server, job, create, delete)
    return changed, len(create), len(delete)


def _wanted_shapes(project: Project, truth: LabelMap, frame: int, label_ids: Mapping[str, int]) -> dict[str, Shape]:
    how = Drawing("mask", 0.0, project.config.push.min_region_px)
    return {
        one.digest: replace(one.shape, frame=frame, label_id=label_ids[one.label])
        for one in draw(truth, project.classes, how, f"frame {frame}")
    }


def _save(server: CvatServer, job: JobInfo, create: Sequence[Shape], delete: Sequence[Shape]) -> None:
    server.change_job_shapes(job.id, create=create, delete=delete)
    server.set_job(job.id, state="completed", stage=job.stage)
