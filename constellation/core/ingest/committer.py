"""Committer: writes waiting deltas in groups, then updates memory, and acknowledges."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
import structlog

from constellation.core.ingest.deltas import Verdict
from constellation.core.ingest.recount import RECOUNT_BATCH
from constellation.errors import (
    ConstellationError,
    FencedError,
    NotFoundError,
    NotReadyError,
    OutcomeUnknownError,
    ShardFullError,
    StoreFailedError,
)
from constellation.tasks import finish_even_if_cancelled
from constellation.wall_clock import read_clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from constellation.core.aggregates.shard_aggregates import Aggregates
    from constellation.core.ingest.deltas import Receipt
    from constellation.core.ingest.inbox import Inbox, InboxEntry
    from constellation.core.ingest.observers import CommitSpan, ShardObservers
    from constellation.core.ingest.plan import Plan, Planner
    from constellation.core.related_content import RelatedContent
    from constellation.core.rows import Slots
    from constellation.core.store import Content, PatternStore
    from constellation.core.table.catalogue import Catalogue, ContentPlan
    from constellation.core.table.group_change import GroupChange
    from constellation.federated.published import StoredGlobal

log = structlog.get_logger(__name__)

T = TypeVar("T")

COMMIT_INTERVAL_SECONDS: Final = 0.01
"""The least time between two commits, unless a full group waits.

