"""JournalFile: the database file of a SQLite journal, and the lock of its directory."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from constellation.errors import (
    ConfigError,
    NotReadyError,
    StoreFailedError,
)
from constellation.storage.data_dir import (
    JOURNAL_DATABASE,
    SHARD_FILES,
    lock_directory,
    sync_directory,
)
from constellation.storage.sqlite.file import SqliteFile, get_error_code, transact

if TYPE_CHECKING:
    from pathlib import Path

    from constellation.storage.file_guard import FileGuard

log = structlog.get_logger(__name__)

SCHEMA_VERSION: Final = 2
PAGE_SIZE: Final = 16_384
"""Larger than SQLite's default, because rows have a few MiB."""
CHECKPOINT_BYTES: Final = 32 * 2**20
"""When the write-ahead log reaches this size, its contents are moved to the database."""
_REMEDY: Final = (
    "restore it from a backup, or delete the data directory: the federation begins a new journal"
)

_CREATE_LEDGER: Final = """CREATE TABLE privacy_ledger (
  mechanism TEXT NOT NULL, data_epoch INTEGER NOT NULL, week INTEGER NOT NULL,
  units INTEGER NOT NULL CHECK (units > 0), scale REAL NOT NULL, norm_squared INTEGER NOT NULL,
  round_id INTEGER NOT NULL, spent_at REAL NOT NULL, PRIMARY KEY (mechanism, data_epoch)) STRICT"""
_SCHEMA: Final = (
    """CREATE TABLE federation (
         one INTEGER PRIMARY KEY CHECK (one = 1), schema_version INTEGER NOT NULL,
         generation INTEGER NOT NULL) STRICT""",
    """CREATE TABLE round (
         round_id INTEGER PRIMARY KEY, state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 4),
         started_at REAL NOT NULL, summary BLOB NOT NULL) STRICT""",
    """CREATE TABLE round_result (
         one INTEGER PRIMARY KEY CHECK (one = 1), round_id INTEGER NOT NULL,
         result BLOB NOT NULL, memory BLOB NOT NULL) STRICT""",
    "CREATE TABLE round_aggregate (shard_id INTEGER PRIMARY KEY, payload BLOB NOT NULL) STRICT",
    _CREATE_LEDGER,
)

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


class JournalFile:
    """The database file of one journal and the lock of its directory. For one thread only."""

    def __init__(self, data_dir: Path, pragmas: tuple[str, ...] = ()) -> None:
        self._data_dir = data_dir
        self._file = SqliteFile(data_dir / JOURNAL_DATABASE, PAGE_SIZE, _REMEDY, pragmas)
        self._connection: sqlite3.Connection | None = None
        self._guard: FileGuard | None = None
        """Present as long as the connection is."""
        self._lock = ExitStack()
        self._failure: str | None = None
        """Why the file can no longer be trusted; None as long as it can."""

    def open(self) -> None:
        """Take the lock, then open the database. Does nothing if it is already open.

        Raises StoreInUseError while another process has the lock.
        """
        if self._connection is not None:
            return
        with ExitStack() as lock:
            lock.enter_context(lock_directory(self._data_dir, SHARD_FILES))
            self._connection = self._file.connect(partial(_ensure_schema, file=self._file))
            sync_directory(self._data_dir)
            self._guard = self._file.guard()
            self._lock = lock.pop_all()

    def close(self) -> None:
        """Close the database, which empties its write-ahead log, and release the lock."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()

    def read(self, work: Work[T]) -> T:
        """Return the result of `work`, which only reads."""
        connection = self._require_connection()
        try:
            return work(connection)
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise  # a bug in this program, not a problem of the file
        except sqlite3.DatabaseError as error:
            raise self._file.translate_error(error) from error

    def write(self, work: Work[None]) -> None:
        """Run `work` in one transaction: durable on return, undone if this raises."""
        connection = self._require_connection()
        try:
            transact(connection, work)
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise
        except sqlite3.DatabaseError as error:
            if get_error_code(error) == sqlite3.SQLITE_FULL and not connection.in_transaction:
                raise self._file.translate_error(error) from error
            # After a failed fsync, the contents of the disk are unknown, and a second fsync would
            # report success all the same.
            self._failure = str(self._file.make_failure_error(error))
            raise StoreFailedError(self._failure) from error
        self.require_intact()

    def require_intact(self) -> None:
        """Raise StoreFailedError, now and at every later call, once a file was removed or replaced.

        What was written since then is lost.
        """
        self._require_connection()
        assert self._guard is not None
        try:
            self._guard.require_intact()
        except StoreFailedError as error:
            self._failure = str(error)
            raise

    def checkpoint(self) -> None:
        """Empty a large write-ahead log into the database. If this fails, later calls raise."""
        connection = self._require_connection()
        if self._file.log.stat().st_size < CHECKPOINT_BYTES:
            return
        try:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.DatabaseError as error:
            if (
                get_error_code(error) != sqlite3.SQLITE_FULL
            ):  # with a full disk the log keeps the rounds
                self._failure = str(self._file.make_failure_error(error))
                log.error("checkpoint_failed", problem=self._failure)  # noqa: TRY400

    def _require_connection(self) -> sqlite3.Connection:
        if self._failure is not None:
            raise StoreFailedError(self._failure)
        if self._connection is None:
            raise NotReadyError("this federation is not the active one yet")
        return self._connection


def _ensure_schema(connection: sqlite3.Connection, file: SqliteFile) -> None:
    """Create the schema if there is none, or bring that of version 1 up to date.

    Raises ConfigError for another version of it.
    """
    if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,):
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute(
            "INSERT INTO federation VALUES (1, ?, ?)",
            (SCHEMA_VERSION, time.time_ns() // 1_000_000),
        )
    row = connection.execute("SELECT schema_version FROM federation").fetchone()
    if row is None:
        raise file.make_damage_error("the row of table federation is missing")
    if row[0] == 1:
        connection.execute(_CREATE_LEDGER)
        connection.execute("UPDATE federation SET schema_version = 2")
    elif row[0] != SCHEMA_VERSION:
        raise ConfigError(
            f"{file.database} has schema version {row[0]}, this program knows {SCHEMA_VERSION}: "
            "start the version that wrote it"
        )
