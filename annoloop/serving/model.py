"""The project's current model, loaded: images in, predictions out; a newer one takes its place while it serves.

Not here: HTTP and CVAT.  The facts to know: a prediction that the project has already is read and not made again, so
that what an annotator sees is what ``evaluate`` scored; the others are remembered by the image's bytes for a while.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from annoloop.data.images import sha256
from annoloop.errors import AnnoloopError, ConfigError
from annoloop.loop.missing_model import why_no_model
from annoloop.masks.classes import ClassTable
from annoloop.progress import Say, unsaid
from annoloop.project.files import ProjectFiles, is_made
from annoloop.project.project import Project
from annoloop.project.rows import RunRow
from annoloop.selection.scoring import checked_config
from annoloop.serving.memory import Recent
from annoloop.training.predictor import IMAGE_S, Prediction, Predictor

LOOK_EVERY_S = 2.0
"""How often somebody looks whether there is a newer model."""

CACHE_BYTES = 256 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A prediction, and the run and the classes that it is of."""

    prediction: Prediction
    classes: ClassTable
    run: int
    min_region_px: int

    @property
    def unshown(self) -> tuple[int, ...]:
        """What is never a shape: the background class, if there is one, and ignore."""
        background = self.classes.background_index
        return (self.classes.ignore_index,) if background is None else (background, self.classes.ignore_index)


class _Loaded:
    """A run with its child process."""

    def __init__(self, project: Project, run: RunRow, image_s: float, say: Say) -> None:
        self.run, self.files, self.classes = run.id, project.files, project.classes
        self.min_region_px = project.config.push.min_region_px
        job = project.job(
            "answer",
            project.run_dir(run.id),
            recipe=checked_config(project, run.id),
            init_checkpoint=project.best_checkpoint(run.id),
        )
        self.predictor = Predictor(job, image_s=image_s, say=say)


class ServedModel:
    """The current model of a project; may be asked from several threads."""

    def __init__(self, project: Project, *, image_s: float = IMAGE_S, say: Say = unsaid) -> None:
        """Load the current model.

        Args:
            image_s: how long one prediction may take.
            say: hears of newer models, and of what goes wrong meanwhile.

        Raises:
            ConfigError: there is no model yet, or its config was changed since its training.
            MissingExtraError: torch, mmengine, mmcv or mmseg is not installed.
            TrainingError: the model cannot be loaded.
        """
        run = project.current_run()
        if run is None:
            raise ConfigError(
                f"there is nothing to serve: {why_no_model(project)}",
                where=project.path.parent,
                hint="annoloop retrain",
            )
        self._path, self._image_s, self._say = project.path, image_s, say
        self._recent: Recent[Prediction] = Recent(CACHE_BYTES)
        self._loaded = _Loaded(project, run, image_s, say)
        self._swap = threading.Lock()
        self._stop = threading.Event()
        self._watcher: threading.Thread | None = None
        self._seen = _stamps(project.files)
        self._told: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def run(self) -> int:
        """The number of the run that answers now."""
        return self._loaded.run

    @property
    def classes(self) -> ClassTable:
        """Its classes."""
        return self._loaded.classes

    def answer(self, image: bytes) -> Answer:
        """The prediction of an image file's bytes: the project's own, the remembered one, or a new one.

        Raises:
            DataError: they cannot be read as an image.
            TrainingError: the predicting process failed or took too long.
        """
        loaded, digest = self._loaded, sha256(image)
        key = f"{loaded.run}/{digest}"
        found = self._recent.get(key)
        if found is None:
            try:
                found = _stored(loaded, digest) or loaded.predictor.predict(image)
            except AnnoloopError:
                if loaded is self._loaded:
                    raise
                return self.answer(image)  # the model was replaced in between
            self._recent.put(key, found)
        return Answer(found, loaded.classes, loaded.run, loaded.min_region_px)

    def follow(self) -> None:
        """From now on take every newer model as soon as it is promoted."""
        self._watcher = threading.Thread(target=self._watch, name="newer-model", daemon=True)
        self._watcher.start()

    def look(self) -> bool:
        """Look now; whether there was a newer model, which answers from here on."""
        with self._swap:
            return not self._stop.is_set() and self._take_newer()

    def close(self) -> None:
        """End the child process; once more does nothing."""
        self._stop.set()
        if self._watcher is not None:
            self._watcher.join()
        with self._swap:
            self._loaded.predictor.close()

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            try:
                self.look()
            except AnnoloopError as error:
                self._tell(f"run {self.run} goes on answering, for the newer model cannot be taken: {error}")

    def _take_newer(self) -> bool:
        stamps = _stamps(self._loaded.files)
        if stamps == self._seen:
            return False
        with Project(self._path) as project:
            run, newest = project.current_run(), project.ledger.current_run()
            self._seen = stamps
            if run is None:
                self._tell(f"run {self.run} goes on answering: {why_no_model(project)}")
            if run is None or run.id == self.run or newest is None:
                return False
            newer = _Loaded(project, run, self._image_s, self._say)
        older, self._loaded = self._loaded, newer
        self._tell(f"run {newer.run} was promoted and answers from now on, in place of run {older.run}")
        older.predictor.close()
        return True

    def _tell(self, text: str) -> None:
        """Say something, but not again and again."""
        if text != self._told:
            self._told = text
            self._say(text)


def _stored(loaded: _Loaded, digest: str) -> Prediction | None:
    """The prediction that the project has of these very bytes."""
    paths = loaded.files.prediction_paths(loaded.run, digest)
    if not all(map(is_made, paths)):
        return None
    try:
        return Prediction(loaded.files.prediction(loaded.run, digest), loaded.files.confidence(loaded.run, digest))
    except AnnoloopError:
        return None  # a damaged one is made again


def _stamps(files: ProjectFiles) -> tuple[tuple[int, int] | None, ...]:
    """What changes whenever the ledger or annoloop.yaml does."""
    ledger = files.state_dir / "ledger.db"
    return tuple(_stamp(path) for path in (files.path, ledger, ledger.with_name("ledger.db-wal")))


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
