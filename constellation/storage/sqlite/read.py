"""What a SqlitePatternStore reads, as SQL. Nothing here leaves a statement open."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.rows import Slots, TermKind
from constellation.core.store import Content, HourlyCounts, Term, Totals
from constellation.federated.published import StoredGlobal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BLOCK_ROWS: Final = 65_536

PATTERN_BLOCK_QUERY: Final = "SELECT slot, row FROM pattern WHERE slot > ? ORDER BY slot LIMIT ?"
DEVICE_BLOCK_QUERY: Final = "SELECT slot, row FROM device WHERE slot > ? ORDER BY slot LIMIT ?"


def read_block(
    connection: sqlite3.Connection, query: str, after: int, dtype: np.dtype[np.void]
) -> tuple[Slots, NDArray[np.void]]:
    """Return up to BLOCK_ROWS rows of the slots after `after`.

    Raises sqlite3.DatabaseError when one is not a row of this dtype.
    """
    found = connection.execute(query, (after, BLOCK_ROWS)).fetchall()
    if not found:
        return np.empty(0, np.int64), np.empty(0, dtype)
    slots, rows = zip(*found, strict=True)
    if set(map(type, rows)) != {bytes} or set(map(len, rows)) != {dtype.itemsize}:
        raise sqlite3.DatabaseError(f"a row is not {dtype.itemsize} bytes")
    return np.array(slots, np.int64), np.frombuffer(b"".join(rows), dtype)


def read_secret(connection: sqlite3.Connection) -> bytes:
    secret: bytes = connection.execute("SELECT secret FROM shard").fetchone()[0]
    return secret


def read_totals(connection: sqlite3.Connection) -> Totals:
    lsn, patterns, devices, pattern_digest, device_digest = connection.execute(
        "SELECT lsn, patterns, devices, pattern_digest, device_digest FROM shard"
    ).fetchone()
    return Totals(lsn, patterns, devices, pattern_digest % 2**64, device_digest % 2**64)


def read_terms(connection: sqlite3.Connection) -> Sequence[Term]:
    found = connection.execute("SELECT kind, number, text FROM word ORDER BY kind, number")
    return [Term(TermKind(kind), number, text) for kind, number, text in found.fetchall()]


def read_hourly_counts(connection: sqlite3.Connection) -> HourlyCounts:
    found = connection.execute("SELECT hour, kind, number, devices FROM hourly_count").fetchall()
    hours, kinds, numbers, devices = np.array(found, np.uint32).reshape(-1, 4).T
    return HourlyCounts(hours, kinds.astype(np.uint8), numbers, devices)


def read_changed_slots(connection: sqlite3.Connection, lsn: int) -> Slots | None:
    newest = connection.execute("SELECT lsn FROM shard").fetchone()[0]
    found = connection.execute("SELECT slots FROM change WHERE lsn > ?", (lsn,)).fetchall()
    if len(found) != newest - lsn:  # every commit has one, so one is missing
        return None
    return np.unique(np.frombuffer(b"".join(slots for (slots,) in found), "<i8"))


def read_content(connection: sqlite3.Connection, content_id: str) -> Content | None:
    found = connection.execute(
        "SELECT content_id, title, content_type, genres, year, codes"
        " FROM content WHERE content_id = ?",
        (content_id,),
    ).fetchone()
    return _to_content(found) if found else None


def find_stored_ids(connection: sqlite3.Connection, content_ids: Sequence[str]) -> set[str]:
    found = connection.execute(
        "SELECT content_id FROM content WHERE content_id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(content_ids)),),
    )
    return {content_id for (content_id,) in found.fetchall()}


def read_contents(connection: sqlite3.Connection, after: str, limit: int) -> Sequence[Content]:
    found = connection.execute(
        "SELECT content_id, title, content_type, genres, year, codes"
        " FROM content WHERE content_id > ? ORDER BY content_id LIMIT ?",
        (after, limit),
    )
    return [_to_content(row) for row in found.fetchall()]


def count_contents(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM content").fetchone()[0])


def read_global(connection: sqlite3.Connection) -> StoredGlobal | None:
    found = connection.execute("SELECT generation, round_id, payload FROM global").fetchone()
    return StoredGlobal(*found) if found else None


def find_problems(connection: sqlite3.Connection) -> Sequence[str]:
    """Return what SQLite's own check finds wrong; reads the whole file."""
    found = [text for (text,) in connection.execute("PRAGMA integrity_check").fetchall()]
    return [] if found == ["ok"] else found


def _to_content(row: tuple[str, str, int, str, int, bytes]) -> Content:
    content_id, title, content_type, genres, year, codes = row
    return Content(content_id, title, content_type, tuple(json.loads(genres)), year, codes)
