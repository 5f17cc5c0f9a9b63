"""A project: its configuration, its folder ``.annoloop``, its ledger and its mask history, opened together.

The one place that replaces or removes a mask in the working tree.  The fact to know: object first, then the
ledger row, then the file by ``os.replace``; opening the project finishes what was cut off (law 4).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

import numpy as np
import numpy.typing as npt

from annoloop import config as configuration
from annoloop.classes import ClassTable
from annoloop.config import Config, DataConfig
from annoloop.dataset import Listing, Sample, decode_label_map, list_samples
from annoloop.errors import ConfigError, DataError, LedgerError
from annoloop.images import (
    drop_partial,
    file_sha256,
    read_bytes,
    read_index_png,
    remove,
    sha256,
    write_atomic,
)
from annoloop.ledger import Ledger
from annoloop.masks import LabelMap
from annoloop.progress import Track, silent
from annoloop.scan import scan_one
from annoloop.schema import ImageRow, MaskChange, RunRow
from annoloop.training import Job, recipe_path


@dataclass(frozen=True, slots=True)
class Recovered:
    """What opening the project finished: masks written or removed, and files that somebody changed meanwhile."""

    written: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Opinion:
    """What a model says of an image: its prediction (H, W) and how sure it is of it, uint8 (H, W), 255 is certain."""

    prediction: LabelMap
    confidence: npt.NDArray[np.uint8]


class Project:
    """Configuration, paths and ledger of one project folder."""

    def __init__(self, config_path: Path) -> None:
        """Open the project of an annoloop.yaml and finish mask changes that were cut off.

        Raises:
            ConfigError: the file has faults.
            LedgerError: the ledger cannot be opened.
        """
        self.path = config_path
        self.config: Config = configuration.load(config_path)
        self.classes: ClassTable = self.config.table()
        self.state_dir = config_path.parent / ".annoloop"
        self.ledger = Ledger(self.state_dir / "ledger.db")
        self.recovered = self._recover()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ledger.__exit__(kind, error, trace)

    # paths

    def run_dir(self, run_id: int) -> Path:
        """Everything that a training run left."""
        return self.state_dir / "runs" / f"{run_id:04d}"

    def best_checkpoint(self, run_id: int) -> Path:
        """The weights of a finished run."""
        return self.run_dir(run_id) / "best.pth"

    def report_dir(self, name: str) -> Path:
        """A folder for pictures and reports; made if it is missing."""
        folder = self.state_dir / "reports" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def scratch_dir(self) -> Path:
        """A folder on the project's own disk for files that are gone after a command, emptied of a killed one's."""
        folder = self.state_dir / "scratch"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def prediction_paths(self, run_id: int, image_sha256: str) -> tuple[Path, Path]:
        """Where a run's index PNG and confidence PNG of an image lie; by content, so a copy is found too."""
        return _prediction_pair(self._prediction_dir(run_id), image_sha256)

    def out_of_fold_paths(self, run_id: int, image_sha256: str) -> tuple[Path, Path]:
        """The same of a model that was trained like the run, but without this image."""
        return _prediction_pair(f"{self._prediction_dir(run_id)}/out-of-fold", image_sha256)

    def has_out_of_fold(self, run_id: int, image_sha256: str) -> bool:
        """Whether there is an out-of-fold prediction of an image; the index PNG is the last to be written."""
        return self.out_of_fold_paths(run_id, image_sha256)[0].is_file()

    @contextmanager
    def locked(self, command: str) -> Iterator[None]:
        """Hold the project for a command that changes it; the lock ends with the process, however it ends.

        Raises:
            LedgerError: another annoloop holds it; names its command and pid.
        """
        with self._lock_file(patience_s=2.0) as (stream, held):
            if not held:
                stream.seek(0)
                raise LedgerError(
                    f"another annoloop is at work here: {stream.read().strip() or 'unknown'}",
                    where=stream.name,
                    hint="wait until it is done, or stop it",
                )
            stream.truncate(0)
            stream.write(f"{command}, pid {os.getpid()}\n")
            stream.flush()
            self.recovered = self.recovered or self.write_masks()
            yield

    @contextmanager
    def _lock_file(self, patience_s: float = 0.0) -> Iterator[tuple[IO[str], bool]]:
        """The lock file and whether it is ours; another process may be just opening the project."""
        deadline = time.monotonic() + patience_s
        with (self.state_dir / "lock").open("a+", encoding="utf-8") as stream:
            while not (held := _locks(stream)) and time.monotonic() < deadline:
                time.sleep(0.05)
            yield stream, held

    def _recover(self) -> Recovered | None:
        """Finish what was cut off; None where another process holds the project and may be at it this moment."""
        with self._lock_file() as (_, held):
            return self.write_masks() if held else None

    # samples and masks

    def samples(self, splits: Iterable[str] | None = None) -> list[Sample]:
        """The samples of some splits (default: all), split by split in the order of annoloop.yaml, then by stem.

        Raises:
            ConfigError: a split that annoloop.yaml does not name.
        """
        return list(list_samples(self._data_of(splits), strays=False).samples)

    def listing(self, splits: Iterable[str] | None = None) -> Listing:
        """The same with what could not be paired.

        Raises:
            ConfigError: a split that annoloop.yaml does not name.
        """
        return list_samples(self._data_of(splits))

    def _data_of(self, splits: Iterable[str] | None) -> DataConfig:
        wanted = set(self.config.data.splits if splits is None else splits)
        unknown = wanted - set(self.config.data.splits)
        if unknown:
            raise ConfigError(
                f"no split {sorted(unknown)[0]!r}",
                where=self.path,
                hint=f"splits: {', '.join(self.config.data.splits)}",
            )
        chosen = {name: place for name, place in self.config.data.splits.items() if name in wanted}
        return self.config.data.model_copy(update={"splits": chosen})

    def scan(self, samples: Sequence[Sample], track: Track = silent) -> dict[str, ImageRow]:
        """Content hashes of samples; only files whose size or mtime changed are read again.

        Raises:
            DataError: a file cannot be read.
        """
        known = self.ledger.images()
        rows = {}
        for sample in track(samples, "looking at files", len(samples)):
            rows[sample.id] = scan_one(sample, known.get(sample.id))
        self.ledger.put_images(row for row in rows.values() if known.get(row.sample_id) != row)
        return rows

    def keep_object(self, data: bytes) -> str:
        """Put mask bytes into the history; returns their sha256."""
        digest = sha256(data)
        path = self._object_path(digest)
        if not path.exists():
            write_atomic(path, data)
        return digest

    def object_bytes(self, digest: str) -> bytes:
        """Mask bytes from the history.

        Raises:
            LedgerError: the object is missing or was altered.
        """
        path = self._object_path(digest)
        hint = "restore .annoloop from a backup"
        try:
            data = read_bytes(path)
        except DataError as error:
            raise LedgerError(f"the mask history has a hole: {error.message}", where=path, hint=hint) from error
        if sha256(data) != digest:
            raise LedgerError("the mask history was altered", where=path, hint=hint)
        return data

    def object_label_map(self, digest: str) -> LabelMap:
        """A mask version as label map."""
        return decode_label_map(self.object_bytes(digest), self.config.data, self._object_path(digest))

    def prediction(self, run_id: int, image_sha256: str) -> LabelMap:
        """A run's prediction of an image.

        Raises:
            DataError: it has not been made.
        """
        return read_index_png(self.prediction_paths(run_id, image_sha256)[0]).values

    def confidence(self, run_id: int, image_sha256: str) -> npt.NDArray[np.uint8]:
        """How sure a run is of its prediction, (H, W), 255 is certain.

        Raises:
            DataError: it has not been made.
        """
        return read_index_png(self.prediction_paths(run_id, image_sha256)[1]).values

    def opinion(self, run_id: int, image_sha256: str) -> Opinion:
        """What to hold a label against: the out-of-fold prediction, or else the run's own.

        Raises:
            DataError: neither has been made.
        """
        out_of_fold = self.has_out_of_fold(run_id, image_sha256)
        paths = (self.out_of_fold_paths if out_of_fold else self.prediction_paths)(run_id, image_sha256)
        return Opinion(*(read_index_png(path).values for path in paths))

    def image_path(self, sample_id: str) -> Path:
        """Where a sample's image lies."""
        data = self.config.data
        return self._place(sample_id, data.image_dir, data.image_suffix)

    def mask_path(self, sample_id: str) -> Path:
        """Where a sample's mask lies, or will lie."""
        data = self.config.data
        return self._place(sample_id, data.mask_dir, data.mask_suffix)

    def mask_sha256(self, sample_id: str) -> str | None:
        """The version of a sample's mask that is on disk now; None where there is no file."""
        path = self.mask_path(sample_id)
        return file_sha256(path) if path.exists() else None

    def change_masks(self, kind: str, task_id: int | None, changes: Sequence[MaskChange]) -> int:
        """Record a change of masks whose old and new bytes are in the history; ``write_masks`` follows it."""
        for change in changes:
            for digest in filter(None, (change.old_sha256, change.new_sha256)):
                if not self._object_path(digest).exists():
                    raise LedgerError(f"mask {digest[:12]} is not in the history", where=change.sample_id)
        return self.ledger.add_change(kind, task_id, changes)

    # runs

    def job(self, kind: Literal["train", "predict", "measure"], run_dir: Path, **details: Any) -> Job:
        """A job for the training process; device, seed and classes come from the configuration."""
        train, data = self.config.train, self.config.data
        settled: dict[str, Any] = {
            "recipe": self.recipe(train.recipe),
            "class_names": self.classes.names,
            "palette": tuple(c.rgb for c in self.classes.classes),
            "ignore_index": self.classes.ignore_index,
            "reduce_zero_label": data.reduce_zero_label,
            "device": train.device,
            "seed": train.seed,
            "batch_size": train.batch_size,
            "background_index": self.classes.background_index,
            "precision": train.precision,
        }
        return Job(kind=kind, run_dir=run_dir, **(settled | details))

    def pretrained(self, choice: str) -> str:
        """ "auto" and "none" as they are; else a file beside annoloop.yaml or anywhere, by its whole path.

        Raises:
            ConfigError: there is none.
        """
        if choice in ("auto", "none"):
            return choice
        path = self.path.parent / Path(choice).expanduser()
        if not path.is_file():
            raise ConfigError(f"{path} is no file of weights", where="train.pretrained", hint="auto, none, or a file")
        return str(path)

    def recipe(self, name: str) -> Path:
        """The mmseg config of a shipped recipe's name, or of a path beside annoloop.yaml or anywhere.

        Raises:
            ConfigError: there is none.
        """
        beside = self.path.parent / name
        return recipe_path(str(beside) if beside.is_file() else name)

    def current_run(self) -> RunRow | None:
        """The current model; None before the first training, or once the classes have changed."""
        run = self.ledger.current_run()
        return run if run is not None and run.class_digest == self.classes.digest else None

    def _place(self, sample_id: str, folder: str, suffix: str) -> Path:
        split, _, stem = sample_id.partition("/")
        places = {str(name): place for name, place in self.config.data.splits.items()}
        if split not in places:
            raise ConfigError(f"no split {split!r}", where=self.path, hint=f"needed for sample {sample_id}")
        below = "" if places[split].endswith(".txt") else places[split]
        return self.config.data.root / folder / below / f"{stem}{suffix}"

    def _prediction_dir(self, run_id: int) -> str:
        return f"{self.state_dir}/predictions/{run_id:04d}"

    def _object_path(self, digest: str) -> Path:
        return self.state_dir / "masks" / digest[:2] / f"{digest}.png"

    def write_masks(self) -> Recovered:
        """Write and remove mask files as the ledger says; one that somebody edited meanwhile stays as it is."""
        written, removed, conflicts = [], [], []
        for change_id, change in self.ledger.unwritten():
            path = self.mask_path(change.sample_id)
            drop_partial(path)
            on_disk = self.mask_sha256(change.sample_id)
            if on_disk not in (change.old_sha256, change.new_sha256):
                conflicts.append(change.sample_id)  # somebody edited it meanwhile: theirs stays
            elif change.new_sha256 is None:
                removed += [change.sample_id] if remove(path) else []
            elif on_disk != change.new_sha256:
                write_atomic(path, self.object_bytes(change.new_sha256))
                written.append(change.sample_id)
            self.ledger.mark_written(change_id, change.sample_id)
        return Recovered(tuple(written), tuple(removed), tuple(conflicts))


def open_project(folder: Path | None) -> Project:
    """Open the project in ``folder``, or the nearest one above the working folder.

    Raises:
        ConfigError: there is none, or its annoloop.yaml has faults.
    """
    return Project(configuration.find((folder or Path.cwd()).resolve()))


def _prediction_pair(folder: str, image_sha256: str) -> tuple[Path, Path]:
    """Joined as text: for tens of thousands of images ``/`` would take seconds."""
    beside = f"{folder}/{image_sha256[:2]}/{image_sha256}"
    return Path(f"{beside}.png"), Path(f"{beside}.confidence.png")


def _locks(stream: IO[str]) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
