"""A pool of PostgreSQL connections: checked, lent for a limited time, and then cut."""

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
from constellation.storage.postgres.errors import (
    is_read_only_error,
    translate_errors,
    translate_login_error,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from psycopg import AsyncConnection

_MAX_WAITING: Final = 64
"""Calls that may wait for a connection. Further calls are refused."""
_ABORT_FACTOR: Final = 1.2
"""After this many times the statement time-out, a connection is cut.

The server should have ended the statement by then, so it probably hangs.
"""
_WAIT_SECONDS: Final = 2.0
"""How long a call waits for a free or a new connection."""
_RECONNECT_SECONDS: Final = 1.0
"""How long the pool retries to connect. It retries again at the next call.

By default, psycopg's pool would back off for minutes.
"""
_POOL_EXHAUSTED: Final = (PoolTimeout, TooManyRequests)
_RETRY_AFTER_SECONDS: Final = 0.5
"""How long calls are refused at once after the server was found unreachable."""
_CONNECTION_DEFAULTS: Final[dict[str, Any]] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "application_name": "constellation",
    "client_encoding": "utf8",
}
"""Connection parameters that hold unless the connection string sets them."""
_CONNECTION_OPTIONS: Final[dict[str, Any]] = {
    "autocommit": True,  # `write` begins its transactions itself, in pipelines
    "prepare_threshold": None,  # PgBouncer before 1.21 loses prepared statements
}
_SET_TIMEOUTS: Final = (
    "SELECT set_config('statement_timeout', %s, true),"
    " set_config('idle_in_transaction_session_timeout', %s, true)"
)
"""Lets the server end slow statements before the client cuts the connection.

A statement that continued after the cut would write at an unexpected time and hold its locks.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class PostgresSettings:
    """The database and the shard in it, with the sizes and time limits of its connections."""

    url: str = field(repr=False)
    shard_id: int = 0
    owner: str = ""
    """Name of this process. A process with the same name may take over without waiting."""
    dialect: Dialect = PGVECTOR
    lease_seconds: float = 15.0
    timeout_seconds: float = 10.0
    pool_size: int = 4


class ConnectionPool:
    """A connection pool that translates psycopg's errors to those of this program."""

    def __init__(
        self, pool: AsyncConnectionPool[AsyncConnection], settings: PostgresSettings, database: str
    ) -> None:
        self._pool = pool
        self._database = database
        self._settings = settings
        self._retry_at = float("-inf")
        """Loop time until which calls are refused at once."""
        self._problem = ""
        """The message with which calls are refused until then."""
        self._probe_lock = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: PostgresSettings, database: str, size: int
    ) -> AsyncIterator[ConnectionPool]:
        """Open a pool of at most `size` connections, made when they are needed."""
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
        """Lend a connection, and cut it if the block takes too long.

        Raises NotReadyError when no connection is free, when the server is unreachable, when it is
        too slow, and when it takes no writes any more. The pool then connects anew: POSTGRES_URL
        may name several hosts, and another one may be the primary now.
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
        except (ConfigError, NotReadyError) as error:
            if is_read_only_error(error.__cause__):
                await self._pool.drain()
            # The settings were right when the store was opened, so a ConfigError is retryable too.
            if not isinstance(error.__cause__, _POOL_EXHAUSTED):
                self._problem = str(error)
                self._retry_at = loop.time() + _RETRY_AFTER_SECONDS
            raise NotReadyError(str(error)) from error

    @asynccontextmanager
    async def transact(self) -> AsyncIterator[AsyncConnection]:
        """Lend a connection for one short transaction, which the server ends if it is slow."""
        async with self.lend() as connection:
            async with connection.pipeline():
                await connection.execute("BEGIN")
                await set_timeouts(connection, self._settings.timeout_seconds)
            yield connection
            await connection.execute("COMMIT")

    async def _acquire(self) -> AsyncConnection:
        """Take a working connection from the pool; raise the reason when there is none."""
        while True:
            try:
                connection = await self._pool.getconn()
            except PoolTimeout:
                await self._probe()
                raise  # the server answers, so the pool is too small
            if not _is_closed_by_server(connection):
                return connection
            await connection.close()
            await self._pool.putconn(connection)  # the pool replaces it

    async def _probe(self) -> None:
        """Try to connect; raise the reason when the server is unreachable.

        One caller tries; the others wait and get the same result.
        """
        async with self._probe_lock:
            if asyncio.get_running_loop().time() < self._retry_at:
                raise NotReadyError(self._problem)
            async with await connect(self._settings.url, self._database):
                return


async def connect(url: str, database: str) -> AsyncConnection:
    """Return a connection outside any pool. Raises ConfigError or NotReadyError."""
    try:
        return await psycopg.AsyncConnection.connect(
            **_merge_parameters(url), **_CONNECTION_OPTIONS
        )
    except psycopg.Error as error:
        raise translate_login_error(database, error) from None


async def set_timeouts(connection: AsyncConnection, timeout_seconds: float) -> None:
    """Set the server's time limits for the rest of the transaction."""
    milliseconds = str(round(timeout_seconds * 1000))
    await connection.execute(_SET_TIMEOUTS, (milliseconds, milliseconds))


def _merge_parameters(url: str) -> dict[str, Any]:
    return {**_CONNECTION_DEFAULTS, **conninfo_to_dict(url)}


def abort_connection(connection: AsyncConnection) -> None:
    """Shut a connection down, so that a task that waits for its answer fails at once.

    Cancelling that task would not help: it would wait for the server, which does not answer.
    """
    if connection.closed:
        return
    # libpq closes its own descriptor later; closing it here could close a new file of that number.
    duplicate = os.dup(connection.pgconn.socket)
    with socket.socket(fileno=duplicate) as wire, suppress(OSError):  # the server may be gone
        wire.shutdown(socket.SHUT_RDWR)


def _is_closed_by_server(connection: AsyncConnection) -> bool:
    """Return whether an idle connection has data to read, which means that the server closed it."""
    poll = select.poll()  # select() fails above descriptor 1023, and streams use many
    poll.register(connection.pgconn.socket, select.POLLIN)
    return bool(poll.poll(0))


async def _roll_back(connection: AsyncConnection) -> None:
    """Roll back a transaction that an error left open."""
    if connection.closed or connection.pgconn.transaction_status == TransactionStatus.IDLE:
        return
    try:
        await connection.rollback()
    except psycopg.Error:
        await connection.close()  # the server then rolls back by itself
