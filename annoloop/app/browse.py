"""``annoloop browse``: truth, prediction, errors and numbers of every sample in the FiftyOne App.

The fact to know: tags that people set in the App are taken over into the ledger while it runs, so that ``push``
knows of them without FiftyOne.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan
from pathlib import Path

from annoloop.app import app_masks
from annoloop.app.fiftyone_app import App, check_port, fiftyone, start
from annoloop.app.fiftyone_dataset import Board, Entry, marks_set_in_app, update_dataset
from annoloop.app.static_gallery import export_gallery
from annoloop.data.mmseg_folders import Sample
from annoloop.metrics.scores import dice
from annoloop.progress import Say, Track, silent, unsaid
from annoloop.project.project import Project
from annoloop.project.rows import FramePlace, ImageRow, MaskEvent, RunRow, ScoreRow
from annoloop.selection.label_confidence import beliefs, readings


@dataclass(frozen=True, slots=True)
class BrowseReport:
    """What the App shows; ``marked``: samples for the next push; ``url`` is None where it was not started."""

    dataset: str
    samples: int
    updated: int
    scored: int
    marked: int
    url: str | None = None


@dataclass(frozen=True, slots=True)
class ExportReport:
    """The page that was written, and how many samples are on it."""

    page: Path
    samples: int
    scored: int


@dataclass(frozen=True, slots=True)
class BrowseSession:
    """The report and the running App."""

    report: BrowseReport
    app: App | None
    meanwhile: Callable[[], None]

    def wait(self) -> None:
        """Serve until ^C."""
        if self.app is not None:
            self.app.wait(self.meanwhile)

    def close(self) -> None:
        """Stop serving; what people marked in the App until now is taken over."""
        if self.app is not None:
            self.meanwhile()
            self.app.close()


def browse(
    project: Project, *, port: int | None, open_page: bool = True, say: Say = unsaid, track: Track = silent
) -> BrowseSession:
    """Bring the FiftyOne dataset in step with the project and start the App on 127.0.0.1:``port``.

    Shows the predictions and scores that the current model has so far; asks for no new ones.

    Args:
        port: None only brings the dataset in step.
        say: is told what is waited for: on a busy machine FiftyOne takes minutes to start.

    Raises:
        MissingExtraError: FiftyOne is not installed.
        ConfigError: there is no MongoDB, the port is taken, or the App does not come up.
    """
    if port is None:
        start(lambda: fiftyone(say))
        return BrowseSession(refresh(project, track), None, lambda: None)
    check_port(port)
    started = start(lambda: App(port, say))  # should the rest fail, the server ends with this process
    report = refresh(project, track)
    url = started().show(report.dataset, open_page=open_page)
    return BrowseSession(replace(report, url=url), started(), lambda: _take_over_marks(project))


def export(project: Project, folder: Path, track: Track = silent) -> ExportReport:
    """Write the same samples as a page of pictures; needs no FiftyOne.

    Raises:
        ConfigError: the folder holds something else.
        DataError: a file cannot be read or written.
    """
    entries = _entries(project, _look(project, track), track)
    title = f"{project.config.project}: truth, prediction and errors"
    page = export_gallery(entries, project.classes, project.config.data, folder, title, track)
    return ExportReport(page, len(entries), sum(entry.dice is not None for entry in entries))


def refresh(project: Project, track: Track = silent) -> BrowseReport:
    """Bring the FiftyOne dataset in step with the project.

    Raises:
        MissingExtraError: FiftyOne is not installed.
        ConfigError: there is no MongoDB.
        DataError: a file cannot be read.
    """
    looked = _on_disk(project, _look(project, track), track)
    entries = _for_app(project, looked, _entries(project, looked, track), track)
    _take_over_marks(project)
    marks = project.ledger.marks()
    entries = [replace(entry, marked=entry.sample_id in marks) for entry in entries]
    updated = update_dataset(dataset_name(project), entries, _board(project), track)
    scored = sum(entry.dice is not None for entry in entries)
    return BrowseReport(dataset_name(project), len(entries), updated, scored, sum(entry.marked for entry in entries))


def dataset_name(project: Project) -> str:
    """The name of the project's FiftyOne dataset."""
    return f"annoloop-{project.config.project}"


@dataclass(frozen=True, slots=True)
class _Looked:
    """The samples with what the ledger says of their files, the current run, and those that it has predicted."""

    pairs: Sequence[tuple[Sample, ImageRow]]
    run: RunRow | None
    predicted: Sequence[tuple[Sample, ImageRow]]


def _look(project: Project, track: Track) -> _Looked:
    samples, run = project.samples(), project.current_run()
    rows = project.scan(samples, track)
    pairs = [(sample, rows[sample.id]) for sample in samples]
    if run is None:
        return _Looked(pairs, None, ())
    predicted = [pair for pair in pairs if project.prediction_paths(run.id, pair[1].image_sha256)[0].is_file()]
    return _Looked(pairs, run, predicted)


def _on_disk(project: Project, looked: _Looked, track: Track) -> _Looked:
    """The same with local files, which is all that the App can show."""
    here = {sample.id: sample for sample in project.on_disk([sample for sample, _ in looked.pairs], track)}
    pairs, predicted = ([(here[sample.id], row) for sample, row in some] for some in (looked.pairs, looked.predicted))
    return replace(looked, pairs=pairs, predicted=predicted)


