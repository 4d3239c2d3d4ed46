"""The schema of a shard's SQLite file: created, upgraded, or refused when it is newer."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from constellation.core.store import SECRET_BYTES
from constellation.errors import ConfigError
from constellation.storage.data_dir import SHARD_DATABASE
from constellation.storage.sqlite.file import SqliteFile

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

SCHEMA_VERSION: Final = 10
PAGE_SIZE: Final = 4096
"""Bytes in a page, which holds seven pattern rows.

A commit of 100 random rows among 200,000 took 1.0 ms; with pages of 16 KiB it took 2.2 ms.
"""

_REMEDY: Final = "restore it from a backup, or delete the data directory: devices will resync"
_PRAGMAS: Final = (
    "PRAGMA mmap_size = 1073741824",
    "PRAGMA cache_size = -65536",  # 64 MiB: a negative number means KiB
    "PRAGMA secure_delete = ON",  # nothing of a deleted device stays in free pages
)
_HOURLY_COUNT_TABLE: Final = """CREATE TABLE hourly_count (
         hour INTEGER NOT NULL, kind INTEGER NOT NULL, number INTEGER NOT NULL,
         devices INTEGER NOT NULL, PRIMARY KEY (hour, kind, number)) STRICT, WITHOUT ROWID"""
_GLOBAL_TABLE: Final = """CREATE TABLE global (
         only INTEGER PRIMARY KEY CHECK (only = 1), generation INTEGER NOT NULL,
         round_id INTEGER NOT NULL, payload BLOB NOT NULL) STRICT"""
_LIKED_TABLE: Final = "CREATE TABLE liked (slot INTEGER PRIMARY KEY, row BLOB NOT NULL) STRICT"
_ADD_LIKED_DIGEST: Final = "ALTER TABLE shard ADD COLUMN liked_digest INTEGER NOT NULL DEFAULT 0"
_GROUPING_TABLE: Final = (
    "CREATE TABLE grouping (slot INTEGER PRIMARY KEY, row BLOB NOT NULL) STRICT"
)
_ADD_GROUP_DIGEST: Final = "ALTER TABLE shard ADD COLUMN group_digest INTEGER NOT NULL DEFAULT 0"
_ADD_GLOBAL_DIGEST: Final = "ALTER TABLE global ADD COLUMN digest BLOB"
_SCHEMA: Final = (
    "CREATE TABLE pattern (slot INTEGER PRIMARY KEY, row BLOB NOT NULL) STRICT",
    "CREATE TABLE device (slot INTEGER PRIMARY KEY, row BLOB NOT NULL) STRICT",
    """CREATE TABLE term (
         kind INTEGER NOT NULL, number INTEGER NOT NULL, text TEXT NOT NULL,
         PRIMARY KEY (kind, number)) STRICT, WITHOUT ROWID""",
    _HOURLY_COUNT_TABLE,
    """CREATE TABLE content (
         content_id TEXT NOT NULL PRIMARY KEY COLLATE BINARY, title TEXT NOT NULL,
         content_type INTEGER NOT NULL, genres TEXT NOT NULL, year INTEGER NOT NULL,
         codes BLOB NOT NULL) STRICT""",
    """CREATE TABLE shard (
         schema_version INTEGER NOT NULL, epoch INTEGER NOT NULL, lsn INTEGER NOT NULL,
         patterns INTEGER NOT NULL, devices INTEGER NOT NULL,
         pattern_digest INTEGER NOT NULL, device_digest INTEGER NOT NULL,
         secret BLOB NOT NULL, shard_id INTEGER, region TEXT, dimension INTEGER,
         catalogue_digest INTEGER, count_digest INTEGER) STRICT""",
    _GLOBAL_TABLE,
    _ADD_GLOBAL_DIGEST,
    _LIKED_TABLE,
    _ADD_LIKED_DIGEST,
    _GROUPING_TABLE,
    _ADD_GROUP_DIGEST,
)
_UPGRADES: Final = {
    1: (  # hourly counts had no kind: all of them were counts of content items, which is kind 2
        "ALTER TABLE hourly_count RENAME TO earlier_count",
        _HOURLY_COUNT_TABLE,
        "INSERT INTO hourly_count SELECT hour, 2, content, devices FROM earlier_count",
        "DROP TABLE earlier_count",
        _GLOBAL_TABLE,
        "UPDATE shard SET schema_version = 2",
    ),
    2: (
        "ALTER TABLE word RENAME TO term",
        "UPDATE shard SET schema_version = 3",
    ),
    3: (
        "ALTER TABLE shard ADD COLUMN shard_id INTEGER",
        "ALTER TABLE shard ADD COLUMN region TEXT",
        "ALTER TABLE shard ADD COLUMN dimension INTEGER",
        "UPDATE shard SET schema_version = 4",
    ),
    4: (  # NULL until the first `serve` has read the catalogue
        "ALTER TABLE shard ADD COLUMN content_digest INTEGER",
        "UPDATE shard SET schema_version = 5",
    ),
    5: (  # the digest of the catalogue covers terms: NULL until the first `serve` has read both
        "ALTER TABLE shard RENAME COLUMN content_digest TO catalogue_digest",
        "UPDATE shard SET catalogue_digest = NULL",
        "ALTER TABLE shard ADD COLUMN count_digest INTEGER",
        _ADD_GLOBAL_DIGEST,
        "UPDATE shard SET schema_version = 6",
    ),
    6: (
        _LIKED_TABLE,
        _ADD_LIKED_DIGEST,
        "UPDATE shard SET schema_version = 7",
    ),
    7: (  # zeros add nothing to the digest of a row; such a device counts for others at once
        "UPDATE device SET row = CAST(row || zeroblob(24) AS BLOB)",
        "UPDATE shard SET schema_version = 8",
    ),
    8: (  # the index holds shared patterns, which say themselves when they changed
        _GROUPING_TABLE,
        _ADD_GROUP_DIGEST,
        "DROP TABLE change",
        "UPDATE shard SET schema_version = 9",
    ),
    9: (  # zeros: what a device contributed in the week of the upgrade is not known
        "UPDATE device SET row = CAST(row || zeroblob(8) AS BLOB)",
        "UPDATE shard SET schema_version = 10",
    ),
}
"""By schema version: the statements that upgrade a database to the next version."""


def database_file(data_dir: Path) -> SqliteFile:
    """Return the database file of the shard whose data directory this is."""
    return SqliteFile(data_dir / SHARD_DATABASE, PAGE_SIZE, _REMEDY, _PRAGMAS)


def create_or_upgrade(connection: sqlite3.Connection, file: SqliteFile) -> None:
    """Create the schema, or upgrade it to SCHEMA_VERSION.

    Raises ConfigError when the schema is newer than this program, and DamagedStoreError when the
    totals are missing.
    """
    if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,):
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute(
            "INSERT INTO shard VALUES (?, 0, 0, 0, 0, 0, 0, ?, NULL, NULL, NULL, 0, 0, 0, 0)",
            (SCHEMA_VERSION, secrets.token_bytes(SECRET_BYTES)),
        )
    versions = connection.execute("SELECT schema_version FROM shard").fetchall()
    if len(versions) != 1:
        raise file.make_damage_error(f"it has {len(versions)} rows of totals instead of one")
    version = versions[0][0]
    if version != SCHEMA_VERSION and version not in _UPGRADES:
        raise ConfigError(
            f"{file.database} has schema version {version}, but this program supports only "
            f"versions up to {SCHEMA_VERSION}: start the program version that wrote it"
        )
    for earlier in range(version, SCHEMA_VERSION):
        for statement in _UPGRADES[earlier]:
            connection.execute(statement)
