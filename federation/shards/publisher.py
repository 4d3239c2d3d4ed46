"""The publisher: sends the last global to every shard, including shards that return later."""

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
    """Publishes the last global, which must already be durable in the journal."""

    def __init__(self, clients: Sequence[ShardClient], timeout_seconds: float) -> None:
        self.last_global: StoredGlobal | None = None
        """The global that every shard should have; None before the first round."""
        self.globals_published = 0
        """Successful publications since the start, counted for each address."""
        self._clients = clients
        self._timeout_seconds = timeout_seconds
        self._known_globals: dict[str, tuple[int, int]] = {}
        """By address: the (generation, round_id) of the global that it confirmed last."""
        self._lock = asyncio.Lock()

    def forget(self, address: str) -> None:
        """Publish to this address again: a new process answers there, which may lack the global."""
        self._known_globals.pop(address, None)

    async def publish_pending(self) -> dict[str, str]:
        """Publish to all addresses that may lack the last global; return problems by address."""
        async with self._lock:
            stored = self.last_global
            if stored is None:
                return {}
            last = (stored.generation, stored.round_id)
            pending = [
                client
                for client in self._clients
                if self._known_globals.get(client.address) != last
            ]
            problems = await asyncio.gather(
                *(self._publish_to(client, stored) for client in pending)
            )
        addresses = [client.address for client in pending]
        return {
            address: problem
            for address, problem in zip(addresses, problems, strict=True)
            if problem
        }

    async def catch_up_forever(self, interval_seconds: float) -> None:
        """Publish at every interval to shards that lack the last global. Runs until cancelled."""
        while True:
            await asyncio.sleep(interval_seconds)
            await self.publish_pending()

    async def _publish_to(self, client: ShardClient, stored: StoredGlobal) -> str:
        problem = await client.publish(stored, self._timeout_seconds)
        if problem:
            log.warning("global_not_published", address=client.address, problem=problem)
        else:
            self._known_globals[client.address] = (stored.generation, stored.round_id)
            self.globals_published += 1
            log.info("global_published", address=client.address, round_id=stored.round_id)
        return problem
