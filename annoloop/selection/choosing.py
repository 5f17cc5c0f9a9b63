"""Which images go into a task: of those that may go, the ones that people marked, the worst, and a random share.

Not here: what a number means (``criteria.py``) and ranking (``ranking.py``).  The fact to know: an image that waits
in an open task never goes twice, and one whose mask is as annotators left it only if somebody asks for it.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from annoloop.data.mmseg_folders import Sample
from annoloop.errors import ConfigError, DataError, NothingToPushError
from annoloop.metrics.ranking import Candidate, choose, rank
from annoloop.progress import Say, Track
from annoloop.project.near_duplicates import looks_of
from annoloop.project.project import Project
from annoloop.project.rows import ImageRow, RunRow
from annoloop.selection.criteria import (
    CONTRADICTION,
    DICE,
    LABEL_QUALITY,
    UNCERTAINTY,
    Subject,
    draws,
    flattered,
    needs_beliefs,
    needs_labels,
    rate,
)
from annoloop.selection.drawing import drawn
from annoloop.selection.label_confidence import beliefs, readings
from annoloop.selection.request import ChosenImage, PushRequest
from annoloop.selection.scoring import Watch, keep_scores, predict


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """The images, marked ones first, then worst first; and who was left out: how many because annotators
    corrected them already, and which because they are nearly the same as one that goes."""

    images: tuple[ChosenImage, ...]
    corrected_left_out: int
    alike_left_out: tuple[str, ...]


_Images = Mapping[str, tuple[Sample, ImageRow]]
"""The images that may go, by sample id."""


@dataclass(frozen=True, slots=True, eq=False)
class _Ranking:
    """Who may go, worst first: those that people ask for, and the others, who are looked up when somebody asks."""

    asked: Sequence[Candidate]
    others: Iterable[Candidate]


def choose_images(project: Project, run: RunRow, request: PushRequest, say: Say, track: Track, watch: Watch) -> Chosen:
    """Rate all images that may go and choose.

    Raises:
        ConfigError: labels asked of a split without any, or an image that is not in the project.
        NothingToPushError: nothing is left to push.
        DataError: an image that was asked for by name is in an open task.
    """
    request = _by_name(project, request, say) if request.only else request
    samples, busy = _usable(project, request, say), project.ledger.samples_in_open_tasks()
    asked = frozenset(request.only) or _marked(project, samples, busy, say)
    idle = [sample for sample in samples if sample.id not in busy]
    rows = project.scan(idle, track)
    corrected = _corrected(project, rows)
    wanted = {
        one.id: (one, rows[one.id]) for one in idle if request.corrected or one.id in asked or one.id not in corrected
    }
    if draws(request.by):
        ranking = _drawn(project, run, request, wanted, asked, say, track, watch)
    else:
        ranking = _ranking(project, run, request.by, wanted, asked, say, track, watch)
    choice = choose(
        ranking.asked,
        ranking.others,
        request.worst,
        random_share=request.random_share,
        seed=run.id,
        compare=lambda names: looks_of(project, {name: wanted[name][1] for name in names}, track).any_alike,
    )
    if not choice.chosen:
        raise _nothing_left(len(samples), len(samples) - len(idle), len(idle) - len(wanted))
    images = _images(project, run, wanted, choice.chosen, corrected, track)
    return Chosen(images, len(idle) - len(wanted), tuple(c.sample_id for c in choice.left_out))


def choose_labelled(project: Project, request: PushRequest, track: Track) -> Chosen:
    """The images that a request names, without a model: they go as they are labelled, unrated, in the order given.

    Raises:
        ConfigError: an image that is not in the project, or one without labels, for which a model is needed.
        DataError: one that waits in an open task.
    """
    known = named_samples(project, request)
    bare = [name for name in request.only if known[name].mask is None]
    if bare:
        rest = f" and {len(bare) - 1} more" if len(bare) > 1 else ""
        said = f"has no labels{rest}, and there is no model to draw some"
        raise ConfigError(said, where=bare[0], hint="annoloop retrain")
    rows = project.scan([known[name] for name in request.only], track)
    return Chosen(tuple(ChosenImage(known[name], rows[name], None, None) for name in request.only), 0, ())


def named_samples(project: Project, request: PushRequest) -> dict[str, Sample]:
    """The samples of the splits that a request names images of, by id.

    Raises:
        ConfigError: an image that is not in the project.
        DataError: one that waits in an open task.
    """
    places = {name.partition("/")[0] for name in request.only}
    known = {sample.id: sample for sample in project.samples(places & {str(s) for s in project.config.data.splits})}
    strangers = [name for name in request.only if name not in known]
    if strangers:
        raise ConfigError(f"there is no image {strangers[0]!r}", where=project.path, hint="names are like train/0001")
    busy = [name for name in request.only if name in project.ledger.samples_in_open_tasks()]
    if busy:
        rest = f" and {len(busy) - 1} more" if len(busy) > 1 else ""
        raise DataError(f"is in an open task already{rest}", where=busy[0], hint="annoloop tasks shows which")
    return known


def _by_name(project: Project, request: PushRequest, say: Say) -> PushRequest:
    """The request for the images that it names, and no others; raises as ``named_samples``."""
    known, by = named_samples(project, request), request.by
    if needs_labels(by) and any(known[name].mask is None for name in request.only):
        say("some of these images have no labels: all are rated by uncertainty")
        by = UNCERTAINTY
    splits = tuple(dict.fromkeys(known[name].split for name in request.only))
    return replace(request, worst=len(request.only), splits=splits, by=by, random_share=0.0)


def _marked(project: Project, samples: Iterable[Sample], busy: Collection[str], say: Say) -> frozenset[str]:
    """The samples that people marked for the next push; those that cannot go now are told and stay marked."""
    marks = project.ledger.marks().keys()
    usable = marks & {sample.id for sample in samples} - set(busy)
    if usable:
        say(f"{len(usable)} marked images go first")
    if len(marks) > len(usable):
        rest = len(marks) - len(usable)
        say(f"{rest} marked images stay marked: in another split, in an open task, or without labels")
    return frozenset(usable)


def _corrected(project: Project, rows: Mapping[str, ImageRow]) -> frozenset[str]:
    """Ids of the samples whose present mask is one that annotators left or accepted."""
    known = project.ledger.corrected()
    return frozenset(name for name, mask_sha256 in known if name in rows and rows[name].mask_sha256 == mask_sha256)


def _usable(project: Project, request: PushRequest, say: Say) -> list[Sample]:
    """The samples of the splits, or those asked for by name; where labels are needed, those that have them.

    Raises:
        ConfigError: labels are needed, and a split has none.
    """
    samples = [s for s in project.samples(request.splits) if not request.only or s.id in request.only]
    if not needs_labels(request.by):
        return samples
    labelled = [sample for sample in samples if sample.mask is not None]
    needy = f"--by {request.by}"
    bare = {sample.split for sample in samples} - {sample.split for sample in labelled}
    if bare:
        remedy = "--by uncertainty ranks images without labels"
        raise ConfigError(f"no image of split {min(bare)!r} has labels", where=needy, hint=remedy)
    if len(labelled) < len(samples):
        say(f"{len(samples) - len(labelled)} images without labels are left out: {needy} needs them")
    return labelled


# ranking


def _ranking(
    project: Project,
    run: RunRow,
    by: str,
    wanted: _Images,
    asked: Collection[str],
    say: Say,
    track: Track,
    watch: Watch,
) -> _Ranking:
    """All that may go, with their predictions made and, where labels are needed, compared with them."""
    if by == DICE:
        keep_scores(project, run, list(wanted.values()), track=track, watch=watch)
        return _by_dice(project, run, wanted, asked, track)
    subjects = _subjects(project, run, by, list(wanted.values()), track, watch)
    if by in (CONTRADICTION, LABEL_QUALITY) and flattered(project, run.id, wanted.values()):
        say("the model has seen these labels and may have learned their errors; retrain --folds 3 makes this sharper")
    ranked = sorted(_rated(project, run, by, subjects, track), key=rank)
    others = [one for one in ranked if one.sample_id not in asked and not np.isnan(one.score)]
    return _Ranking([one for one in ranked if one.sample_id in asked], others)


def _drawn(
    project: Project,
    run: RunRow,
    request: PushRequest,
    wanted: _Images,
    asked: Collection[str],
    say: Say,
    track: Track,
    watch: Watch,
) -> _Ranking:
    """In the order in which they are drawn; who is asked for goes first all the same."""
    first = [name for name in sorted(wanted) if name in asked]
    others = {name: pair for name, pair in wanted.items() if name not in asked}
    free = max(0, request.worst - len(first))
    count = free - round(free * request.random_share)
    names = (
        drawn(project, run, request.by, others, count, say=say, track=track, watch=watch) if count else sorted(others)
    )
    predict(project, run, list(wanted.values()), track=track, watch=watch)
    return _Ranking(*([Candidate(name, np.nan, 0) for name in some] for some in (first, names)))


def _by_dice(project: Project, run: RunRow, wanted: _Images, asked: Collection[str], track: Track) -> _Ranking:
    """In the ledger's order, which knows nothing of what a model says that has not seen an image: that is put in."""
    judged = project.out_of_fold_images(run.id)
    unseen = {name: pair for name, pair in wanted.items() if pair[1].image_sha256 in judged} if judged else {}
    scores = project.ledger.scores(run.id, unseen)
    subjects = [Subject(*pair, scores[name].confusion) for name, pair in unseen.items()]
    rated = sorted(_rated(project, run, DICE, subjects, track), key=rank)

    def ranked(ids: Collection[str] | None) -> Iterator[Candidate]:
        known = project.ledger.worst_first(run.id, ids)
        own = (one for one in known if one.sample_id in wanted and one.sample_id not in unseen)
        return heapq.merge(own, rated, key=rank)

    return _Ranking(
        [one for one in ranked(asked) if one.sample_id in asked],
        (one for one in ranked(None) if one.sample_id not in asked),
    )


