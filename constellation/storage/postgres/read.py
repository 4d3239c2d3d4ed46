"""Queries of a PostgresPatternStore. Each runs on a connection that it is given.

The connection either commits each statement by itself or is inside a transaction of the caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from psycopg import sql

from constellation.core.rows import LIKED
from constellation.core.store import Content, GroupRecords, HourlyCounts, Term, Totals
from constellation.core.store_identity import StoreIdentity
from constellation.errors import StoreFailedError
from constellation.federated.published import StoredGlobal
from constellation.storage.content_rows import CONTENT_COLUMNS, decode_content
from constellation.storage.digests import require_global, to_unsigned_or_none
from constellation.storage.postgres.binary_copy import (
    DEVICE_COLUMNS,
    PATTERN_COLUMNS,
    join_column_names,
)
from constellation.storage.postgres.errors import READ_WRITABILITY
from constellation.storage.term_rows import decode_terms
from constellation.storage.totals_row import decode_totals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import AsyncConnection

    from constellation.storage.postgres.dialect import Dialect

SCAN_SLOTS: Final = 4096
"""Slots that one query of a scan covers. It returns a few megabytes, so that it stays short."""


async def read_secret(connection: AsyncConnection, shard_id: int) -> bytes:
    (secret,) = await _fetch_one(
        connection, "SELECT secret FROM constellation.shard WHERE shard_id = %s", (shard_id,)
    )
    return bytes(secret)


async def read_identity(connection: AsyncConnection, shard_id: int) -> StoreIdentity:
    region, dimension = await _fetch_one(
        connection,
        "SELECT region, dimension FROM constellation.shard WHERE shard_id = %s",
        (shard_id,),
    )
    return StoreIdentity(shard_id, region, dimension)


async def find_shard_of(connection: AsyncConnection, owner: str, shard_id: int) -> int | None:
    """Return a shard that a process of this name wrote: `shard_id` if it is one, or else any."""
    (shard_id,) = await _fetch_one(
        connection,
        "SELECT (SELECT shard_id FROM constellation.shard WHERE owner = %s"
        " ORDER BY shard_id <> %s, shard_id LIMIT 1)",
        (owner, shard_id),
    )
    return None if shard_id is None else int(shard_id)


async def read_totals(connection: AsyncConnection, shard_id: int) -> Totals:
    row = await _fetch_one(
        connection,
        "SELECT lsn, patterns, devices, pattern_digest, device_digest, count_digest, liked_digest,"
        " group_digest FROM constellation.shard WHERE shard_id = %s",
        (shard_id,),
    )
    return decode_totals(row)


async def has_shard(connection: AsyncConnection, shard_id: int) -> bool:
    (found,) = await _fetch_one(
        connection,
        "SELECT EXISTS (SELECT FROM constellation.shard WHERE shard_id = %s)",
        (shard_id,),
    )
    return bool(found)


async def read_writability(connection: AsyncConnection) -> tuple[bool, bool]:
    """Return whether the server is a standby, and whether it is read-only."""
    is_standby, is_read_only = await _fetch_one(connection, READ_WRITABILITY, ())
    return bool(is_standby), bool(is_read_only)


async def read_terms(connection: AsyncConnection, shard_id: int) -> Sequence[Term]:
    cursor = await connection.execute(
        "SELECT kind, number, text FROM constellation.term WHERE shard_id = %s"
        " ORDER BY kind, number",
        (shard_id,),
    )
    return decode_terms(await cursor.fetchall())


async def read_hourly_counts(connection: AsyncConnection, shard_id: int) -> HourlyCounts:
    cursor = await connection.execute(
        "SELECT hour, kind, number, devices FROM constellation.hourly_count WHERE shard_id = %s",
        (shard_id,),
    )
    hours, kinds, numbers, devices = np.array(await cursor.fetchall(), np.uint32).reshape(-1, 4).T
    return HourlyCounts(hours, kinds.astype(np.uint8), numbers, devices)


async def read_last_slot(connection: AsyncConnection, shard_id: int, table: str) -> int:
    """Return the highest slot in use, or -1 if the table has no row of this shard."""
    query = sql.SQL("SELECT coalesce(max(slot), -1) FROM constellation.{} WHERE shard_id = %s")
    (slot,) = await _fetch_one(connection, query.format(sql.Identifier(table)), (shard_id,))
    return int(slot)


async def read_patterns(
    connection: AsyncConnection, shard_id: int, first: int, dialect: Dialect
) -> tuple[bytes, Any] | None:
    """Return the rows in SCAN_SLOTS slots from `first` on, or None if there are none.

    The first part is for `decode_patterns`, the second, the embeddings, for `dialect.decode`.
    """
    records, embeddings = await _fetch_one(
        connection,
        sql.SQL(
            f"SELECT string_agg(record_send(ROW({join_column_names(PATTERN_COLUMNS)})), ''::bytea),"  # noqa: S608 - constant names
            f" {dialect.aggregate_expression} FROM constellation.pattern"
            " WHERE shard_id = %s AND slot >= %s AND slot < %s"
        ),
        (shard_id, first, first + SCAN_SLOTS),
    )
    return None if records is None else (records, embeddings)


async def read_devices(connection: AsyncConnection, shard_id: int, first: int) -> bytes | None:
    """Return the rows in SCAN_SLOTS slots from `first` on, for `decode_devices`; None if none."""
    (records,) = await _fetch_one(
        connection,
        sql.SQL(
            f"SELECT string_agg(record_send(ROW({join_column_names(DEVICE_COLUMNS)})), ''::bytea)"  # noqa: S608 - constant names
            " FROM constellation.device WHERE shard_id = %s AND slot >= %s AND slot < %s"
        ),
        (shard_id, first, first + SCAN_SLOTS),
    )
    return None if records is None else bytes(records)


async def read_named_contents(
    connection: AsyncConnection, shard_id: int, content_ids: Sequence[str], dialect: Dialect
) -> Sequence[Content]:
    cursor = await connection.execute(
        sql.SQL(
            f"SELECT {CONTENT_COLUMNS}, {dialect.row_expression}"  # noqa: S608 - constant names
            " FROM constellation.content WHERE shard_id = %s AND content_id = ANY (%s::text[])"
        ),
        (shard_id, list(content_ids)),
        binary=True,
    )
    return _decode_contents(await cursor.fetchall(), dialect)


async def read_liked(connection: AsyncConnection, shard_id: int, first: int) -> bytes | None:
    """Return the rows in SCAN_SLOTS slots from `first` on, for `decode_liked`; None if none."""
    (records,) = await _fetch_one(
        connection,
        sql.SQL(
            "SELECT string_agg(record_send(ROW(slot, substr(contents || %b, 1, %s))), ''::bytea)"
            " FROM constellation.liked WHERE shard_id = %s AND slot >= %s AND slot < %s"
        ),
        (bytes(LIKED.itemsize), LIKED.itemsize, shard_id, first, first + SCAN_SLOTS),
    )
    return None if records is None else bytes(records)


async def read_groups(
    connection: AsyncConnection, shard_id: int, first: int
) -> GroupRecords | None:
    """Return the records with SCAN_SLOTS numbers from `first` on; None if there are none."""
    numbers, lengths, data = await _fetch_one(
        connection,
        "SELECT array_agg(slot ORDER BY slot), array_agg(octet_length(row) ORDER BY slot),"
        " string_agg(row, ''::bytea ORDER BY slot) FROM constellation.grouping"
        " WHERE shard_id = %s AND slot >= %s AND slot < %s",
        (shard_id, first, first + SCAN_SLOTS),
    )
    if numbers is None:
        return None
    return GroupRecords(np.array(numbers, np.int64), np.array(lengths, np.int64), bytes(data))


async def find_stored_ids(
    connection: AsyncConnection, shard_id: int, content_ids: Sequence[str]
) -> set[str]:
    cursor = await connection.execute(
        "SELECT content_id FROM constellation.content"
        " WHERE shard_id = %s AND content_id = ANY (%s::text[])",
        (shard_id, list(content_ids)),
    )
    return {content_id for (content_id,) in await cursor.fetchall()}


async def read_contents(
    connection: AsyncConnection, shard_id: int, after: str, limit: int, dialect: Dialect
) -> Sequence[Content]:
    cursor = await connection.execute(
        sql.SQL(
            f"SELECT {CONTENT_COLUMNS}, {dialect.row_expression}"  # noqa: S608 - constant names
            " FROM constellation.content WHERE shard_id = %s AND content_id > %s"
            " ORDER BY content_id LIMIT %s"
        ),
        (shard_id, after, limit),
        binary=True,
    )
    return _decode_contents(await cursor.fetchall(), dialect)


async def read_content(
    connection: AsyncConnection, shard_id: int, content_id: str, dialect: Dialect
) -> Content | None:
    cursor = await connection.execute(
        sql.SQL(
            f"SELECT {CONTENT_COLUMNS}, {dialect.row_expression}"  # noqa: S608 - constant names
            " FROM constellation.content WHERE shard_id = %s AND content_id = %s"
        ),
        (shard_id, content_id),
        binary=True,
    )
    contents = _decode_contents(await cursor.fetchall(), dialect)
    return contents[0] if contents else None


async def count_contents(connection: AsyncConnection, shard_id: int) -> int:
    (count,) = await _fetch_one(
        connection,
        "SELECT count(*) FROM constellation.content WHERE shard_id = %s",
        (shard_id,),
    )
    return int(count)


async def read_catalogue_digest(connection: AsyncConnection, shard_id: int) -> int | None:
    (digest,) = await _fetch_one(
        connection,
        "SELECT catalogue_digest FROM constellation.shard WHERE shard_id = %s",
        (shard_id,),
    )
    return to_unsigned_or_none(digest)


async def read_global(connection: AsyncConnection, shard_id: int) -> StoredGlobal | None:
    """Return the stored global state. Raises DamagedStoreError when its digest is another."""
    cursor = await connection.execute(
        "SELECT generation, round_id, payload, digest"
        " FROM constellation.global WHERE shard_id = %s",
        (shard_id,),
        binary=True,
    )
    row = await cursor.fetchone()
    return require_global(StoredGlobal(row[0], row[1], bytes(row[2])), row[3]) if row else None


async def read_size_bytes(connection: AsyncConnection) -> int:
    """Return how many bytes all shards in the database take on disk, with their indexes."""
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
    """Return the only row of a query. Raises StoreFailedError when there is none."""
    cursor = await connection.execute(query, parameters, binary=True)
    row = await cursor.fetchone()
    if row is None:
        raise StoreFailedError("the row of this shard is gone: restore the database")
    return tuple(row)


def _decode_contents(rows: Sequence[tuple[Any, ...]], dialect: Dialect) -> list[Content]:
    codes = dialect.decode([row[-1] for row in rows]) if rows else ()
    return [
        decode_content(row, row[3], row_codes.tobytes())
        for row, row_codes in zip(rows, codes, strict=True)
    ]
