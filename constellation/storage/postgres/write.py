"""Writes of a PostgresPatternStore: each is one fenced transaction in few round trips.

Rows go to a temporary table by binary COPY. One statement for each table moves them from there. The
fence is the row in `constellation.shard`: a commit updates it, other writes lock it. Both
make a takeover wait for the transaction, and both make a later transaction see the new epoch.
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from constellation.errors import FencedError, OutcomeUnknownError, StoreFailedError
from constellation.storage.content_rows import encode_content
from constellation.storage.digests import (
    digest_global,
    require_catalogue,
    to_signed,
    to_unsigned_or_none,
)
from constellation.storage.postgres.binary_copy import (
    encode_devices,
    encode_patterns,
)
from constellation.storage.postgres.pool import set_timeouts
from constellation.storage.totals_row import encode_totals

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from psycopg import AsyncConnection

    from constellation.core.rows import LikedRows, Slots
    from constellation.core.store import CommitWrites, Content, GroupRecords, HourlyCounts, Term
    from constellation.core.store_identity import StoreIdentity
    from constellation.federated.published import StoredGlobal
    from constellation.histogram import Histogram
    from constellation.storage.postgres.statements import Statements


@dataclass(frozen=True, slots=True)
class Fence:
    """The process that may write a shard: its epoch and its owner name.

    The epoch alone is not enough. A failover may lose an epoch, and the next takeover then gives
    the same number to another process.
    """

    shard_id: int
    epoch: int
    owner: str


@dataclass(frozen=True, slots=True)
class DigestChange:
    """How a write changes the digest of the catalogue."""

    expected: int | None
    """The digest that must be stored before; None: whatever it is."""
    stored: int
    """The digest to store."""


async def write_commit(
    connection: AsyncConnection,
    fence: Fence,
    writes: CommitWrites,
    statements: Statements,
    *,
    lease_seconds: float,
    sync_seconds: Histogram,
) -> None:
    """Write one commit durably, all or nothing. Most commits have patterns and devices only."""
    shard_id = fence.shard_id
    await _begin_commit(connection, fence, writes, statements, lease_seconds)
    if len(writes.slots):
        rows = encode_patterns(writes.slots, writes.rows, statements.dialect)
        await _copy(connection, statements.copy_patterns, rows)
    if len(writes.device_slots):
        rows = encode_devices(writes.device_slots, writes.device_rows)
        await _copy(connection, statements.copy_devices, rows)
    async with _commit_on_exit(connection, sync_seconds):
        if len(writes.slots):
            await connection.execute(statements.put_patterns, (shard_id,))
        if len(writes.device_slots):
            await connection.execute(statements.put_devices, (shard_id,))
        await _put_liked(connection, shard_id, writes.liked_devices, writes.liked_rows)
        await _delete_rows(connection, "pattern", shard_id, writes.freed_slots)
        await _delete_rows(connection, "device", shard_id, writes.freed_devices)
        await _delete_rows(connection, "liked", shard_id, writes.freed_liked)
        await _write_terms(connection, shard_id, writes.terms)
        if writes.new_catalogue_digest is not None:
            await _write_catalogue_digest(connection, shard_id, writes.new_catalogue_digest)
        await _write_counts(connection, shard_id, writes.counts, writes.oldest_hour)
        await _put_groups(connection, shard_id, writes.group_records)
        await _delete_rows(connection, "grouping", shard_id, writes.freed_group_records)


async def write_contents(
    connection: AsyncConnection,
    fence: Fence,
    contents: Sequence[Content],
    terms: Sequence[Term],
    digests: DigestChange,
    statements: Statements,
) -> None:
    require_catalogue(await _begin_fenced(connection, fence, statements), digests.expected)
    rows = [
        (
            fence.shard_id,
            *encode_content(
                content, list(content.genres), statements.dialect.to_literal(content.codes)
            ),
        )
        for content in contents
    ]
    async with _commit_on_exit(connection):
        if rows:
            await connection.cursor().executemany(statements.put_content, rows)
        await _write_terms(connection, fence.shard_id, terms)
        await _write_catalogue_digest(connection, fence.shard_id, digests.stored)


async def write_global(
    connection: AsyncConnection, fence: Fence, stored: StoredGlobal, statements: Statements
) -> None:
    await _begin_fenced(connection, fence, statements)
    async with _commit_on_exit(connection):
        await connection.execute(
            "INSERT INTO constellation.global (shard_id, generation, round_id, payload, digest)"
            " VALUES (%s, %s, %s, %s, %s) ON CONFLICT (shard_id) DO UPDATE SET"
            " generation = excluded.generation, round_id = excluded.round_id,"
            " payload = excluded.payload, digest = excluded.digest",
            (
                fence.shard_id,
                stored.generation,
                stored.round_id,
                stored.payload,
                digest_global(stored),
            ),
        )


async def write_identity(connection: AsyncConnection, identity: StoreIdentity) -> None:
    await connection.execute(
        "UPDATE constellation.shard SET region = %s, dimension = %s WHERE shard_id = %s",
        (identity.region, identity.dimension, identity.shard_id),
    )


async def ensure_shard(connection: AsyncConnection, shard_id: int, secret: bytes) -> None:
    """Insert the row of a shard unless it exists."""
    await connection.execute(
        "INSERT INTO constellation.shard (shard_id, secret) VALUES (%s, %s)"
        " ON CONFLICT (shard_id) DO NOTHING",
        (shard_id, secret),
    )


async def _begin_commit(
    connection: AsyncConnection,
    fence: Fence,
    writes: CommitWrites,
    statements: Statements,
    lease_seconds: float,
) -> None:
    """Begin a commit. One statement both writes the totals and checks the fence."""
    totals = writes.totals
    async with connection.pipeline():
        await connection.execute("BEGIN")
        await set_timeouts(connection, statements.timeout_seconds)
        written = await connection.execute(
            "UPDATE constellation.shard SET lsn = %s, patterns = %s, devices = %s,"
            " pattern_digest = %s, device_digest = %s, count_digest = %s, liked_digest = %s,"
            " group_digest = %s,"
            " lease_until = clock_timestamp() + make_interval(secs => %s)"
            " WHERE shard_id = %s AND epoch = %s AND owner = %s AND lsn = %s"
            " RETURNING to_regclass('pg_temp.stage_device') IS NOT NULL, catalogue_digest",
            (
                *encode_totals(totals),
                lease_seconds,
                fence.shard_id,
                fence.epoch,
                fence.owner,
                totals.lsn - 1,
            ),
        )
    row = await written.fetchone()
    if row is None:
        await _raise_refusal(connection, fence, totals.lsn)
        return
    has_stages, digest = row
    require_catalogue(to_unsigned_or_none(digest), writes.catalogue_digest)
    if not has_stages:  # the first commit on this connection
        for stage in statements.staging_tables:
            await connection.execute(stage)


async def _raise_refusal(connection: AsyncConnection, fence: Fence, lsn: int) -> None:
    """Raise the reason why no totals were written: FencedError or StoreFailedError."""
    cursor = await connection.execute(
        "SELECT epoch, owner, lsn FROM constellation.shard WHERE shard_id = %s", (fence.shard_id,)
    )
    row = _require_shard(await cursor.fetchone(), fence.shard_id)
    _require_holder(fence, row[0], row[1])
    raise StoreFailedError(
        f"lsn must be {row[2] + 1}, got {lsn}: the database was changed or restored meanwhile"
    )


async def _begin_fenced(
    connection: AsyncConnection, fence: Fence, statements: Statements
) -> int | None:
    """Begin a transaction that no takeover can overtake, and return the catalogue's digest.

    Raises FencedError after a takeover.
    """
    async with connection.pipeline():
        await connection.execute("BEGIN")
        await set_timeouts(connection, statements.timeout_seconds)
        found = await connection.execute(
            "SELECT epoch, owner, catalogue_digest FROM constellation.shard WHERE shard_id = %s"
            " FOR NO KEY UPDATE",
            (fence.shard_id,),
        )
    epoch, owner, digest = _require_shard(await found.fetchone(), fence.shard_id)
    _require_holder(fence, epoch, owner)
    return to_unsigned_or_none(digest)


def _require_holder(fence: Fence, epoch: int, owner: str) -> None:
    if epoch != fence.epoch:
        raise FencedError(f"epoch {fence.epoch} was taken over by epoch {epoch} of {owner}")
    if owner != fence.owner:
        raise FencedError(
            f"epoch {fence.epoch} belongs to {owner}: the database lost this process's takeover"
        )


def _require_shard(row: tuple[Any, ...] | None, shard_id: int) -> tuple[Any, ...]:
    if row is None:
        raise StoreFailedError(f"the row of shard {shard_id} is gone: restore the database")
    return row


@asynccontextmanager
async def _commit_on_exit(
    connection: AsyncConnection, sync_seconds: Histogram | None = None
) -> AsyncIterator[None]:
    """Send the statements of the block and COMMIT together, in one pipeline.

    `sync_seconds` records how long the server took to answer. Raises OutcomeUnknownError unless the
    server itself reports that the transaction failed: any other error may come after the COMMIT.
    """
    is_commit_sent = False
    started = time.perf_counter()
    try:
        async with connection.pipeline():
            yield
            is_commit_sent = True
            await connection.execute("COMMIT")
        if sync_seconds is not None:
            sync_seconds.observe(time.perf_counter() - started)
    except psycopg.Error as error:
        if not is_commit_sent or connection.pgconn.transaction_status == TransactionStatus.INERROR:
            raise
        raise OutcomeUnknownError(
            "the connection to PostgreSQL was lost during a commit; whether the commit was written "
            "is known once the database answers again"
        ) from error


async def _copy(connection: AsyncConnection, statement: sql.SQL, rows: bytes) -> None:
    async with connection.cursor() as cursor, cursor.copy(statement) as copy:
        await copy.write(rows)


async def _put_liked(
    connection: AsyncConnection, shard_id: int, devices: Slots, rows: LikedRows
) -> None:
    """Write liked content without the zeros at its end: most lists are short.

    All rows are one parameter, so this takes no round trip of its own, as a COPY would.
    """
    if len(devices):
        await connection.execute(
            "INSERT INTO constellation.liked (shard_id, slot, contents)"
            " SELECT %s, slot, rtrim(substr(%b, (%s * (number - 1) + 1)::integer, %s), '\\x00')"
            " FROM unnest(%s::bigint[]) WITH ORDINALITY AS written (slot, number)"
            " ON CONFLICT (shard_id, slot) DO UPDATE SET contents = excluded.contents",
            (shard_id, rows.tobytes(), rows.itemsize, rows.itemsize, devices.tolist()),
        )


async def _put_groups(connection: AsyncConnection, shard_id: int, records: GroupRecords) -> None:
    """Write records of groups; all are one parameter, as with liked content."""
    if len(records.numbers):
        offsets = np.cumsum(records.lengths) - records.lengths
        await connection.execute(
            "INSERT INTO constellation.grouping (shard_id, slot, row)"
            " SELECT %s, slot, substr(%b, first, size)"
            " FROM unnest(%s::bigint[], %s::integer[], %s::integer[])"
            " AS written (slot, first, size)"
            " ON CONFLICT (shard_id, slot) DO UPDATE SET row = excluded.row",
            (
                shard_id,
                records.data,
                records.numbers.tolist(),
                (offsets + 1).tolist(),
                records.lengths.tolist(),
            ),
        )


async def _delete_rows(
    connection: AsyncConnection, table: str, shard_id: int, slots: Slots
) -> None:
    if len(slots):
        statement = sql.SQL(
            "DELETE FROM constellation.{} WHERE shard_id = %s AND slot = ANY (%s::bigint[])"
        )
        await connection.execute(
            statement.format(sql.Identifier(table)), (shard_id, slots.tolist())
        )


async def _write_terms(connection: AsyncConnection, shard_id: int, terms: Sequence[Term]) -> None:
    if terms:
        await connection.execute(  # a shard inserts each term once, ever
            "INSERT INTO constellation.term (shard_id, kind, number, text)"
            " SELECT %s, * FROM unnest(%s::smallint[], %s::integer[], %s::text[])",
            (
                shard_id,
                [int(term.kind) for term in terms],
                [term.number for term in terms],
                [term.text for term in terms],
            ),
        )


async def _write_catalogue_digest(connection: AsyncConnection, shard_id: int, digest: int) -> None:
    await connection.execute(
        "UPDATE constellation.shard SET catalogue_digest = %s WHERE shard_id = %s",
        (to_signed(digest), shard_id),
    )


async def _write_counts(
    connection: AsyncConnection, shard_id: int, counts: HourlyCounts, oldest_hour: int
) -> None:
    if len(counts.hours):
        await connection.execute(
            "INSERT INTO constellation.hourly_count (shard_id, hour, kind, number, devices)"
            " SELECT %s, * FROM unnest(%s::bigint[], %s::smallint[], %s::integer[], %s::bigint[])"
            " ON CONFLICT (shard_id, hour, kind, number) DO UPDATE SET devices = excluded.devices",
            (
                shard_id,
                counts.hours.tolist(),
                counts.kinds.tolist(),
                counts.numbers.tolist(),
                counts.devices.tolist(),
            ),
        )
    if oldest_hour:
        await connection.execute(
            "DELETE FROM constellation.hourly_count WHERE shard_id = %s AND hour < %s",
            (shard_id, oldest_hour),
        )
