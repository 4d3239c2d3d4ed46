"""IndexFeeder: applies committed changes to the index, in order and beside the commits."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import numpy as np
import structlog

from constellation.encoding import DIMENSION, Codes

if TYPE_CHECKING:
    from constellation.core.index.pattern_index import PatternIndex
    from constellation.core.rows import Slots
    from constellation.core.table.change import PatternChange

log = structlog.get_logger(__name__)

FEED_INTERVAL_SECONDS: Final = 0.05
"""Pause between two changes of the index, so that more commits share the fixed cost of one."""
MAX_PENDING_ROWS: Final = 20_000
"""While more changed rows than this wait for the index, commits wait as well."""


class IndexFeeder:
    """Collects changes while the index applies the last ones, and rebuilds the index when due."""

    def __init__(self, index: PatternIndex, lsn: int) -> None:
        self.lsn = lsn
        """Every commit up to this one is in the index."""
        self.shareable_count = len(index)
        """Patterns that the index has once it caught up, counted from the commits."""
        self._index = index
        self._pending: list[PatternChange] = []
        self._pending_lsn = lsn
        self._pending_rows = 0
        self._waiting_since: float | None = None
        """Monotonic time since which the oldest pending change waits; None without any."""
        self._feeding_since: float | None = None
        """Monotonic time since which the oldest change that is being applied waited; else None."""
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._caught_up = asyncio.Event()
        self._caught_up.set()

    async def add(self, change: PatternChange, lsn: int) -> None:
        """Add the change of one commit. Waits while too many changed rows are pending."""
        await self._room.wait()
        self._pending.append(change)
        self._pending_lsn = lsn
        self.shareable_count += len(change.indexed_slots) - len(change.unindexed_slots)
        self._pending_rows += len(change.unindexed_slots) + len(change.indexed_slots)
        self._caught_up.clear()
        self._arrived.set()
        if self._waiting_since is None:
            self._waiting_since = time.monotonic()
        if self._pending_rows > MAX_PENDING_ROWS:
            self._room.clear()

    def lag_seconds(self, now: float) -> float:
        """Return how long the index has been behind the store; `now` is monotonic time."""
        since = self._waiting_since if self._feeding_since is None else self._feeding_since
        return 0.0 if since is None else now - since

    async def wait_until_caught_up(self) -> None:
        """Return once the index has applied every change that was added."""
        await self._caught_up.wait()

    async def feed_forever(self) -> None:
        """Apply pending changes to the index. Runs until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            pending, self._pending = self._pending, []
            self._feeding_since, self._waiting_since = self._waiting_since, None
            lsn, self._pending_rows = self._pending_lsn, 0
            self._room.set()
            removed, added, codes = merge_changes(pending)
            if len(removed) or len(added):
                await asyncio.to_thread(self._index.apply, removed, added, codes)
            self.lsn = lsn
            self._feeding_since = None
            if not self._pending:
                self._caught_up.set()
            await asyncio.sleep(FEED_INTERVAL_SECONDS)

    async def rebuild_forever(self, check_seconds: float) -> None:
        """Rebuild the index beside the searches whenever that is due. Runs until cancelled."""
        while True:
            await asyncio.sleep(check_seconds)
            if await asyncio.to_thread(self._index.is_rebuild_due):
                started = asyncio.get_running_loop().time()
                await asyncio.to_thread(self._index.rebuild)
                seconds = asyncio.get_running_loop().time() - started
                log.info(
                    "index_rebuilt",
                    kind=self._index.kind,
                    patterns=len(self._index),
                    seconds=round(seconds, 3),
                )


def merge_changes(changes: list[PatternChange]) -> tuple[Slots, Slots, Codes]:
    """Return the slots to remove, the slots to add, and the codes of the added ones.

    They have the effect of all changes in order: for each slot, the last change counts.
    """
    slots = [part for change in changes for part in (change.unindexed_slots, change.indexed_slots)]
    is_added = [
        part
        for change in changes
        for part in (
            np.zeros(len(change.unindexed_slots), bool),
            np.ones(len(change.indexed_slots), bool),
        )
    ]
    all_slots, all_added = np.concatenate(slots), np.concatenate(is_added)
    codes = np.concatenate([np.empty((0, DIMENSION), np.int8), *(c.indexed_codes for c in changes)])
    _, backwards = np.unique(all_slots[::-1], return_index=True)
    last = len(all_slots) - 1 - backwards
    entering = last[all_added[last]]
    code_rows = np.cumsum(all_added) - 1
    return all_slots[last[~all_added[last]]], all_slots[entering], codes[code_rows[entering]]
