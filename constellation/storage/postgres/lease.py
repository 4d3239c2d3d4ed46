"""The lease of a shard: it says which process should write. The epoch makes sure that no other can.

A process takes a shard by raising its epoch, once the lease has expired or belongs to the process
itself. Later writes of an earlier owner fail, because each of its transactions checks the epoch. A
wrong clock or a process that slept can therefore cause a takeover, but never lose data. Only the
clock of the database counts.
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
"""Pause between two checks of another process's lease, which it may release at any time."""


class Lease:
    """The claim of one process to one shard, kept alive by renewing it."""

    def __init__(
        self, connections: ConnectionPool, shard_id: int, owner: str, *, seconds: float
    ) -> None:
        self.seconds = seconds
        self.epoch = 0
        """The epoch of this process; 0 before `take` returned for the first time."""
        self._connections = connections
        self._shard_id = shard_id
        self.owner = owner
        self._lock = asyncio.Lock()

    async def take(self) -> int:
        """Raise the epoch and return it. Wait while another process has the lease.

        Raises FencedError instead of waiting if this process had the shard before.
        """
        is_waiting = False
        while True:
            try:
                owner, left = await self._try_take()
            except NotReadyError:
                if not is_waiting:
                    raise
                await asyncio.sleep(_POLL_SECONDS)
                continue
            if owner == self.owner:
                return self.epoch
            if not is_waiting:
                log.warning("waiting_for_lease", owner=owner, seconds_left=round(left, 1))
                is_waiting = True
            jitter = random.uniform(0, 0.1)  # noqa: S311 - not a secret
            await asyncio.sleep(min(max(left, 0), _POLL_SECONDS) + jitter)

    async def _try_take(self) -> tuple[str, float]:
        """Raise the epoch if allowed. Return the owner of the lease and the seconds left of it."""
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
        """Renew the lease three times in its length. Raises FencedError after a takeover."""
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
        """Renew the lease. Raises FencedError when another process has it.

        The check compares owners, not epochs: if the answer to the last `take` was lost, the epoch
        in the database is later than `epoch`.
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
        """End the lease, so that the next process can take the shard at once."""
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
        """Return the owner of the lease, as text for people, and the seconds left of it."""
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
