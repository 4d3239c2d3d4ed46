"""PostgresJournal: rounds in PostgreSQL, written by the one process that holds an advisory lock."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from constellation.errors import StoreFailedError
from constellation.storage.postgres.dialect import PGVECTOR, Dialect
from constellation.storage.postgres.errors import describe_database, translate_errors
from constellation.storage.postgres.migrations import require_current_schema
from constellation.storage.postgres.pool import connect
from federation.journal.contract import (
    MAX_ROUND_ID,
    MAX_ROUNDS,
    RoundRecord,
    check_begin,
    check_close,
    check_save,
    select_new_rows,
    wait_for_turn,
)
from federation.journal.ledger_columns import LEDGER_COLUMNS, to_ledger_row, to_ledger_values
from federation.journal.postgres_session import STATEMENT_TIMEOUT_SECONDS, JournalSession
from federation.privacy.ledger import LEDGER_WEEKS
from federation.round_report import RoundState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from federation.journal.contract import OrderCheck, RoundOutput
    from federation.privacy.ledger import LedgerRow

_PROBE_SECONDS: Final = 3.0
"""Pause between two checks that the connection still exists."""
_INSERT_GENERATION: Final = (
    "INSERT INTO constellation.federation (generation)"
    " VALUES ((extract(epoch FROM clock_timestamp()) * 1000)::bigint) ON CONFLICT DO NOTHING"
)


@asynccontextmanager
async def open_postgres_journal(
    url: str,
    dialect: Dialect = PGVECTOR,
    *,
    statement_timeout_seconds: float = STATEMENT_TIMEOUT_SECONDS,
) -> AsyncIterator[PostgresJournal]:
    """Open the journal in this database.

    When the block is left, another federation can become the active one. Raises ConfigError or
    NotReadyError; the message says what to do.
    """
    location = describe_database(url)
    connection = await connect(url, location)
    try:
        with translate_errors(location):
            await require_current_schema(connection, location, dialect)
        session = JournalSession(connection, location, statement_timeout_seconds)
        await session.prepare()
        yield PostgresJournal(session, location)
    finally:
        await connection.close()


class PostgresJournal:
    """A Journal in PostgreSQL. Losing the connection, however briefly, ends the process.

    The lock is lost with the connection, so the active process is fenced with a FencedError; once
    it is started again, it waits for the lock. A process that is still waiting for the lock ends
    with a NotReadyError.
    """

    kind: Final = "postgres"

    def __init__(self, session: JournalSession, location: str) -> None:
        self._session = session
        self._location = location

    async def become_active(self) -> None:
        """Wait for the lock of this database, which one federation at a time holds."""
        await wait_for_turn(self._try_become_active)

    async def _try_become_active(self) -> str:
        if await self._session.try_lock(_INSERT_GENERATION):
            return ""
        return f"another federation is at {self._location}"

    async def stay_active_forever(self) -> None:
        """Check the connection regularly. Raises FencedError when it is lost."""
        while True:
            await self._session.probe()
            await asyncio.sleep(_PROBE_SECONDS)

    async def read_generation(self) -> int:
        async with self._session.read():
            rows = await self._session.execute("SELECT generation FROM constellation.federation")
        if not rows:
            raise StoreFailedError(
                f"the row of constellation.federation is missing in {self._location}: restore the "
                "database from a backup"
            )
        return int(rows[0][0])

    async def read_newest(self) -> RoundRecord | None:
        async with self._session.read():
            return await self._select_newest()

    async def read_round(self, round_id: int) -> RoundRecord | None:
        newest = await self.read_rounds(round_id + 1, 1)
        return next((record for record in newest if record.round_id == round_id), None)

    async def read_rounds(self, before: int | None, limit: int) -> Sequence[RoundRecord]:
        async with self._session.read():
            return await self._select_rounds(MAX_ROUND_ID if before is None else before, limit)

    async def read_result(self) -> tuple[int, bytes] | None:
        async with self._session.read():
            rows = await self._session.execute(
                "SELECT round_id, result FROM constellation.round_result"
            )
        return (rows[0][0], rows[0][1]) if rows else None

    async def read_model_state(self) -> bytes | None:
        async with self._session.read():
            rows = await self._session.execute("SELECT memory FROM constellation.round_result")
        return bytes(rows[0][0]) if rows else None

    async def read_aggregates(self) -> Mapping[int, bytes]:
        # Aggregates are read one by one: together they may have hundreds of MiB.
        async with self._session.read():
            shards = await self._session.execute(
                "SELECT shard_id FROM constellation.round_aggregate"
            )
            return {shard_id: await self._select_aggregate(shard_id) for (shard_id,) in shards}

    async def read_ledger(self) -> Sequence[LedgerRow]:
        async with self._session.read():
            return await self._select_ledger()

    async def begin_round(self, record: RoundRecord) -> None:
        async with self._session.transact():
            await self._upsert_round(record, check_begin)
            await self._session.execute(
                "DELETE FROM constellation.round WHERE round_id <= %s",
                (record.round_id - MAX_ROUNDS,),
            )

    async def save_result(self, record: RoundRecord, output: RoundOutput) -> None:
        async with self._session.transact():
            await self._upsert_round(record, check_save)
            await self._session.execute(
                "INSERT INTO constellation.round_result (round_id, result, memory)"
                " VALUES (%s, %b, %b) ON CONFLICT (one) DO UPDATE SET"
                " round_id = excluded.round_id, result = excluded.result, memory = excluded.memory",
                (record.round_id, output.result, output.model_state),
            )
            await self._delete_aggregates(output.removed_aggregates)
            for shard_id, payload in output.aggregates.items():
                await self._session.execute(
                    "INSERT INTO constellation.round_aggregate (shard_id, payload) VALUES (%s, %b)"
                    " ON CONFLICT (shard_id) DO UPDATE SET payload = excluded.payload",
                    (shard_id, payload),
                )
            await self._add_to_ledger(output.ledger_rows)

    async def close_round(self, record: RoundRecord) -> None:
        async with self._session.transact():
            await self._upsert_round(record, check_close)

    async def delete_aggregates(self, parts: Sequence[int]) -> None:
        async with self._session.transact():
            await self._delete_aggregates(parts)

    async def _delete_aggregates(self, parts: Sequence[int]) -> None:
        if parts:
            await self._session.execute(
                "DELETE FROM constellation.round_aggregate WHERE shard_id = ANY (%s::bigint[])",
                (list(parts),),
            )

    async def _select_newest(self) -> RoundRecord | None:
        return next(iter(await self._select_rounds(MAX_ROUND_ID, 1)), None)

    async def _select_rounds(self, before: int, limit: int) -> Sequence[RoundRecord]:
        rows = await self._session.execute(
            "SELECT round_id, state, extract(epoch FROM started_at)::float8, summary"
            " FROM constellation.round WHERE round_id < %s ORDER BY round_id DESC LIMIT %s",
            (before, limit),
        )
        return [
            RoundRecord(round_id, RoundState(state), started_at, summary)
            for round_id, state, started_at, summary in rows
        ]

    async def _select_aggregate(self, shard_id: int) -> bytes:
        ((payload,),) = await self._session.execute(
            "SELECT payload FROM constellation.round_aggregate WHERE shard_id = %s", (shard_id,)
        )
        return bytes(payload)

    async def _select_ledger(self) -> Sequence[LedgerRow]:
        rows = await self._session.execute(
            f"SELECT {LEDGER_COLUMNS} FROM constellation.privacy_ledger"  # noqa: S608
        )
        return [to_ledger_row(*values) for values in rows]

    async def _add_to_ledger(self, rows: Sequence[LedgerRow]) -> None:
        if not rows:
            return
        for row in select_new_rows(await self._select_ledger(), rows):
            await self._session.execute(
                f"INSERT INTO constellation.privacy_ledger ({LEDGER_COLUMNS})"  # noqa: S608
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
                to_ledger_values(row),
            )
        await self._session.execute(
            "DELETE FROM constellation.privacy_ledger WHERE week <= %s",
            (max(row.week for row in rows) - LEDGER_WEEKS,),
        )

    async def _upsert_round(self, record: RoundRecord, check: OrderCheck) -> None:
        check(await self._select_newest(), record)
        await self._session.execute(
            "INSERT INTO constellation.round (round_id, state, started_at, summary)"
            " VALUES (%s, %s, to_timestamp(%s), %b) ON CONFLICT (round_id) DO UPDATE SET"
            " state = excluded.state, started_at = excluded.started_at, summary = excluded.summary",
            (record.round_id, int(record.state), record.started_at, record.summary),
        )
