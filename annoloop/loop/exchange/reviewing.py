"""What goes to CVAT of a review: the heaviest proposals, grouped by their images.

Not here: what a proposal is (``selection/proposals.py``) and how it looks in CVAT (``review_cargo.py``).  The fact to
know: an image that waits in an open task is not asked about, for its label may be another when the answer comes.
"""

from __future__ import annotations

from collections.abc import Sequence

from annoloop.data.images import read_bytes
from annoloop.data.mmseg_folders import Sample
from annoloop.errors import ConfigError, NothingToPushError
from annoloop.loop.exchange.planning import Planned, check_names, frame_name
from annoloop.loop.exchange.review_cargo import planned_digest, region_of
from annoloop.masks.run_lengths import to_cvat_runs
from annoloop.progress import Say, Track
from annoloop.project.project import Project
from annoloop.project.rows import FrameRow, ImageRow, ProposalRow, RunRow
from annoloop.selection.choosing import named_samples
from annoloop.selection.criteria import flattered
from annoloop.selection.proposals import Answered, Proposal, find_proposals
from annoloop.selection.request import PushRequest
from annoloop.selection.scoring import Watch, predict


def model_proposals(
    project: Project,
    run: RunRow,
    request: PushRequest,
    pairs: Sequence[tuple[Sample, ImageRow]],
    say: Say,
    track: Track,
    watch: Watch,
) -> list[Proposal]:
    """The ``request.worst`` regions of these images on which the model most surely contradicts the label.

    Raises:
        NothingToPushError: there is nothing to ask.
        DataError: a file cannot be used.
        TrainingError: the predicting process failed.
    """
    predict(project, run, pairs, track=track, watch=watch)
    if flattered(project, run.id, pairs):
        say("the model has seen these labels and may have learned their errors; retrain --folds 3 makes this sharper")
    found = find_proposals(project, run.id, pairs, request.worst, answered=answered(project, pairs), track=track)
    if not found:
        raise NothingToPushError(
            "nothing to ask: the model surely contradicts no label that was not answered already",
            hint="annoloop push --worst 50 sends whole images",
        )
    return found


def plan_review(project: Project, found: Sequence[Proposal]) -> list[Planned]:
    """Proposals, numbered as they come, by their images.

    Raises:
        DataError: CVAT cannot take an image because of its name, or a mask cannot be read.
    """
    by_sample: dict[str, list[ProposalRow]] = {}
    for number, one in enumerate(found, 1):
        by_sample.setdefault(one.sample.id, []).append(_row(number, one))
    check_names(project.files, by_sample)
    masks = {one.sample.id: one.sample for one in found}
    return [_planned(project, masks[name], rows) for name, rows in by_sample.items()]


def askable(project: Project, request: PushRequest, track: Track) -> list[tuple[Sample, ImageRow]]:
    """The labelled images of a request that do not wait in an open task.

    Raises:
        ConfigError: none of them has labels, or one that is named is not in the project.
        DataError: one that is named waits in an open task.
    """
    if request.only:
        known = named_samples(project, request)
        samples = [known[name] for name in request.only]
    else:
        samples = project.samples(request.splits)
    labelled = [one for one in samples if one.mask is not None]
    if not labelled:
        raise ConfigError("no image has a label to ask about", where=f"splits: {', '.join(request.splits)}")
    busy = project.ledger.samples_in_open_tasks()
    idle = [one for one in labelled if one.id not in busy]
    rows = project.scan(idle, track)
    return [(one, rows[one.id]) for one in idle]


def answered(project: Project, pairs: Sequence[tuple[Sample, ImageRow]]) -> dict[str, list[Answered]]:
    """What was refused on these images, by sample id."""
    wanted = {sample.id for sample, _ in pairs}
    found: dict[str, list[Answered]] = {}
    for one in project.ledger.refused_proposals():
        if one.sample_id in wanted:
            found.setdefault(one.sample_id, []).append(Answered(region_of(one), one.becomes))
    return found


def _row(number: int, one: Proposal) -> ProposalRow:
    return ProposalRow(
        one.sample.id, number, one.region.class_index, one.becomes, tuple(to_cvat_runs(one.region)), one.confidence,
        one.weight,
    )  # fmt: skip


def _planned(project: Project, sample: Sample, rows: Sequence[ProposalRow]) -> Planned:
    assert sample.mask is not None
    label = project.keep_object(read_bytes(sample.mask))
    digests = tuple(sorted(map(planned_digest, rows)))
    name = frame_name(project.files, sample.id)
    frame = FrameRow(sample.id, name, None, label, label, label, digests, label_sha256=label)
    return Planned(frame, (), 0, tuple(rows))
