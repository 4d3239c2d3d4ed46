"""One SQLite file: opened with fixed settings, checked for damage, its errors translated."""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from constellation.errors import (
    ConfigError,
    ConstellationError,
    DamagedStoreError,
    NotReadyError,
    StoreFailedError,
    StoreInUseError,
)
from constellation.storage.data_dir import lock_path
from constellation.storage.file_guard import FileGuard
from constellation.storage.sqlite.wal import check_wal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from constellation.histogram import Histogram

_MINIMUM_SQLITE: Final = (3, 37, 0)  # STRICT tables
_DAMAGE_CODES: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_LOCKED_CODES: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


@dataclass(frozen=True, slots=True)
class SqliteFile:
    """A database file: its path, its settings, and the remedy when it is damaged."""

    database: Path
    page_size: int
    remedy: str
    """What an operator can do about damage. It ends the message of each DamagedStoreError."""
    pragmas: tuple[str, ...] = ()
    """PRAGMA statements to run after those that every file needs."""

    @property
    def log(self) -> Path:
        """The path of the write-ahead log."""
        return self.database.with_name(f"{self.database.name}-wal")

    def connect(self, prepare: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
        """Open the database for the calling thread only; create it if it is missing.

        `prepare` creates or upgrades the schema, inside one transaction. Raises DamagedStoreError
        before SQLite opens the file, because SQLite would hide some kinds of damage. Raises
        StoreInUseError, NotReadyError or StoreFailedError for other errors of SQLite, and
        ConfigError when the SQLite library is too old.
        """
        if sqlite3.sqlite_version_info < _MINIMUM_SQLITE:
            raise ConfigError(
                f"the SQLite library has version {sqlite3.sqlite_version}, but version 3.37 or "
                "newer is required: use a Python that was built with one"
            )
        self._check_files()
        connection = sqlite3.connect(self.database, timeout=1, isolation_level=None)
        try:
            for statement in self._statements():
                connection.execute(statement).fetchall()
            transact(connection, prepare)
            # Remove what a crash left after the last commit. If it stayed, `check_wal` could not
            # judge the log after the next crash.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.DatabaseError as error:
            connection.close()
            raise self.translate_error(error) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def guard(self) -> FileGuard:
        """Return a guard of what `connect` has opened, and of the directory's lock.

        To be asked after every write, before it is acknowledged. Raises StoreFailedError.
        """
        return FileGuard((self.database, self.log, lock_path(self.database.parent)))

    def translate_error(self, error: sqlite3.DatabaseError) -> ConstellationError:
        """Return the error to raise in place of an error of SQLite."""
        code = get_error_code(error)
        if code is None or code in _DAMAGE_CODES:
            return self.make_damage_error(str(error))
        if code in _LOCKED_CODES:
            return StoreInUseError(f"{self.database} is open in another program: end that program")
        if code == sqlite3.SQLITE_FULL:
            return self.make_full_disk_error()
        return self.make_failure_error(error)

    def make_damage_error(self, problem: str) -> DamagedStoreError:
        """Return the error for a file that is damaged and must not be used."""
        return DamagedStoreError(f"{self.database} is damaged ({problem}): {self.remedy}")

    def make_full_disk_error(self) -> NotReadyError:
        """Return the error for a file that cannot grow because the disk is full."""
        return NotReadyError(f"disk full: {self.database} cannot grow; free some space")

    def make_failure_error(self, error: sqlite3.DatabaseError) -> StoreFailedError:
        """Return the error for a failed read or write, after which the file cannot be trusted."""
        name = getattr(error, "sqlite_errorname", "no error code")
        return StoreFailedError(f"{self.database}: {error} ({name}); check the disk, then restart")

    def _statements(self) -> tuple[str, ...]:
        return (
            f"PRAGMA page_size = {self.page_size}",
            "PRAGMA locking_mode = EXCLUSIVE",  # set before WAL mode, so that there is no -shm file
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = FULL",  # NORMAL would lose commits after a power failure
            "PRAGMA wal_autocheckpoint = 0",  # SQLite hides errors of automatic checkpoints
            "PRAGMA temp_store = MEMORY",
            *self.pragmas,
        )

    def _check_files(self) -> None:
        # The first 24 bytes of each database that `connect` made; 2, 2 means write-ahead logging.
        expected = (
            b"SQLite format 3\0" + self.page_size.to_bytes(2, "big") + bytes((2, 2, 0, 64, 32, 32))
        )
        header = b""
        if self.database.exists():
            with self.database.open("rb") as file:
                header = file.read(len(expected))
        # A rollback journal exists only while the file is being created.
        rollback = self.database.with_name(f"{self.database.name}-journal")
        if header and header != expected and not rollback.exists():
            raise self.make_damage_error("its header is wrong")
        report = check_wal(self.log, self.page_size, self.remedy)
        if report.commits and not header:
            raise self.make_damage_error("it is empty, but its write-ahead log holds commits")


@contextmanager
def open_transaction(
    connection: sqlite3.Connection, sync_seconds: Histogram | None = None
) -> Iterator[None]:
    """Commit the block, all or nothing. `sync_seconds` records how long COMMIT took."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        started = time.perf_counter()
        connection.execute("COMMIT")
        if sync_seconds is not None:
            sync_seconds.observe(time.perf_counter() - started)
    except BaseException:
        if connection.in_transaction:  # after some errors, SQLite has rolled back already
            connection.execute("ROLLBACK")
        raise


def transact(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], None]) -> None:
    """Run `work` in one transaction, all or nothing."""
    with open_transaction(connection):
        work(connection)


def get_error_code(error: sqlite3.DatabaseError) -> int | None:
    """Return SQLite's primary error code, or None for an error of the sqlite3 module itself."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
