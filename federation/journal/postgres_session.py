"""The one connection of a PostgreSQL journal: whoever holds the lock on it is the active one.

The lock is the session's, and every write goes through the same session. So whoever lost the
connection lost the lock and cannot write; and nobody gets the lock while a write is under way.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, LiteralString

import psycopg
from psycopg.pq import TransactionStatus

from constellation.errors import ConfigError, FencedError, NotReadyError
from constellation.storage.postgres.errors import translate_errors
from constellation.storage.postgres.pool import abort_connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from psycopg import AsyncConnection

STATEMENT_TIMEOUT_SECONDS: Final = 30.0
"""A server that takes longer over one statement is cut off."""

_LOCK_KEY: Final = 0x4645444552415445
"""Key of the advisory lock."""
_PRAGMAS: Final = (
    "SELECT set_config(name, value, false) FROM (VALUES"
    " ('tcp_keepalives_idle', '10'), ('tcp_keepalives_interval', '5'),"
    " ('tcp_keepalives_count', '3'), ('tcp_user_timeout', '30000'),"
    " ('idle_in_transaction_session_timeout', '60000'), ('lock_timeout', '10000')"
    ") AS setting (name, value)"
)
"""The server, too, finds out within half a minute that a machine is gone, and unlocks: by default
that takes two hours. No statement_timeout: it would let a COMMIT return before it is replicated."""


class JournalSession:
    """One connection, used by one task at a time. Every error of psycopg leaves it as ours.

    Once the lock was taken, a lost connection is a FencedError; before, it is a NotReadyError.
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
        """Configure the connection. Raises ConfigError when it is not a session of its own."""
        async with self._use_connection():
            await self.execute(_PRAGMAS)
            ((server,),) = await self.execute("SELECT pg_backend_pid()")
        if server != self._connection.info.backend_pid:
            raise ConfigError(
                f"{self._location} is a connection pooler, which may give a lock to others: "
                "the federation's POSTGRES_URL must lead to PostgreSQL itself"
            )

    async def try_lock(self, setup: LiteralString) -> bool:
        """Become the active one, unless another session is; `make` is done first."""
        async with self._use_connection():
            ((locked,),) = await self.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK_KEY,))
            if locked:
                await self.execute(setup)
                self._is_active = True
        return bool(locked)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[None]:
        """Use the connection. Raises NotReadyError before it was taken."""
        if not self._is_active:
            raise NotReadyError("this federation is not the active one yet")
        async with self._use_connection():
            yield

    async def probe(self) -> None:
        """Return when the connection is there: no table is read, for one may be locked."""
        async with self.read():
            await self.execute("SELECT 1")

    @asynccontextmanager
    async def transact(self) -> AsyncIterator[None]:
        """Do what is inside in one transaction: durable at the end, or undone."""
        async with self.read():
            try:
                await self.execute("BEGIN")
                yield
                await self.execute("COMMIT")
            finally:
                await self._roll_back()

    async def execute(self, statement: LiteralString, values: Sequence[object] = ()) -> list[Any]:
        """Return what one statement finds; inside `read` or `transact`."""
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
                if self._is_active and self._connection.closed:
                    raise FencedError(
                        f"the connection was lost, and with it the right to run rounds: {error}"
                    ) from error
                raise

    async def _roll_back(self) -> None:
        """End a transaction that an error left open."""
        connection = self._connection
        if connection.closed or connection.pgconn.transaction_status == TransactionStatus.IDLE:
            return
        try:
            await self.execute("ROLLBACK")
        except psycopg.Error:
            await connection.close()  # the server rolls back by itself
