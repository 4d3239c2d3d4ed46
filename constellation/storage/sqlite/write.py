"""Writes of a SqlitePatternStore: one statement for each table, for any number of rows.

A statement takes all rows as one blob and all slots as one JSON array. SQLite then writes the batch
in one step without the interpreter's lock. `executemany` would take that lock again for each row.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from constellation.errors import FencedError, StoreFailedError
from constellation.storage.content_rows import CONTENT_COLUMNS, encode_content
from constellation.storage.digests import (
    digest_global,
    require_catalogue,
    to_signed,
)
from constellation.storage.liked_rows import measure_liked
from constellation.storage.sqlite.file import open_transaction
from constellation.storage.sqlite.read import read_catalogue_digest
from constellation.storage.totals_row import encode_totals

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from constellation.core.rows import LikedRows, Slots
    from constellation.core.store import (
        CommitWrites,
        Content,
        GroupRecords,
        HourlyCounts,
        Term,
        Totals,
    )
    from constellation.core.store_identity import StoreIdentity
    from constellation.federated.published import StoredGlobal
    from constellation.histogram import Histogram


def write_identity(connection: sqlite3.Connection, identity: StoreIdentity) -> None:
    with open_transaction(connection):
        connection.execute(
            "UPDATE shard SET shard_id = ?, region = ?, dimension = ?",
            (identity.shard_id, identity.region, identity.dimension),
        )


def take_epoch(connection: sqlite3.Connection) -> int:
    with open_transaction(connection):
        connection.execute("UPDATE shard SET epoch = epoch + 1")
        (epoch,) = connection.execute("SELECT epoch FROM shard").fetchone()
    return int(epoch)


def write_commit(
    connection: sqlite3.Connection, epoch: int, writes: CommitWrites, sync_seconds: Histogram
) -> None:
    """Write one commit durably, all or nothing. Most commits have patterns and devices only."""
    with open_transaction(connection, sync_seconds):
        _write_totals(connection, epoch, writes.totals)
        require_catalogue(read_catalogue_digest(connection), writes.catalogue_digest)
        _put_rows(connection, "pattern", writes.slots, writes.rows)
        _put_rows(connection, "device", writes.device_slots, writes.device_rows)
        _put_liked(connection, writes.liked_devices, writes.liked_rows)
        _delete_rows(connection, "pattern", writes.freed_slots)
        _delete_rows(connection, "device", writes.freed_devices)
        _delete_rows(connection, "liked", writes.freed_liked)
        _write_terms(connection, writes.terms)
        if writes.new_catalogue_digest is not None:
            _write_catalogue_digest(connection, writes.new_catalogue_digest)
        _write_counts(connection, writes.counts, writes.oldest_hour)
        _put_groups(connection, writes.group_records)
        _delete_rows(connection, "grouping", writes.freed_group_records)


def write_contents(
    connection: sqlite3.Connection,
    epoch: int,
    contents: Sequence[Content],
    terms: Sequence[Term],
    digest: int,
    expected_digest: int | None,
) -> None:
    with open_transaction(connection):
        _require_epoch(connection, epoch)
        require_catalogue(read_catalogue_digest(connection), expected_digest)
        connection.executemany(
            f"INSERT OR REPLACE INTO content ({CONTENT_COLUMNS}, codes)"  # noqa: S608 - constant names
            " VALUES (?, ?, ?, ?, ?, ?)",
            [
                encode_content(
                    content, json.dumps(content.genres, ensure_ascii=False), content.codes
                )
                for content in contents
            ],
        )
        _write_terms(connection, terms)
        _write_catalogue_digest(connection, digest)


def write_global(connection: sqlite3.Connection, epoch: int, stored: StoredGlobal) -> None:
    with open_transaction(connection):
        _require_epoch(connection, epoch)
        connection.execute(
            "INSERT OR REPLACE INTO global (only, generation, round_id, payload, digest)"
            " VALUES (1, ?, ?, ?, ?)",
            (stored.generation, stored.round_id, stored.payload, digest_global(stored)),
        )


def write_probe(connection: sqlite3.Connection) -> None:
    """Commit one page without changing it, to find out whether the disk accepts writes."""
    with open_transaction(connection):
        connection.execute("UPDATE shard SET epoch = epoch")


def _require_epoch(connection: sqlite3.Connection, epoch: int) -> None:
    (newest,) = connection.execute("SELECT epoch FROM shard").fetchone()
    if epoch != newest:
        raise FencedError(f"epoch {epoch} was taken over by epoch {newest}")


def _write_totals(connection: sqlite3.Connection, epoch: int, totals: Totals) -> None:
    """Write the totals. The same statement checks the epoch and the lsn."""
    written = connection.execute(
        "UPDATE shard SET lsn = ?, patterns = ?, devices = ?, pattern_digest = ?,"
        " device_digest = ?, count_digest = ?, liked_digest = ?, group_digest = ?"
        " WHERE epoch = ? AND lsn = ?",
        (*encode_totals(totals), epoch, totals.lsn - 1),
    )
    if written.rowcount != 1:
        _require_epoch(connection, epoch)
        (lsn,) = connection.execute("SELECT lsn FROM shard").fetchone()
        raise StoreFailedError(f"lsn must be {lsn + 1}, got {totals.lsn}")


def _write_catalogue_digest(connection: sqlite3.Connection, digest: int) -> None:
    connection.execute("UPDATE shard SET catalogue_digest = ?", (to_signed(digest),))


def _put_rows(
    connection: sqlite3.Connection, table: str, slots: Slots, rows: NDArray[np.void]
) -> None:
    if len(slots):
        connection.execute(
            f"INSERT OR REPLACE INTO {table} (slot, row)"  # noqa: S608 - constant names
            " SELECT value, substr(?2, key * ?3 + 1, ?3) FROM json_each(?1)",
            (_to_json(slots), rows.tobytes(), rows.itemsize),
        )


def _put_liked(connection: sqlite3.Connection, devices: Slots, rows: LikedRows) -> None:
    """Write liked content without the zeros at its end: most lists are short.

    Each number of the JSON array is that of a device, times 1024, plus the bytes of its row.
    """
    if len(devices):
        lengths = measure_liked(rows)
        connection.execute(
            "INSERT OR REPLACE INTO liked (slot, row)"
            " SELECT value / 1024, substr(?2, key * ?3 + 1, value % 1024) FROM json_each(?1)",
            (_to_json(devices * 1024 + lengths), rows.tobytes(), rows.itemsize),
        )


def _put_groups(connection: sqlite3.Connection, records: GroupRecords) -> None:
    """Write records of groups; each item of the JSON array is a number, an offset and a length."""
    if len(records.numbers):
        offsets = np.cumsum(records.lengths) - records.lengths
        items = np.column_stack((records.numbers, offsets + 1, records.lengths))
        connection.execute(
            "INSERT OR REPLACE INTO grouping (slot, row)"
            " SELECT json_extract(value, '$[0]'),"
            " substr(?2, json_extract(value, '$[1]'), json_extract(value, '$[2]'))"
            " FROM json_each(?1)",
            (str(items.tolist()), records.data),
        )


def _delete_rows(connection: sqlite3.Connection, table: str, slots: Slots) -> None:
    if len(slots):
        connection.execute(
            f"DELETE FROM {table} WHERE slot IN (SELECT value FROM json_each(?))",  # noqa: S608 - constant names
            (_to_json(slots),),
        )


def _write_terms(connection: sqlite3.Connection, terms: Sequence[Term]) -> None:
    if terms:
        connection.executemany(  # few rows: a shard inserts each term once, ever
            "INSERT INTO term (kind, number, text) VALUES (?, ?, ?)",
            [(int(term.kind), term.number, term.text) for term in terms],
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
