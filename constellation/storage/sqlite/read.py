"""Queries of a SqlitePatternStore. Each fetches all its rows, so no statement stays open."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.rows import BLOCK_ROWS, LIKED, LikedRows, Slots
from constellation.core.store import Content, GroupRecords, HourlyCounts, Term, Totals
from constellation.core.store_identity import StoreIdentity
from constellation.encoding import DIMENSION
from constellation.federated.published import StoredGlobal
from constellation.storage.content_rows import CONTENT_COLUMNS, decode_content
from constellation.storage.digests import require_global, to_unsigned_or_none
from constellation.storage.liked_rows import pad_liked
from constellation.storage.term_rows import decode_terms
from constellation.storage.totals_row import decode_totals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_PAGE_SIZE: Final = 1000
PATTERN_BLOCK_QUERY: Final = "SELECT slot, row FROM pattern WHERE slot > ? ORDER BY slot LIMIT ?"
LIKED_BLOCK_QUERY: Final = "SELECT slot, row FROM liked WHERE slot > ? ORDER BY slot LIMIT ?"
GROUP_BLOCK: Final = 4096
"""Records of groups that are read at once: some megabytes."""
DEVICE_BLOCK_QUERY: Final = "SELECT slot, row FROM device WHERE slot > ? ORDER BY slot LIMIT ?"


def read_block(
    connection: sqlite3.Connection, query: str, after: int, dtype: np.dtype[np.void]
) -> tuple[Slots, NDArray[np.void]]:
    """Return up to BLOCK_ROWS rows whose slots are above `after`, in ascending slots.

    Raises sqlite3.DatabaseError when a stored row does not have the size of `dtype`.
    """
    fetched = connection.execute(query, (after, BLOCK_ROWS)).fetchall()
    if not fetched:
        return np.empty(0, np.int64), np.empty(0, dtype)
    slots, rows = zip(*fetched, strict=True)
    if set(map(type, rows)) != {bytes} or set(map(len, rows)) != {dtype.itemsize}:
        raise sqlite3.DatabaseError(f"a row does not have {dtype.itemsize} bytes")
    return np.array(slots, np.int64), np.frombuffer(b"".join(rows), dtype)


def read_liked_block(connection: sqlite3.Connection, after: int) -> tuple[Slots, LikedRows]:
    """Return the liked content of up to BLOCK_ROWS devices above `after`, in ascending slots.

    Raises sqlite3.DatabaseError when a stored row is longer than one of LIKED.
    """
    fetched = connection.execute(LIKED_BLOCK_QUERY, (after, BLOCK_ROWS)).fetchall()
    if not fetched:
        return np.empty(0, np.int64), np.empty(0, LIKED)
    slots, rows = zip(*fetched, strict=True)
    if set(map(type, rows)) != {bytes} or max(map(len, rows)) > LIKED.itemsize:
        raise sqlite3.DatabaseError(f"a row has more than {LIKED.itemsize} bytes")
    return np.array(slots, np.int64), pad_liked(rows)


def read_group_block(connection: sqlite3.Connection, after: int) -> GroupRecords:
    """Return up to GROUP_BLOCK records of groups above `after`, in ascending numbers."""
    fetched = connection.execute(
        "SELECT slot, row FROM grouping WHERE slot > ? ORDER BY slot LIMIT ?", (after, GROUP_BLOCK)
    ).fetchall()
    return GroupRecords.from_list([number for number, _ in fetched], [row for _, row in fetched])


def read_secret(connection: sqlite3.Connection) -> bytes:
    secret: bytes = connection.execute("SELECT secret FROM shard").fetchone()[0]
    return secret


def read_identity(connection: sqlite3.Connection) -> StoreIdentity:
    row = connection.execute("SELECT shard_id, region, dimension FROM shard").fetchone()
    return StoreIdentity(*row)


def read_totals(connection: sqlite3.Connection) -> Totals:
    row = connection.execute(
        "SELECT lsn, patterns, devices, pattern_digest, device_digest, count_digest, liked_digest,"
        " group_digest FROM shard"
    ).fetchone()
    return decode_totals(row)


def read_terms(connection: sqlite3.Connection) -> Sequence[Term]:
    cursor = connection.execute("SELECT kind, number, text FROM term ORDER BY kind, number")
    return decode_terms(cursor.fetchall())


def read_hourly_counts(connection: sqlite3.Connection) -> HourlyCounts:
    rows = connection.execute("SELECT hour, kind, number, devices FROM hourly_count").fetchall()
    hours, kinds, numbers, devices = np.array(rows, np.uint32).reshape(-1, 4).T
    return HourlyCounts(hours, kinds.astype(np.uint8), numbers, devices)


def read_content(connection: sqlite3.Connection, content_id: str) -> Content | None:
    row = connection.execute(
        f"SELECT {CONTENT_COLUMNS}, codes FROM content WHERE content_id = ?",  # noqa: S608 - constant names
        (content_id,),
    ).fetchone()
    return _decode_content(row) if row else None


def read_named_contents(
    connection: sqlite3.Connection, content_ids: Sequence[str]
) -> Sequence[Content]:
    cursor = connection.execute(
        f"SELECT {CONTENT_COLUMNS}, codes FROM content"  # noqa: S608 - constant names
        " WHERE content_id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(content_ids)),),
    )
    return [_decode_content(row) for row in cursor.fetchall()]


def find_stored_ids(connection: sqlite3.Connection, content_ids: Sequence[str]) -> set[str]:
    cursor = connection.execute(
        "SELECT content_id FROM content WHERE content_id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(content_ids)),),
    )
    return {content_id for (content_id,) in cursor.fetchall()}


def read_contents(connection: sqlite3.Connection, after: str, limit: int) -> Sequence[Content]:
    cursor = connection.execute(
        f"SELECT {CONTENT_COLUMNS}, codes FROM content"  # noqa: S608 - constant names
        " WHERE content_id > ? ORDER BY content_id LIMIT ?",
        (after, limit),
    )
    return [_decode_content(row) for row in cursor.fetchall()]


def count_contents(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM content").fetchone()[0])


def read_catalogue_digest(connection: sqlite3.Connection) -> int | None:
    (digest,) = connection.execute("SELECT catalogue_digest FROM shard").fetchone()
    return to_unsigned_or_none(digest)


def read_global(connection: sqlite3.Connection) -> StoredGlobal | None:
    """Return the stored global state. Raises DamagedStoreError when its digest is another."""
    row = connection.execute("SELECT generation, round_id, payload, digest FROM global").fetchone()
    return require_global(StoredGlobal(*row[:3]), row[3]) if row else None


def find_problems(connection: sqlite3.Connection) -> Sequence[str]:
    """Return the problems that SQLite's integrity check finds. It reads the whole file.

    Raises ValueError when a content item of the catalogue cannot be decoded.
    """
    lines = [text for (text,) in connection.execute("PRAGMA integrity_check").fetchall()]
    if lines != ["ok"]:
        return lines
    after = ""
    while page := read_contents(connection, after, _PAGE_SIZE):
        after = page[-1].content_id
    return []


def _decode_content(row: tuple[str, str, int, str, int, bytes]) -> Content:
    """Return the content item of a row. Raises ValueError when its values cannot be right."""
    content_id, genres, codes = row[0], row[3], row[5]
    try:
        names = json.loads(genres)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"content item {content_id!r} has the genres {genres!r}")
    if len(codes) != DIMENSION:
        raise ValueError(f"content item {content_id!r} has {len(codes)} codes, not {DIMENSION}")
    return decode_content(row, names, codes)
