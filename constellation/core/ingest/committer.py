"""Committer: group commits in order, and what follows each: memory, index, acks."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
import structlog

from constellation.core.ingest import spans as tracing
from constellation.core.ingest.plan import Plan, apply_plan, plan_commit, plan_expiry
from constellation.errors import (
    ConstellationError,
    FencedError,
    NotReadyError,
    OutcomeUnknownError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from opentelemetry.trace import SpanContext

    from constellation.core.aggregates.shard_aggregates import Aggregates
    from constellation.core.index.feeder import IndexFeeder
    from constellation.core.ingest.inbox import Inbox, InboxEntry
    from constellation.core.ingest.stats import Stats
    from constellation.core.rules import Rules
    from constellation.core.store import Content, PatternStore
    from constellation.core.table.catalogue import Catalogue, ContentPlan
    from constellation.core.table.hourly import HourlyRing
    from constellation.core.table.shard_table import Table
    from constellation.federated.published import StoredGlobal

log = structlog.get_logger(__name__)

T = TypeVar("T")

COMMIT_INTERVAL_SECONDS: Final = 0.01
"""Commits begin at least so far apart while fewer deltas wait than one commit takes: what a commit
costs beside its rows is shared by more of them, and a delta that comes alone does not wait."""
_EXPIRY_BATCH: Final = 1000


@dataclass(frozen=True, slots=True)
class CommitCollaborators:
    """What deltas come from, and what hears of commits beside the table."""

    catalogue: Catalogue
    feeder: IndexFeeder
    aggregates: Aggregates
    inbox: Inbox
    stats: Stats


@dataclass(frozen=True, slots=True)
class _UnknownOutcome:
    """A write of which nobody knows whether it is durable."""

    is_stored: Callable[[], Awaitable[bool]]
    apply: Callable[[], Awaitable[None]]
    """Brings memory to the state after it."""
    delta_count: int = 0
    """How many are in it: what became of them is counted when it is known."""


class Committer:
    """The one writer of a shard's store. What it has not written, memory does not know."""

    def __init__(
        self,
        table: Table,
        ring: HourlyRing,
        rules: Rules,
        store: PatternStore,
        collaborators: CommitCollaborators,
        *,
        epoch: int,
    ) -> None:
        self.epoch = epoch
        self.write_lock = asyncio.Lock()
        """Held by whoever changes the store."""
        self.on_taste_moved: Callable[[Sequence[bytes]], None] = lambda _: None
        self._table = table
        self._ring = ring
        self._rules = rules
        self._store = store
        self._collaborators = collaborators
        self._stats = collaborators.stats
        self._last_commit = float("-inf")
        self._unknown_outcome: _UnknownOutcome | None = None

    async def commit_forever(self) -> None:
        """Commit whatever waits; then tell index, sums and senders. Runs until cancelled."""
        loop, inbox = asyncio.get_running_loop(), self._collaborators.inbox
        while True:
            await inbox.wait_for_entry()
            if not inbox.has_group:
                await asyncio.sleep(self._last_commit + COMMIT_INTERVAL_SECONDS - loop.time())
            self._last_commit = loop.time()
            async with self.write_lock:
                await self._commit(inbox.take_group())
                if self._collaborators.aggregates.is_due:
                    await asyncio.to_thread(self._collaborators.aggregates.fold)

    async def run_with_commits_paused(self, work: Callable[[], T]) -> T:
        """Run something in a thread while nothing is committed; return what it returns.

        A caller that is cancelled leaves it running, and commits wait for it all the same.
        """
        return await asyncio.shield(
            asyncio.create_task(self._run_with_commits_paused(work), name="still")
        )

    async def put_global(self, stored: StoredGlobal) -> None:
        """Store the federation's global durably."""
        async with self.write_lock:
            await self._resolve_unknown_outcome()
            await self._store.put_global(self.epoch, stored)

    async def add_contents(self, contents: Sequence[Content]) -> tuple[int, int]:
        """Store contents durably; return how many were new and how many replaced."""
        adding = asyncio.create_task(self._add_contents(contents), name="add_contents")
        return await asyncio.shield(adding)  # its caller may be cancelled, a write may not

    async def trim_change_log(self, through_lsn: int) -> None:
        """Drop the log of changed slots that an index snapshot makes needless."""
        async with self.write_lock:
            await self._resolve_unknown_outcome()
            await self._store.trim_change_log(self.epoch, through_lsn)

    async def expire(self, before: float) -> int:
        """Delete some devices that last synced before this time; return how many, 0 at the end."""
        async with self.write_lock:
            await self._resolve_unknown_outcome()
            rows = self._table.devices[: self._table.device_allocator.high_water]
            silent = (rows["incarnation"] > 0) & (rows["synced_at"] < before)
            devices = np.flatnonzero(silent)[:_EXPIRY_BATCH]
            if len(devices):
                await self._write(plan_expiry(self._table, devices, self._rules))
        return len(devices)

    async def _run_with_commits_paused(self, work: Callable[[], T]) -> T:
        async with self.write_lock:
            return await asyncio.to_thread(work)

    async def _add_contents(self, contents: Sequence[Content]) -> tuple[int, int]:
        catalogue = self._collaborators.catalogue
        async with self.write_lock:
            await self._resolve_unknown_outcome()
            planned = await catalogue.plan(contents)
            with self._track_unknown_outcome(
                _UnknownOutcome(
                    partial(catalogue.is_stored, planned), partial(self._apply_contents, planned)
                )
            ):
                await catalogue.write(self.epoch, planned)
            await self._apply_contents(planned)
        return planned.added_count, planned.replaced_count

    async def _commit(self, entries: Sequence[InboxEntry]) -> None:
        with tracing.TRACER.start_as_current_span(
            "commit", links=tracing.build_links(entries), attributes={"deltas": len(entries)}
        ) as span:
            await self._commit_in_span(entries, span.get_span_context())

    async def _commit_in_span(self, entries: Sequence[InboxEntry], span: SpanContext) -> None:
        deltas = [entry.delta for entry in entries]
        lost_before = self._unknown_outcome
        try:
            await self._resolve_unknown_outcome()
            planned = plan_commit(self._table, self._ring, self._rules, deltas, time.time())
            await self._write(planned)
        except ConstellationError as error:
            if self._unknown_outcome in (None, lost_before):  # else these may be durable
                self._stats.failed_deltas += len(entries)
            for entry in entries:  # none was acked: their devices send again, here or elsewhere
                entry.sender.fail(error)
            if isinstance(error, FencedError):
                self._stats.fenced_writes += 1
            if not isinstance(error, NotReadyError):
                raise
            return
        loop = asyncio.get_running_loop()
        arrivals = [entry.arrived_at for entry in entries]
        self._stats.record_durable(arrivals, loop.time())
        for entry, receipt in zip(entries, planned.receipts, strict=True):
            entry.sender.complete(receipt)
        self._stats.record_acked(arrivals, loop.time())
        tracing.record_delta_spans(entries, planned.receipts, span, loop.time())
        self._notify_taste_moved(planned)

    async def _write(self, planned: Plan) -> None:
        """Make a plan durable, then bring memory to the same state.

        A NotReadyError may mean that the outcome is unknown: `_settle` comes before the next plan.
        """
        if planned.is_empty:
            self._stats.count_receipts(planned.receipts)
            return
        with self._track_unknown_outcome(
            _UnknownOutcome(
                partial(self._is_stored, planned),
                partial(self._apply_plan, planned),
                len(planned.receipts),
            )
        ):
            started = time.perf_counter()
            with tracing.TRACER.start_as_current_span(
                "store.commit", attributes={"db.system.name": self._store.kind}
            ):
                await self._store.commit(self.epoch, planned.writes)
            self._stats.commit_seconds.observe(time.perf_counter() - started)
        await self._apply_plan(planned)

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
        """Find out what became of a write whose answer was lost, and follow it.

        The new epoch makes sure that the write is over: it waits for what is under way in the
        store, and fences what has not arrived there yet. Raises NotReadyError while the store is
        away, FencedError when another process has written meanwhile.
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

    async def _is_stored(self, planned: Plan) -> bool:
        """Say whether a plan is in the store, which holds either it or nothing of it."""
        totals = await self._store.read_totals()
        if totals not in (planned.writes.totals, self._table.totals):
            raise FencedError(
                f"the store is at commit {totals.lsn}, which this process did not write"
            )
        return totals == planned.writes.totals

    async def _apply_plan(self, planned: Plan) -> None:
        """Bring memory to what has become durable."""
        self._collaborators.aggregates.record(planned.pattern_change)
        apply_plan(self._table, self._ring, planned)
        self._stats.commits += 1
        if planned.receipts:  # an expiry has none
            self._stats.commit_deltas.observe(len(planned.receipts))
        self._stats.accepted_patterns += len(planned.pattern_change.slots)
        self._stats.count_receipts(planned.receipts)
        await self._collaborators.feeder.add(planned.pattern_change, planned.writes.totals.lsn)

    async def _apply_contents(self, planned: ContentPlan) -> None:
        self._collaborators.catalogue.apply(planned)

    def _notify_taste_moved(self, planned: Plan) -> None:
        moved = self._table.devices["device_id"][planned.pattern_change.taste_moved_devices]
        if len(moved):
            self.on_taste_moved([device_id.tobytes() for device_id in moved])
