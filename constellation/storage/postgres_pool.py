"""Connections to PostgreSQL: checked, lent out for a limited time, and cut when it is up."""

from __future__ import annotations

import asyncio
import select
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg_pool import AsyncConnectionPool

from constellation.core.errors import NotReadyError
from constellation.storage.dialect import PGVECTOR, Dialect
from constellation.storage.postgres_errors import explained, login_problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from psycopg import AsyncConnection

_MAX_WAITING: Final = 64
"""Calls that may wait for a connection; one more is refused."""
_CUT_AFTER: Final = 1.2
"""Times the statement's own time-out: a server that does not even keep that is cut off."""
_SHUN_SECONDS: Final = 0.5
"""After the server was found away, calls are refused at once for so long: none of them waits."""
_CONNECTION: Final[dict[str, Any]] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "application_name": "constellation",
}
_SESSION: Final[dict[str, Any]] = {
    "autocommit": True,  # `postgres_write` opens its transactions in pipelines of its own
    "prepare_threshold": None,  # PgBouncer before 1.21 loses prepared statements
}


@dataclass(frozen=True, kw_only=True, slots=True)
class PostgresSettings:
    """Which shard of which database, and how long to wait for it."""

    url: str = field(repr=False)
    shard_id: int = 0
    owner: str = ""
    """Names this process, and those that may follow it without waiting for its lease."""
    dialect: Dialect = PGVECTOR
    lease_seconds: float = 15.0
    timeout_seconds: float = 10.0
    pool_size: int = 4


class Connections:
    """A pool. Every error of psycopg leaves it as one of ours."""

    def __init__(
        self, pool: AsyncConnectionPool[AsyncConnection], place: str, timeout_seconds: float
    ) -> None:
        self._pool = pool
        self._place = place
        self._timeout_seconds = timeout_seconds
        self._shunned_until = float("-inf")
        self._problem = ""

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: PostgresSettings, place: str, size: int
    ) -> AsyncIterator[Connections]:
        """Open a pool of at most `size` connections; they come as they are needed."""
        pool: AsyncConnectionPool[AsyncConnection] = AsyncConnectionPool(
            settings.url,
            kwargs={**_CONNECTION, **_SESSION},
            min_size=1,
            max_size=size,
            max_waiting=_MAX_WAITING,
            timeout=settings.timeout_seconds,
            check=_require_alive,
            open=False,
        )
        async with pool:
            yield cls(pool, place, settings.timeout_seconds)

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[AsyncConnection]:
        """Lend a connection; it is cut when it does not come back in time.

        Raises NotReadyError when there is none, when the server is away, and when it is slow.
        """
        loop = asyncio.get_running_loop()
        if loop.time() < self._shunned_until:
            raise NotReadyError(self._problem)
        try:
            with explained(self._place):
                async with self._pool.connection() as connection:
                    late = loop.call_later(_CUT_AFTER * self._timeout_seconds, cut, connection)
                    try:
                        yield connection
                    finally:
                        late.cancel()
                        await _left_clean(connection)
        except NotReadyError as error:
            self._problem = str(error)
            self._shunned_until = loop.time() + _SHUN_SECONDS
            raise


async def connected(url: str, place: str) -> AsyncConnection:
    """Return one connection of its own. Raises ConfigError or NotReadyError, with what to do."""
    try:
        return await psycopg.AsyncConnection.connect(url, **_CONNECTION, **_SESSION)
    except psycopg.Error as error:
        raise login_problem(place, error) from None


def cut(connection: AsyncConnection) -> None:
    """Break a connection: whoever waits for its answer hears at once that there is none.

    Cancelling the task instead would wait for the server, which is what does not answer.
    """
    if not connection.closed:
        with socket.socket(fileno=connection.pgconn.socket) as wire:
            wire.shutdown(socket.SHUT_RDWR)
            wire.detach()  # it is libpq's


async def _require_alive(connection: AsyncConnection) -> None:
    """Raise when a connection has something to say while idle: that is the server's goodbye."""
    readable, _, _ = select.select([connection.pgconn.socket], [], [], 0)
    if readable:
        raise psycopg.OperationalError("the server closed the connection")


async def _left_clean(connection: AsyncConnection) -> None:
    """Roll back what an error left open."""
    if connection.closed or connection.pgconn.transaction_status == _IDLE:
        return
    try:
        await connection.rollback()
    except psycopg.Error:
        await connection.close()  # the server rolls back by itself


_IDLE: Final = psycopg.pq.TransactionStatus.IDLE
