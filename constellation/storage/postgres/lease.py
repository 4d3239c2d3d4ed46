"""The lease of a shard: who should try to write it. That nobody else does is the epoch's work.

A process takes a shard by raising its epoch, once the lease has run out or is its own. Whatever an
earlier owner still writes fails, because each of its transactions looks at the epoch; so a wrong
clock or a process that slept costs a takeover, never data. Only the database's clock counts.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final

import structlog

from constellation.errors import FencedError, NotReadyError, StoreFailedError

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from constellation.storage.postgres.pool import ConnectionPool

log = structlog.get_logger(__name__)

_POLL_SECONDS: Final = 1.0
"""Between two looks at somebody else's lease: an owner that ends in order gives it up at once."""


class Lease:
    """One process's hold on one shard."""

    def __init__(
        self, connections: ConnectionPool, shard_id: int, owner: str, *, seconds: float
    ) -> None:
        self.seconds = seconds
        self.epoch = 0
        """0 before it was taken for the first time."""
        self._connections = connections
        self._shard_id = shard_id
        self.owner = owner
        self._lock = asyncio.Lock()

    async def take(self) -> int:
        """Raise the epoch and return it; waits for as long as another process holds the shard.

        Raises FencedError instead of waiting when this one held it before.
        """
        awaited = False
        while True:
            try:
                owner, left = await self._try_take()
            except NotReadyError:
                if not awaited:
                    raise
                await asyncio.sleep(_POLL_SECONDS)
                continue
            if owner == self.owner:
                return self.epoch
            if not awaited:
                log.warning("waiting_for_lease", owner=owner, seconds_left=round(left, 1))
                awaited = True
            jitter = random.uniform(0, 0.1)  # noqa: S311 - not a secret
            await asyncio.sleep(min(max(left, 0), _POLL_SECONDS) + jitter)

    async def _try_take(self) -> tuple[str, float]:
        """Raise the epoch if that is allowed; return who holds the shard, and for how long."""
        async with self._lock, self._connections.transact() as connection:
            epoch = await self._raise_epoch(connection)
            if epoch is not None:
                self.epoch = epoch
                return self.owner, self.seconds
            owner, left = await self._read_holder(connection)
            if self.epoch:
                raise FencedError(f"epoch {self.epoch} was taken over by {owner}")
            return owner, left

    async def hold_forever(self) -> None:
        """Renew the lease in good time. Raises FencedError after a takeover."""
        is_unavailable = False
        while True:
            await asyncio.sleep(
                min(self.seconds / 3, _POLL_SECONDS) if is_unavailable else self.seconds / 3
            )
            try:
                await self.renew()
            except NotReadyError as error:
                if not is_unavailable:
                    log.warning("lease_not_renewed", problem=str(error))
                is_unavailable = True
            else:
                is_unavailable = False

    async def renew(self) -> None:
        """Renew the lease. Raises FencedError when it is another's by now.

        It goes by the owner: when the answer to the last `take` was lost, the epoch is a later one.
        """
        async with self._lock, self._connections.transact() as connection:
            done = await connection.execute(
                "UPDATE constellation.shard"
                " SET lease_until = clock_timestamp() + make_interval(secs => %s)"
                " WHERE shard_id = %s AND owner = %s",
                (self.seconds, self._shard_id, self.owner),
            )
            if done.rowcount != 1:
                owner, _ = await self._read_holder(connection)
                raise FencedError(f"epoch {self.epoch} was taken over by {owner}")

    async def release(self) -> None:
        """Let the next process take the shard at once."""
        async with self._connections.transact() as connection:
            await connection.execute(
                "UPDATE constellation.shard SET lease_until = clock_timestamp()"
                " WHERE shard_id = %s AND owner = %s",
                (self._shard_id, self.owner),
            )

    async def _raise_epoch(self, connection: AsyncConnection) -> int | None:
        cursor = await connection.execute(
            "UPDATE constellation.shard SET epoch = epoch + 1, owner = %s,"
            " lease_until = clock_timestamp() + make_interval(secs => %s)"
            " WHERE shard_id = %s AND (lease_until <= clock_timestamp() OR owner = %s)"
            " RETURNING epoch",
            (self.owner, self.seconds, self._shard_id, self.owner),
        )
        row = await cursor.fetchone()
        return None if row is None else int(row[0])

    async def _read_holder(self, connection: AsyncConnection) -> tuple[str, float]:
        """Return who holds the shard, for people, and the seconds left of the lease."""
        cursor = await connection.execute(
            "SELECT owner, epoch, extract(epoch FROM lease_until - clock_timestamp())::float8"
            " FROM constellation.shard WHERE shard_id = %s",
            (self._shard_id,),
        )
        row = await cursor.fetchone()
        if row is None:
            raise StoreFailedError(
                f"the row of shard {self._shard_id} is gone: restore the database"
            )
        owner, epoch, left = row
        return f"{owner} (epoch {epoch})", float(left)
