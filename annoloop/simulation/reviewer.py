"""A reviewer for trying and testing: answers the proposals of a task as somebody would who knows the truth.

It works through the same API on any CVAT server: only the attribute of each shape is changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from annoloop.cvat.server import CvatServer
from annoloop.cvat.wire import Label, Shape
from annoloop.loop.exchange.review_cargo import REGION, ReviewCargo, region_of, shape_of
from annoloop.masks.regions import LabelMap, Region
from annoloop.progress import Track
from annoloop.project.project import Project
from annoloop.project.rows import ACCEPT, REJECT, WRONG_TOO, ProposalRow, TaskRow


def verdict(region: Region, becomes: int, truth: LabelMap, ignore_index: int) -> str:
    """Yes if more pixels become right than wrong; else no, or "wrong too" where the label is mostly wrong as well.

    Args:
        region: with the class that the label gives it.
        truth: (H, W); its ignored pixels do not count.
    """
    true = truth[region.window][region.bits]
    true = true[true != ignore_index]
    gained, lost = np.count_nonzero(true == becomes), np.count_nonzero(true == region.class_index)
    if gained > lost:
        return ACCEPT
    return REJECT if 2 * lost >= true.size else WRONG_TOO


def answer(
    project: Project, server: CvatServer, task: TaskRow, truths: Mapping[str, LabelMap], track: Track
) -> tuple[int, int]:
    """Answer every proposal of a review and complete its jobs; returns how many frames and proposals it has.

    Args:
        truths: by sample id.

    Raises:
        CvatError: the server refused.
    """
    assert task.cvat_id is not None
    cargo = ReviewCargo(project.files, tuple(project.ledger.proposals(task.id)))
    asked = {(one.sample_id, shape_of(one).points): one for one in cargo.proposals}
    names = {frame.name: frame.index for frame in server.frames(task.cvat_id)}
    sample_at = {names[row.name]: row.sample_id for row in project.ledger.frames(task.id)}
    label = next(one for one in server.task_labels(task.cvat_id, cargo.labels) if one.name == REGION.name)
    jobs = server.jobs(task.cvat_id)
    for job in track(jobs, "answering", len(jobs)):
        shapes = [
            _answered(shape, asked[sample_at[shape.frame], shape.points], label, truths, project)
            for shape in server.job_shapes(job.id)
        ]
        server.change_job_shapes(job.id, update=shapes)
        server.set_job(job.id, state="completed", stage=job.stage)
    return len(sample_at), len(asked)


def _answered(shape: Shape, one: ProposalRow, label: Label, truths: Mapping[str, LabelMap], project: Project) -> Shape:
    said = verdict(region_of(one), one.becomes, truths[one.sample_id], project.classes.ignore_index)
    number = label.attributes["verdict"]
    return replace(shape, attributes=tuple((n, said if n == number else value) for n, value in shape.attributes))
