"""The folder that predictions go to: masks, confidences and overlays, and which model made them of which images.

Not here: how they are made.  The facts to know: one folder holds the results of one model; and a mask counts as made
when the record says of which state of its image it is, so whoever was killed loses a few masks and keeps no wrong one.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from annoloop import __version__
from annoloop.data.images import file_sha256, read_bytes, unwritable, write_atomic
from annoloop.data.storage import Location, RemotePath
from annoloop.errors import DataError
from annoloop.loop.prediction.sources import address
from annoloop.masks.classes import ClassTable
from annoloop.project.files import is_made
from annoloop.project.project import Project
from annoloop.project.rows import RunRow

MODEL_FILE = "predict.json"
_FORMAT = 1
_RECORD = "images.jsonl"
_SCRATCH = ".annoloop-predict"
_ELSEWHERE = "choose another --out, or move it away"


Fault = Callable[[Location, str], None]
"""Hears of what cannot be predicted, and why."""


@dataclass(frozen=True, slots=True)
class Item:
    """An image that is predicted: what its results are called, and where it is; of a video the number of a frame."""

    name: str
    place: Location
    frame: int | None = None

    @property
    def file_name(self) -> str:
        """What the image is called in the COCO file: as its results, with its own suffix."""
        suffix = ".png" if self.frame is not None else Path(self.place.name).suffix
        return self.name if suffix and self.name.endswith(suffix) else f"{self.name}{suffix}"


IsDone = Callable[[Item, str], bool]
"""Whether all that is wanted of an image in this state (``stamp``) is there."""


def stamp(place: Location) -> str:
    """What changes with a file: its size and its time, or what a store says of it.

    Raises:
        OSError: there is none.
        StoreError: the store refuses, or cannot be reached.
    """
    if isinstance(place, RemotePath):
        return place.stamp()
    about = place.stat()
    return f"{about.st_size}:{about.st_mtime_ns}"


@dataclass(frozen=True, slots=True)
class Model:
    """What a folder's masks were predicted by; those of another are not put beside them."""

    run: int
    recipe: str
    checkpoint_sha256: str
    class_digest: str

    @classmethod
    def of(cls, project: Project, run: RunRow) -> Model:
        """The model of a run.

        Raises:
            DataError: its checkpoint cannot be read.
        """
        return cls(run.id, run.recipe, file_sha256(project.best_checkpoint(run.id)), run.class_digest)


class Results:
    """A folder of predictions that is open to one command."""

    def __init__(self, folder: Path, record: dict[str, dict[str, Any]], stream: IO[str] | None) -> None:
        self.folder, self._record, self._stream = folder, record, stream

    @property
    def scratch(self) -> Path:
        """Where files may lie meanwhile; gone afterwards."""
        return self.folder / _SCRATCH

    def mask(self, item: Item) -> Path:
        """The class indices of an image, as ``evaluate`` writes them."""
        return self._path("masks", item, ".png")

    def confidence(self, item: Item) -> Path:
        """round(255 * probability of the class) for each pixel."""
        return self._path("confidence", item, ".png")

    def overlay(self, item: Item) -> Path:
        """The image with the classes' colours on it."""
        return self._path("overlay", item, ".jpg")

    def is_done(self, item: Item, seen: str, *, confidence: bool) -> bool:
        """Whether the results of an image's present state are there."""
        told = self._record.get(item.name, {})
        return (
            (told.get("image"), told.get("frame"), told.get("stamp")) == (address(item.place), item.frame, seen)
            and is_made(self.mask(item))
            and (not confidence or is_made(self.confidence(item)))
        )

    def forget(self, item: Item) -> None:
        """Remove the results of an image that is predicted anew: they are of another state of it.

        Raises:
            DataError: no permission.
        """
        for path in (self.mask(item), self.confidence(item), self.overlay(item)):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise unwritable(path, error) from error

    def note(self, item: Item, seen: str) -> None:
        """The results of an image are there.

        Raises:
            DataError: the disk is full.
        """
        assert self._stream is not None
        row = {"name": item.name, "image": address(item.place), "frame": item.frame, "stamp": seen}
        self._record[item.name] = row
        try:
            self._stream.write(json.dumps(row) + "\n")
            self._stream.flush()
        except OSError as error:
            raise unwritable(self.folder / _RECORD, error) from error

    def _path(self, kind: str, item: Item, suffix: str) -> Path:
        return self.folder / kind / f"{item.name}{suffix}"


