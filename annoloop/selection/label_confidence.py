"""How far a model believes the labels of images, computed on all cores and kept in the ledger.

What the numbers mean is in ``label_quality.py``.  The fact to know: a belief is of one image, one version of its
mask and one opinion (the run's own or an out-of-fold one); it is asked for again when any of them is another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from annoloop.compute.workers import spread
from annoloop.data.config import DataConfig
from annoloop.data.images import read_index_png
from annoloop.data.mmseg_folders import Sample, read_label_map
from annoloop.data.storage import Location
from annoloop.errors import DataError
from annoloop.masks.classes import ClassTable
from annoloop.metrics.label_quality import Belief, Reading, belief, certainty
from annoloop.progress import Track, silent
from annoloop.project.project import Project
from annoloop.project.rows import BeliefRow, ImageRow

_AT_ONCE = 500
"""So many are written to the ledger at a time: what was computed before ^C is not lost."""


@dataclass(frozen=True, slots=True)
class _Question:
    """One image: which belief is meant, and the files to read for it."""

    image_sha256: str
    mask_sha256: str
    out_of_fold: bool
    mask: Location | None
    index_png: Path
    confidence_png: Path

    @property
    def key(self) -> tuple[str, str, bool]:
        return self.image_sha256, self.mask_sha256, self.out_of_fold


def beliefs(
    project: Project, run_id: int, pairs: Sequence[tuple[Sample, ImageRow]], track: Track = silent
) -> dict[str, BeliefRow]:
    """What a run says of images whose predictions are there, by sample id; only what is new is computed.

    Raises:
        DataError: a prediction or a mask cannot be read, or they differ in size.
    """
    asked = {row.image_sha256 for _, row in pairs}
    known = {_key(row): row for row in project.ledger.beliefs(run_id, asked)}
    questions = {sample.id: _question(project, run_id, sample, row) for sample, row in pairs}
    new = list({q.key: q for q in questions.values() if q.key not in known}.values())
    answer = partial(_answer, data=project.config.data, classes=project.classes)
    answers = track(spread(answer, new), "asking the model about labels", len(new))
    while some := list(islice(answers, _AT_ONCE)):
        project.ledger.put_beliefs(run_id, some)
        known |= {_key(row): row for row in some}
    return {name: known[question.key] for name, question in questions.items()}


def readings(rows: Mapping[str, BeliefRow]) -> dict[str, Reading | None]:
    """What the beliefs look like, by sample id."""
    return {name: row.belief.reading for name, row in rows.items()}


def _question(project: Project, run_id: int, sample: Sample, row: ImageRow) -> _Question:
    unseen = project.has_out_of_fold(run_id, row.image_sha256)
    paths = (project.out_of_fold_paths if unseen else project.prediction_paths)(run_id, row.image_sha256)
    return _Question(row.image_sha256, row.mask_sha256 or "", unseen, sample.mask, *paths)


def _answer(question: _Question, data: DataConfig, classes: ClassTable) -> BeliefRow:
    confidence = read_index_png(question.confidence_png).values
    if question.mask is None:
        return BeliefRow(*question.key, Belief(math.nan, certainty(confidence), math.nan))
    label_map, prediction = read_label_map(question.mask, data), read_index_png(question.index_png).values
    if not label_map.shape == prediction.shape == confidence.shape:
        (height, width), (rows, columns) = label_map.shape, prediction.shape
        raise DataError(f"mask is {width} x {height} px, the prediction {columns} x {rows} px", where=question.mask)
    return BeliefRow(*question.key, belief(label_map, prediction, confidence, classes))


def _key(row: BeliefRow) -> tuple[str, str, bool]:
    return row.image_sha256, row.mask_sha256, row.out_of_fold
