"""The error report of a run: one HTML page on how good it is, where it fails, and what the last round changed.

Everything on it follows from the same predictions and current masks that ``evaluate`` scores.  The fact to
know: all is counted and chosen first; pictures are then as large as so many may be on a page that can be mailed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from annoloop.data.images import write_atomic
from annoloop.masks.classes import IGNORE_LABEL, ClassTable
from annoloop.metrics.boundary import boundary_dice
from annoloop.metrics.scores import IN_PLAIN_WORDS, Interval, Intervals, Scores, intervals, scores
from annoloop.progress import Track, silent
from annoloop.project.project import Project
from annoloop.project.rows import RunRow
from annoloop.reports import error_charts as charts
from annoloop.reports.diagnosis import Case, Diagnosis, diagnose
from annoloop.reports.error_galleries import PICTURES_PER_SHOT, Gallery, Shot, change_galleries, draw, galleries
from annoloop.reports.error_verdict import change, verdict
from annoloop.reports.gallery import ERROR_COLORS
from annoloop.reports.page import render
from annoloop.training.records import events_of

_PAGE_BYTES = 8_000_000
_BYTES_PER_PX = 0.35  # of a JPEG inside a page, when its image is rich in detail
_SMALLEST_PX, _LARGEST_PX = 160, 480


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One class of a split; ``sizes``: (found, all) objects for each size, see ``examination.py``."""

    name: str
    color: str
    dice: float
    dice_interval: Interval
    iou: float
    iou_interval: Interval
    accuracy: float
    boundary_dice: float
    share: float
    sizes: tuple[tuple[int, int], ...]

    @property
    def found(self) -> int:
        """How many of its objects were found."""
        return sum(found for found, _ in self.sizes)

    @property
    def objects(self) -> int:
        """How many objects it has."""
        return sum(every for _, every in self.sizes)


def write_error_report(
    project: Project,
    run: RunRow,
    older: RunRow | None,
    cases: Mapping[str, Sequence[Case]],
    *,
    show: int,
    track: Track = silent,
) -> Path:
    """Look into the cases of every split and write the page; returns its path.

    Args:
        older: the run that ``Case.before`` is of; None: there is none.
        show: at most so many images in a gallery.

    Raises:
        DataError: an image, a mask or a prediction cannot be read.
    """
    sections = []
    for split, some in cases.items():
        diagnosis = diagnose(some, project.config.data, project.classes, track)
        sections.append(_section(diagnosis, project.classes, split, run, older, show))
    html = render(
        "evaluate.html",
        title=f"{project.config.project}: errors of run {run.id}",
        subtitle=_subtitle(run),
        legend=_legend(project.classes),
        splits=sections,
        size_names=charts.size_names(),
        curves=charts.learning_curves(events_of(project.run_dir(run.id)), project.classes),
        pictures=_drawn(project, sections, track),
    )
    path = project.report_dir(f"run-{run.id:04d}") / "index.html"
    write_atomic(path, html.encode())
    return path


def _subtitle(run: RunRow) -> str:
    ended = f", trained until {run.finished_at[:16].replace('T', ' ')}" if run.finished_at else ""
    said = f": {run.verdict}" if run.verdict else ""
    return f"recipe {run.recipe}{ended}; {'promoted' if run.promoted else 'not promoted'}{said}"


def _legend(classes: ClassTable) -> list[tuple[str, str]]:
    """The kinds of error, then the classes as they are drawn."""
    errors = [(IN_PLAIN_WORDS[kind], "#{:02x}{:02x}{:02x}".format(*color)) for kind, color in ERROR_COLORS.items()]
    drawn = [(c.name, c.color) for c in classes.classes if c.index != classes.background_index]
    return [*errors, *drawn, (IGNORE_LABEL, "#ffffff")]


def _section(
    diagnosis: Diagnosis, classes: ClassTable, split: str, run: RunRow, older: RunRow | None, show: int
) -> dict[str, Any]:
    """What the page's template says of one split."""
    summed = diagnosis.counts.sum(0)
    scored, ends = scores(summed, classes.background_index), intervals(diagnosis.counts)
    rows = list(_rows(diagnosis, scored, ends, classes))
    outlines = np.array([row.boundary_dice for row in rows])
    return {
        "split": split,
        "images": len(diagnosis.cases),
        "verdict": verdict(diagnosis, scored, ends, classes, split),
        "rows": rows,
        "scores": scored,
        "intervals": ends,
        "mean_boundary_dice": None if np.isnan(outlines).all() else float(np.nanmean(outlines)),
        "charts": [charts.score_chart(scored, ends, classes), charts.confusion_chart(summed, classes)],
        "sized": [row for row in rows if row.objects],
        "recall": charts.recall_chart(diagnosis.tally),
        "reliability": charts.reliability_chart(diagnosis.tally, classes),
        "histograms": charts.dice_histograms(diagnosis.cases, classes),
        "galleries": galleries(diagnosis, classes, split, show),
        "rounds": _rounds(diagnosis, run, older),
    }


def _rows(diagnosis: Diagnosis, scored: Scores, ends: Intervals, classes: ClassTable) -> Iterator[ClassRow]:
    outlines = boundary_dice(diagnosis.tally.boundary)
    truth = diagnosis.counts.sum((0, 2))
    for one in classes.classes:
        i = one.index
        yield ClassRow(
            name=one.name,
            color=one.color,
            dice=scored.dice[i],
            dice_interval=ends.dice[i],
            iou=scored.iou[i],
            iou_interval=ends.iou[i],
            accuracy=scored.accuracy[i],
            boundary_dice=float(outlines[i]),
            share=float(truth[i] / max(1, truth.sum())),
            sizes=tuple((found, every) for found, every in diagnosis.tally.objects[i].tolist()),
        )


def _rounds(diagnosis: Diagnosis, run: RunRow, older: RunRow | None) -> dict[str, Any]:
    if older is None:
        return {"said": ("There is no earlier run of these classes to compare with.",), "charts": (), "galleries": ()}
    compared = diagnosis.compared
    said = change(compared, older.id)
    if not compared:
        return {"said": said, "charts": (), "galleries": ()}
    drawn = charts.change_chart(compared, run.id, older.id)
    return {"said": said, "charts": (drawn,), "galleries": change_galleries(compared, run.id, older.id)}


def _drawn(project: Project, sections: Sequence[Mapping[str, Any]], track: Track) -> dict[Shot, dict[str, str]]:
    """The pictures of every shot on the page."""
    shots = [shot for section in sections for gallery in _galleries(section) for shot in gallery.shots]
    longest_px = _picture_px(len(shots))
    data, classes = project.config.data, project.classes
    return {shot: draw(shot, data, classes, longest_px) for shot in track(shots, "drawing pictures", len(shots))}


def _galleries(section: Mapping[str, Any]) -> list[Gallery]:
    return [*section["galleries"], *section["rounds"]["galleries"]]


def _picture_px(shots: int) -> int:
    """How long a picture's longer side may be when there are so many on the page."""
    area = _PAGE_BYTES / _BYTES_PER_PX / max(1, shots * PICTURES_PER_SHOT)
    return min(_LARGEST_PX, max(_SMALLEST_PX, int(math.sqrt(area))))
