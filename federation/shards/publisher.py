"""The publisher: sends the last global to every shard, including shards that return later."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from constellation.wall_clock import read_clock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.federated.published import StoredGlobal
    from federation.shards.client import PublishResult, ShardClient

log = structlog.get_logger(__name__)


class Publisher:
    """Publishes the last global, which must already be durable in the journal."""

    def __init__(self, clients: Sequence[ShardClient], timeout_seconds: float) -> None:
        self.last_global: StoredGlobal | None = None
        """The global that every shard should have; None before the first round."""
        self.globals_published = 0
        """Successful publications since the start, counted for each address."""
        self.taken_at: float | None = None
        """When the first address took a global that no address had: seconds since 1970."""
        self.problems: dict[str, str] = {}
        """By address: why the last global is not durable there, as far as this was tried."""
        self._superseded: dict[str, tuple[int, int]] = {}
        """By address: the (generation, round_id) that it refused because it has a later one."""
        self._taken: tuple[int, int] | None = None
        """The (generation, round_id) of the last global that any address took."""
        self._clients = clients
        self._timeout_seconds = timeout_seconds
        self._known_globals: dict[str, tuple[int, int]] = {}
        """By address: the (generation, round_id) of the global that it confirmed last."""
        self._lock = asyncio.Lock()

    def forget(self, address: str) -> None:
        """Publish to this address again: a new process answers there, which may lack the global."""
        self._known_globals.pop(address, None)
        self._superseded.pop(address, None)

    @property
    def is_taken(self) -> bool:
        """Whether any address is known to have the last global."""
        last = self._get_last()
        return last is not None and last in self._known_globals.values()

    def find_superseded(self) -> list[str]:
        """Return the addresses that have a later global than the last one, in order."""
        last = self._get_last()
        return sorted(each for each, refused in self._superseded.items() if refused == last)

    async def publish_pending(self) -> dict[str, str]:
        """Publish to all addresses that may lack the last global; return problems by address.

        An address that has a later one is named, and is not asked again before it restarts.
        """
        async with self._lock:
            stored = self.last_global
            if stored is None:
                return {}
            last = (stored.generation, stored.round_id)
            pending = [
                client
                for client in self._clients
                if last
                not in (
                    self._known_globals.get(client.address),
                    self._superseded.get(client.address),
                )
            ]
            await asyncio.gather(*(self._publish_to(client, stored) for client in pending))
            return dict(self.problems)

    async def catch_up_forever(self, interval_seconds: float) -> None:
        """Publish at every interval to shards that lack the last global. Runs until cancelled."""
        while True:
            await asyncio.sleep(interval_seconds)
            await self.publish_pending()

    def _get_last(self) -> tuple[int, int] | None:
        last = self.last_global
        return None if last is None else (last.generation, last.round_id)

    async def _publish_to(self, client: ShardClient, stored: StoredGlobal) -> None:
        result = await client.publish(stored, self._timeout_seconds)
        if result.problem:
            self._note_problem(client.address, result, stored)
            return
        if self._taken != (stored.generation, stored.round_id):
            self._taken, self.taken_at = (stored.generation, stored.round_id), read_clock()
        self._known_globals[client.address] = (stored.generation, stored.round_id)
        self.problems.pop(client.address, None)
        self.globals_published += 1
        log.info("global_published", address=client.address, round_id=stored.round_id)

    def _note_problem(self, address: str, result: PublishResult, stored: StoredGlobal) -> None:
        """Remember why an address lacks the global; log it unless it was logged already."""
        if self.problems.get(address) != result.problem:
            log.warning("global_not_published", address=address, problem=result.problem)
        self.problems[address] = result.problem
        if result.is_superseded:
            self._superseded[address] = (stored.generation, stored.round_id)
