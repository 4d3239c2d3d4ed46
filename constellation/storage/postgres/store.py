"""PostgresPatternStore: one shard's rows in PostgreSQL, written by whoever holds its epoch."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog

from constellation.core.store import SECRET_BYTES
from constellation.errors import (
    ConfigError,
    DamagedStoreError,
    NotReadyError,
    OutcomeUnknownError,
)
from constellation.histogram import Histogram
from constellation.storage.postgres import read, write
from constellation.storage.postgres.binary_copy import device_rows, pattern_rows
from constellation.storage.postgres.errors import explained, place_of
from constellation.storage.postgres.lease import Lease
from constellation.storage.postgres.migrations import require_current
from constellation.storage.postgres.pool import Connections, PostgresSettings, connected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from psycopg import AsyncConnection

    from constellation.core.rows import DeviceRows, PatternRows, Slots
    from constellation.core.store import Changes, Content, HourlyCounts, StoreReader, Totals, Word
    from constellation.federated.published import StoredGlobal

log = structlog.get_logger(__name__)

T = TypeVar("T")

_OWNER_CONNECTIONS: Final = 2
"""Connections that reads of the catalogue cannot take: for commits, and for the lease."""
_AHEAD: Final = 2
"""Queries of a scan under way beside the one whose rows are being used."""
_PAGE: Final = 1000


@asynccontextmanager
async def open_postgres(settings: PostgresSettings) -> AsyncIterator[PostgresPatternStore]:
    """Open the store of one shard; leaving it in order lets the next process in at once.

    Raises ConfigError or NotReadyError, each with what to do about it.
    """
    place = place_of(settings.url)
    async with await connected(settings.url, place) as connection:
        with explained(place):
            await require_current(connection, place, settings.dialect)
            secret = secrets.token_bytes(SECRET_BYTES)
            await write.make_shard(connection, settings.shard_id, secret)
    async with (
        Connections.open(settings, place, _OWNER_CONNECTIONS) as own,
        Connections.open(settings, place, settings.pool_size) as readers,
    ):
        lease = Lease(own, settings.shard_id, settings.owner, seconds=settings.lease_seconds)
        store = PostgresPatternStore(settings, place, readers.transact, own, lease)
        try:
            yield store
        finally:
            await _release(lease)


@asynccontextmanager
async def open_snapshot(settings: PostgresSettings) -> AsyncIterator[StoreReader]:
    """Open a shard as it is at this moment, to be read while its owner goes on writing.

    Raises ConfigError when the database has no such shard.
    """
    place = place_of(settings.url)
    async with await connected(settings.url, place) as connection:
        with explained(place):
            await require_current(connection, place, settings.dialect)
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            if not await read.has_shard(connection, settings.shard_id):
                raise ConfigError(f"{place} has no shard {settings.shard_id}: check SHARD_ID")
        alone = asyncio.Lock()

        @asynccontextmanager
        async def lend() -> AsyncIterator[AsyncConnection]:
            async with alone:
                with explained(place):
                    yield connection

        yield PostgresReader(settings, place, lend)


class PostgresReader:
    """A StoreReader of one shard, on connections that it is lent."""

    kind: Final = "postgres"

    def __init__(
        self,
        settings: PostgresSettings,
        place: str,
        lend: Callable[[], AbstractAsyncContextManager[AsyncConnection]],
    ) -> None:
        self._shard_id = settings.shard_id
        self._dialect = settings.dialect
        self._place = place
        self._lend = lend

    async def secret(self) -> bytes:
        async with self._lend() as connection:
            return await read.read_secret(connection, self._shard_id)

    async def totals(self) -> Totals:
        async with self._lend() as connection:
            return await read.read_totals(connection, self._shard_id)

    async def words(self) -> Sequence[Word]:
        async with self._lend() as connection:
            return await read.read_words(connection, self._shard_id)

    async def counts(self) -> HourlyCounts:
        async with self._lend() as connection:
            return await read.read_counts(connection, self._shard_id)

    async def changed_since(self, lsn: int) -> Slots | None:
        async with self._lend() as connection:
            return await read.read_changed(connection, self._shard_id, lsn)

    async def get_content(self, content_id: str) -> Content | None:
        async with self._lend() as connection:
            return await read.read_content(connection, self._shard_id, content_id, self._dialect)

    async def stored_of(self, content_ids: Sequence[str]) -> set[str]:
        async with self._lend() as connection:
            return await read.read_stored(connection, self._shard_id, content_ids)

    async def list_contents(self, after: str, limit: int) -> Sequence[Content]:
        async with self._lend() as connection:
            return await read.read_contents(connection, self._shard_id, after, limit, self._dialect)

    async def count_contents(self) -> int:
        async with self._lend() as connection:
            return await read.count_contents(connection, self._shard_id)

    async def stored_global(self) -> StoredGlobal | None:
        async with self._lend() as connection:
            return await read.read_global(connection, self._shard_id)

    async def size_bytes(self) -> int:
        """Return the bytes of every shard in the database: partitions are shared."""
        async with self._lend() as connection:
            return await read.read_size(connection)

    async def verify(self) -> Sequence[str]:
        """Read the catalogue; a recovery reads the rest, and PostgreSQL checks pages as it goes."""
        after = ""
        try:
            while page := await self.list_contents(after, _PAGE):
                after = page[-1].content_id
        except ValueError as error:
            return [f"the catalogue after {after!r}: {error}"]
        return ()

    async def scan_patterns(self) -> AsyncIterator[tuple[Slots, PatternRows]]:
        async def fetch(connection: AsyncConnection, first: int) -> tuple[bytes, Any] | None:
            return await read.read_patterns(connection, self._shard_id, first, self._dialect)

        async for records, embeddings in self._scan("pattern", fetch):
            try:
                yield pattern_rows(records, self._dialect.decode(embeddings))
            except ValueError as error:
                raise DamagedStoreError(f"{self._place} holds damaged patterns: {error}") from error

    async def scan_devices(self) -> AsyncIterator[tuple[Slots, DeviceRows]]:
        async def fetch(connection: AsyncConnection, first: int) -> bytes | None:
            return await read.read_devices(connection, self._shard_id, first)

        async for records in self._scan("device", fetch):
            try:
                yield device_rows(records)
            except ValueError as error:
                raise DamagedStoreError(f"{self._place} holds damaged devices: {error}") from error

    async def _scan(
        self, table: str, fetch: Callable[[AsyncConnection, int], Awaitable[T | None]]
    ) -> AsyncIterator[T]:
        """Yield what `fetch` returns for one range of slots after the other, fetching ahead."""
        async with self._lend() as connection:
            last = await read.read_last_slot(connection, self._shard_id, table)

        async def part(first: int) -> T | None:
            async with self._lend() as connection:
                return await fetch(connection, first)

        starts = iter(range(0, last + 1, read.SCAN_SLOTS))
        waiting: list[asyncio.Task[T | None]] = []
        try:
            while True:
                while len(waiting) <= _AHEAD and (first := next(starts, None)) is not None:
                    waiting.append(asyncio.create_task(part(first), name="scan"))
                if not waiting:
                    return
                found = await waiting.pop(0)
                if found is not None:
                    yield found
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)


class PostgresPatternStore(PostgresReader):  # a writer reads, too; delegating would say it twice
    """A PatternStore of one shard; other shards may live in the same database."""

    def __init__(
        self,
        settings: PostgresSettings,
        place: str,
        lend: Callable[[], AbstractAsyncContextManager[AsyncConnection]],
        own: Connections,
        lease: Lease,
    ) -> None:
        super().__init__(settings, place, lend)
        self.sync_seconds = Histogram()
        self._statements = write.Statements(settings.dialect, settings.timeout_seconds)
        self._own = own
        self._lease = lease

    async def take_epoch(self) -> int:
        return await self._lease.take()

    async def hold_forever(self) -> None:
        """Keep the lease; a database that is away is waited for."""
        await self._lease.hold_forever()

    async def commit(self, epoch: int, changes: Changes) -> None:
        async with self._own.lend() as connection:
            await write.write_changes(
                connection,
                self._fence(epoch),
                changes,
                self._statements,
                lease_seconds=self._lease.seconds,
                synced=self.sync_seconds,
            )

    async def forget_changes(self, epoch: int, through_lsn: int) -> None:
        try:
            async with self._own.lend() as connection:
                await write.forget_changes(
                    connection, self._fence(epoch), through_lsn, self._statements
                )
        except OutcomeUnknownError as error:
            raise NotReadyError(str(error)) from error  # forgetting twice is harmless

    async def put_contents(
        self, epoch: int, contents: Sequence[Content], words: Sequence[Word]
    ) -> None:
        async with self._own.lend() as connection:
            await write.write_contents(
                connection, self._fence(epoch), contents, words, self._statements
            )

    async def put_global(self, epoch: int, stored: StoredGlobal) -> None:
        try:
            async with self._own.lend() as connection:
                await write.write_global(connection, self._fence(epoch), stored, self._statements)
        except OutcomeUnknownError as error:
            raise NotReadyError(str(error)) from error  # putting it twice is harmless

    async def probe(self) -> None:
        """Return when the store answers, and takes writes: a standby does not."""
        async with self._own.transact() as connection:
            await read.read_totals(connection, self._shard_id)
            if await read.is_standby(connection):
                raise NotReadyError(
                    f"{self._place} is a standby, which takes no writes: promote it, or add "
                    "target_session_attrs=read-write and the primary's host to POSTGRES_URL"
                )

    def _fence(self, epoch: int) -> write.Fence:
        return write.Fence(self._shard_id, epoch, self._lease.owner)


async def _release(lease: Lease) -> None:
    """Give the lease up; the next process waits for its end when that does not work."""
    if not lease.epoch:
        return
    try:
        await lease.release()
    except NotReadyError as error:
        log.warning("lease_not_released", problem=str(error))
