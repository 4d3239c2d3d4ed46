"""Publisher: brings the last global to every shard, also to those that come back later."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.federated.published import StoredGlobal
    from federation.shards.client import ShardClient

log = structlog.get_logger(__name__)


class Publisher:
    """Publishes one global at a time, which must be durable in the journal already."""

    def __init__(self, clients: Sequence[ShardClient], timeout_seconds: float) -> None:
        self.last_global: StoredGlobal | None = None
        """What every shard should hold."""
        self.globals_published = 0
        """Globals that shards took since the start."""
        self._clients = clients
        self._timeout_seconds = timeout_seconds
        self._held_globals: dict[str, tuple[int, int]] = {}
        """By address: which global its shard is known to hold."""
        self._lock = asyncio.Lock()

    def forget(self, address: str) -> None:
        """Offer the global again: another process answers there now, which may not hold it."""
        self._held_globals.pop(address, None)

    async def publish_pending(self) -> dict[str, str]:
        """Publish to those who may not hold the last global; return problems, by address."""
        async with self._lock:
            stored = self.last_global
            if stored is None:
                return {}
            named = (stored.generation, stored.round_id)
            pending = [
                each for each in self._clients if self._held_globals.get(each.address) != named
            ]
            problems = await asyncio.gather(*(self._publish_to(each, stored) for each in pending))
        addresses = [client.address for client in pending]
        return {address: why for address, why in zip(addresses, problems, strict=True) if why}

    async def catch_up_forever(self, interval_seconds: float) -> None:
        """Offer again and again to shards that were away. Runs until cancelled."""
        while True:
            await asyncio.sleep(interval_seconds)
            await self.publish_pending()

    async def _publish_to(self, client: ShardClient, stored: StoredGlobal) -> str:
        problem = await client.publish(stored, self._timeout_seconds)
        if problem:
            log.warning("global_not_published", address=client.address, problem=problem)
        else:
            self._held_globals[client.address] = (stored.generation, stored.round_id)
            self.globals_published += 1
            log.info("global_published", address=client.address, round_id=stored.round_id)
        return problem
