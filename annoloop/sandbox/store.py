"""The sandbox's state in one folder: ``sandbox.db`` and, per task, its images.

All SQL that is run is composed here. One connection is shared by all threads behind one lock: a
request is one transaction, which is all the concurrency that a server for one person needs.
"""

from __future__ import annotations

import fcntl
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

from annoloop.errors import ConfigError
from annoloop.sandbox import schema

Row = dict[str, Any]


def now(plus_s: float = 0.0) -> str:
    """This moment, or some seconds later, as CVAT writes it: ``2026-11-22T20:53:43.479454Z``."""
    return written(datetime.now(UTC) + timedelta(seconds=plus_s))


def written(moment: datetime) -> str:
    """A moment with a time zone as text; the texts of two moments compare as the moments do."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Store:
    """The rows and the image folders of one sandbox.

    Raises:
        ConfigError: another version of annoloop wrote the folder, or a sandbox is using it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._claim = _claimed(folder)
        path = folder / "sandbox.db"
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.row_factory = lambda cursor, values: {
            column[0]: value for column, value in zip(cursor.description, values, strict=True)
        }
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._create(path)

    def _create(self, path: Path) -> None:
        with self.transaction():
            version = self._connection.execute("PRAGMA user_version").fetchone()["user_version"]
            if version not in (0, schema.VERSION):
                raise ConfigError(
                    f"the sandbox's state has version {version}, this annoloop knows {schema.VERSION}",
                    where=path,
                    hint="give another --state folder, or delete this one",
                )
            if version == 0:
                for statement in _statements(schema.TABLES + schema.VIEWS):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {schema.VERSION}")

    def close(self) -> None:
        """Write everything out and let the file go."""
        with self._lock:
            self._connection.close()
            self._claim.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, one thread at a time."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    # Table and column names come from our own source, never from a request; values are bound.

    def select(self, table: str, **where: object) -> list[Row]:
        """The rows of a table or view whose columns have these values (None: is null), by id."""
        condition = " AND ".join(f"{column} IS ?" for column in where) or "1"
        sql = f"SELECT * FROM {table} WHERE {condition} ORDER BY id"  # noqa: S608
        with self._lock:
            return self._connection.execute(sql, tuple(where.values())).fetchall()

    def find(self, table: str, **where: object) -> Row | None:
        """The first such row, or None."""
        rows = self.select(table, **where)
        return rows[0] if rows else None

    def insert(self, table: str, **values: object) -> int:
        """Add a row and return its id."""
        columns, marks = ", ".join(values), ", ".join("?" * len(values))
        sql = f"INSERT INTO {table} ({columns}) VALUES ({marks})"  # noqa: S608
        with self._lock:
            row_id = self._connection.execute(sql, tuple(values.values())).lastrowid
        assert row_id is not None
        return row_id

    def update(self, table: str, row_id: int, **values: object) -> None:
        """Change columns of one row."""
        changes = ", ".join(f"{column} = ?" for column in values)
        sql = f"UPDATE {table} SET {changes} WHERE id = ?"  # noqa: S608
        with self._lock:
            self._connection.execute(sql, (*values.values(), row_id))

    def delete(self, table: str, **where: object) -> int:
        """Remove the rows whose columns have these values; returns how many there were."""
        condition = " AND ".join(f"{column} = ?" for column in where)
        sql = f"DELETE FROM {table} WHERE {condition}"  # noqa: S608
        with self._lock:
            return self._connection.execute(sql, tuple(where.values())).rowcount

    def touch_job(self, job: Row) -> None:
        """Move ``updated_date`` of a job, its task and its project, as every annotation write does."""
        self.update("jobs", job["id"], updated_date=now())
        self.touch_task(job["task_id"], job["project_id"])

    def touch_task(self, task_id: int, project_id: int | None) -> None:
        """Move ``updated_date`` of a task and its project."""
        self.update("tasks", task_id, updated_date=now())
        if project_id is not None:
            self.update("projects", project_id, updated_date=now())

    def task_folder(self, task_id: int) -> Path:
        """Where the files of a task lie: ``incoming/`` while they are sent, then ``images/``."""
        return self.folder / "tasks" / str(task_id)

    def drop_task(self, task_id: int) -> None:
        """Delete a task, what belongs to it, and its files."""
        self.delete("tasks", id=task_id)
        shutil.rmtree(self.task_folder(task_id), ignore_errors=True)


def _claimed(folder: Path) -> IO[bytes]:
    # the kernel gives the lock back however the process ends
    claim = (folder / "lock").open("wb")
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        claim.close()
        raise ConfigError(
            "another sandbox is using this folder",
            where=folder,
            hint="stop it, or give another --state folder",
        ) from None
    return claim


def _statements(script: str) -> Iterator[str]:
    # executescript() would commit the transaction that makes the creation all or nothing
    pending = ""
    for line in script.splitlines():
        pending += line + "\n"
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
