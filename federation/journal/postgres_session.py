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
from constellation.storage.postgres.errors import explained
from constellation.storage.postgres.pool import cut

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from psycopg import AsyncConnection

ANSWER_SECONDS: Final = 30.0
"""A server that takes longer over one statement is cut off."""

_LOCK: Final = 0x4645444552415445
"""Key of the advisory lock."""
_SETTINGS: Final = (
    "SELECT set_config(name, value, false) FROM (VALUES"
    " ('tcp_keepalives_idle', '10'), ('tcp_keepalives_interval', '5'),"
    " ('tcp_keepalives_count', '3'), ('tcp_user_timeout', '30000'),"
    " ('idle_in_transaction_session_timeout', '60000'), ('lock_timeout', '10000')"
    ") AS setting (name, value)"
)
"""The server, too, finds out within half a minute that a machine is gone, and unlocks: by default
that takes two hours. No statement_timeout: it would let a COMMIT return before it is replicated."""


class Session:
    """One connection, used by one task at a time. Every error of psycopg leaves it as ours.

    Once the lock was taken, a lost connection is a FencedError; before, it is a NotReadyError.
    """

    def __init__(self, connection: AsyncConnection, place: str, answer_seconds: float) -> None:
        self._connection = connection
        self._place = place
        self._answer_seconds = answer_seconds
        self._alone = asyncio.Lock()
        self._active = False

    async def prepare(self) -> None:
        """Configure the connection. Raises ConfigError when it is not a session of its own."""
        async with self._use():
            await self.rows(_SETTINGS)
            ((server,),) = await self.rows("SELECT pg_backend_pid()")
        if server != self._connection.info.backend_pid:
            raise ConfigError(
                f"{self._place} is a connection pooler, which may give a lock to others: "
                "the federation's POSTGRES_URL must lead to PostgreSQL itself"
            )

    async def take(self, make: LiteralString) -> bool:
        """Become the active one, unless another session is; `make` is done first."""
        async with self._use():
            ((locked,),) = await self.rows("SELECT pg_try_advisory_lock(%s)", (_LOCK,))
            if locked:
                await self.rows(make)
                self._active = True
        return bool(locked)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[None]:
        """Use the connection. Raises NotReadyError before it was taken."""
        if not self._active:
            raise NotReadyError("this federation is not the active one yet")
        async with self._use():
            yield

    async def probe(self) -> None:
        """Return when the connection is there: no table is read, for one may be locked."""
        async with self.read():
            await self.rows("SELECT 1")

    @asynccontextmanager
    async def transact(self) -> AsyncIterator[None]:
        """Do what is inside in one transaction: durable at the end, or undone."""
        async with self.read():
            try:
                await self.rows("BEGIN")
                yield
                await self.rows("COMMIT")
            finally:
                await self._roll_back()

    async def rows(self, statement: LiteralString, values: Sequence[object] = ()) -> list[Any]:
        """Return what one statement finds; inside `read` or `transact`."""
        late = asyncio.get_running_loop().call_later(self._answer_seconds, cut, self._connection)
        try:
            cursor = self._connection.cursor(binary=True)
            await cursor.execute(statement, values or None)
            return await cursor.fetchall() if cursor.description else []
        finally:
            late.cancel()

    @asynccontextmanager
    async def _use(self) -> AsyncIterator[None]:
        async with self._alone:
            try:
                with explained(self._place):
                    yield
            except NotReadyError as error:
                if self._active and self._connection.closed:
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
            await self.rows("ROLLBACK")
        except psycopg.Error:
            await connection.close()  # the server rolls back by itself