def looked_at(folder: Path, model: Model, *, force: bool) -> Results:
    """What a folder holds of this model's predictions, for those who only want to know.

    Raises:
        DataError: it holds something else, or with another model and without ``force``.
    """
    try:
        anew = _is_other(folder, model, force=force)
        return Results(folder, {} if anew else _rows(folder), None)
    except OSError as error:
        raise unwritable(folder, error) from error


@contextmanager
def opened(folder: Path, model: Model, classes: ClassTable, *, force: bool) -> Iterator[Results]:
    """The folder for this model's predictions, new or with what is there of them; nobody else writes to it meanwhile.

    Args:
        force: predictions of another model there make room.

    Raises:
        DataError: it holds something else, another command is at work there, or it cannot be written to.
    """
    with ExitStack() as stack:
        try:
            anew = _is_other(folder, model, force=force)
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_alone(folder))
            stack.callback(shutil.rmtree, folder / _SCRATCH, ignore_errors=True)
            shutil.rmtree(folder / _SCRATCH, ignore_errors=True)
            if anew:
                _clear(folder)
            (folder / _SCRATCH).mkdir()
            write_atomic(folder / MODEL_FILE, _described(model, classes))
            stream = stack.enter_context((folder / _RECORD).open("a", encoding="utf-8"))
            if stream.tell():
                stream.write("\n")  # behind a line that a kill cut short
            results = Results(folder, _rows(folder), stream)
        except OSError as error:
            raise unwritable(error.filename or folder, error) from error
        yield results


def _is_other(folder: Path, model: Model, *, force: bool) -> bool:
    """Whether a folder's predictions are of another model and may go."""
    if folder.exists() and not folder.is_dir():
        raise DataError("is a file, and a folder is to be written there", where=folder, hint=_ELSEWHERE)
    about = folder / MODEL_FILE
    if not about.is_file():
        if folder.is_dir() and any(one.name != _SCRATCH for one in folder.iterdir()):
            raise DataError("is not empty, and annoloop predict did not make it", where=folder, hint=_ELSEWHERE)
        return False
    there = _model_there(about)
    if there == model:
        return False
    if not force:
        hint = f"--force replaces them; or {_ELSEWHERE}"
        raise DataError(f"holds predictions of {_difference(there, model)}", where=folder, hint=hint)
    return True


def _model_there(about: Path) -> Model:
    try:
        raw = json.loads(read_bytes(about))
        if raw["annoloop predictions"] != _FORMAT:
            raise DataError("was written by a newer annoloop", where=about, hint="update annoloop")
        return Model(**{name: raw[name] for name in Model.__dataclass_fields__})
    except (ValueError, KeyError, TypeError) as error:
        hint = f"it says which model made what is beside it; {_ELSEWHERE}"
        raise DataError(f"is not as annoloop predict writes it ({error!r})", where=about, hint=hint) from error


def _difference(there: Model, model: Model) -> str:
    if there.class_digest != model.class_digest:
        return f"run {there.run}, which knows other classes than run {model.run}"
    if there.run != model.run:
        return f"run {there.run}, and now it is run {model.run} that predicts"
    return f"run {there.run} with another checkpoint"


def _described(model: Model, classes: ClassTable) -> bytes:
    """For people and programs: the model, and what the numbers in the masks mean."""
    listed = [{"index": one.index, "name": one.name, "rgb": list(one.rgb)} for one in classes.classes]
    told: Mapping[str, Any] = {
        "annoloop predictions": _FORMAT, "annoloop": __version__, **asdict(model), "classes": listed,
        "background_index": classes.background_index,
    }  # fmt: skip
    return (json.dumps(told, indent=1, ensure_ascii=False) + "\n").encode()


def _rows(folder: Path) -> dict[str, dict[str, Any]]:
    """The record by name; a line that a kill cut short is no row."""
    rows: dict[str, dict[str, Any]] = {}
    with suppress(FileNotFoundError), (folder / _RECORD).open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            with suppress(ValueError):
                row = json.loads(line)
                if isinstance(row, dict) and isinstance(row.get("name"), str) and _is_below(row["name"]):
                    rows[row["name"]] = row
    return rows


def _is_below(name: str) -> bool:
    """Whether a name stays in the folder: a record may have been edited."""
    return not name.startswith("/") and ".." not in name.split("/")


def _clear(folder: Path) -> None:
    """Remove the predictions of another model, those that the record names and no other file."""
    for row in _rows(folder).values():
        gone = Results(folder, {}, None)
        gone.forget(Item(row["name"], folder))
    for name in (_RECORD, MODEL_FILE, "coco.json"):
        (folder / name).unlink(missing_ok=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            hint = "wait until it is done, or choose another --out"
            raise DataError("another annoloop predicts into this folder", where=folder, hint=hint) from None
        yield
    finally:
        os.close(handle)
