"""Connections to PostgreSQL: checked, lent out for a limited time, and cut when it is up."""

from __future__ import annotations

import asyncio
import os
import select
import socket
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from constellation.errors import ConfigError, NotReadyError
from constellation.storage.postgres.dialect import PGVECTOR, Dialect
from constellation.storage.postgres.errors import translate_errors, translate_login_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from psycopg import AsyncConnection

_MAX_WAITING: Final = 64
"""Calls that may wait for a connection; one more is refused."""
_ABORT_FACTOR: Final = 1.2
"""Times the statement's own time-out: a server that does not even keep that is cut off."""
_WAIT_SECONDS: Final = 2.0
"""For a connection to come free, or to be made."""
_RECONNECT_SECONDS: Final = 1.0
"""The pool tries to connect for so long, and again when somebody asks: not minutes later."""
_POOL_EXHAUSTED: Final = (PoolTimeout, TooManyRequests)
_RETRY_AFTER_SECONDS: Final = 0.5
"""After the server was found away, calls are refused at once for so long: none of them waits."""
_CONNECTION_DEFAULTS: Final[dict[str, Any]] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "application_name": "constellation",
    "client_encoding": "utf8",
}
"""What a connection string that says nothing else gets."""
_CONNECTION_OPTIONS: Final[dict[str, Any]] = {
    "autocommit": True,  # `postgres_write` opens its transactions in pipelines of its own
    "prepare_threshold": None,  # PgBouncer before 1.21 loses prepared statements
}
_SET_TIMEOUTS: Final = (
    "SELECT set_config('statement_timeout', %s, true),"
    " set_config('idle_in_transaction_session_timeout', %s, true)"
)
"""Ends on the server what is taking too long there, before the connection is cut: a statement that
went on after that would do its work when nobody expects it, and keep its locks until then."""


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


class ConnectionPool:
    """A pool. Every error of psycopg leaves it as one of ours."""

    def __init__(
        self, pool: AsyncConnectionPool[AsyncConnection], settings: PostgresSettings, database: str
    ) -> None:
        self._pool = pool
        self._database = database
        self._settings = settings
        self._retry_at = float("-inf")
        self._problem = ""
        self._probe_lock = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: PostgresSettings, database: str, size: int
    ) -> AsyncIterator[ConnectionPool]:
        """Open a pool of at most `size` connections; they come as they are needed."""
        pool: AsyncConnectionPool[AsyncConnection] = AsyncConnectionPool(
            kwargs={**_merge_parameters(settings.url), **_CONNECTION_OPTIONS},
            min_size=1,
            max_size=size,
            max_waiting=_MAX_WAITING,
            timeout=min(_WAIT_SECONDS, settings.timeout_seconds),
            reconnect_timeout=_RECONNECT_SECONDS,
            open=False,
        )
        async with pool:
            yield cls(pool, settings, database)

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[AsyncConnection]:
        """Lend a connection; it is cut when it does not come back in time.

        Raises NotReadyError when there is none, when the server is away, and when it is slow.
        """
        loop = asyncio.get_running_loop()
        if loop.time() < self._retry_at:
            raise NotReadyError(self._problem)
        try:
            with translate_errors(self._database):
                connection = await self._acquire()
                seconds = _ABORT_FACTOR * self._settings.timeout_seconds
                abort_timer = loop.call_later(seconds, abort_connection, connection)
                try:
                    yield connection
                finally:
                    await _roll_back(connection)
                    abort_timer.cancel()
                    await self._pool.putconn(connection)
        except (ConfigError, NotReadyError) as error:  # what was right at the start may be again
            if not isinstance(error.__cause__, _POOL_EXHAUSTED):
                self._problem = str(error)
                self._retry_at = loop.time() + _RETRY_AFTER_SECONDS
            raise NotReadyError(str(error)) from error

    @asynccontextmanager
    async def transact(self) -> AsyncIterator[AsyncConnection]:
        """Lend a connection for one short transaction, which the server ends when it is slow."""
        async with self.lend() as connection:
            async with connection.pipeline():
                await connection.execute("BEGIN")
                await set_timeouts(connection, self._settings.timeout_seconds)
            yield connection
            await connection.execute("COMMIT")

    async def _acquire(self) -> AsyncConnection:
        """Take a connection that lives, or say why there is none."""
        while True:
            try:
                connection = await self._pool.getconn()
            except PoolTimeout:
                await self._probe()
                raise  # the server is there, and the pool is what is too small
            if not _is_closed_by_server(connection):
                return connection
            await connection.close()
            await self._pool.putconn(connection)  # which makes another

    async def _probe(self) -> None:
        """Raise why the server cannot be reached; one asks, and those who wait hear the same."""
        async with self._probe_lock:
            if asyncio.get_running_loop().time() < self._retry_at:
                raise NotReadyError(self._problem)
            async with await connect(self._settings.url, self._database):
                return


async def connect(url: str, database: str) -> AsyncConnection:
    """Return one connection of its own. Raises ConfigError or NotReadyError, with what to do."""
    try:
        return await psycopg.AsyncConnection.connect(
            **_merge_parameters(url), **_CONNECTION_OPTIONS
        )
    except psycopg.Error as error:
        raise translate_login_error(database, error) from None


async def set_timeouts(connection: AsyncConnection, timeout_seconds: float) -> None:
    """Let the server end what takes too long, for the rest of the transaction."""
    milliseconds = str(round(timeout_seconds * 1000))
    await connection.execute(_SET_TIMEOUTS, (milliseconds, milliseconds))


def _merge_parameters(url: str) -> dict[str, Any]:
    return {**_CONNECTION_DEFAULTS, **conninfo_to_dict(url)}


def abort_connection(connection: AsyncConnection) -> None:
    """Break a connection: whoever waits for its answer hears at once that there is none.

    Cancelling the task instead would wait for the server, which is what does not answer.
    """
    if connection.closed:
        return
    own = os.dup(connection.pgconn.socket)  # closing libpq's would close whatever gets its number
    with socket.socket(fileno=own) as wire, suppress(OSError):  # the other side may be gone
        wire.shutdown(socket.SHUT_RDWR)


def _is_closed_by_server(connection: AsyncConnection) -> bool:
    """Say whether an idle connection has something to say: that is the server's goodbye."""
    poll = select.poll()  # select() takes no descriptor above 1023, and streams use those up
    poll.register(connection.pgconn.socket, select.POLLIN)
    return bool(poll.poll(0))


async def _roll_back(connection: AsyncConnection) -> None:
    """End a transaction that an error left open."""
    if connection.closed or connection.pgconn.transaction_status == TransactionStatus.IDLE:
        return
    try:
        await connection.rollback()
    except psycopg.Error:
        await connection.close()  # the server rolls back by itself
