"""Committer: writes waiting deltas in groups, then updates memory, and acknowledges."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
import structlog

from constellation.core.ingest.commit_spacing import CommitSpacing
from constellation.core.ingest.deltas import Verdict
from constellation.core.ingest.recount import RECOUNT_BATCH
from constellation.core.ingest.store_writer import StoreWriter
from constellation.errors import (
    ConstellationError,
    FencedError,
    NotFoundError,
    NotReadyError,
    ShardFullError,
    StoreFailedError,
)
from constellation.tasks import finish_even_if_cancelled
from constellation.wall_clock import read_clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from constellation.core.ingest.deltas import Receipt
    from constellation.core.ingest.inbox import Inbox, InboxEntry
    from constellation.core.ingest.observers import CommitSpan, ShardObservers
    from constellation.core.ingest.plan import Plan, Planner
    from constellation.core.ingest.store_writer import CommitTargets
    from constellation.core.rows import Slots
    from constellation.core.store import Content, PatternStore
    from constellation.core.table.group_change import GroupChange
    from constellation.federated.published import StoredGlobal

log = structlog.get_logger(__name__)

T = TypeVar("T")

_DEVICE_BATCH: Final = 1000
"""Devices removed in one commit, or whose presence is written in one."""


class Committer:
    """The one writer of a shard's store. Memory follows the store, and never runs ahead of it."""

    def __init__(
        self,
        planner: Planner,
        store: PatternStore,
        inbox: Inbox,
        targets: CommitTargets,
        observers: ShardObservers,
        *,
        epoch: int,
    ) -> None:
        self.write_lock = asyncio.Lock()
        """Held by whoever changes the store."""
        self._writer = StoreWriter(planner, store, targets, observers, epoch=epoch)
        self._planner = planner
        self._table = planner.table
        self._inbox = inbox
        self._targets = targets
        self._observers = observers
        self._stats = observers.stats
        self._fatal_error: ConstellationError | None = None
        """The error of a caller's write after which nothing may be acknowledged any more."""

    @property
    def epoch(self) -> int:
        """The epoch with which this process writes."""
        return self._writer.epoch

    async def commit_forever(self) -> None:
        """Commit the deltas that wait, group by group. Runs until cancelled.

        Raises the error of any write after which the process must end, whoever made the write.
        """
        inbox, aggregates = self._inbox, self._targets.aggregates
        spacing = CommitSpacing(asyncio.get_running_loop().time)
        while True:
            await inbox.wait_for_entry()
            if self._fatal_error is not None:
                raise self._fatal_error
            await inbox.wait_for_group(spacing.remaining_seconds())
            async with self.write_lock:
                if entries := inbox.take_group():  # a deletion may have removed them
                    with spacing.measure(len(entries)):
                        await self._commit(entries)
                if aggregates.is_due:
                    await asyncio.to_thread(aggregates.fold)

    async def run_with_commits_paused(self, work: Callable[[], T]) -> T:
        """Run something in a thread while nothing is committed; return what it returns.

        When the caller is cancelled, the work goes on, and commits still wait for it.
        """
        return await finish_even_if_cancelled(self._run_in_thread(work), "commits_paused")

    async def put_global(self, stored: StoredGlobal) -> None:
        """Store the federation's global state durably."""
        async with self._write_for_caller():
            await self._writer.store.put_global(self.epoch, stored)

    async def add_contents(self, contents: Sequence[Content]) -> tuple[int, int]:
        """Store content items durably; return how many were new and how many replaced others.

        Finishes even when the caller is cancelled.
        """
        return await finish_even_if_cancelled(self._add_contents(contents), "add_contents")

    async def save_presence(self, before: float) -> int:
        """Store when some devices, which last synced before a given time, were last heard.

        Times are in seconds since 1970. Returns how many were written: 0 when none is left.
        """
        async with self.write_lock:
            await self._writer.resolve_unknown_outcome()
            devices = self._table.find_unsaved_presence(before)[:_DEVICE_BATCH]
            if len(devices):
                await self._writer.write(self._planner.plan_presence(devices))
        return len(devices)

    async def expire(self, before: float) -> int:
        """Delete some devices that neither synced nor were heard since a time.

        The time is in seconds since 1970. Returns how many were deleted: 0 when none is left.
        """
        return await self._expire(lambda: self._table.find_silent(before))

    async def expire_unproven(self, before: float) -> int:
        """Delete some devices that do not count yet and were silent since a time, oldest first.

        Only as many as are in the way of new devices. Returns how many were deleted.
        """
        return await self._expire(lambda: self._planner.find_surplus(before))

    async def recount(self, now: float) -> int:
        """Let devices begin, or cease, to count for others as of a time; return how many did.

        Nothing is written: what a device is follows from its row.
        """
        planner, recounted = self._planner, 0
        found = await asyncio.to_thread(planner.find_restanding, now)
        for start in range(0, len(found), RECOUNT_BATCH):
            async with self.write_lock:
                await self._writer.resolve_unknown_outcome()
                change = planner.plan_recount(found[start : start + RECOUNT_BATCH], now)
                self._targets.aggregates.record(change)
                change.apply(self._table, self._table.totals.lsn)
                recounted += len(change.recounted_devices)
        return recounted

    async def set_quarantine(self, device_id: bytes, *, quarantined: bool) -> bool:
        """Put a device into quarantine durably, or lift it; return whether that changed anything.

        Raises NotFoundError for an unknown device. Finishes even when the caller is cancelled.
        """
        return await finish_even_if_cancelled(
            self._set_quarantine(device_id, quarantined=quarantined), "set_quarantine"
        )

    async def write_groups(self, make_change: Callable[[], GroupChange]) -> None:
        """Store what an epoch changes, computed in a thread while nothing else is committed."""
        async with self.write_lock:
            await self._writer.resolve_unknown_outcome()
            change = await asyncio.to_thread(make_change)
            if not change.is_empty:
                await self._writer.write(self._planner.plan_groups(change))

    async def remove_liked(self, devices: Slots) -> None:
        """Delete the liked content of distinct devices that have some, durably."""
        for start in range(0, len(devices), _DEVICE_BATCH):
            async with self.write_lock:
                await self._writer.resolve_unknown_outcome()
                block = devices[start : start + _DEVICE_BATCH]
                await self._writer.write(self._planner.plan_liked_removal(block))

    async def delete_device(self, device_id: bytes) -> int:
        """Delete one device with its patterns durably; return how many patterns it had.

        Raises NotFoundError for an unknown device. Finishes even when the caller is cancelled.
        """
        return await finish_even_if_cancelled(self._delete_device(device_id), "delete_device")

    async def _expire(self, find_devices: Callable[[], Slots]) -> int:
        async with self.write_lock:
            await self._writer.resolve_unknown_outcome()
            devices = find_devices()[:_DEVICE_BATCH]
            if len(devices):
                await self._writer.write(self._planner.plan_expiry(devices))
        return len(devices)

    async def _delete_device(self, device_id: bytes) -> int:
        async with self._write_for_caller():
            row = self._table.find_device(device_id)
            if row < 0:
                raise NotFoundError(f"no device {device_id.hex()} has synced here")
            count = int(self._table.pattern_counts[row])
            for entry in self._inbox.remove_device(device_id):
                entry.sender.fail(NotReadyError("the data of this device was deleted"))
            await self._writer.write(self._planner.plan_expiry(np.array([row])))
        return count

    async def _set_quarantine(self, device_id: bytes, *, quarantined: bool) -> bool:
        async with self._write_for_caller():
            row = self._table.find_device(device_id)
            if row < 0:
                raise NotFoundError(f"no device {device_id.hex()} has synced here")
            if bool(self._table.devices["quarantined"][row]) == quarantined:
                return False
            devices = np.array([row])
            plan = self._planner.plan_quarantine(devices, read_clock(), quarantined=quarantined)
            await self._writer.write(plan)
        return True

    @asynccontextmanager
    async def _write_for_caller(self) -> AsyncIterator[None]:
        """Let a caller write; end the process when that fails so that nothing may be acked.

        The caller's own error would reach nobody but its client.
        """
        async with self.write_lock:
            try:
                await self._writer.resolve_unknown_outcome()
                yield
            except (FencedError, StoreFailedError) as error:
                self._fatal_error = error
                self._inbox.interrupt()
                raise

    async def _run_in_thread(self, work: Callable[[], T]) -> T:
        async with self.write_lock:
            return await asyncio.to_thread(work)

    async def _add_contents(self, contents: Sequence[Content]) -> tuple[int, int]:
        async with self._write_for_caller():
            plan = await self._targets.catalogue.plan(contents)
            await self._writer.write_contents(plan)
        return plan.added_count, plan.replaced_count

    async def _commit(self, entries: Sequence[InboxEntry]) -> None:
        with self._observers.tracer.trace_commit(entries) as span:
            lost_before = self._writer.unknown_outcome
            try:
                await self._writer.resolve_unknown_outcome()
                plan = self._planner.plan_commit([entry.delta for entry in entries], read_clock())
                await self._writer.write(plan)
            except ConstellationError as error:
                is_known = self._writer.unknown_outcome in (None, lost_before)
                self._fail_senders(entries, error, is_known=is_known)
                if not isinstance(error, NotReadyError):
                    raise
                return
            self._acknowledge(entries, plan.receipts, span)
        self._queue_updates(plan)

    def _fail_senders(
        self, entries: Sequence[InboxEntry], error: ConstellationError, *, is_known: bool
    ) -> None:
        """Tell the senders that their deltas were not acknowledged, so that they send them again.

        When the outcome of the write is not known, the deltas are counted once it is.
        """
        if is_known:
            self._stats.failed_deltas += len(entries)
        for entry in entries:
            entry.sender.fail(error)
        if isinstance(error, FencedError):
            self._stats.fenced_writes += 1

    def _acknowledge(
        self, entries: Sequence[InboxEntry], receipts: Sequence[Receipt], span: CommitSpan
    ) -> None:
        """Give the senders their receipts: what these say is durable."""
        loop = asyncio.get_running_loop()
        arrivals = [entry.arrived_at for entry in entries]
        self._stats.record_durable(arrivals, loop.time())
        for entry, receipt in zip(entries, receipts, strict=True):
            if receipt.verdict is Verdict.REFUSED:
                entry.sender.fail(ShardFullError("this shard has no room for another device"))
            else:
                entry.sender.complete(receipt)
        self._stats.record_acked(arrivals, loop.time())
        span.record_deltas(receipts, loop.time())

    def _queue_updates(self, plan: Plan) -> None:
        """Send an update to the devices for which there is something else now.

        Other patterns may be similar to those of a device whose taste moved, and a device that
        named a content item may lack its row of related content.
        """
        named, moved = plan.named_contents, plan.pattern_change.taste_moved_devices
        naming = self._targets.related.find_devices_with_rows(named.devices, named.contents)
        ids = self._table.devices["device_id"][np.union1d(moved, naming)]
        if len(ids):
            self._observers.updates.queue_devices([device_id.tobytes() for device_id in ids])
