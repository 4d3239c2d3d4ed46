"""PatternSharing: merges the patterns of many devices into shared ones, epoch by epoch."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import structlog

from constellation.core.shared.epochs import EpochSteps
from constellation.core.shared.microaggregation import divide_into_cells
from constellation.core.shared.named_embeddings import NamedEmbeddings
from constellation.core.shared.waiting import find_waiting

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from constellation.core.index.pattern_index import PatternIndex
    from constellation.core.ingest.committer import Committer
    from constellation.core.rows import Slots
    from constellation.core.rules import Rules
    from constellation.core.shared.epochs import Proposal
    from constellation.core.store import PatternStore
    from constellation.core.table.groups import GroupMembers
    from constellation.core.table.shard_table import Table

log = structlog.get_logger(__name__)

_GROUP_BATCH: Final = 256
"""Groups that are revised or dissolved in one commit."""
_PASSES: Final = 2
"""Times that patterns look for companions in an epoch, each time in other cells."""


@dataclass(frozen=True, slots=True)
class EpochResult:
    """What the last epoch did."""

    started_at: float
    """In seconds since 1970."""
    seconds: float
    waiting_count: int
    """Patterns that found no companions."""


class PatternSharing:
    """Forms, revises and dissolves the groups of one shard, and keeps the index in step."""

    def __init__(
        self,
        table: Table,
        index: PatternIndex,
        rules: Rules,
        committer: Committer,
        store: PatternStore,
        secret: bytes,
    ) -> None:
        self.lsn = table.totals.lsn
        """Every group that was published or dissolved up to this commit is so in the index."""
        self.last: EpochResult | None = None
        """The result of the last epoch; None before the first."""
        self._table = table
        self._index = index
        self._rules = rules
        self._committer = committer
        self._steps = EpochSteps(table, rules, secret)
        self.embeddings = NamedEmbeddings(store, table)
        self._left_over = 0
        """Patterns that found no companions in the last epoch that looked for any."""
        self._lock = asyncio.Lock()
        """Held by an epoch, and by a deletion that dissolves groups."""

    async def run_epoch(self, now: float) -> bool:
        """Dissolve, revise and form groups, at a time in seconds since 1970.

        Returns whether anything changed of what devices are shown. After a NotReadyError the next
        epoch continues.
        """
        started = time.monotonic()
        async with self._lock:
            before = self._table.totals.group_digest
            await self._dissolve()
            await self._revise(now)
            await self._form(now)
            await self._fill_index()
        seconds = time.monotonic() - started
        self.last = EpochResult(now, seconds, self._left_over)
        has_changed = self._table.totals.group_digest != before
        if has_changed:
            log.info(
                "patterns_shared",
                shared_patterns=self._table.groups.count,
                waiting=self._left_over,
                seconds=round(seconds, 3),
            )
        return has_changed

    async def dissolve(self) -> None:
        """Make the dissolution of groups that lost a member by a deletion durable now.

        They are in no answer any more; the index holds their numbers until it is filled again.
        """
        async with self._lock:
            await self._dissolve()

    async def fill_index(self) -> None:
        """Let the index hold exactly what is published, now rather than with the next epoch."""
        async with self._lock:
            await self._fill_index()

    @property
    def pending_count(self) -> int:
        """How many groups changed that the index has not taken in yet."""
        return self._table.groups.changed_count

    async def _dissolve(self) -> None:
        """Free the groups that are dissolved; what is left of them is stale from now on."""
        dissolving = np.array(sorted(self._table.groups.dissolving), np.int64)
        for block in await self._divide_members(dissolving):
            await self._committer.write_groups(partial(self._steps.make_dissolution, block))

    async def _revise(self, now: float) -> None:
        """Publish the next revision of groups of which enough members changed."""
        groups = self._table.groups
        touched = groups.find_groups(groups.take_moved())
        for block in await self._divide_members(touched):
            proposal, unsupported = await asyncio.to_thread(
                self._steps.propose_revisions, block, now
            )
            await self._publish(proposal)
            groups.dissolve(unsupported, self._table.totals.lsn)
        await self._dissolve()

    async def _divide_members(self, groups: Slots) -> Iterable[GroupMembers]:
        """Return the members of groups, in parts of a size for one commit."""
        if not len(groups):
            return ()
        members = await asyncio.to_thread(self._table.groups.find_members, groups)
        return members.divide(_GROUP_BATCH)

    async def _form(self, now: float) -> None:
        """Form groups of the patterns that wait, unless none has arrived since the last time."""
        if not self._table.groups.take_arrivals() and self.last is not None:
            return
        for _ in range(_PASSES):
            waiting = await asyncio.to_thread(find_waiting, self._table, self._rules)
            self._left_over = len(waiting.slots)
            if np.count_nonzero(waiting.is_fresh) < self._table.groups.min_members:
                return
            cells = self._divide(waiting.slots)
            while (cell := await asyncio.to_thread(next, cells, None)) is not None:
                proposal = await asyncio.to_thread(self._steps.propose_groups, waiting, cell, now)
                self._left_over -= await self._publish(proposal)
            if self._left_over == len(waiting.slots):
                return

    def _divide(self, slots: Slots) -> Iterator[NDArray[np.int64]]:
        return divide_into_cells(
            np.arange(len(slots)), lambda chosen: self._steps.read_vectors(slots[chosen])
        )

    async def _publish(self, proposal: Proposal) -> int:
        """Publish the groups that name something; return how many members they have.

        The others tell other devices nothing, and go on waiting. Without any protection,
        K_ANONYMITY=1, every pattern is published as it is.
        """
        if self._table.groups.min_members > 1:
            proposal = proposal.select(await self.embeddings.set_codes(proposal.rows))
        if len(proposal.sizes):
            await self._committer.write_groups(partial(self._steps.make_change, proposal))
        return len(proposal.slots)

    async def _fill_index(self) -> None:
        """Build the index anew when groups changed since it was filled last."""
        groups, lsn = self._table.groups, self._table.totals.lsn
        if len(groups.take_changed()):
            await asyncio.to_thread(lambda: self._index.fill(groups.find_published()))
        self.lsn = lsn
