"""DeviceLifetimes: when a device begins to count for others, and when its silence deletes it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from constellation.core.table.standing import to_day
from constellation.errors import NotReadyError
from constellation.wall_clock import read_clock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from constellation.core.ingest.committer import Committer
    from constellation.core.presence import Presence
    from constellation.core.table.shard_table import Table

log = structlog.get_logger(__name__)

_EXPIRY_INTERVAL_SECONDS: Final = 3600.0
_RECOUNT_CHECK_SECONDS: Final = 60.0
"""The time between two checks of whether a new day has begun."""
_UNPROVEN_SECONDS: Final = 86_400.0
"""A device that does not count yet may be deleted after this silence, when places run out."""
_PRESENCE_SECONDS: Final = 86_400.0
"""A device that is connected and does not sync is stored as present this often."""


class DeviceLifetimes:
    """Counts devices once they have proved themselves, and deletes those that stay silent."""

    def __init__(self, table: Table, presence: Presence, committer: Committer) -> None:
        self._table = table
        self._presence = presence
        self._committer = committer

    async def expire_forever(
        self, ttl_seconds: float, find_connected: Callable[[], Sequence[bytes]]
    ) -> None:
        """Delete devices that were silent for `ttl_seconds`, every hour. Runs until cancelled.

        `find_connected` returns the ids of devices that are connected. The first time is an hour
        after the start, so that devices have come back by then.
        """
        while True:
            await asyncio.sleep(min(_EXPIRY_INTERVAL_SECONDS, ttl_seconds))
            now = read_clock()
            self._presence.settle(find_connected(), now)
            await self.save_presence(ttl_seconds, now)
            try:
                await self.expire(ttl_seconds, now)
            except NotReadyError as error:  # the store is unavailable or full: try again later
                log.warning("expiry_postponed", problem=str(error))

    async def save_presence(self, ttl_seconds: float, now: float) -> None:
        """Store when each device that has not synced for a day was last heard from.

        With a short time to live, a quarter of it replaces the day. While the store is unavailable,
        only memory has these times.
        """
        before = now - min(_PRESENCE_SECONDS, ttl_seconds / 4)
        try:
            while await self._committer.save_presence(before):
                pass
        except NotReadyError as error:
            log.warning("presence_not_saved", problem=str(error))

    async def expire(self, ttl_seconds: float, now: float) -> int:
        """Delete the devices that were silent since `now - ttl_seconds`; return how many."""
        expired = 0
        while count := await self._committer.expire_unproven(now - _UNPROVEN_SECONDS):
            expired += count
            log.warning("unproven_devices_expired", count=count)
        while count := await self._committer.expire(now - ttl_seconds):
            expired += count
            log.info("devices_expired", count=count)
        return expired

    async def recount_forever(self) -> None:
        """Let devices that have proved themselves count, at each change of day, until cancelled."""
        counted_day = to_day(read_clock())
        while True:
            await asyncio.sleep(_RECOUNT_CHECK_SECONDS)
            now = read_clock()
            if to_day(now) == counted_day:
                continue
            try:
                await self.recount(now)
            except NotReadyError as error:  # the store is unavailable: try again soon
                log.warning("recount_postponed", problem=str(error))
                continue
            counted_day = to_day(now)

    async def recount(self, now: float) -> int:
        """Let devices begin, or cease, to count for others as of a time; return how many did."""
        recounted = await self._committer.recount(now)
        log.info("devices_recounted", count=recounted, counted=self._table.standing.counted)
        return recounted
