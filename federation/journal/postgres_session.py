"""The only connection of a PostgreSQL journal, and the lock that makes its process the active one.

The lock belongs to the database session, and every write uses the same session. Therefore a process
that lost its connection has lost the lock and cannot write, and no other process can get the lock
while a write is in progress.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, LiteralString

import psycopg
from psycopg.pq import TransactionStatus

from constellation.errors import ConfigError, FencedError, NotReadyError
from constellation.storage.postgres.errors import (
    READ_WRITABILITY,
    is_read_only_error,
    require_writable,
    translate_errors,
)
from constellation.storage.postgres.pool import abort_connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from psycopg import AsyncConnection

STATEMENT_TIMEOUT_SECONDS: Final = 30.0
"""If a statement takes longer, the connection is closed."""

_LOCK_KEY: Final = 0x4645444552415445
"""The key of the advisory lock: the letters FEDERATE in ASCII."""
_PRAGMAS: Final = (
    "SELECT set_config(name, value, false) FROM (VALUES"
    " ('tcp_keepalives_idle', '10'), ('tcp_keepalives_interval', '5'),"
    " ('tcp_keepalives_count', '3'), ('tcp_user_timeout', '30000'),"
    " ('idle_in_transaction_session_timeout', '60000'), ('lock_timeout', '10000')"
    ") AS setting (name, value)"
)
"""Makes the server notice within half a minute that a client is gone, and release the lock.

By default that takes two hours. There is no statement_timeout, because it would let a COMMIT return
before it is replicated.
"""


class JournalSession:
    """One connection, used by one task at a time. Errors of psycopg are translated to ours.

    A lost connection raises FencedError if this session had the lock, and NotReadyError if not.
    """

    def __init__(
        self, connection: AsyncConnection, location: str, statement_timeout_seconds: float
    ) -> None:
        self._connection = connection
        self._location = location
        self._statement_timeout_seconds = statement_timeout_seconds
        self._lock = asyncio.Lock()
        self._is_active = False

    async def prepare(self) -> None:
        """Configure the connection. Raises ConfigError if it leads to a connection pooler."""
        async with self._use_connection():
            await self.execute(_PRAGMAS)
            ((server,),) = await self.execute("SELECT pg_backend_pid()")
        if server != self._connection.info.backend_pid:
            raise ConfigError(
                f"{self._location} is a connection pooler, which may hand the federation's lock to "
                "others: the federation's POSTGRES_URL must lead to PostgreSQL itself"
            )

    async def try_lock(self, setup: LiteralString) -> bool:
        """Try to take the lock; return whether it succeeded. If so, `setup` is executed first."""
        async with self._use_connection():
            ((locked,),) = await self.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK_KEY,))
            if locked:
                await self.execute(setup)
                self._is_active = True
        return bool(locked)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[None]:
        """Reserve the connection for reading. Raises NotReadyError until the lock was taken."""
        if not self._is_active:
            raise NotReadyError("this federation is not the active one yet")
        async with self._use_connection():
            yield

    async def probe(self) -> None:
        """Return if the connection works and its server takes writes."""
        async with self.read():
            (answer,) = await self.execute(READ_WRITABILITY)
            require_writable(*answer)

    @asynccontextmanager
    async def transact(self) -> AsyncIterator[None]:
        """Run the block in one transaction: durable when the block ends, undone if it raises."""
        async with self.read():
            try:
                await self.execute("BEGIN")
                yield
                await self.execute("COMMIT")
            finally:
                await self._roll_back()

    async def execute(self, statement: LiteralString, values: Sequence[object] = ()) -> list[Any]:
        """Execute one statement and return its rows. Call this inside `read` or `transact`."""
        timeout = asyncio.get_running_loop().call_later(
            self._statement_timeout_seconds, abort_connection, self._connection
        )
        try:
            cursor = self._connection.cursor(binary=True)
            await cursor.execute(statement, values or None)
            return await cursor.fetchall() if cursor.description else []
        finally:
            timeout.cancel()

    @asynccontextmanager
    async def _use_connection(self) -> AsyncIterator[None]:
        async with self._lock:
            try:
                with translate_errors(self._location):
                    yield
            except NotReadyError as error:
                if is_read_only_error(error.__cause__):
                    await self._connection.close()  # after a failover, another host is the primary
                if self._is_active and self._connection.closed:
                    raise FencedError(
                        f"the connection was lost, and with it the right to run rounds: {error}"
                    ) from error
                raise

    async def _roll_back(self) -> None:
        """Roll back a transaction that an error left open."""
        connection = self._connection
        if connection.closed or connection.pgconn.transaction_status == TransactionStatus.IDLE:
            return
        try:
            await self.execute("ROLLBACK")
        except psycopg.Error:
            await connection.close()  # then the server rolls back