def _entries(project: Project, looked: _Looked, track: Track) -> list[Entry]:
    """Everything that annoloop knows of every sample, in the order of the splits."""
    plain = _plain_entries(project, [sample for sample, _ in looked.pairs])
    if looked.run is None:
        return plain
    judged = _judged(project, looked.run, looked.predicted, track)
    return [judged(entry) for entry in plain]


def _for_app(project: Project, looked: _Looked, entries: Iterable[Entry], track: Track) -> list[Entry]:
    """The same with the files that the App is shown, error maps among them."""
    truths = app_masks.truths(project, looked.pairs, track)
    predictions: Mapping[str, Path] = {}
    errors: Mapping[str, Path] = {}
    if looked.run is not None:
        predictions = app_masks.predictions(project, looked.run.id, looked.predicted, track)
        errors = app_masks.error_maps(project, looked.run.id, looked.predicted, track)
    return [
        replace(
            e, truth=truths.get(e.sample_id), prediction=predictions.get(e.sample_id), errors=errors.get(e.sample_id)
        )
        for e in entries
    ]


def _plain_entries(project: Project, samples: Iterable[Sample]) -> list[Entry]:
    """What is known without a model: history, and where a sample waits in CVAT."""
    places, rounds = project.ledger.open_places(), _rounds(project)
    history: dict[str, list[MaskEvent]] = {}
    for event in project.ledger.mask_events():
        history.setdefault(event.sample_id, []).append(event)
    entries = []
    for sample in samples:
        events, place = history.get(sample.id, []), places.get(sample.id)
        entries.append(
            Entry(
                sample.id,
                sample.image,
                sample.split,
                sample.mask,
                round=max((rounds.get(event.change_id, 0) for event in events), default=0),
                cvat_task=None if place is None else place.task,
                cvat_job=None if place is None else place.job,
                cvat_url=None if place is None else _url(place),
                history=tuple(map(describe_event, events)),
            )
        )
    return entries


def _judged(
    project: Project, run: RunRow, predicted: Sequence[tuple[Sample, ImageRow]], track: Track
) -> Callable[[Entry], Entry]:
    """Adds to an entry what a run says of it."""
    rows = {sample.id: row for sample, row in predicted}
    scores = project.ledger.scores(run.id, rows)
    believed = beliefs(project, run.id, predicted, track)
    looks = readings(believed)

    def judge(entry: Entry) -> Entry:
        row = rows.get(entry.sample_id)
        if row is None:
            return entry
        belief, score = believed[entry.sample_id].belief, _current(scores.get(entry.sample_id), row)
        return replace(
            entry,
            prediction=project.prediction_paths(run.id, row.image_sha256)[0],
            dice=None if score is None else score.dice,
            class_dice=None if score is None else _class_dice(project, score),
            uncertainty=None if isnan(belief.certainty) else 1 - belief.certainty,
            label_quality=None if isnan(belief.quality) else belief.quality,
            contradiction=None if isnan(belief.contradiction) else belief.contradiction,
            looks_like=looks[entry.sample_id],
        )

    return judge


def _current(score: ScoreRow | None, row: ImageRow) -> ScoreRow | None:
    """The score if it is of this image and this mask."""
    fits = score is not None and (score.image_sha256, score.mask_sha256) == (row.image_sha256, row.mask_sha256)
    return score if fits else None


def _class_dice(project: Project, score: ScoreRow) -> Mapping[str, float]:
    values = dice(score.confusion)
    return {name: float(v) for name, v in zip(project.classes.names, values, strict=True) if not isnan(v)}


def _rounds(project: Project) -> dict[int, int]:
    """The number of the round by the number of its change: pulls that still count, in their order."""
    counted = [change.id for change in project.ledger.changes() if change.kind == "pull" and change.undone_by is None]
    return {change: number for number, change in enumerate(counted, 1)}


def _board(project: Project) -> Board:
    run = project.current_run()
    return Board(
        project.path.parent,
        project.classes,
        app_masks.shows_files(project),
        None if run is None else run.id,
        len(_rounds(project)),
    )


def _url(place: FramePlace) -> str:
    """The page on which the frame is corrected."""
    job = "" if place.job is None else f"/jobs/{place.job}?frame={place.number}"
    return f"{place.server}/tasks/{place.task}{job}"


def describe_event(event: MaskEvent) -> str:
    """One line: 2026-11-23 10:15 pull of task 12: 3fa1b2c4 -> 77e0d1aa."""
    task = "" if event.task is None else f" of task {event.task}"
    versions = " -> ".join("none" if sha is None else sha[:8] for sha in (event.old_sha256, event.new_sha256))
    return f"{event.at[:16].replace('T', ' ')} {event.kind}{task}: {versions}"


def _take_over_marks(project: Project) -> None:
    """Into the ledger what people tagged in the App, and what they no longer want."""
    added, removed = marks_set_in_app(dataset_name(project))
    if added or removed:
        known = project.ledger.images(added)
        project.ledger.put_marks([name for name in sorted(added) if name in known], removed)
