"""What a PostgresPatternStore reads, as SQL, on a connection that commits by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from psycopg import sql

from constellation.core.rows import Slots, TermKind
from constellation.core.store import Content, HourlyCounts, Term, Totals
from constellation.errors import StoreFailedError
from constellation.federated.published import StoredGlobal
from constellation.storage.postgres.binary_copy import (
    DEVICE_COLUMNS,
    PATTERN_COLUMNS,
    join_column_names,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import AsyncConnection

    from constellation.storage.postgres.dialect import Dialect

SCAN_SLOTS: Final = 4096
"""Slots of one query of a scan: some megabytes, so that a query stays short."""


async def read_secret(connection: AsyncConnection, shard_id: int) -> bytes:
    (secret,) = await _fetch_one(
        connection, "SELECT secret FROM constellation.shard WHERE shard_id = %s", (shard_id,)
    )
    return bytes(secret)


async def read_totals(connection: AsyncConnection, shard_id: int) -> Totals:
    lsn, patterns, devices, pattern_digest, device_digest = await _fetch_one(
        connection,
        "SELECT lsn, patterns, devices, pattern_digest, device_digest"
        " FROM constellation.shard WHERE shard_id = %s",
        (shard_id,),
    )
    return Totals(lsn, patterns, devices, pattern_digest % 2**64, device_digest % 2**64)


async def has_shard(connection: AsyncConnection, shard_id: int) -> bool:
    (found,) = await _fetch_one(
        connection,
        "SELECT EXISTS (SELECT FROM constellation.shard WHERE shard_id = %s)",
        (shard_id,),
    )
    return bool(found)


async def is_standby(connection: AsyncConnection) -> bool:
    (standby,) = await _fetch_one(connection, "SELECT pg_is_in_recovery()", ())
    return bool(standby)


async def read_terms(connection: AsyncConnection, shard_id: int) -> Sequence[Term]:
    found = await connection.execute(
        "SELECT kind, number, text FROM constellation.word WHERE shard_id = %s"
        " ORDER BY kind, number",
        (shard_id,),
    )
    return [Term(TermKind(kind), number, text) for kind, number, text in await found.fetchall()]


async def read_hourly_counts(connection: AsyncConnection, shard_id: int) -> HourlyCounts:
    found = await connection.execute(
        "SELECT hour, kind, number, devices FROM constellation.hourly_count WHERE shard_id = %s",
        (shard_id,),
    )
    hours, kinds, numbers, devices = np.array(await found.fetchall(), np.uint32).reshape(-1, 4).T
    return HourlyCounts(hours, kinds.astype(np.uint8), numbers, devices)


async def read_changed_slots(connection: AsyncConnection, shard_id: int, lsn: int) -> Slots | None:
    newest, count, slots = await _fetch_one(
        connection,
        "SELECT shard.lsn, count(change.lsn), coalesce(string_agg(change.slots, ''), '')"
        " FROM constellation.shard LEFT JOIN constellation.change"
        " ON change.shard_id = shard.shard_id AND change.lsn > %s"
        " WHERE shard.shard_id = %s GROUP BY shard.lsn",
        (lsn, shard_id),
    )
    if count != newest - lsn:  # every commit has one, so one is missing
        return None
    return np.unique(np.frombuffer(slots, "<i8"))


async def read_last_slot(connection: AsyncConnection, shard_id: int, table: str) -> int:
    """Return the highest slot in use, -1 when there is none."""
    query = sql.SQL("SELECT coalesce(max(slot), -1) FROM constellation.{} WHERE shard_id = %s")
    (slot,) = await _fetch_one(connection, query.format(sql.Identifier(table)), (shard_id,))
    return int(slot)


async def read_patterns(
    connection: AsyncConnection, shard_id: int, first: int, dialect: Dialect
) -> tuple[bytes, Any] | None:
    """Return the records of SCAN_SLOTS slots from `first` on, and what `dialect.decode` takes."""
    records, embeddings = await _fetch_one(
        connection,
        sql.SQL(
            f"SELECT string_agg(record_send(ROW({join_column_names(PATTERN_COLUMNS)})), ''::bytea),"  # noqa: S608 - names of ours
            f" {dialect.aggregate_expression} FROM constellation.pattern"
            " WHERE shard_id = %s AND slot >= %s AND slot < %s"
        ),
        (shard_id, first, first + SCAN_SLOTS),
    )
    return None if records is None else (records, embeddings)


async def read_devices(connection: AsyncConnection, shard_id: int, first: int) -> bytes | None:
    """Return the records of SCAN_SLOTS slots from `first` on."""
    (records,) = await _fetch_one(
        connection,
        sql.SQL(
            f"SELECT string_agg(record_send(ROW({join_column_names(DEVICE_COLUMNS)})), ''::bytea)"  # noqa: S608 - names of ours
            " FROM constellation.device WHERE shard_id = %s AND slot >= %s AND slot < %s"
        ),
        (shard_id, first, first + SCAN_SLOTS),
    )
    return None if records is None else bytes(records)


async def find_stored_ids(
    connection: AsyncConnection, shard_id: int, content_ids: Sequence[str]
) -> set[str]:
    found = await connection.execute(
        "SELECT content_id FROM constellation.content"
        " WHERE shard_id = %s AND content_id = ANY (%s::text[])",
        (shard_id, list(content_ids)),
    )
    return {content_id for (content_id,) in await found.fetchall()}


async def read_contents(
    connection: AsyncConnection, shard_id: int, after: str, limit: int, dialect: Dialect
) -> Sequence[Content]:
    found = await connection.execute(
        sql.SQL(
            f"SELECT content_id, title, content_type, genres, year, {dialect.row_expression}"  # noqa: S608 - of our own
            " FROM constellation.content WHERE shard_id = %s AND content_id > %s"
            " ORDER BY content_id LIMIT %s"
        ),
        (shard_id, after, limit),
        binary=True,
    )
    return _to_contents(await found.fetchall(), dialect)


async def read_content(
    connection: AsyncConnection, shard_id: int, content_id: str, dialect: Dialect
) -> Content | None:
    found = await connection.execute(
        sql.SQL(
            f"SELECT content_id, title, content_type, genres, year, {dialect.row_expression}"  # noqa: S608 - of our own
            " FROM constellation.content WHERE shard_id = %s AND content_id = %s"
        ),
        (shard_id, content_id),
        binary=True,
    )
    contents = _to_contents(await found.fetchall(), dialect)
    return contents[0] if contents else None


async def count_contents(connection: AsyncConnection, shard_id: int) -> int:
    (count,) = await _fetch_one(
        connection,
        "SELECT count(*) FROM constellation.content WHERE shard_id = %s",
        (shard_id,),
    )
    return int(count)


async def read_global(connection: AsyncConnection, shard_id: int) -> StoredGlobal | None:
    found = await connection.execute(
        "SELECT generation, round_id, payload FROM constellation.global WHERE shard_id = %s",
        (shard_id,),
        binary=True,
    )
    row = await found.fetchone()
    return StoredGlobal(row[0], row[1], bytes(row[2])) if row else None


async def read_size_bytes(connection: AsyncConnection) -> int:
    """Return the bytes on disk of all shards in the database, with their indexes."""
    (size,) = await _fetch_one(
        connection,
        "SELECT sum(pg_total_relation_size(oid)) FROM pg_class"
        " WHERE relnamespace = 'constellation'::regnamespace AND relkind = 'r'",
        (),
    )
    return int(size)


async def _fetch_one(
    connection: AsyncConnection, query: Any, parameters: tuple[object, ...]
) -> tuple[Any, ...]:
    """Return the one row that a query has."""
    found = await connection.execute(query, parameters, binary=True)
    row = await found.fetchone()
    if row is None:
        raise StoreFailedError("the row of this shard is gone: restore the database")
    return tuple(row)


def _to_contents(rows: Sequence[tuple[Any, ...]], dialect: Dialect) -> list[Content]:
    codes = dialect.decode([row[5] for row in rows]) if rows else ()
    return [
        Content(content_id, title, content_type, tuple(genres), year, each.tobytes())
        for (content_id, title, content_type, genres, year, _), each in zip(
            rows, codes, strict=True
        )
    ]
