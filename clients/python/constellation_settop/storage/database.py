"""The SQLite file of the outbox: its tables, opening it, and transactions."""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from constellation_settop.errors import StorageError
from constellation_settop.storage.problems import explain_error

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger("constellation_settop")

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS device_state(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS deltas(
  seq INTEGER PRIMARY KEY, snapshot INTEGER NOT NULL, size INTEGER NOT NULL, message BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS patterns(
  pattern_id BLOB PRIMARY KEY, columns BLOB NOT NULL, learner_state BLOB NOT NULL,
  shared_seq INTEGER NOT NULL, -- the delta that last carried it; 0 when the shard lacks it
  profile TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS watched(
  content_id TEXT NOT NULL, profile TEXT NOT NULL DEFAULT '', UNIQUE(profile, content_id)
);
CREATE TABLE IF NOT EXISTS history( -- in the order of rowid, the newest last
  content_id TEXT NOT NULL, opinion INTEGER NOT NULL, watched_at INTEGER NOT NULL,
  time_of_day INTEGER NOT NULL, day_type INTEGER NOT NULL, profile TEXT NOT NULL DEFAULT '',
  UNIQUE(profile, content_id)
);
CREATE TABLE IF NOT EXISTS unsaved_views( -- in the order of rowid; see views.py
  profile TEXT NOT NULL, content_id TEXT NOT NULL, watch_percentage REAL, engagement REAL,
  watched_at REAL, time_of_day INTEGER, day_type INTEGER, feedback INTEGER
);
CREATE TABLE IF NOT EXISTS related(row_id BLOB PRIMARY KEY, message BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS popular(list_id BLOB PRIMARY KEY, message BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS similar(
  pattern_id BLOB PRIMARY KEY, similarity REAL NOT NULL, columns BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS trends(
  name TEXT, is_genre INTEGER, message BLOB NOT NULL, PRIMARY KEY(name, is_genre)
);
CREATE TABLE IF NOT EXISTS clusters(
  cluster_id BLOB PRIMARY KEY, devices INTEGER NOT NULL, columns BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS acked_deltas(
  seq INTEGER PRIMARY KEY, message BLOB NOT NULL, rejected_ids BLOB NOT NULL, acked_at REAL NOT NULL
);
"""
"""The tables. A file of an older version that lacks some gets them when it is opened."""
SCHEMA_VERSION: Final = 1
"""The form of the tables, in the file's header: 0 until devices had profiles."""
_SET_ASIDE: Final = """
CREATE TABLE IF NOT EXISTS history(
  content_id TEXT PRIMARY KEY, opinion INTEGER NOT NULL, watched_at INTEGER NOT NULL,
  time_of_day INTEGER NOT NULL, day_type INTEGER NOT NULL
);
ALTER TABLE patterns ADD COLUMN profile TEXT NOT NULL DEFAULT '';
ALTER TABLE watched RENAME TO old_watched;
ALTER TABLE history RENAME TO old_history;
"""
"""Sets aside the tables of a file of version 0."""
_ADD_PROFILES: Final = """
INSERT INTO watched(content_id) SELECT content_id FROM old_watched ORDER BY rowid;
INSERT INTO history(content_id, opinion, watched_at, time_of_day, day_type)
  SELECT content_id, opinion, watched_at, time_of_day, day_type FROM old_history ORDER BY rowid;
DROP TABLE old_watched;
DROP TABLE old_history;
"""
"""Gives what was set aside to the default profile."""
_TABLE_COUNT: Final = SCHEMA.count("CREATE TABLE")
_MEMORY_PAGE_BYTES: Final = 1024
"""Pages of a file in memory: small, because each table has one at least."""
_CACHE_KIB: Final = 256
"""SQLite's page cache: small, because a set-top device has little memory."""


class Durability(Enum):
    """What a delta survives once it is in the file."""

    POWER_FAILURE = "FULL"
    """A power failure: each delta costs one fsync."""
    PROCESS_CRASH = "OFF"
    """A crash of the process only: no fsync, for simulating many devices on one machine."""


@contextmanager
def open_database(path: Path | str) -> Iterator[sqlite3.Connection]:
    """Open the file, or create it. ":memory:" means no file.

    A file that SQLite cannot read is renamed to "<name>.damaged", and a new one takes its place.
    Raises StorageError when another process has the file open, the directory is missing, or the
    disk refuses.
    """
    try:
        connection = _connect_or_replace(path)
    except (sqlite3.Error, OSError) as error:
        raise StorageError(f"cannot open {path}: {explain_error(error)}") from error
    try:
        yield connection
    finally:
        connection.close()


def _connect_or_replace(path: Path | str) -> sqlite3.Connection:
    """Connect to the file, or to a new one if it is damaged. Raises sqlite3.Error or OSError."""
    try:
        return _connect(path)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        log.warning(
            "%s is damaged (%s); it is renamed to %s.damaged and a new file is made",
            path,
            error,
            path,
        )
    _move_aside(Path(path))
    return _connect(path)


def _make_private(path: Path | str) -> None:
    """Make the file unless it exists, so that only its owner may read it, as SQLite would not."""
    if str(path) != ":memory:":
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _connect(path: Path | str) -> sqlite3.Connection:
    _make_private(path)
    connection = sqlite3.connect(path, isolation_level=None, timeout=0)
    try:
        if str(path) == ":memory:":
            connection.execute(f"PRAGMA page_size={_MEMORY_PAGE_BYTES}")
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")  # one owner, and no -shm file
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        _make_tables(connection)
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


def _make_tables(connection: sqlite3.Connection) -> None:
    """Give the file the tables of this version, in one transaction."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise sqlite3.OperationalError(
            f"the file has version {version}, and this SDK knows {SCHEMA_VERSION}: "
            "install the SDK that wrote it, or use another directory"
        )
    tables = "SELECT count(*) FROM sqlite_schema WHERE type='table'"
    (table_count,) = connection.execute(tables).fetchone()
    if version == SCHEMA_VERSION and table_count >= _TABLE_COUNT:
        return
    is_older = table_count and version < SCHEMA_VERSION
    script = _SET_ASIDE + SCHEMA + _ADD_PROFILES if is_older else SCHEMA
    connection.executescript(f"BEGIN;{script}PRAGMA user_version={SCHEMA_VERSION};COMMIT;")


def _move_aside(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        source = path.with_name(path.name + suffix)
        if source.exists():
            source.replace(path.with_name(f"{path.name}.damaged{suffix}"))


@contextmanager
def transaction(connection: sqlite3.Connection, durability: Durability) -> Iterator[None]:
    """Commit everything that the block writes, or nothing when it raises.

    Raises StorageError when the disk refuses.
    """
    try:
        connection.execute(f"PRAGMA synchronous={durability.value}")
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if connection.in_transaction:  # after some errors, SQLite has rolled back already
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        message = f"the device's file cannot be written: {explain_error(error)}"
        raise StorageError(message) from error
