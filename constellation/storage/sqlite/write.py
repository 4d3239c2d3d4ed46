"""What a SqlitePatternStore writes, as SQL: one statement for each table, whatever the row count.

A statement takes its rows as one blob and its keys as one JSON array, so a batch is a single step
of SQLite without the interpreter's lock; `executemany` would take that lock again for every row.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from constellation.errors import FencedError, StoreFailedError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from constellation.core.rows import Slots
    from constellation.core.store import CommitWrites, Content, HourlyCounts, Term, Totals
    from constellation.federated.published import StoredGlobal
    from constellation.histogram import Histogram


@contextmanager
def open_transaction(
    connection: sqlite3.Connection, sync_seconds: Histogram | None = None
) -> Iterator[None]:
    """Commit what is done inside, or nothing of it; `synced` hears how long COMMIT took."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        started = time.perf_counter()
        connection.execute("COMMIT")
        if sync_seconds is not None:
            sync_seconds.observe(time.perf_counter() - started)
    except BaseException:
        if connection.in_transaction:  # some failures roll back by themselves
            connection.execute("ROLLBACK")
        raise


def take_epoch(connection: sqlite3.Connection) -> int:
    with open_transaction(connection):
        connection.execute("UPDATE shard SET epoch = epoch + 1")
        (epoch,) = connection.execute("SELECT epoch FROM shard").fetchone()
    return int(epoch)


def write_commit(
    connection: sqlite3.Connection, epoch: int, writes: CommitWrites, sync_seconds: Histogram
) -> None:
    """Commit the changes. The usual commit has patterns and devices only."""
    with open_transaction(connection, sync_seconds):
        _write_totals(connection, epoch, writes.totals)
        if len(writes.slots):
            connection.execute(
                "INSERT OR REPLACE INTO pattern (slot, row)"
                " SELECT value, substr(?2, key * ?3 + 1, ?3) FROM json_each(?1)",
                (_to_json(writes.slots), writes.rows.tobytes(), writes.rows.itemsize),
            )
        if len(writes.device_slots):
            connection.execute(
                "INSERT OR REPLACE INTO device (slot, row)"
                " SELECT value, substr(?2, key * ?3 + 1, ?3) FROM json_each(?1)",
                (
                    _to_json(writes.device_slots),
                    writes.device_rows.tobytes(),
                    writes.device_rows.itemsize,
                ),
            )
        _delete_rows(connection, writes.freed_slots, writes.freed_devices)
        _write_terms(connection, writes.terms)
        _write_counts(connection, writes.counts, writes.oldest_hour)
        changed = np.concatenate((writes.slots, writes.freed_slots)).astype("<i8", copy=False)
        connection.execute(
            "INSERT INTO change (lsn, slots) VALUES (?, ?)", (writes.totals.lsn, changed.tobytes())
        )


def trim_change_log(connection: sqlite3.Connection, epoch: int, through_lsn: int) -> None:
    with open_transaction(connection):
        _require_epoch(connection, epoch)
        connection.execute("DELETE FROM change WHERE lsn <= ?", (through_lsn,))


def write_contents(
    connection: sqlite3.Connection, epoch: int, contents: Sequence[Content], terms: Sequence[Term]
) -> None:
    with open_transaction(connection):
        _require_epoch(connection, epoch)
        connection.executemany(
            "INSERT OR REPLACE INTO content"
            " (content_id, title, content_type, genres, year, codes) VALUES (?, ?, ?, ?, ?, ?)",
            [
                (
                    content.content_id,
                    content.title,
                    content.content_type,
                    json.dumps(content.genres, ensure_ascii=False),
                    content.year,
                    content.codes,
                )
                for content in contents
            ],
        )
        _write_terms(connection, terms)


def write_global(connection: sqlite3.Connection, epoch: int, stored: StoredGlobal) -> None:
    with open_transaction(connection):
        _require_epoch(connection, epoch)
        connection.execute(
            "INSERT OR REPLACE INTO global (only, generation, round_id, payload)"
            " VALUES (1, ?, ?, ?)",
            (stored.generation, stored.round_id, stored.payload),
        )


def write_probe(connection: sqlite3.Connection) -> None:
    """Commit one page as it is, to learn whether the disk takes it."""
    with open_transaction(connection):
        connection.execute("UPDATE shard SET epoch = epoch")


def _require_epoch(connection: sqlite3.Connection, epoch: int) -> None:
    (newest,) = connection.execute("SELECT epoch FROM shard").fetchone()
    if epoch != newest:
        raise FencedError(f"epoch {epoch} was taken over by epoch {newest}")


def _write_totals(connection: sqlite3.Connection, epoch: int, totals: Totals) -> None:
    """Write the totals, which is the fence as well: one statement for both."""
    written = connection.execute(
        "UPDATE shard SET lsn = ?, patterns = ?, devices = ?, pattern_digest = ?, device_digest = ?"
        " WHERE epoch = ? AND lsn = ?",
        (
            totals.lsn,
            totals.patterns,
            totals.devices,
            _to_signed(totals.pattern_digest),
            _to_signed(totals.device_digest),
            epoch,
            totals.lsn - 1,
        ),
    )
    if written.rowcount != 1:
        _require_epoch(connection, epoch)
        (lsn,) = connection.execute("SELECT lsn FROM shard").fetchone()
        raise StoreFailedError(f"lsn must be {lsn + 1}, got {totals.lsn}")


def _delete_rows(connection: sqlite3.Connection, slots: Slots, device_slots: Slots) -> None:
    if len(slots):
        connection.execute(
            "DELETE FROM pattern WHERE slot IN (SELECT value FROM json_each(?))", (_to_json(slots),)
        )
    if len(device_slots):
        connection.execute(
            "DELETE FROM device WHERE slot IN (SELECT value FROM json_each(?))",
            (_to_json(device_slots),),
        )


def _write_terms(connection: sqlite3.Connection, terms: Sequence[Term]) -> None:
    if terms:
        connection.executemany(  # each word comes once in the life of a shard
            "INSERT INTO word (kind, number, text) VALUES (?, ?, ?)",
            [(int(word.kind), word.number, word.text) for word in terms],
        )


def _write_counts(connection: sqlite3.Connection, counts: HourlyCounts, oldest_hour: int) -> None:
    if len(counts.hours):
        table = np.column_stack((counts.hours, counts.kinds, counts.numbers, counts.devices))
        connection.execute(
            "INSERT OR REPLACE INTO hourly_count (hour, kind, number, devices)"
            " SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'),"
            " json_extract(value, '$[2]'), json_extract(value, '$[3]') FROM json_each(?)",
            (str(table.tolist()),),
        )
    if oldest_hour:
        connection.execute("DELETE FROM hourly_count WHERE hour < ?", (oldest_hour,))


def _to_json(slots: Slots) -> str:
    return str(slots.tolist())


def _to_signed(digest: int) -> int:
    """Return the digest as SQLite's 64-bit integers hold it."""
    return digest - 2**64 if digest >= 2**63 else digest