The fixed cost of a commit is shared by all its deltas, so a short pause gathers more of them. A
delta that arrives after a longer silence is committed at once.
"""
_DEVICE_BATCH: Final = 1000
"""Devices removed in one commit, or whose presence is written in one."""


@dataclass(frozen=True, slots=True)
class CommitTargets:
    """What a commit updates in memory, in addition to the table and the hourly counts."""

    catalogue: Catalogue
    aggregates: Aggregates
    related: RelatedContent


@dataclass(frozen=True, slots=True)
class _UnknownOutcome:
    """A write that may be durable or not, because its answer was lost."""

    is_stored: Callable[[], Awaitable[bool]]
    """Asks the store whether the write is durable."""
    apply: Callable[[], Awaitable[None]]
    """Brings memory to the state after the write."""
    delta_count: int = 0
    """Deltas in the write, which are counted once the outcome is known."""


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
        self.epoch = epoch
        self.write_lock = asyncio.Lock()
        """Held by whoever changes the store."""
        self._planner = planner
        self._table = planner.table
        self._store = store
        self._inbox = inbox
        self._targets = targets
        self._observers = observers
        self._stats = observers.stats
        self._last_commit = float("-inf")
        """Loop time of the last commit."""
        self._unknown_outcome: _UnknownOutcome | None = None
        self._fatal_error: ConstellationError | None = None
        """The error of a caller's write after which nothing may be acknowledged any more."""

    async def commit_forever(self) -> None:
        """Commit the deltas that wait, group by group. Runs until cancelled.

        Raises the error of any write after which the process must end, whoever made the write.
        """
        loop, inbox, aggregates = asyncio.get_running_loop(), self._inbox, self._targets.aggregates
        while True:
            await inbox.wait_for_entry()
            if self._fatal_error is not None:
                raise self._fatal_error
            if not inbox.has_group:
                await asyncio.sleep(self._last_commit + COMMIT_INTERVAL_SECONDS - loop.time())
            self._last_commit = loop.time()
            async with self.write_lock:
                if entries := inbox.take_group():  # a deletion may have removed them
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
            await self._store.put_global(self.epoch, stored)

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
            await self._resolve_unknown_outcome()
            devices = self._table.find_unsaved_presence(before)[:_DEVICE_BATCH]
            if len(devices):
                await self._write(self._planner.plan_presence(devices))
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
                await self._resolve_unknown_outcome()
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
            await self._resolve_unknown_outcome()
            change = await asyncio.to_thread(make_change)
            if not change.is_empty:
                await self._write(self._planner.plan_groups(change))

    async def remove_liked(self, devices: Slots) -> None:
        """Delete the liked content of distinct devices that have some, durably."""
        for start in range(0, len(devices), _DEVICE_BATCH):
            async with self.write_lock:
                await self._resolve_unknown_outcome()
                block = devices[start : start + _DEVICE_BATCH]
                await self._write(self._planner.plan_liked_removal(block))

    async def delete_device(self, device_id: bytes) -> int:
        """Delete one device with its patterns durably; return how many patterns it had.

        Raises NotFoundError for an unknown device. Finishes even when the caller is cancelled.
        """
        return await finish_even_if_cancelled(self._delete_device(device_id), "delete_device")

    async def _expire(self, find_devices: Callable[[], Slots]) -> int:
        async with self.write_lock:
            await self._resolve_unknown_outcome()
            devices = find_devices()[:_DEVICE_BATCH]
            if len(devices):
                await self._write(self._planner.plan_expiry(devices))
        return len(devices)

    async def _delete_device(self, device_id: bytes) -> int:
        async with self._write_for_caller():
            row = self._table.find_device(device_id)
            if row < 0:
                raise NotFoundError(f"no device {device_id.hex()} has synced here")
            count = int(self._table.pattern_counts[row])
            for entry in self._inbox.remove_device(device_id):
                entry.sender.fail(NotReadyError("the data of this device was deleted"))
            await self._write(self._planner.plan_expiry(np.array([row])))
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
            await self._write(plan)
        return True

    @asynccontextmanager
    async def _write_for_caller(self) -> AsyncIterator[None]:
        """Let a caller write; end the process when that fails so that nothing may be acked.

        The caller's own error would reach nobody but its client.
        """
        async with self.write_lock:
            try:
                await self._resolve_unknown_outcome()
                yield
            except (FencedError, StoreFailedError) as error:
                self._fatal_error = error
                self._inbox.interrupt()
                raise

    async def _run_in_thread(self, work: Callable[[], T]) -> T:
        async with self.write_lock:
            return await asyncio.to_thread(work)

    async def _add_contents(self, contents: Sequence[Content]) -> tuple[int, int]:
        catalogue = self._targets.catalogue
        async with self._write_for_caller():
            plan = await catalogue.plan(contents)
            outcome = _UnknownOutcome(
                partial(catalogue.is_stored, plan), partial(self._apply_contents, plan)
            )
            with self._track_unknown_outcome(outcome):
                await catalogue.write(self.epoch, plan)
            await self._apply_contents(plan)
        return plan.added_count, plan.replaced_count

    async def _commit(self, entries: Sequence[InboxEntry]) -> None:
        with self._observers.tracer.trace_commit(entries) as span:
            lost_before = self._unknown_outcome
            try:
                await self._resolve_unknown_outcome()
                plan = self._planner.plan_commit([entry.delta for entry in entries], read_clock())
                await self._write(plan)
            except ConstellationError as error:
                is_known = self._unknown_outcome in (None, lost_before)
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

    async def _write(self, plan: Plan) -> None:
        """Make a plan durable, then bring memory to the same state.

        After a NotReadyError the outcome may be unknown: call `_resolve_unknown_outcome` before the
        next plan.
        """
        if plan.is_empty:
            self._stats.count_receipts(plan.receipts)
            return
        outcome = _UnknownOutcome(
            partial(self._is_stored, plan), partial(self._apply_plan, plan), len(plan.receipts)
        )
        with self._track_unknown_outcome(outcome):
            started = time.perf_counter()
            with self._observers.tracer.trace_write(self._store.kind):
                await self._store.commit(self.epoch, plan.writes)
            self._stats.commit_seconds.observe(time.perf_counter() - started)
        await self._apply_plan(plan)

    @contextmanager
    def _track_unknown_outcome(self, outcome: _UnknownOutcome) -> Iterator[None]:
        """Remember a write whose answer is lost, and raise NotReadyError for it."""
        try:
            yield
        except OutcomeUnknownError as error:
            log.warning("outcome_unknown", epoch=self.epoch, lsn=self._table.totals.lsn + 1)
            self._stats.unknown_commits += 1
            self._unknown_outcome = outcome
            raise NotReadyError(str(error)) from error

    async def _resolve_unknown_outcome(self) -> None:
        """Find out whether a write whose answer was lost is durable, and bring memory to it.

        Taking a new epoch makes sure that the write is over: it waits for what the store is still
        doing, and fences what has not arrived there yet. Raises NotReadyError while the store is
        unavailable, FencedError when another process has written meanwhile.
        """
        outcome = self._unknown_outcome
        if outcome is None:
            return
        self.epoch = await self._store.take_epoch()
        is_stored = await outcome.is_stored()
        if is_stored:
            await outcome.apply()
        else:
            self._stats.failed_deltas += outcome.delta_count
        self._unknown_outcome = None
        log.info("outcome_resolved", written=is_stored, epoch=self.epoch)

    async def _is_stored(self, plan: Plan) -> bool:
        """Return whether a plan is in the store, which has either all of it or nothing."""
        totals = await self._store.read_totals()
        if totals not in (plan.writes.totals, self._table.totals):
            raise FencedError(
                f"the store is at commit {totals.lsn}, which this process did not write"
            )
        return totals == plan.writes.totals

    async def _apply_plan(self, plan: Plan) -> None:
        """Bring memory to the state after a plan that is durable."""
        self._targets.aggregates.record(plan.pattern_change)
        self._planner.apply(plan)
        self._stats.commits += 1
        if plan.receipts:  # an expiry has none
            self._stats.commit_deltas.observe(len(plan.receipts))
        self._stats.accepted_patterns += len(plan.pattern_change.slots)
        self._stats.count_receipts(plan.receipts)

    async def _apply_contents(self, plan: ContentPlan) -> None:
        self._targets.catalogue.apply(plan)

    def _queue_updates(self, plan: Plan) -> None:
        """Send an update to the devices for which there is something else now.

        Other patterns may be similar to those of a device whose taste moved, and a device that
        named a content item may lack its row of related content.
        """
        told, moved = plan.told_contents, plan.pattern_change.taste_moved_devices
        naming = self._targets.related.find_devices_with_rows(told.devices, told.contents)
        ids = self._table.devices["device_id"][np.union1d(moved, naming)]
        if len(ids):
            self._observers.updates.queue_devices([device_id.tobytes() for device_id in ids])