def _subjects(
    project: Project, run: RunRow, by: str, pairs: Sequence[tuple[Sample, ImageRow]], track: Track, watch: Watch
) -> list[Subject]:
    if not needs_labels(by):
        predict(project, run, pairs, watch=watch)
        return [Subject(sample, row, None) for sample, row in pairs]
    keep_scores(project, run, pairs, track=track, watch=watch)
    scores = project.ledger.scores(run.id, [sample.id for sample, _ in pairs])
    return [Subject(sample, row, scores[sample.id].confusion) for sample, row in pairs]


def _rated(project: Project, run: RunRow, by: str, subjects: Sequence[Subject], track: Track) -> list[Candidate]:
    if not needs_beliefs(by):
        return [rate(project, run.id, by, one) for one in track(subjects, "rating", len(subjects))]
    believed = beliefs(project, run.id, [(one.sample, one.row) for one in subjects], track)
    return [rate(project, run.id, by, one, believed[one.sample.id].belief) for one in subjects]


def _images(
    project: Project,
    run: RunRow,
    wanted: _Images,
    chosen: Sequence[Candidate],
    corrected: Collection[str],
    track: Track,
) -> tuple[ChosenImage, ...]:
    pairs = [wanted[one.sample_id] for one in chosen]
    looks = readings(beliefs(project, run.id, [pair for pair in pairs if pair[0].mask is not None], track))
    looks |= dict.fromkeys(corrected, "already corrected")
    return tuple(
        ChosenImage(sample, row, None if np.isnan(c.score) else c.score, looks.get(sample.id))
        for (sample, row), c in zip(pairs, chosen, strict=True)
    )


def _nothing_left(total: int, busy: int, corrected: int) -> NothingToPushError:
    counts = ((busy, "in open tasks"), (corrected, "as annotators left them"))
    reasons = [f"{count} of {total} images are {why}" for count, why in counts if count]
    hint = "--corrected takes the corrected ones in" if corrected else "annoloop status shows the open tasks"
    return NothingToPushError(f"nothing to push: {', '.join(reasons) or 'no image fits'}", hint=hint)
