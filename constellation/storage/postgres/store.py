"""PostgresPatternStore: one shard in PostgreSQL, written by the process that has its epoch."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager
from dataclasses import replace
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
from constellation.storage.postgres.binary_copy import decode_devices, decode_liked, decode_patterns
from constellation.storage.postgres.errors import (
    describe_database,
    require_writable,
    translate_errors,
)
from constellation.storage.postgres.lease import Lease
from constellation.storage.postgres.migrations import require_current_schema
from constellation.storage.postgres.pool import ConnectionPool, PostgresSettings, connect
from constellation.storage.postgres.statements import Statements

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from psycopg import AsyncConnection

    from constellation.core.rows import DeviceRows, LikedRows, PatternRows, Slots
    from constellation.core.store import (
        CommitWrites,
        Content,
        GroupRecords,
        HourlyCounts,
        StoreReader,
        Term,
        Totals,
    )
    from constellation.core.store_identity import StoreIdentity
    from constellation.federated.published import StoredGlobal

log = structlog.get_logger(__name__)

T = TypeVar("T")

_WRITER_CONNECTIONS: Final = 2
"""Connections reserved for commits and for the lease. Reads of the catalogue cannot use them."""
_PREFETCHED_BLOCKS: Final = 2
"""Queries that a scan runs ahead of the block that its caller is using."""
_PAGE_SIZE: Final = 1000


@asynccontextmanager
async def open_postgres(settings: PostgresSettings) -> AsyncIterator[PostgresPatternStore]:
    """Open the store of one shard. A normal exit releases the lease for the next process.

    Raises ConfigError or NotReadyError. Each message says what to do.
    """
    database = describe_database(settings.url)
    async with await connect(settings.url, database) as connection:
        with translate_errors(database):
            dialect = await require_current_schema(connection, database, settings.dialect)
            await _require_own_shard(connection, database, settings)
            secret = secrets.token_bytes(SECRET_BYTES)
            await write.ensure_shard(connection, settings.shard_id, secret)
    settings = replace(settings, dialect=dialect)
    async with (
        ConnectionPool.open(settings, database, _WRITER_CONNECTIONS) as writer,
        ConnectionPool.open(settings, database, settings.pool_size) as readers,
    ):
        lease = Lease(writer, settings.shard_id, settings.owner, seconds=settings.lease_seconds)
        store = PostgresPatternStore(settings, database, readers.transact, writer, lease)
        try:
            yield store
        finally:
            await _release_lease(lease)


@asynccontextmanager
async def open_postgres_reader(settings: PostgresSettings) -> AsyncIterator[StoreReader]:
    """Open a snapshot of a shard for reading, while its owner continues to write.

    Raises ConfigError when the database does not have the shard.
    """
    database = describe_database(settings.url)
    async with await connect(settings.url, database) as connection:
        with translate_errors(database):
            dialect = await require_current_schema(connection, database, settings.dialect)
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            if not await read.has_shard(connection, settings.shard_id):
                raise ConfigError(f"{database} has no shard {settings.shard_id}: check SHARD_ID")
        lock = asyncio.Lock()

        @asynccontextmanager
        async def lend() -> AsyncIterator[AsyncConnection]:
            async with lock:
                with translate_errors(database):
                    yield connection

        yield PostgresReader(replace(settings, dialect=dialect), database, lend)


class PostgresReader:
    """A StoreReader of one shard, on connections that `lend` provides."""

    kind: Final = "postgres"

    def __init__(
        self,
        settings: PostgresSettings,
        database: str,
        lend: Callable[[], AbstractAsyncContextManager[AsyncConnection]],
    ) -> None:
        self._shard_id = settings.shard_id
        self._dialect = settings.dialect
        self._database = database
        self._lend = lend

    async def read_secret(self) -> bytes:
        async with self._lend() as connection:
            return await read.read_secret(connection, self._shard_id)

    async def read_identity(self) -> StoreIdentity:
        async with self._lend() as connection:
            return await read.read_identity(connection, self._shard_id)

    async def read_totals(self) -> Totals:
        async with self._lend() as connection:
            return await read.read_totals(connection, self._shard_id)

    async def read_terms(self) -> Sequence[Term]:
        try:
            async with self._lend() as connection:
                return await read.read_terms(connection, self._shard_id)
        except ValueError as error:
            raise DamagedStoreError(f"{self._database} has damaged terms: {error}") from error

    async def read_hourly_counts(self) -> HourlyCounts:
        async with self._lend() as connection:
            return await read.read_hourly_counts(connection, self._shard_id)

    async def get_content(self, content_id: str) -> Content | None:
        async with self._lend() as connection:
            return await read.read_content(connection, self._shard_id, content_id, self._dialect)

    async def get_contents(self, content_ids: Sequence[str]) -> Sequence[Content]:
        try:
            async with self._lend() as connection:
                return await read.read_named_contents(
                    connection, self._shard_id, content_ids, self._dialect
                )
        except ValueError as error:
            raise DamagedStoreError(f"{self._database} has a damaged catalogue: {error}") from error

    async def find_stored_ids(self, content_ids: Sequence[str]) -> set[str]:
        async with self._lend() as connection:
            return await read.find_stored_ids(connection, self._shard_id, content_ids)

    async def list_contents(self, after: str, limit: int) -> Sequence[Content]:
        try:
            async with self._lend() as connection:
                return await read.read_contents(
                    connection, self._shard_id, after, limit, self._dialect
                )
        except ValueError as error:
            raise DamagedStoreError(
                f"{self._database} has a damaged catalogue after {after!r}: {error}"
            ) from error

    async def count_contents(self) -> int:
        async with self._lend() as connection:
            return await read.count_contents(connection, self._shard_id)

    async def read_catalogue_digest(self) -> int | None:
        async with self._lend() as connection:
            return await read.read_catalogue_digest(connection, self._shard_id)

    async def get_global(self) -> StoredGlobal | None:
        async with self._lend() as connection:
            return await read.read_global(connection, self._shard_id)

    async def read_size_bytes(self) -> int:
        """Return the bytes of all shards in the database, because they share partitions."""
        async with self._lend() as connection:
            return await read.read_size_bytes(connection)

    async def verify(self) -> Sequence[str]:
        """Return the problems of the catalogue. It reads every content item.

        A recovery reads all other rows, and PostgreSQL checks each page that it reads.
        """
        after = ""
        try:
            while page := await self.list_contents(after, _PAGE_SIZE):
                after = page[-1].content_id
        except DamagedStoreError as error:
            return [str(error)]
        return ()

    async def scan_patterns(self) -> AsyncIterator[tuple[Slots, PatternRows]]:
        async def fetch(connection: AsyncConnection, first: int) -> tuple[bytes, Any] | None:
            return await read.read_patterns(connection, self._shard_id, first, self._dialect)

        async for records, embeddings in self._scan("pattern", fetch):
            try:
                yield decode_patterns(records, self._dialect.decode(embeddings))
            except ValueError as error:
                raise DamagedStoreError(
                    f"{self._database} has damaged patterns: {error}"
                ) from error

    async def scan_devices(self) -> AsyncIterator[tuple[Slots, DeviceRows]]:
        async def fetch(connection: AsyncConnection, first: int) -> bytes | None:
            return await read.read_devices(connection, self._shard_id, first)

        async for records in self._scan("device", fetch):
            try:
                yield decode_devices(records)
            except ValueError as error:
                raise DamagedStoreError(f"{self._database} has damaged devices: {error}") from error

    async def scan_liked(self) -> AsyncIterator[tuple[Slots, LikedRows]]:
        async def fetch(connection: AsyncConnection, first: int) -> bytes | None:
            return await read.read_liked(connection, self._shard_id, first)

        async for records in self._scan("liked", fetch):
            try:
                yield decode_liked(records)
            except ValueError as error:
                raise DamagedStoreError(
                    f"{self._database} has damaged liked content: {error}"
                ) from error

    async def scan_groups(self) -> AsyncIterator[GroupRecords]:
        async def fetch(connection: AsyncConnection, first: int) -> GroupRecords | None:
            return await read.read_groups(connection, self._shard_id, first)

        async for records in self._scan("grouping", fetch):
            yield records

    async def _scan(
        self, table: str, fetch: Callable[[AsyncConnection, int], Awaitable[T | None]]
    ) -> AsyncIterator[T]:
        """Yield the result of `fetch` for each range of slots in turn; prefetch later ranges."""
        async with self._lend() as connection:
            last = await read.read_last_slot(connection, self._shard_id, table)

        async def fetch_block(first: int) -> T | None:
            async with self._lend() as connection:
                return await fetch(connection, first)

        starts = iter(range(0, last + 1, read.SCAN_SLOTS))
        tasks: list[asyncio.Task[T | None]] = []
        try:
            while True:
                while (
                    len(tasks) <= _PREFETCHED_BLOCKS and (first := next(starts, None)) is not None
                ):
                    tasks.append(asyncio.create_task(fetch_block(first), name="scan"))
                if not tasks:
                    return
                block = await tasks.pop(0)
                if block is not None:
                    yield block
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class PostgresPatternStore(PostgresReader):  # a store also reads; delegation would repeat it all
    """A PatternStore of one shard. The database may contain other shards."""

    def __init__(
        self,
        settings: PostgresSettings,
        database: str,
        lend: Callable[[], AbstractAsyncContextManager[AsyncConnection]],
        connections: ConnectionPool,
        lease: Lease,
    ) -> None:
        super().__init__(settings, database, lend)
        self.sync_seconds = Histogram()
        self._statements = Statements(settings.dialect, settings.timeout_seconds)
        self._connections = connections
        self._lease = lease

    async def write_identity(self, identity: StoreIdentity) -> None:
        async with self._connections.transact() as connection:
            await write.write_identity(connection, identity)

    async def take_epoch(self) -> int:
        return await self._lease.take()

    async def hold_forever(self) -> None:
        """Keep the lease. While the database is unreachable, keep trying."""
        await self._lease.hold_forever()

    async def commit(self, epoch: int, writes: CommitWrites) -> None:
        async with self._connections.lend() as connection:
            await write.write_commit(
                connection,
                self._make_fence(epoch),
                writes,
                self._statements,
                lease_seconds=self._lease.seconds,
                sync_seconds=self.sync_seconds,
            )

    async def put_contents(
        self,
        epoch: int,
        contents: Sequence[Content],
        terms: Sequence[Term],
        digest: int,
        expected_digest: int | None = None,
    ) -> None:
        async with self._connections.lend() as connection:
            await write.write_contents(
                connection,
                self._make_fence(epoch),
                contents,
                terms,
                write.DigestChange(expected_digest, digest),
                self._statements,
            )

    async def put_global(self, epoch: int, stored: StoredGlobal) -> None:
        try:
            async with self._connections.lend() as connection:
                await write.write_global(
                    connection, self._make_fence(epoch), stored, self._statements
                )
        except OutcomeUnknownError as error:
            raise NotReadyError(str(error)) from error  # writing it again is harmless

    async def probe(self) -> None:
        """Return when the database answers and accepts writes, which a standby does not.

        After a failover, connections to the old primary may work on, so each pool is asked.
        """
        for lend in (self._connections.transact, self._lend):
            async with lend() as connection:
                await read.read_totals(connection, self._shard_id)
                require_writable(*await read.read_writability(connection))

    def _make_fence(self, epoch: int) -> write.Fence:
        return write.Fence(self._shard_id, epoch, self._lease.owner)


async def _require_own_shard(
    connection: AsyncConnection, database: str, settings: PostgresSettings
) -> None:
    """Raise ConfigError when this process's own name, which DATA_DIR keeps, has another shard.

    Rows of other shards are normal in a database. Only the name tells that they are this process's.
    """
    if not settings.owner:
        return
    shard_id = await read.find_shard_of(connection, settings.owner, settings.shard_id)
    if shard_id not in (None, settings.shard_id):
        raise ConfigError(
            f"DATA_DIR belongs to shard {shard_id} in {database}, SHARD_ID is {settings.shard_id}: "
            f"set SHARD_ID={shard_id}, or name another DATA_DIR"
        )


async def _release_lease(lease: Lease) -> None:
    """Release the lease. If that fails, the next process waits until the lease expires."""
    if not lease.epoch:
        return
    try:
        await lease.release()
    except NotReadyError as error:
        log.warning("lease_not_released", problem=str(error))
