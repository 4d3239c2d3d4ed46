"""A SQLite file of ours: opened with our settings, refused when damaged, its errors translated."""

from __future__ import annotations

import sqlite3
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
from constellation.storage.sqlite.wal import check_wal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_MINIMUM_SQLITE: Final = (3, 37, 0)  # STRICT tables
_DAMAGE_CODES: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_LOCKED_CODES: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


@dataclass(frozen=True, slots=True)
class SqliteFile:
    """One database file: where it is, how it is opened, and what to do when it is damaged."""

    database: Path
    page_size: int
    remedy: str
    """What an operator can do about damage; ends the message of a DamagedStoreError."""
    pragmas: tuple[str, ...] = ()
    """PRAGMA statements beside those that every file needs."""

    @property
    def log(self) -> Path:
        """The write-ahead log."""
        return self.database.with_name(f"{self.database.name}-wal")

    def connect(self, prepare: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
        """Open the database, created when missing, for the calling thread alone.

        `prepare` creates or upgrades the schema, inside one transaction. Raises DamagedStoreError
        before SQLite could hide the damage.
        """
        if sqlite3.sqlite_version_info < _MINIMUM_SQLITE:
            raise ConfigError(f"SQLite is {sqlite3.sqlite_version}; this needs 3.37 or newer")
        self._check_files()
        connection = sqlite3.connect(self.database, timeout=1, isolation_level=None)
        try:
            for statement in self._statements():
                connection.execute(statement).fetchall()
            transact(connection, prepare)
            # What a crash left behind the last commit must be gone before the next crash is judged.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.DatabaseError as error:
            connection.close()
            raise self.translate(error) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def translate(self, error: sqlite3.DatabaseError) -> ConstellationError:
        """Return our error for one of SQLite."""
        code = error_code(error)
        if code is None or code in _DAMAGE_CODES:
            return self.damaged(str(error))
        if code in _LOCKED_CODES:
            return StoreInUseError(f"{self.database} is open in another program: close it")
        if code == sqlite3.SQLITE_FULL:
            return self.full()
        return self.failed(error)

    def damaged(self, problem: str) -> DamagedStoreError:
        """Return the error for a file that must not be used."""
        return DamagedStoreError(f"{self.database} is damaged ({problem}): {self.remedy}")

    def full(self) -> NotReadyError:
        """Return the error for a file that cannot grow."""
        return NotReadyError(f"disk full: {self.database} cannot grow; free some space")

    def failed(self, error: sqlite3.DatabaseError) -> StoreFailedError:
        """Return the error for a disk that cannot be trusted any more."""
        name = getattr(error, "sqlite_errorname", "no error code")
        return StoreFailedError(
            f"{self.database}: {error} ({name}); restart once the disk is sound"
        )

    def _statements(self) -> tuple[str, ...]:
        return (
            f"PRAGMA page_size = {self.page_size}",
            "PRAGMA locking_mode = EXCLUSIVE",  # before the next line: then there is no -shm file
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = FULL",  # NORMAL would lose commits when the power fails
            "PRAGMA wal_autocheckpoint = 0",  # SQLite swallows what fails in it; we call it instead
            "PRAGMA temp_store = MEMORY",
            *self.pragmas,
        )

    def _check_files(self) -> None:
        # The first 24 bytes of every database of ours; 2, 2 means that it has a write-ahead log.
        expected = (
            b"SQLite format 3\0" + self.page_size.to_bytes(2, "big") + bytes((2, 2, 0, 64, 32, 32))
        )
        header = b""
        if self.database.exists():
            with self.database.open("rb") as file:
                header = file.read(len(expected))
        # There is a rollback journal only while the file is being created.
        rollback = self.database.with_name(f"{self.database.name}-journal")
        if header and header != expected and not rollback.exists():
            raise self.damaged("its header is wrong")
        report = check_wal(self.log, self.page_size, self.remedy)
        if report.commits and not header:
            raise self.damaged("it is empty, but its write-ahead log is not")


def transact(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], None]) -> None:
    """Do the work in one transaction: all of it, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        work(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # some failures roll back by themselves
            connection.execute("ROLLBACK")
        raise


def error_code(error: sqlite3.DatabaseError) -> int | None:
    """Return SQLite's code without its detail; None for an error of the sqlite3 module itself."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
