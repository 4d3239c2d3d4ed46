"""PostgresJournal: a federation's rounds in PostgreSQL, written by whoever holds its lock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import structlog

from constellation.errors import StoreFailedError
from constellation.storage.postgres.dialect import PGVECTOR, Dialect
from constellation.storage.postgres.errors import explained, place_of
from constellation.storage.postgres.migrations import require_current
from constellation.storage.postgres.pool import connected
from federation.journal.contract import (
    KEPT_ROUNDS,
    RoundRecord,
    RoundState,
    check_begin,
    check_close,
    check_settle,
)
from federation.journal.postgres_session import ANSWER_SECONDS, Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from federation.journal.contract import Outcome

log = structlog.get_logger(__name__)

_LOOK_SECONDS: Final = 1.0
"""Between two looks at a lock that another federation holds."""
_PROBE_SECONDS: Final = 3.0
"""Between two looks at a connection that nobody uses."""
_NO_ROUND_SO_LATE: Final = 2**63 - 1
_MAKE: Final = (
    "INSERT INTO constellation.federation (generation)"
    " VALUES ((extract(epoch FROM clock_timestamp()) * 1000)::bigint) ON CONFLICT DO NOTHING"
)

Check = Callable[[RoundRecord | None, RoundRecord], None]


@asynccontextmanager
async def open_postgres(
    url: str, dialect: Dialect = PGVECTOR, *, answer_seconds: float = ANSWER_SECONDS
) -> AsyncIterator[PostgresJournal]:
    """Open the journal in this database; leaving it lets the next federation in.

    Raises ConfigError or NotReadyError, each with what to do about it.
    """
    place = place_of(url)
    connection = await connected(url, place)
    try:
        with explained(place):
            await require_current(connection, place, dialect)
        session = Session(connection, place, answer_seconds)
        await session.prepare()
        yield PostgresJournal(session, place)
    finally:
        await connection.close()


class PostgresJournal:
    """A Journal in PostgreSQL. A database that goes away, however shortly, ends the process.

    Its lock goes with its connection, so the process is fenced, and whoever starts it again lets
    it wait for its turn. A federation that only waits ends likewise, with a NotReadyError.
    """

    kind: Final = "postgres"

    def __init__(self, session: Session, place: str) -> None:
        self._session = session
        self._place = place

    async def take(self) -> None:
        """Take the database's lock: two federations in one database are one at a time."""
        awaited = False
        while not await self._session.take(_MAKE):
            if not awaited:
                log.info("federation_awaited", problem=f"another federation is at {self._place}")
            awaited = True
            await asyncio.sleep(_LOOK_SECONDS)

    async def hold_forever(self) -> None:
        """Look after the connection. Raises FencedError when it is gone."""
        while True:
            await self._session.probe()
            await asyncio.sleep(_PROBE_SECONDS)

    async def generation(self) -> int:
        async with self._session.read():
            rows = await self._session.rows("SELECT generation FROM constellation.federation")
        if not rows:
            raise StoreFailedError(f"{self._place} lost the row of its generation: restore it")
        return int(rows[0][0])

    async def newest(self) -> RoundRecord | None:
        async with self._session.read():
            return await self._newest()

    async def get(self, round_id: int) -> RoundRecord | None:
        newest = await self.page(round_id + 1, 1)
        return next((record for record in newest if record.round_id == round_id), None)

    async def page(self, before: int | None, limit: int) -> Sequence[RoundRecord]:
        async with self._session.read():
            return await self._page(_NO_ROUND_SO_LATE if before is None else before, limit)

    async def result(self) -> tuple[int, bytes] | None:
        async with self._session.read():
            rows = await self._session.rows(
                "SELECT round_id, result FROM constellation.round_result"
            )
        return (rows[0][0], rows[0][1]) if rows else None

    async def memory(self) -> bytes | None:
        async with self._session.read():
            rows = await self._session.rows("SELECT memory FROM constellation.round_result")
        return bytes(rows[0][0]) if rows else None

    async def aggregates(self) -> Mapping[int, bytes]:
        async with self._session.read():  # one at a time: together they may be hundreds of MiB
            shards = await self._session.rows("SELECT shard_id FROM constellation.round_aggregate")
            return {shard_id: await self._aggregate(shard_id) for (shard_id,) in shards}

    async def begin(self, record: RoundRecord) -> None:
        async with self._session.transact():
            await self._put(record, check_begin)
            await self._session.rows(
                "DELETE FROM constellation.round WHERE round_id <= %s",
                (record.round_id - KEPT_ROUNDS,),
            )

    async def settle(self, record: RoundRecord, outcome: Outcome) -> None:
        async with self._session.transact():
            await self._put(record, check_settle)
            await self._session.rows(
                "INSERT INTO constellation.round_result (round_id, result, memory)"
                " VALUES (%s, %b, %b) ON CONFLICT (one) DO UPDATE SET"
                " round_id = excluded.round_id, result = excluded.result, memory = excluded.memory",
                (record.round_id, outcome.result, outcome.memory),
            )
            for shard_id, payload in outcome.aggregates.items():
                await self._session.rows(
                    "INSERT INTO constellation.round_aggregate (shard_id, payload) VALUES (%s, %b)"
                    " ON CONFLICT (shard_id) DO UPDATE SET payload = excluded.payload",
                    (shard_id, payload),
                )

    async def close(self, record: RoundRecord) -> None:
        async with self._session.transact():
            await self._put(record, check_close)

    async def forget_aggregates(self, shard_ids: Sequence[int]) -> None:
        async with self._session.transact():
            await self._session.rows(
                "DELETE FROM constellation.round_aggregate WHERE shard_id = ANY (%s::bigint[])",
                (list(shard_ids),),
            )

    async def _newest(self) -> RoundRecord | None:
        return next(iter(await self._page(_NO_ROUND_SO_LATE, 1)), None)

    async def _page(self, before: int, limit: int) -> Sequence[RoundRecord]:
        rows = await self._session.rows(
            "SELECT round_id, state, extract(epoch FROM started_at)::float8, summary"
            " FROM constellation.round WHERE round_id < %s ORDER BY round_id DESC LIMIT %s",
            (before, limit),
        )
        return [
            RoundRecord(round_id, RoundState(state), started_at, summary)
            for round_id, state, started_at, summary in rows
        ]

    async def _aggregate(self, shard_id: int) -> bytes:
        ((payload,),) = await self._session.rows(
            "SELECT payload FROM constellation.round_aggregate WHERE shard_id = %s", (shard_id,)
        )
        return bytes(payload)

    async def _put(self, record: RoundRecord, check: Check) -> None:
        check(await self._newest(), record)
        await self._session.rows(
            "INSERT INTO constellation.round (round_id, state, started_at, summary)"
            " VALUES (%s, %s, to_timestamp(%s), %b) ON CONFLICT (round_id) DO UPDATE SET"
            " state = excluded.state, started_at = excluded.started_at, summary = excluded.summary",
            (record.round_id, int(record.state), record.started_at, record.summary),
        )
