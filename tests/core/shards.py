"""A shard's core over a store in memory, without transport."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from constellation.core.recovery import recover_shard
from constellation.core.rules import Rules
from constellation.core.shard import ShardManager
from constellation.core.table.ownership import ShardIdentity
from constellation.storage.memory import MemoryPatternStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from constellation.core.ingest.observers import ShardObservers

RULES = Rules(max_devices=3, max_patterns=100, k_anonymity=2)


class QueuedUpdates:
    """An UpdateQueue that remembers what was queued."""

    def __init__(self) -> None:
        self.device_ids: list[bytes] = []
        self.all_count = 0

    def queue_devices(self, device_ids: Sequence[bytes]) -> None:
        self.device_ids += device_ids

    def queue_all(self) -> None:
        self.all_count += 1


@asynccontextmanager
async def open_core(
    store: MemoryPatternStore | None = None,
    observers: ShardObservers | None = None,
    identity: ShardIdentity | None = None,
    rules: Rules = RULES,
) -> AsyncIterator[ShardManager]:
    """Run the core of a shard, with the tasks that commits and searches need."""
    store = store or MemoryPatternStore()
    identity = identity or ShardIdentity()
    epoch = await store.take_epoch()
    recovered = await recover_shard(store, rules, None, exact_limit=50_000, identity=identity)
    manager = ShardManager(identity, rules, store, recovered, observers, epoch=epoch)
    async with asyncio.TaskGroup() as tasks:
        forever = (
            manager.committer.commit_forever(),
            manager.similar.search_forever(),
        )
        background = [tasks.create_task(task) for task in forever]
        try:
            yield manager
        finally:
            for task in background:
                task.cancel()
