"""Staging: what has arrived of a newer catalogue, kept until all of it has."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from constellation_settop.errors import StorageError
from constellation_settop.storage.problems import explain_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS settings(name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS buckets(bucket INTEGER PRIMARY KEY, digest BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS items(
  content_id BLOB PRIMARY KEY, bucket INTEGER NOT NULL, message BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS items_by_bucket ON items(bucket);
"""


class Staging:
    """Whole buckets of a catalogue, in a file of their own. An interrupted copy goes on with it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Staging]:
        """Open the file, or create it. One that cannot be read is begun anew.

        Raises StorageError when the disk refuses, here or in the block.
        """
        try:
            connection = _connect(path)
            try:
                yield cls(connection)
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise StorageError(f"cannot use {path}: {explain_error(error)}") from error

    @property
    def bucket_count(self) -> int:
        """The number of buckets that the stored ones are numbered by; 0 when there are none."""
        select = "SELECT value FROM settings WHERE name='bucket_count'"
        row = self._connection.execute(select).fetchone()
        return int(row[0]) if row else 0

    def clear(self) -> None:
        """Forget everything."""
        for table in ("settings", "buckets", "items"):
            self._connection.execute(f"DELETE FROM {table}")  # noqa: S608  # constants

    def read_digests(self) -> dict[int, int]:
        """Return the digest of each bucket that is here."""
        rows = self._connection.execute("SELECT bucket, digest FROM buckets")
        return {bucket: int.from_bytes(digest, "little") for bucket, digest in rows}

    def store(
        self,
        bucket_count: int,
        digests: dict[int, int],
        items: Sequence[tuple[str, int, bytes]],
    ) -> None:
        """Replace some buckets, in one transaction.

        Args:
            bucket_count: the number of buckets in all.
            digests: the digest of each bucket that is replaced.
            items: content id, bucket and encoded message of each of their content items.
        """
        connection = self._connection
        connection.execute("BEGIN")
        connection.execute(
            "INSERT OR REPLACE INTO settings VALUES('bucket_count',?)", (bucket_count,)
        )
        connection.executemany("DELETE FROM items WHERE bucket=?", [(each,) for each in digests])
        connection.executemany(
            "INSERT OR REPLACE INTO buckets VALUES(?,?)",
            [(bucket, digest.to_bytes(8, "little")) for bucket, digest in digests.items()],
        )
        connection.executemany(
            "INSERT OR REPLACE INTO items VALUES(?,?,?)",
            [(content_id.encode(), bucket, message) for content_id, bucket, message in items],
        )
        connection.execute("COMMIT")

    def count_items(self) -> int:
        """Return how many content items are here."""
        return int(self._connection.execute("SELECT count(*) FROM items").fetchone()[0])

    def read_items(self) -> Iterator[tuple[str, bytes]]:
        """Yield content id and encoded message of every content item, sorted by content id."""
        select = "SELECT content_id, message FROM items ORDER BY content_id"
        for content_id, message in self._connection.execute(select):
            yield content_id.decode(), message


def _connect(path: Path) -> sqlite3.Connection:
    try:
        return _open(path)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:  # nothing in it is dear: it is fetched again
        path.unlink()
        return _open(path)


def _open(path: Path) -> sqlite3.Connection:
    # One thread at a time uses it: the loop's, and one that merges while the loop waits for it.
    connection = sqlite3.connect(path, isolation_level=None, timeout=0, check_same_thread=False)
    try:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.executescript(_SCHEMA)
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection
