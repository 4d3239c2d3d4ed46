"""PostgresJournal: a federation's rounds in PostgreSQL, written by whoever holds its lock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import structlog

from constellation.errors import StoreFailedError
from constellation.storage.postgres.dialect import PGVECTOR, Dialect
from constellation.storage.postgres.errors import describe_database, translate_errors
from constellation.storage.postgres.migrations import require_current_schema
from constellation.storage.postgres.pool import connect
from federation.journal.contract import (
    MAX_ROUNDS,
    RoundRecord,
    RoundState,
    check_begin,
    check_close,
    check_save,
)
from federation.journal.postgres_session import STATEMENT_TIMEOUT_SECONDS, JournalSession

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from federation.journal.contract import RoundOutput

log = structlog.get_logger(__name__)

_LOCK_POLL_SECONDS: Final = 1.0
"""Between two looks at a lock that another federation holds."""
_PROBE_SECONDS: Final = 3.0
"""Between two looks at a connection that nobody uses."""
_MAX_ROUND_ID: Final = 2**63 - 1
_INSERT_GENERATION: Final = (
    "INSERT INTO constellation.federation (generation)"
    " VALUES ((extract(epoch FROM clock_timestamp()) * 1000)::bigint) ON CONFLICT DO NOTHING"
)

OrderCheck = Callable[[RoundRecord | None, RoundRecord], None]


@asynccontextmanager
async def open_postgres_journal(
    url: str,
    dialect: Dialect = PGVECTOR,
    *,
    statement_timeout_seconds: float = STATEMENT_TIMEOUT_SECONDS,
) -> AsyncIterator[PostgresJournal]:
    """Open the journal in this database; leaving it lets the next federation in.

    Raises ConfigError or NotReadyError, each with what to do about it.
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
    """A Journal in PostgreSQL. A database that goes away, however shortly, ends the process.

    Its lock goes with its connection, so the process is fenced, and whoever starts it again lets
    it wait for its turn. A federation that only waits ends likewise, with a NotReadyError.
    """

    kind: Final = "postgres"

    def __init__(self, session: JournalSession, location: str) -> None:
        self._session = session
        self._location = location

    async def become_active(self) -> None:
        """Take the database's lock: two federations in one database are one at a time."""
        is_logged = False
        while not await self._session.try_lock(_INSERT_GENERATION):
            if not is_logged:
                log.info(
                    "waiting_for_active_federation",
                    problem=f"another federation is at {self._location}",
                )
            is_logged = True
            await asyncio.sleep(_LOCK_POLL_SECONDS)

    async def stay_active_forever(self) -> None:
        """Look after the connection. Raises FencedError when it is gone."""
        while True:
            await self._session.probe()
            await asyncio.sleep(_PROBE_SECONDS)

    async def read_generation(self) -> int:
        async with self._session.read():
            rows = await self._session.execute("SELECT generation FROM constellation.federation")
        if not rows:
            raise StoreFailedError(f"{self._location} lost the row of its generation: restore it")
        return int(rows[0][0])

    async def read_newest(self) -> RoundRecord | None:
        async with self._session.read():
            return await self._select_newest()

    async def read_round(self, round_id: int) -> RoundRecord | None:
        newest = await self.read_rounds(round_id + 1, 1)
        return next((record for record in newest if record.round_id == round_id), None)

    async def read_rounds(self, before: int | None, limit: int) -> Sequence[RoundRecord]:
        async with self._session.read():
            return await self._select_rounds(_MAX_ROUND_ID if before is None else before, limit)

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
        async with self._session.read():  # one at a time: together they may be hundreds of MiB
            shards = await self._session.execute(
                "SELECT shard_id FROM constellation.round_aggregate"
            )
            return {shard_id: await self._select_aggregate(shard_id) for (shard_id,) in shards}

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
            for shard_id, payload in output.aggregates.items():
                await self._session.execute(
                    "INSERT INTO constellation.round_aggregate (shard_id, payload) VALUES (%s, %b)"
                    " ON CONFLICT (shard_id) DO UPDATE SET payload = excluded.payload",
                    (shard_id, payload),
                )

    async def close_round(self, record: RoundRecord) -> None:
        async with self._session.transact():
            await self._upsert_round(record, check_close)

    async def delete_aggregates(self, shard_ids: Sequence[int]) -> None:
        async with self._session.transact():
            await self._session.execute(
                "DELETE FROM constellation.round_aggregate WHERE shard_id = ANY (%s::bigint[])",
                (list(shard_ids),),
            )

    async def _select_newest(self) -> RoundRecord | None:
        return next(iter(await self._select_rounds(_MAX_ROUND_ID, 1)), None)

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

    async def _upsert_round(self, record: RoundRecord, check: OrderCheck) -> None:
        check(await self._select_newest(), record)
        await self._session.execute(
            "INSERT INTO constellation.round (round_id, state, started_at, summary)"
            " VALUES (%s, %s, to_timestamp(%s), %b) ON CONFLICT (round_id) DO UPDATE SET"
            " state = excluded.state, started_at = excluded.started_at, summary = excluded.summary",
            (record.round_id, int(record.state), record.started_at, record.summary),
        )
