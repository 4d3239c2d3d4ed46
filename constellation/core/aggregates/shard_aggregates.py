"""Aggregates: the sums that a shard keeps for its federation, and their versions.

Commits only record what they overwrite; a fold counts many recorded patterns at a time. The sums
over a new codebook are built beside those that serve, and replace them once they count every
device.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import structlog

from constellation.core.aggregates.candidates import PatternSample, compute_candidates
from constellation.core.aggregates.codebook_sums import CodebookSums
from constellation.core.aggregates.deferred_sums import DeferredSums
from constellation.core.aggregates.disclosure import Disclosure
from constellation.core.aggregates.like_counts import LikedCounting, LikedCounts
from constellation.core.rows import TermKind
from constellation.errors import NotReadyError
from constellation.federated.aggregate import (
    AggregateHeader,
    AggregateUpdate,
    AggregateVersion,
    Anchors,
    ClusterRows,
    SubjectCounts,
    no_clusters,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from numpy.typing import NDArray

    from constellation.core.rules import Rules
    from constellation.core.store import HourlyCounts
    from constellation.core.table.change import PatternChange
    from constellation.core.table.hourly import HourlyRing
    from constellation.core.table.shard_table import Table

    RunPaused = Callable[[Callable[[], None]], Coroutine[Any, Any, None]]
    """Runs something in a thread while nothing is committed."""

log = structlog.get_logger(__name__)

FOLD_ROWS: Final = 512
"""When this many overwritten and new patterns wait, a commit is followed by a fold."""
READY_SECONDS: Final = 2.0
"""A pull waits this long for the first sums: a small shard has them by then."""
_KEPT_VERSIONS: Final = 64
"""Versions from which a pull may continue; from an older one it gets everything."""
_LOOKUP_BLOCK: Final = 4096
"""Patterns whose anchors are found at once, beside the commits."""
_COUNT_BLOCK: Final = 32
"""Devices that are counted at once, between two commits: about 10 ms."""
_SAMPLE_PATTERNS: Final = 50_000
"""The approximate number of patterns in a sample."""


class Aggregates:
    """The aggregate of one shard, and what changed in it from version to version."""

    def __init__(
        self, table: Table, ring: HourlyRing, rules: Rules, *, ready_seconds: float = READY_SECONDS
    ) -> None:
        self.version = 0
        """Grows with every pull before which something changed."""
        self._table = table
        self._ring = ring
        self._disclosure = Disclosure(table, rules)
        min_devices = 1 if rules.is_noised_only else table.groups.min_members
        self.liked = LikedCounting(table, rules.related_liked, min_devices)
        self._hourly_limit = rules.signals_per_hour
        self._is_complete = rules.is_noised_only
        self._k_anonymity = rules.k_anonymity
        self._ready_seconds = ready_seconds
        self._target: Anchors | None = None
        """The codebook that was set last."""
        self._target_changed = asyncio.Event()
        self._ready = asyncio.Event()
        self._ready.set()
        self._serving: DeferredSums | None = None
        """The sums that pulls get; None before the first codebook."""
        self._building: DeferredSums | None = None
        """The sums over a new codebook, while they are counted."""
        self._changed_at = 0
        """The latest version in which sums, or the exportable terms, changed."""
        self._ring_versions: OrderedDict[int, int] = OrderedDict()
        """For each of the last versions, the version of the ring."""

    @property
    def codebook_version(self) -> int:
        """The version of the codebook of the sums; 0 for none."""
        return self._serving.sums.anchors.version if self._serving else 0

    @property
    def is_due(self) -> bool:
        """Whether enough patterns wait for a fold."""
        return self._serving is not None and self._serving.pending_count >= FOLD_ROWS

    @property
    def is_build_due(self) -> bool:
        """Whether a codebook was set that `build_forever` has not begun to sum up."""
        return self._target_changed.is_set()

    def record(self, change: PatternChange) -> None:
        """Record what a commit is about to overwrite; the table must not have changed yet."""
        recording = [sums for sums in (self._serving, self._building) if sums is not None]
        if not recording:
            return
        slots = np.concatenate([change.slots[~change.is_new], change.freed_slots])
        devices = np.concatenate(
            [change.rows["device"], change.recounted_devices.astype(np.uint32)]
        )
        if not len(slots) and not len(devices):
            return
        rows = self._table.patterns[slots]
        for sums in recording:
            sums.record(slots, rows, devices)

    def set_anchors(self, anchors: Anchors) -> None:
        """Sum up over a codebook from now on; `build_forever` builds the sums.

        A codebook without anchors, which a round without clusters publishes, changes nothing.
        """
        if not len(anchors.cluster_ids):
            return
        target = self._target
        named = (anchors.generation, anchors.version)
        if target is None or (target.generation, target.version) != named:
            self._target = anchors
            self._target_changed.set()
            if self._serving is None:
                self._ready.clear()

    async def wait_until_ready(self) -> None:
        """Return once there are sums, or at once when no codebook was set.

        Raises NotReadyError after `ready_seconds`.
        """
        try:
            async with asyncio.timeout(self._ready_seconds):
                await self._ready.wait()
        except TimeoutError:
            raise NotReadyError("this shard is summing up what it has stored") from None

    def fold(self) -> None:
        """Bring all sums up to date. Runs in a thread while nothing is committed."""
        if self._serving is not None and self._serving.pending_count:
            self._serving.fold(self.version + 1)
            self._changed_at = self.version + 1

    async def build_forever(self, run_paused: RunPaused) -> None:
        """Build the sums over each new codebook. Runs until cancelled."""
        while True:
            await self._target_changed.wait()
            self._target_changed.clear()
            assert self._target is not None
            started = asyncio.get_running_loop().time()
            await self.build(self._target, run_paused)
            self._ready.set()
            log.info(
                "codebook_switched",
                codebook_version=self.codebook_version,
                anchors=len(self._target.cluster_ids),
                seconds=round(asyncio.get_running_loop().time() - started, 3),
            )

    async def build(self, anchors: Anchors, run_paused: RunPaused) -> None:
        """Build the sums over a codebook beside the commits, then switch to them."""
        sums = CodebookSums(self._table, anchors, 0)
        used = self._table.pattern_allocator.high_water  # commits record the later slots
        for start in range(0, used, _LOOKUP_BLOCK):
            slots = np.arange(start, min(start + _LOOKUP_BLOCK, used))
            await asyncio.to_thread(sums.assign_anchors, slots)
        building = DeferredSums(sums)
        self._building = building  # a pattern that changed since its lookup is looked up again
        devices = self._table.find_counted()
        for start in range(0, len(devices), _COUNT_BLOCK):
            block = devices[start : start + _COUNT_BLOCK]
            await run_paused(partial(building.fold, 0, block))
        await run_paused(partial(self._switch, building))

    def update_since(
        self, origin: AggregateVersion, base: int, region: str, counts: LikedCounts | None = None
    ) -> AggregateUpdate:
        """Return what changed after version `base`, or everything when that is not known.

        `origin.version` is ignored. With `counts`, the update also has what changed of them. Runs
        in a thread while nothing is committed.
        """
        self.fold()
        self._mark_exportable()
        if counts is not None and self.liked.adopt(counts, self.version + 1):
            self._changed_at = self.version + 1
        self._advance()
        base = base if base in self._ring_versions else 0
        sums = self._serving.sums if self._serving else None
        return AggregateUpdate(
            version=AggregateVersion(origin.shard_id, origin.epoch, self.version),
            header=AggregateHeader(
                region,
                sums.anchors.generation if sums else 0,
                sums.anchors.version if sums else 0,
                sums.effective_since if sums else 0,
                self._table.totals.devices - self._table.relocated_count,
                self._hourly_limit,
                self._is_complete,
                self._k_anonymity,
            ),
            base_version=base,
            clusters=self._disclosure.select_clusters(sums, base) if sums else no_clusters(),
            hours=self._select_hours_since(base),
            likes=self.liked.since(counts, base) if counts is not None else None,
        )

    def sample(self, residual_cosine: float) -> PatternSample:
        """Return patterns of evenly chosen devices that are far from every anchor.

        Those are the patterns whose cosine with their nearest anchor is below `residual_cosine`.
        Runs in a thread while nothing is committed.
        """
        table = self._table
        self.fold()
        devices = self._table.find_counted()
        patterns = int(table.pattern_counts[devices].sum())
        devices = devices[:: max(1, -(-patterns // _SAMPLE_PATTERNS))]
        sums = self._serving.sums if self._serving else None
        return PatternSample.from_devices(table, devices, sums, residual_cosine)

    def compute_candidates(self, sample: PatternSample, limit: int) -> ClusterRows:
        """Return at most `limit` clusters of a sample. Runs in a thread."""
        return compute_candidates(sample, limit, self._disclosure)

    def _switch(self, building: DeferredSums) -> None:
        """Serve the sums that were built, in a new version."""
        building.fold(0)
        sums = building.sums
        sums.effective_since = self.version + 1
        sums.changed_at[:] = sums.effective_since
        self._changed_at = sums.effective_since
        self._serving, self._building = building, None

    def _mark_exportable(self) -> None:
        changed = self._ring.changed_since(self._ring_versions.get(self.version, -1))
        if self._disclosure.mark_exportable(changed, self.version + 1):
            self._changed_at = self.version + 1

    def _advance(self) -> None:
        """Move to the next version, unless nothing has changed."""
        last = self._ring_versions.get(self.version)
        if last == self._ring.version and self._changed_at <= self.version:
            return
        self.version += 1
        self._ring_versions[self.version] = self._ring.version
        while len(self._ring_versions) > _KEPT_VERSIONS:
            self._ring_versions.popitem(last=False)

    def _select_hours_since(self, base: int) -> SubjectCounts:
        """Return the hourly counts of exportable terms that changed after version `base`.

        A term that became exportable after `base` brings all its hours.
        """
        ring_version = self._ring_versions[base] if base else -1
        changed = self._ring.changed_since(ring_version)
        since = self._disclosure.find_exportable_since(changed)
        if not base:
            return self._to_subject_counts([(changed, since > 0)])
        parts = [(changed, (since > 0) & (since <= base))]
        if self._disclosure.has_exportable_after(base):
            everything = self._ring.changed_since(-1)
            is_late = self._disclosure.find_exportable_since(everything) > base
            parts.append((everything, is_late))
        return self._to_subject_counts(parts)

    def _to_subject_counts(
        self, parts: list[tuple[HourlyCounts, NDArray[np.bool_]]]
    ) -> SubjectCounts:
        """Return the chosen counts of all parts, with texts in place of term numbers."""
        kinds = np.concatenate([counts.kinds[chosen] for counts, chosen in parts])
        numbers = np.concatenate([counts.numbers[chosen] for counts, chosen in parts])
        hours = np.concatenate([counts.hours[chosen] for counts, chosen in parts])
        devices = np.concatenate([counts.devices[chosen] for counts, chosen in parts])
        is_genre = kinds == TermKind.GENRE
        contents, content_positions = np.unique(numbers[~is_genre], return_inverse=True)
        genres, genre_positions = np.unique(numbers[is_genre], return_inverse=True)
        subjects = np.empty(len(numbers), np.uint32)
        subjects[~is_genre] = content_positions
        subjects[is_genre] = genre_positions + len(contents)
        text = self._table.vocabulary.text
        return SubjectCounts(
            [text(TermKind.CONTENT, number) for number in contents.tolist()],
            [text(TermKind.GENRE, number) for number in genres.tolist()],
            subjects,
            hours.astype(np.uint32),
            devices.astype(np.uint32),
        )
