"""The files of a project: where each lies, the mask history, predictions, and the jobs of the training process.

Not here: the ledger and all that changes with it (``project.py``).  The fact to know: it holds nothing open, so a
worker process can be given one.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from annoloop.data.class_entropy import Sums, read_sums
from annoloop.data.config import Config
from annoloop.data.data_section import Place
from annoloop.data.durable import flush_folder
from annoloop.data.images import file_sha256, read_bytes, read_index_png, sha256, write_atomic
from annoloop.data.mmseg_folders import decode_label_map
from annoloop.data.storage import Location
from annoloop.data.stored_values import changed
from annoloop.errors import ConfigError, DataError, LedgerError
from annoloop.masks.classes import ClassTable
from annoloop.masks.regions import LabelMap
from annoloop.training.recipes import recipe_path
from annoloop.training.records import Job, Kind

_HOLE = (
    "restore .annoloop/masks from a backup; or give that version up: a mask that you save anew at its place counts as"
    " your edit, and stays"
)


@dataclass(frozen=True, slots=True, eq=False)
class Opinion:
    """What a model says of an image: its prediction (H, W) and how sure it is of it, uint8 (H, W), 255 is certain."""

    prediction: LabelMap
    confidence: npt.NDArray[np.uint8]


class ProjectFiles:
    """Configuration and paths of one project folder."""

    def __init__(self, config_path: Path, config: Config) -> None:
        """Of the project of an annoloop.yaml that was read."""
        self.path = config_path
        self.config = config
        self.classes: ClassTable = config.table()
        self.state_dir = config_path.parent / ".annoloop"

    # paths

    def run_dir(self, run_id: int) -> Path:
        """Everything that a training run left."""
        return self.state_dir / "runs" / f"{run_id:04d}"

    def run_config(self, run_id: int) -> Path:
        """The mmseg config of a run with all that it inherits and that was asked for; it is code."""
        return self.run_dir(run_id) / "config.py"

    def best_checkpoint(self, run_id: int) -> Path:
        """The weights of a finished run."""
        return self.run_dir(run_id) / "best.pth"

    def require_ledger(self) -> None:
        """Raise where the ledger is gone from beside what it knows of: a new one would take all that for its own.

        Raises:
            LedgerError: there are runs or mask versions, and no ledger, or an empty one.
        """
        ledger = self.state_dir / "ledger.db"
        left = [name for name in ("runs", "masks", "predictions") if _holds_anything(self.state_dir / name)]
        if left and not (ledger.is_file() and ledger.stat().st_size):
            state = "empty" if ledger.is_file() else "gone"
            raise LedgerError(
                f"the ledger is {state}, but there are {' and '.join(left)} beside it",
                where=ledger,
                hint="restore ledger.db from a backup; or, to begin anew, move the whole folder .annoloop away",
            )

    def highest_run_folder(self) -> int:
        """The highest number that a folder of a run or of its predictions has; 0 where there is none."""
        folders = (one for kind in ("runs", "predictions") for one in (self.state_dir / kind).glob("[0-9]*"))
        return max((int(one.name) for one in folders if one.name.isdecimal()), default=0)

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
        return is_made(self.out_of_fold_paths(run_id, image_sha256)[0])

    def out_of_fold_images(self, run_id: int) -> frozenset[str]:
        """The sha256 of every image that has an out-of-fold prediction: one look at the folder answers for all."""
        files = Path(f"{self._prediction_dir(run_id)}/out-of-fold").glob("*/*.png")
        return frozenset(file.stem for file in files if not file.name.endswith(".confidence.png"))

    # masks and predictions

    def keep_object(self, data: bytes) -> str:
        """Put mask bytes into the history; returns their sha256.

        An object that is there already is looked at: the file that it stands for may be about to go, so one that was
        damaged since is written anew.

        Raises:
            DataError: the disk is full, no permission.
        """
        digest = sha256(data)
        path = self._object_path(digest)
        if _holds(path, data):
            flush_folder(path.parent)  # whoever wrote it may have been killed just before
        else:
            write_atomic(path, data)
        return digest

    def object_bytes(self, digest: str) -> bytes:
        """Mask bytes from the history.

        Raises:
            LedgerError: the object is missing or was altered.
        """
        path = self._object_path(digest)
        hint = _HOLE
        try:
            data = read_bytes(path)
        except DataError as error:
            raise LedgerError(f"the mask history has a hole: {error.message}", where=path, hint=hint) from error
        if sha256(data) != digest:
            raise LedgerError("the mask history was altered", where=path, hint=hint)
        return data

    def checked_object(self, digest: str) -> Path:
        """The file of a mask version in the history, whose bytes were looked at.

        Raises:
            LedgerError: the object is missing or was altered.
        """
        self.object_bytes(digest)
        return self._object_path(digest)

    def object_place(self, digest: str) -> Path | None:
        """Where the history has a mask version, whose bytes nobody looked at; None where it does not have it."""
        path = self._object_path(digest)
        return path if path.is_file() else None

    def object_label_map(self, digest: str) -> LabelMap:
        """A mask version as label map."""
        return decode_label_map(self.object_bytes(digest), self.config.data, self._object_path(digest))

    def prediction(self, run_id: int, image_sha256: str) -> LabelMap:
        """A run's prediction of an image.

        Raises:
            DataError: it has not been made.
        """
        return self._index_map(self.prediction_paths(run_id, image_sha256)[0])

    def confidence(self, run_id: int, image_sha256: str) -> npt.NDArray[np.uint8]:
        """How sure a run is of its prediction, (H, W), 255 is certain.

        Raises:
            DataError: it has not been made.
        """
        return _confidence(self.prediction_paths(run_id, image_sha256)[1])

    def opinion(self, run_id: int, image_sha256: str) -> Opinion:
        """What to hold a label against: the out-of-fold prediction, or else the run's own.

        Raises:
            DataError: neither has been made.
        """
        out_of_fold = self.has_out_of_fold(run_id, image_sha256)
        paths = (self.out_of_fold_paths if out_of_fold else self.prediction_paths)(run_id, image_sha256)
        return Opinion(self._index_map(paths[0]), _confidence(paths[1]))

    def _index_map(self, path: Path) -> LabelMap:
        """A prediction in the type of the classes: 16 bits that need no more than 8 are read as 8."""
        return read_index_png(path).values.astype(self.classes.dtype, copy=False)

    def class_entropy(self, run_id: int, image_sha256: str) -> Sums | None:
        """For each class the sum over an image's pixels of H x p_c (K,), of the out-of-fold prediction where that
        keeps it, else of the run's own; None where neither does."""
        out_of_fold = read_sums(self.out_of_fold_paths(run_id, image_sha256)[1])
        return read_sums(self.prediction_paths(run_id, image_sha256)[1]) if out_of_fold is None else out_of_fold

    def image_path(self, sample_id: str) -> Location:
        """Where a sample's image lies."""
        place, stem = self._place(sample_id)
        folder = self.config.data.root / place.images
        first, *others = place.image_names(stem)
        return next((path for name in others if (path := folder / name).exists()), folder / first)

    def mask_path(self, sample_id: str) -> Location:
        """Where a sample's mask lies, or will lie."""
        place, stem = self._place(sample_id)
        return self.config.data.root / place.masks / place.mask_name(stem)

    def mask_sha256(self, sample_id: str) -> str | None:
        """The version of a sample's mask that is on disk now; None where there is no file."""
        path = self.mask_path(sample_id)
        return file_sha256(path) if path.exists() else None

    # training

    def job(self, kind: Kind, run_dir: Path, *, recipe: Path, **details: Any) -> Job:
        """A job for the training process; device, seed and classes come from the configuration."""
        train, data = self.config.train, self.config.data
        settled: dict[str, Any] = {
            "class_names": self.classes.names,
            "palette": tuple(c.rgb for c in self.classes.classes),
            "ignore_index": self.classes.ignore_index,
            "reduce_zero_label": data.reduce_zero_label,
            "values": changed(rule) if data.values and (rule := data.rule()) else (),
            "device": train.device,
            "seed": train.seed,
            "batch_size": train.batch_size,
            "background_index": self.classes.background_index,
            "precision": train.precision,
        }
        return Job(kind=kind, run_dir=run_dir, recipe=recipe, **(settled | details))

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

    def _place(self, sample_id: str) -> tuple[Place, str]:
        """Where the files of a sample's split lie, and its stem."""
        split, _, stem = sample_id.partition("/")
        if split not in map(str, self.config.data.splits):
            raise ConfigError(f"no split {split!r}", where=self.path, hint=f"needed for sample {sample_id}")
        return self.config.data.place(split), stem

    def _prediction_dir(self, run_id: int) -> str:
        return f"{self.state_dir}/predictions/{run_id:04d}"

    def _object_path(self, digest: str) -> Path:
        return self.state_dir / "masks" / digest[:2] / f"{digest}.png"


def is_made(path: Path) -> bool:
    """Whether a prediction is there; of one that was not flushed a power cut leaves an empty file."""
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _confidence(path: Path) -> npt.NDArray[np.uint8]:
    return read_index_png(path).values.astype(np.uint8, copy=False)


def _holds(path: Path, data: bytes) -> bool:
    """Whether a file is there, whole, and has these bytes."""
    try:
        return path.stat().st_size == len(data) and read_bytes(path) == data
    except (OSError, DataError):
        return False


def _holds_anything(folder: Path) -> bool:
    return folder.is_dir() and next(folder.iterdir(), None) is not None


def _prediction_pair(folder: str, image_sha256: str) -> tuple[Path, Path]:
    """Joined as text: for tens of thousands of images ``/`` would take seconds."""
    beside = f"{folder}/{image_sha256[:2]}/{image_sha256}"
    return Path(f"{beside}.png"), Path(f"{beside}.confidence.png")
