"""The database file of a shard: opened, configured, and refused when damaged."""

from __future__ import annotations

import secrets
import sqlite3
from typing import TYPE_CHECKING, Final

from constellation.core.store import SECRET_BYTES
from constellation.errors import ConfigError, DamagedStoreError
from constellation.storage.sqlite.wal import REMEDY, check_wal

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA_VERSION: Final = 2
PAGE_SIZE: Final = 4096
"""Seven rows a page. A commit of 100 rows at random among 200,000 took 1.0 ms; with 16 KiB, 2.2."""

_OLDEST_SQLITE: Final = (3, 37, 0)  # STRICT tables
_FIXED_HEADER: Final = (
    b"SQLite format 3\0" + PAGE_SIZE.to_bytes(2, "big") + bytes((2, 2, 0, 64, 32, 32))
)
"""The first 24 bytes of every database of ours; 2, 2 says that it has a write-ahead log."""

_SETTINGS: Final = (
    f"PRAGMA page_size = {PAGE_SIZE}",
    "PRAGMA locking_mode = EXCLUSIVE",  # before the next line: then there is no -shm file
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # NORMAL would lose acked commits when the power fails
    "PRAGMA wal_autocheckpoint = 0",  # SQLite swallows what fails in it; the store calls it instead
    "PRAGMA mmap_size = 1073741824",
    "PRAGMA cache_size = -65536",  # KiB, negated
    "PRAGMA temp_store = MEMORY",
)
_HOURLY_COUNT: Final = """CREATE TABLE hourly_count (
         hour INTEGER NOT NULL, kind INTEGER NOT NULL, number INTEGER NOT NULL,
         devices INTEGER NOT NULL, PRIMARY KEY (hour, kind, number)) STRICT, WITHOUT ROWID"""
_GLOBAL: Final = """CREATE TABLE global (
         only INTEGER PRIMARY KEY CHECK (only = 1), generation INTEGER NOT NULL,
         round_id INTEGER NOT NULL, payload BLOB NOT NULL) STRICT"""
_SCHEMA: Final = (
    "CREATE TABLE pattern (slot INTEGER PRIMARY KEY, row BLOB NOT NULL) STRICT",
    "CREATE TABLE device (slot INTEGER PRIMARY KEY, row BLOB NOT NULL) STRICT",
    """CREATE TABLE word (
         kind INTEGER NOT NULL, number INTEGER NOT NULL, text TEXT NOT NULL,
         PRIMARY KEY (kind, number)) STRICT, WITHOUT ROWID""",
    _HOURLY_COUNT,
    """CREATE TABLE content (
         content_id TEXT NOT NULL PRIMARY KEY COLLATE BINARY, title TEXT NOT NULL,
         content_type INTEGER NOT NULL, genres TEXT NOT NULL, year INTEGER NOT NULL,
         codes BLOB NOT NULL) STRICT""",
    "CREATE TABLE change (lsn INTEGER PRIMARY KEY, slots BLOB NOT NULL) STRICT",
    """CREATE TABLE shard (
         schema_version INTEGER NOT NULL, epoch INTEGER NOT NULL, lsn INTEGER NOT NULL,
         patterns INTEGER NOT NULL, devices INTEGER NOT NULL,
         pattern_digest INTEGER NOT NULL, device_digest INTEGER NOT NULL,
         secret BLOB NOT NULL) STRICT""",
    _GLOBAL,
)
_UPGRADES: Final = {
    1: (  # counts had no kind: all were of contents, which are kind 2
        "ALTER TABLE hourly_count RENAME TO earlier_count",
        _HOURLY_COUNT,
        "INSERT INTO hourly_count SELECT hour, 2, content, devices FROM earlier_count",
        "DROP TABLE earlier_count",
        _GLOBAL,
        "UPDATE shard SET schema_version = 2",
    ),
}
"""By schema version: what brings a database to the next one."""


def connect(database: Path) -> sqlite3.Connection:
    """Open the database, made when missing, for this thread alone.

    Raises DamagedStoreError before SQLite could hide the damage.
    """
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise ConfigError(f"SQLite is {sqlite3.sqlite_version}; this needs 3.37 or newer")
    _check_files(database)
    connection = sqlite3.connect(database, timeout=1, isolation_level=None)
    try:
        for setting in _SETTINGS:
            connection.execute(setting).fetchall()
        _create_or_upgrade(connection, database)
        # What a crash left behind the last commit must not be there when the next crash is judged.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def write_ahead_log(database: Path) -> Path:
    return database.with_name(f"{database.name}-wal")


def damaged(database: Path, problem: str) -> DamagedStoreError:
    return DamagedStoreError(f"{database} is damaged ({problem}): {REMEDY}")


def _check_files(database: Path) -> None:
    header = b""
    if database.exists():
        with database.open("rb") as file:
            header = file.read(len(_FIXED_HEADER))
    journal = database.with_name(f"{database.name}-journal")  # only while the file is being made
    if header and header != _FIXED_HEADER and not journal.exists():
        raise damaged(database, "its header is wrong")
    report = check_wal(write_ahead_log(database), PAGE_SIZE)
    if report.commits and not header:
        raise damaged(database, "it is empty, but its write-ahead log is not")


def _create_or_upgrade(connection: sqlite3.Connection, database: Path) -> None:
    """Bring the schema to this program's version, all or nothing; refuse a later one."""
    connection.execute("BEGIN IMMEDIATE")
    if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,):
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute(
            "INSERT INTO shard VALUES (?, 0, 0, 0, 0, 0, 0, ?)",
            (SCHEMA_VERSION, secrets.token_bytes(SECRET_BYTES)),
        )
    versions = connection.execute("SELECT schema_version FROM shard").fetchall()
    if len(versions) != 1:
        raise damaged(database, f"{len(versions)} rows of totals instead of one")
    version = versions[0][0]
    if version != SCHEMA_VERSION and version not in _UPGRADES:
        raise ConfigError(
            f"{database} has schema version {version}, this program knows "
            f"{SCHEMA_VERSION}: start the version that wrote it"
        )
    for earlier in range(version, SCHEMA_VERSION):
        for statement in _UPGRADES[earlier]:
            connection.execute(statement)
    connection.execute("COMMIT")
