"""``annoloop browse``: truth, prediction and Dice of every sample in the FiftyOne App."""

from __future__ import annotations

from dataclasses import dataclass

from annoloop.fiftyone_app import App, Entry, update_dataset
from annoloop.progress import Track, silent
from annoloop.project import Project
from annoloop.schema import ImageRow, ScoreRow


@dataclass(frozen=True, slots=True)
class BrowseReport:
    """What the App shows; ``url`` is None where it was not started."""

    dataset: str
    samples: int
    updated: int
    scored: int
    url: str | None


@dataclass(frozen=True, slots=True)
class BrowseSession:
    """The report and the running App."""

    report: BrowseReport
    app: App | None

    def wait(self) -> None:
        """Serve until ^C."""
        if self.app is not None:
            self.app.wait()


def browse(project: Project, *, port: int | None, open_page: bool = True, track: Track = silent) -> BrowseSession:
    """Bring the FiftyOne dataset in step with the project and start the App on 127.0.0.1:``port``.

    Shows the predictions and scores that the current model has so far; asks for no new ones.

    Raises:
        MissingExtraError: FiftyOne is not installed.
        ConfigError: there is no MongoDB.
    """
    entries = _entries(project, track)
    name = f"annoloop-{project.config.project}"
    updated = update_dataset(
        name,
        entries,
        project.classes,
        project.path.parent,
        reduce_zero_label=project.config.data.reduce_zero_label,
        track=track,
    )
    app = None if port is None else App(name, port=port, open_page=open_page)
    scored = sum(entry.dice is not None for entry in entries)
    return BrowseSession(BrowseReport(name, len(entries), updated, scored, None if app is None else app.url), app)


def _entries(project: Project, track: Track) -> list[Entry]:
    samples = project.samples()
    rows = project.scan(samples, track)
    run = project.current_run()
    scores = {} if run is None else project.ledger.scores(run.id)
    entries = []
    for sample in samples:
        row, prediction = rows[sample.id], None
        if run is not None:
            index_png, _ = project.prediction_paths(run.id, row.image_sha256)
            prediction = index_png if index_png.is_file() else None
        dice = _dice(scores.get(sample.id), row)
        entries.append(Entry(sample.id, sample.image, sample.split, sample.mask, prediction, dice))
    return entries


def _dice(score: ScoreRow | None, row: ImageRow) -> float | None:
    """The score if it is of this image and this mask."""
    if score is None or (score.image_sha256, score.mask_sha256) != (row.image_sha256, row.mask_sha256):
        return None
    return score.dice
