"""The file of a SQLite journal: opened, configured, refused when damaged; one thread uses it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from constellation.errors import (
    ConfigError,
    ConstellationError,
    DamagedStoreError,
    NotReadyError,
    StoreFailedError,
    StoreInUseError,
)
from constellation.storage.data_dir import held, sync_directory
from constellation.storage.sqlite.schema import write_ahead_log
from constellation.storage.sqlite.wal import REMEDY as SHARD_REMEDY
from constellation.storage.sqlite.wal import check_wal

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger(__name__)

SCHEMA_VERSION: Final = 1
PAGE_SIZE: Final = 16_384
"""Rows of a few MiB: larger pages, fewer of them."""
CHECKPOINT_BYTES: Final = 32 * 2**20
"""Of write-ahead log, before it moves to the database."""
REMEDY: Final = (
    "restore it from a backup, or delete the data directory: the federation begins a new journal"
)

_OLDEST_SQLITE: Final = (3, 37, 0)  # STRICT tables
_FIXED_HEADER: Final = (
    b"SQLite format 3\0" + PAGE_SIZE.to_bytes(2, "big") + bytes((2, 2, 0, 64, 32, 32))
)
"""The first 24 bytes of every journal; 2, 2 says that it has a write-ahead log."""
_SETTINGS: Final = (
    f"PRAGMA page_size = {PAGE_SIZE}",
    "PRAGMA locking_mode = EXCLUSIVE",  # before the next line: then there is no -shm file
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # NORMAL would lose rounds when the power fails
    "PRAGMA wal_autocheckpoint = 0",  # SQLite swallows what fails in it
    "PRAGMA temp_store = MEMORY",
)
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
)
_DAMAGE: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_LOCKED: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


class JournalFile:
    """The database of one journal and the lock of its directory. Used by one thread alone."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._database = data_dir / "federation.db"
        self._connection: sqlite3.Connection | None = None
        self._lock = ExitStack()
        self._failure: str | None = None
        """Why nothing may be done any more."""

    def open(self) -> None:
        """Take the lock, then open the database; nothing happens when it is open already.

        Raises StoreInUseError while another process has it.
        """
        if self._connection is not None:
            return
        with ExitStack() as lock:
            lock.enter_context(held(self._data_dir))
            try:
                self._connection = _connect(self._database)
            except sqlite3.DatabaseError as error:
                raise _explained(self._database, error) from error
            sync_directory(self._data_dir)
            self._lock = lock.pop_all()

    def close(self) -> None:
        """Move the log into the database, and let go of the lock."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()

    def read(self, work: Work[T]) -> T:
        connection = self._usable()
        try:
            return work(connection)
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise  # a mistake of ours
        except sqlite3.DatabaseError as error:
            raise _explained(self._database, error) from error

    def write(self, work: Work[None]) -> None:
        """Do the work in one transaction: durable on return, or undone."""
        connection = self._usable()
        try:
            _transact(connection, work)
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise
        except sqlite3.DatabaseError as error:
            if _code(error) == sqlite3.SQLITE_FULL and not connection.in_transaction:
                raise _explained(self._database, error) from error
            # After a failed fsync nobody knows what is on disk, and the next one says all is well.
            self._failure = str(_failed(self._database, error))
            raise StoreFailedError(self._failure) from error

    def checkpoint(self) -> None:
        """Move a log that has grown into the database. A failure is the next call's."""
        connection = self._usable()
        if write_ahead_log(self._database).stat().st_size < CHECKPOINT_BYTES:
            return
        try:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.DatabaseError as error:
            if _code(error) != sqlite3.SQLITE_FULL:  # then the log keeps the rounds a while longer
                self._failure = str(_failed(self._database, error))
                log.error("checkpoint_failed", problem=self._failure)  # noqa: TRY400

    def _usable(self) -> sqlite3.Connection:
        if self._failure is not None:
            raise StoreFailedError(self._failure)
        if self._connection is None:
            raise NotReadyError("this federation is not the active one yet")
        return self._connection


def _transact(connection: sqlite3.Connection, work: Work[None]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        work(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # some failures roll back by themselves
            connection.execute("ROLLBACK")
        raise


def _connect(database: Path) -> sqlite3.Connection:
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise ConfigError(f"SQLite is {sqlite3.sqlite_version}; this needs 3.37 or newer")
    _check_files(database)
    connection = sqlite3.connect(database, timeout=1, isolation_level=None)
    try:
        for setting in _SETTINGS:
            connection.execute(setting).fetchall()
        _transact(connection, lambda connection: _create(connection, database))
        # What a crash left behind the last commit must not be there when the next crash is judged.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _check_files(database: Path) -> None:
    header = b""
    if database.exists():
        with database.open("rb") as file:
            header = file.read(len(_FIXED_HEADER))
    rollback = database.with_name(f"{database.name}-journal")  # only while the file is being made
    if header and header != _FIXED_HEADER and not rollback.exists():
        raise _damaged(database, "its header is wrong")
    try:
        report = check_wal(write_ahead_log(database), PAGE_SIZE)
    except DamagedStoreError as error:
        raise DamagedStoreError(str(error).replace(SHARD_REMEDY, REMEDY)) from error
    if report.commits and not header:
        raise _damaged(database, "it is empty, but its write-ahead log is not")


def _create(connection: sqlite3.Connection, database: Path) -> None:
    """Make the schema when there is none; refuse one of another version."""
    if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,):
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute(
            "INSERT INTO federation VALUES (1, ?, ?)",
            (SCHEMA_VERSION, time.time_ns() // 1_000_000),
        )
    row = connection.execute("SELECT schema_version FROM federation").fetchone()
    if row is None:
        raise _damaged(database, "the row of its generation is gone")
    if row[0] != SCHEMA_VERSION:
        raise ConfigError(
            f"{database} has schema version {row[0]}, this program knows "
            f"{SCHEMA_VERSION}: start the version that wrote it"
        )


def _explained(database: Path, error: sqlite3.DatabaseError) -> ConstellationError:
    code = _code(error)
    if code is None or code in _DAMAGE:
        return _damaged(database, str(error))
    if code in _LOCKED:
        return StoreInUseError(f"{database} is open in another program: close it")
    if code == sqlite3.SQLITE_FULL:
        return NotReadyError(f"disk full: {database} cannot grow; free some space")
    return _failed(database, error)


def _damaged(database: Path, problem: str) -> DamagedStoreError:
    return DamagedStoreError(f"{database} is damaged ({problem}): {REMEDY}")


def _failed(database: Path, error: sqlite3.DatabaseError) -> StoreFailedError:
    name = getattr(error, "sqlite_errorname", "no error code")
    return StoreFailedError(f"{database}: {error} ({name}); restart once the disk is sound")


def _code(error: sqlite3.DatabaseError) -> int | None:
    """Return SQLite's error without its detail; None for an error of the sqlite3 module's own."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
