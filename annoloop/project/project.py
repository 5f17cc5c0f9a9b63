"""A project: its configuration, its folder ``.annoloop``, its ledger and its mask history, opened together.

All masks in the working tree are replaced or removed from here, one by one in ``mask_files.py``.  The fact to know:
object first, then the ledger row, then the file; opening the project finishes what was cut off (law 4).
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from annoloop.data import config as configuration
from annoloop.data.config import DataConfig
from annoloop.data.copies import Copies
from annoloop.data.mmseg_folders import Listing, Sample, list_samples
from annoloop.data.storage import each
from annoloop.errors import AnnoloopError, ConfigError, LedgerError, StoreError, meant
from annoloop.progress import Track, silent
from annoloop.project.files import ProjectFiles
from annoloop.project.ledger import Ledger
from annoloop.project.mask_files import Outcome, put_in_place
from annoloop.project.rows import ImageRow, MaskChange, RunRow
from annoloop.project.stamps import scan_one


@dataclass(frozen=True, slots=True)
class Recovered:
    """What opening the project finished: masks written or removed, and files that somebody changed meanwhile.

    ``unfinished``: what could not be finished and why; such a project may be looked at, and commands that change it say
    what to do first.
    """

    written: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()


class Project(ProjectFiles):
    """The files and the ledger of one project folder."""

    def __init__(self, config_path: Path) -> None:
        """Open the project of an annoloop.yaml and finish mask changes that were cut off.

        Raises:
            ConfigError: the file has faults.
            LedgerError: the ledger cannot be opened, or is gone.
        """
        super().__init__(config_path, configuration.load(config_path))
        self.read_only = not _may_write(self.state_dir)
        self.require_ledger()
        self.ledger = Ledger(self.state_dir / "ledger.db", read_only=self.read_only)
        self.copies = Copies(self.config.data.root, self.state_dir / "fetched")
        self.recovered = None if self.read_only else self._recover()

    @property
    def files(self) -> ProjectFiles:
        """The part of it that worker processes can be given."""
        return ProjectFiles(self.path, self.config)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the work with it; once more does nothing."""
        self.ledger.close()

    @contextmanager
    def locked(self, command: str) -> Iterator[None]:
        """Hold the project for a command that changes it; the lock ends with the process, however it ends.

        Raises:
            LedgerError: another annoloop holds it; names its command and pid.
            ConfigError: the project may only be looked at.
        """
        self.require_writing(command)
        with self._held("lock", command):
            self._require_finished()
            yield

    @contextmanager
    def alone(self, command: str) -> Iterator[None]:
        """Be the only one of a command that lasts; others may change the project meanwhile, and it, too, locks it then.

        Raises:
            LedgerError: it is at work here already; names its pid.
            ConfigError: the project may only be looked at.
        """
        self.require_writing(command)
        with self._held(f"{command}.lock", command):
            yield

    @contextmanager
    def _held(self, name: str, command: str) -> Iterator[None]:
        with self._lock_file(name, patience_s=2.0) as (stream, held):
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
            yield

    def require_writing(self, command: str) -> None:
        """Raise where the project's folder cannot be written to; looking at the project works all the same.

        Raises:
            ConfigError: it cannot.
        """
        if self.read_only:
            raise ConfigError(
                f"{command} needs to write here, and this folder is read-only",
                where=self.state_dir,
                hint="status, log and convert --out work; eda with --out, too",
            )

    def at_work(self) -> str | None:
        """The command, and the pid, of another annoloop that holds this project now; None where there is none."""
        if not (self.state_dir / "lock").is_file() or self.read_only:
            return None
        with self._lock_file() as (stream, held):
            stream.seek(0)
            return None if held else stream.read().strip() or "unknown"

    @contextmanager
    def _lock_file(self, name: str = "lock", patience_s: float = 0.0) -> Iterator[tuple[IO[str], bool]]:
        """A lock file and whether it is ours; another process may be just opening the project."""
        deadline = time.monotonic() + patience_s
        with (self.state_dir / name).open("a+", encoding="utf-8") as stream:
            while not (held := _locks(stream)) and time.monotonic() < deadline:
                time.sleep(0.05)
            yield stream, held

    def _recover(self) -> Recovered | None:
        """Finish what was cut off; None where another process holds the project and may be at it this moment."""
        with self._lock_file() as (_, held):
            return self._finish_masks()[0] if held else None

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
                f"no split {sorted(unknown)[0]!r}{meant(sorted(unknown)[0], self.config.data.splits)}",
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
        known = self.ledger.images([sample.id for sample in samples])

        def look(sample: Sample) -> ImageRow:
            return scan_one(sample, known.get(sample.id), self.copies.file_sha256)

        seen = each(self.config.data.root, look, samples)
        rows = {row.sample_id: row for row in track(seen, "looking at files", len(samples))}
        self.ledger.put_images(row for row in rows.values() if known.get(row.sample_id) != row)
        return rows

    def on_disk(self, samples: Sequence[Sample], track: Track = silent) -> list[Sample]:
        """The same samples with local files: their own, or copies of what lies in a store.

        Raises:
            DataError: a file cannot be fetched.
        """
        files = [file for sample in samples for file in (sample.image, sample.mask) if file is not None]
        copy_of = dict(zip(files, self.copies.fetched(files, track), strict=True))
        return [
            replace(sample, image=copy_of[sample.image], mask=sample.mask and copy_of[sample.mask])
            for sample in samples
        ]

    def change_masks(self, kind: str, task_id: int | None, changes: Sequence[MaskChange]) -> int:
        """Record a change of masks whose old and new bytes are in the history; ``write_masks`` follows it.

        Raises:
            LedgerError: some of them are not, or are no longer what they were; nothing is recorded.
        """
        for change in changes:
            for digest in filter(None, (change.old_sha256, change.new_sha256)):
                if not self._object_path(digest).exists():
                    raise LedgerError(f"mask {digest[:12]} is not in the history", where=change.sample_id)
                self.object_bytes(digest)
        return self.ledger.add_change(kind, task_id, changes)

    # runs

    def current_run(self) -> RunRow | None:
        """The current model; None before the first training, or once the classes have changed."""
        run = self.ledger.current_run()
        return run if run is not None and run.class_digest == self.classes.digest else None

    def write_masks(self) -> Recovered:
        """Write and remove mask files as the ledger says; one that somebody edited meanwhile stays as it is.

        Raises:
            AnnoloopError: of the first that cannot be written; the others are, and this one is the next time.
        """
        done, failed = self._finish_masks()
        if failed:
            raise failed[0]
        return done

    def _finish_masks(self) -> tuple[Recovered, list[AnnoloopError]]:
        """The same, with what went wrong beside what was done."""
        found: dict[Outcome, list[str]] = {"written": [], "removed": [], "conflict": [], "as it should be": []}
        failed: list[AnnoloopError] = []
        for change_id, change in self.ledger.unwritten():
            try:
                found[put_in_place(self, change)].append(change.sample_id)
            except AnnoloopError as error:
                failed.append(error)
                if isinstance(error, StoreError):
                    break  # the next would fare no better, and every one waits
                continue
            self.ledger.mark_written(change_id, change.sample_id)
        written, removed, conflicts = (tuple(found[one]) for one in ("written", "removed", "conflict"))
        return Recovered(written, removed, conflicts, tuple(map(str, failed))), failed

    def _require_finished(self) -> None:
        """Raise where a change that was cut off cannot be finished: another one on top of it would bury it."""
        if self.recovered is None or self.recovered.unfinished:
            self.recovered = self._finish_masks()[0]
        if self.recovered.unfinished:
            raise LedgerError(
                f"{len(self.recovered.unfinished)} masks of a change that was cut off cannot be put in place, and until"
                f" they are nothing else is changed:\n  {self.recovered.unfinished[0]}",
                where=self.state_dir,
                hint="mend this and run again; status, log and other commands that only look work meanwhile",
            )


def open_project(folder: Path | None) -> Project:
    """Open the project in ``folder``, or the nearest one above the working folder.

    Raises:
        ConfigError: there is none, or its annoloop.yaml has faults.
    """
    return Project(configuration.find((folder or Path.cwd()).resolve()))


def _may_write(folder: Path) -> bool:
    """Whether a folder, or the nearest one above that is there, may be written to."""
    nearest = next(one for one in (folder, *folder.parents) if one.exists())
    return os.access(nearest, os.W_OK)


def _locks(stream: IO[str]) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
