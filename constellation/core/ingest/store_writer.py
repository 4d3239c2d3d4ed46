"""StoreWriter: makes plans durable, one after another, and brings memory to the same state."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import structlog

from constellation.errors import FencedError, NotReadyError, OutcomeUnknownError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from constellation.core.aggregates.shard_aggregates import Aggregates
    from constellation.core.ingest.observers import ShardObservers
    from constellation.core.ingest.plan import Plan, Planner
    from constellation.core.related_content import RelatedContent
    from constellation.core.store import PatternStore
    from constellation.core.table.catalogue import Catalogue, ContentPlan

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CommitTargets:
    """What a commit updates in memory, in addition to the table and the hourly counts."""

    catalogue: Catalogue
    aggregates: Aggregates
    related: RelatedContent


@dataclass(frozen=True, slots=True)
class UnknownOutcome:
    """A write that may be durable or not, because its answer was lost."""

    is_stored: Callable[[], Awaitable[bool]]
    """Asks the store whether the write is durable."""
    apply: Callable[[], None]
    """Brings memory to the state after the write."""
    delta_count: int = 0
    """Deltas in the write, which are counted once the outcome is known."""


class StoreWriter:
    """Writes to the store, and lets memory follow. Its caller sees to it that nobody else writes.

    After a NotReadyError the outcome of a write may be unknown: call `resolve_unknown_outcome`
    before the next plan is made.
    """

    def __init__(
        self,
        planner: Planner,
        store: PatternStore,
        targets: CommitTargets,
        observers: ShardObservers,
        *,
        epoch: int,
    ) -> None:
        self.epoch = epoch
        self.store = store
        self.unknown_outcome: UnknownOutcome | None = None
        """The last write, while its answer is lost."""
        self._planner = planner
        self._table = planner.table
        self._targets = targets
        self._stats = observers.stats
        self._tracer = observers.tracer

    async def write(self, plan: Plan) -> None:
        """Make a plan durable, then bring memory to the same state."""
        if plan.is_empty:
            self._stats.count_receipts(plan.receipts)
            return
        outcome = UnknownOutcome(
            partial(self._is_stored, plan), partial(self._apply, plan), len(plan.receipts)
        )
        with self._track_outcome(outcome):
            started = time.perf_counter()
            with self._tracer.trace_write(self.store.kind):
                await self.store.commit(self.epoch, plan.writes)
            self._stats.commit_seconds.observe(time.perf_counter() - started)
        self._apply(plan)

    async def write_contents(self, plan: ContentPlan) -> None:
        """Make a plan of the catalogue durable, then bring memory to the same state."""
        catalogue = self._targets.catalogue
        outcome = UnknownOutcome(partial(catalogue.is_stored, plan), partial(catalogue.apply, plan))
        with self._track_outcome(outcome):
            await catalogue.write(self.epoch, plan)
        catalogue.apply(plan)

    async def resolve_unknown_outcome(self) -> None:
        """Find out whether a write whose answer was lost is durable, and bring memory to it.

        Taking a new epoch makes sure that the write is over: it waits for what the store is still
        doing, and fences what has not arrived there yet. Raises NotReadyError while the store is
        unavailable, FencedError when another process has written meanwhile.
        """
        outcome = self.unknown_outcome
        if outcome is None:
            return
        self.epoch = await self.store.take_epoch()
        is_stored = await outcome.is_stored()
        if is_stored:
            outcome.apply()
        else:
            self._stats.failed_deltas += outcome.delta_count
        self.unknown_outcome = None
        log.info("outcome_resolved", written=is_stored, epoch=self.epoch)

    @contextmanager
    def _track_outcome(self, outcome: UnknownOutcome) -> Iterator[None]:
        """Remember a write whose answer is lost, and raise NotReadyError for it."""
        try:
            yield
        except OutcomeUnknownError as error:
            log.warning("outcome_unknown", epoch=self.epoch, lsn=self._table.totals.lsn + 1)
            self._stats.unknown_commits += 1
            self.unknown_outcome = outcome
            raise NotReadyError(str(error)) from error

    async def _is_stored(self, plan: Plan) -> bool:
        """Return whether a plan is in the store, which has either all of it or nothing."""
        totals = await self.store.read_totals()
        if totals not in (plan.writes.totals, self._table.totals):
            raise FencedError(
                f"the store is at commit {totals.lsn}, which this process did not write"
            )
        return totals == plan.writes.totals

    def _apply(self, plan: Plan) -> None:
        """Bring memory to the state after a plan that is durable."""
        self._targets.aggregates.record(plan.pattern_change)
        self._planner.apply(plan)
        self._stats.commits += 1
        if plan.receipts:  # an expiry has none
            self._stats.commit_deltas.observe(len(plan.receipts))
        self._stats.accepted_patterns += len(plan.pattern_change.slots)
        self._stats.count_receipts(plan.receipts)
