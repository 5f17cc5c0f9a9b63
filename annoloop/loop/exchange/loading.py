"""Which cargo a task has: the one place that tells reviews from tasks with masks."""

from __future__ import annotations

from annoloop.loop.exchange.cargo import Cargo
from annoloop.loop.exchange.mask_cargo import MaskCargo
from annoloop.loop.exchange.review_cargo import ReviewCargo
from annoloop.project.project import Project
from annoloop.project.rows import TaskRow


def cargo_of(project: Project, task: TaskRow) -> Cargo:
    """What a task carries."""
    if task.is_review:
        return ReviewCargo(project.files, tuple(project.ledger.proposals(task.id)))
    return MaskCargo(project.files, task)
