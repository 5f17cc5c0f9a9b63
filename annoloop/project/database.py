"""A SQLite file: opened, brought up to date, and changed in transactions; knows no table.

Not here: what is stored (``schema.py``) and asked (``journal.py``, ``ledger.py``).  The fact to know: transactions may
be nested, and a second process waits for the first rather than failing.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from annoloop.data.durable import flush_folder, make_folder
from annoloop.errors import LedgerError

Row = sqlite3.Row

_PATIENCE_S = 30
_LITTLE_ROOM = 1 << 20
"""Bytes; SQLite calls a full disk an I/O error where it notices it late, as in its log."""


class Database:
    """One connection. Every error is a ``LedgerError`` that names the file."""

    def __init__(
        self,
        path: Path,
        migrations: Sequence[Sequence[str]],
        functions: Mapping[str, Callable[[bytes], int]],
        *,
        read_only: bool = False,
    ) -> None:
        """Open or create the file and bring its schema up to date.

        Args:
            migrations: statements per version; ``PRAGMA user_version`` counts those applied.
            functions: of one BLOB, by the name under which the statements call them.
            read_only: leave the file alone and work on a copy in memory, which is gone when it is closed.

        Raises:
            LedgerError: not a database, a newer schema, or not writable.
        """
        self._path = path
        self._depth = 0
        try:
            self._db = _copy_in_memory(path) if read_only else _connect(path)
            self._db.row_factory = sqlite3.Row
            for name, function in functions.items():
                self._db.create_function(name, 1, function, deterministic=True)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._migrate(migrations)
            self._db.execute("PRAGMA foreign_keys = ON")  # only now: a migration may copy a table others refer to
        except sqlite3.Error as error:
            failed = self._failed(error)
            raise LedgerError(f"cannot be opened ({failed.message})", where=path, hint=failed.hint) from error
        except OSError as error:
            raise LedgerError(f"cannot be opened ({error})", where=path) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; once more does nothing."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside happens, or nothing; may be nested."""
        if self._depth:
            yield
            return
        self._depth += 1
        try:
            self._execute("BEGIN IMMEDIATE")
            try:
                yield
                self._execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk has SQLite roll back by itself
                    self._db.execute("ROLLBACK")
                raise
        finally:
            self._depth -= 1

    def _migrate(self, migrations: Sequence[Sequence[str]]) -> None:
        version = int(self._execute("PRAGMA user_version").fetchone()[0])
        if version > len(migrations):
            raise LedgerError(
                f"schema {version} is newer than this annoloop knows ({len(migrations)})",
                where=self._path,
                hint="update annoloop",
            )
        for number in range(version + 1, len(migrations) + 1):
            with self.transaction():
                # Looked at again under the lock: another process may have been quicker.
                if int(self._execute("PRAGMA user_version").fetchone()[0]) < number:
                    for statement in migrations[number - 1]:
                        self._execute(statement)
                    self._execute(f"PRAGMA user_version = {number}")

    def _execute(self, sql: str, values: Sequence[object] | Mapping[str, object] = ()) -> sqlite3.Cursor:
        try:
            return self._db.execute(sql, values)
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _select(
        self, what: str, values: Sequence[object] = (), *, key: str, keys: Collection[str] | None, order: str = ""
    ) -> sqlite3.Cursor:
        """The rows of a query, ``columns FROM table WHERE condition``, or those whose ``key`` is one of ``keys``.

        Keys, each given once, travel as one JSON text, because a statement takes so many values and no more.
        """
        if keys is None:
            return self._execute(f"SELECT {what} {order}", values)
        columns, _, rest = what.partition(" FROM ")
        query = f"SELECT {columns} FROM json_each(?) AS asked CROSS JOIN {rest} AND {key} = asked.value {order}"  # noqa: S608 - of our own words
        return self._execute(query, (json.dumps(list(keys)), *values))

    def _execute_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        try:
            self._db.executemany(sql, rows)
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _failed(self, error: sqlite3.Error) -> LedgerError:
        """What SQLite says, as the two who read it need it: is there no room, or does somebody else hold the file?"""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest says where in SQLite it was noticed
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            said = f"another program has held the ledger for {_PATIENCE_S} s ({error})"
            return LedgerError(said, where=self._path, hint="wait until it is done, or stop it, and run again")
        if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _free_bytes(self._path) < _LITTLE_ROOM):
            said = f"no room left on the disk of {self._path.absolute().parent} ({error})"
            hint = "make room there, or raise the quota; then the same command goes on"
            return LedgerError(said, where=self._path, hint=hint)
        if code == sqlite3.SQLITE_IOERR:
            hint = "is the disk that it lies on well, and is a quota used up?"
            return LedgerError(f"{error}", where=self._path, hint=hint)
        return LedgerError(f"{error}", where=self._path)


def _free_bytes(path: Path) -> int:
    try:
        return shutil.disk_usage(path.absolute().parent).free
    except OSError:
        return _LITTLE_ROOM


def _connect(path: Path) -> sqlite3.Connection:
    make_folder(path.parent)
    db = sqlite3.connect(path, isolation_level=None, timeout=_PATIENCE_S)
    db.execute("PRAGMA synchronous = FULL")  # a row that says "written" is not to be lost while the mask is there
    flush_folder(path.parent)
    return db


def _copy_in_memory(path: Path) -> sqlite3.Connection:
    """All that the file holds, and the log beside it, if any.

    Even to read beside a log SQLite writes to the folder; a file without one is taken for one that nobody changes.
    """
    memory = sqlite3.connect(":memory:", isolation_level=None)
    if path.exists():
        log = path.with_name(f"{path.name}-wal")
        how = "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)) as stored:
            stored.backup(memory)
    return memory


def now() -> str:
    """This moment as it is stored: text that sorts by time."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
