"""Aggregates: what a shard sums up for its federation, kept beside the commits.

Commits only note what they overwrite; a fold counts what was noted, many devices at a time. A new
codebook is summed up beside the one that serves, and takes its place once it has counted every
device.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import structlog

from constellation.core.aggregates.candidates import PatternSample, compute_candidates
from constellation.core.aggregates.codebook_sums import CodebookSums, FoldInput
from constellation.core.rows import PATTERN, PatternRows, Slots, TermKind, reserve
from constellation.core.table.vocabulary import TERM_LIMITS
from constellation.errors import NotReadyError
from constellation.federated.aggregate import (
    CONTENTS_PER_CLUSTER,
    GENRES_PER_CLUSTER,
    AggregateHeader,
    AggregateUpdate,
    AggregateVersion,
    Anchors,
    ClusterRows,
    ClusterTerms,
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
    from constellation.federated.fixed_point import Integers

    RunPaused = Callable[[Callable[[], None]], Coroutine[Any, Any, None]]
    """Runs something in a thread while nothing is committed."""

log = structlog.get_logger(__name__)

FOLD_ROWS: Final = 512
"""Overwritten and new patterns that wait for a fold before a commit brings it about."""
_KEPT_VERSIONS: Final = 64
"""Versions that a pull may start from; after an older one it gets everything."""
_LOOKUP_BLOCK: Final = 4096
"""Patterns whose anchors are looked up at once, beside the commits ..."""
_COUNT_BLOCK: Final = 32
"""... and devices that are counted at once, between two of them: about 10 ms."""
_SAMPLE_PATTERNS: Final = 50_000
_READY_SECONDS: Final = 2.0
"""A pull waits so long for the first sums: a small shard has them within it."""


@dataclass(slots=True, eq=False)
class _PendingChanges:
    """What commits did since the last fold, in their order."""

    slots: list[Slots]
    rows: list[PatternRows]
    devices: list[NDArray[np.uint32]]
    count: int = 0

    def to_fold_input(self, more: Slots) -> FoldInput:
        """Return the devices, `more` among them, and what each slot held first."""
        slots = np.concatenate([np.empty(0, np.int64), *self.slots])
        rows = np.concatenate([np.empty(0, PATTERN), *self.rows])
        distinct, first = np.unique(slots, return_index=True)
        devices = np.concatenate([more, *(part.astype(np.int64) for part in self.devices)])
        return FoldInput(np.unique(devices), distinct, rows[first])


class Aggregates:
    """The sums of one shard, and what changed in them from version to version."""

    def __init__(self, table: Table, ring: HourlyRing, rules: Rules) -> None:
        self.version = 0
        """Grows whenever somebody asks and something has changed."""
        self._table = table
        self._ring = ring
        self._rules = rules
        self._target: Anchors | None = None
        self._target_changed = asyncio.Event()
        self._ready = asyncio.Event()
        self._ready.set()
        self._current: CodebookSums | None = None
        self._next: CodebookSums | None = None
        self._pending = _PendingChanges([], [], [])
        self._pending_next = _PendingChanges([], [], [])
        self._changed_at = 0
        """The version that the last fold belongs to."""
        self._ring_versions: OrderedDict[int, int] = OrderedDict()
        """What the ring's version was at each of the last versions."""
        self._exportable_since = {
            kind: reserve(TERM_LIMITS[kind] + 1, np.dtype("<i8")) for kind in TermKind
        }
        """By number: the version from which on a word's counts leave the shard; 0 for not yet."""

    @property
    def codebook_version(self) -> int:
        """The codebook the sums are of; 0 for none."""
        return self._current.anchors.version if self._current else 0

    @property
    def is_due(self) -> bool:
        """Whether enough waits to be worth a fold."""
        return self._pending.count >= FOLD_ROWS

    def record(self, change: PatternChange) -> None:
        """Keep what a commit is about to overwrite; the table must not have changed yet."""
        if self._current is None and self._next is None:
            return
        slots = np.concatenate([change.slots[~change.is_new], change.freed_slots])
        if not len(slots) and not len(change.slots):
            return
        rows = self._table.patterns[slots]
        for noted, sums in ((self._pending, self._current), (self._pending_next, self._next)):
            if sums is not None:
                noted.slots.append(slots)
                noted.rows.append(rows)
                noted.devices += [rows["device"], change.rows["device"]]
                noted.count += len(slots) + len(change.slots)

    def set_anchors(self, anchors: Anchors) -> None:
        """Sum up over these anchors from now on; `build_forever` brings it about.

        A codebook without anchors is none: a round that found no cluster publishes such a one.
        """
        if not len(anchors.cluster_ids):
            return
        target = self._target
        named = (anchors.generation, anchors.version)
        if target is None or (target.generation, target.version) != named:
            self._target = anchors
            self._target_changed.set()
            if self._current is None:
                self._ready.clear()

    async def wait_until_ready(self) -> None:
        """Return once there are sums over a codebook, or nobody has asked for any.

        Raises NotReadyError when that takes long.
        """
        try:
            async with asyncio.timeout(_READY_SECONDS):
                await self._ready.wait()
        except TimeoutError:
            raise NotReadyError("this shard is summing up what it has stored") from None

    def fold(self) -> None:
        """Count what was noted. Runs in a thread while nothing is committed."""
        noted, self._pending = self._pending, _PendingChanges([], [], [])
        if self._current is not None and noted.count:
            self._current.fold(noted.to_fold_input(np.empty(0, np.int64)), self.version + 1)
            self._changed_at = self.version + 1

    async def build_forever(self, run_paused: RunPaused) -> None:
        """Sum up over each new codebook beside the commits, then switch. Runs until cancelled."""
        while True:
            await self._target_changed.wait()
            self._target_changed.clear()
            assert self._target is not None
            started = asyncio.get_running_loop().time()
            await self._build(self._target, run_paused)
            self._ready.set()
            log.info(
                "codebook_switched",
                codebook_version=self.codebook_version,
                anchors=len(self._target.cluster_ids),
                seconds=round(asyncio.get_running_loop().time() - started, 3),
            )

    def update_since(self, origin: AggregateVersion, base: int, region: str) -> AggregateUpdate:
        """Return all that changed after version `base`, or everything where that is not known.

        `of.version` is ignored. Runs in a thread while nothing is committed.
        """
        self.fold()
        self._mark_exportable()
        self._advance()
        base = base if base in self._ring_versions else 0
        sums = self._current
        return AggregateUpdate(
            version=AggregateVersion(origin.shard_id, origin.epoch, self.version),
            header=AggregateHeader(
                region,
                sums.anchors.generation if sums else 0,
                sums.anchors.version if sums else 0,
                sums.effective_since if sums else 0,
                self._table.totals.devices - self._table.relocated_count,
            ),
            base_version=base,
            clusters=self._clusters_since(sums, base) if sums else no_clusters(),
            hours=self._hours_since(base),
        )

    def sample(self, residual_cosine: float) -> PatternSample:
        """Return patterns whose nearest anchor is further away, of evenly chosen devices.

        Runs in a thread while nothing is committed.
        """
        table = self._table
        self.fold()
        devices = self._find_counted_devices()
        patterns = int(table.pattern_counts[devices].sum())
        devices = devices[:: max(1, -(-patterns // _SAMPLE_PATTERNS))]
        return PatternSample.from_devices(table, devices, self._current, residual_cosine)

    def compute_candidates(self, sample: PatternSample, limit: int) -> ClusterRows:
        """Return local clusters of a sample, at most `limit`. Runs in a thread."""
        return compute_candidates(sample, limit, self._rules.k_anonymity, self._select_terms)

    def _advance(self) -> None:
        """Move to the next version, unless nothing has changed."""
        last = self._ring_versions.get(self.version)
        if last == self._ring.version and self._changed_at <= self.version:
            return
        self.version += 1
        self._ring_versions[self.version] = self._ring.version
        while len(self._ring_versions) > _KEPT_VERSIONS:
            self._ring_versions.popitem(last=False)

    async def _build(self, anchors: Anchors, run_paused: RunPaused) -> None:
        fresh = CodebookSums(self._table, anchors, 0)
        used = self._table.pattern_allocator.high_water  # later ones are noted
        for start in range(0, used, _LOOKUP_BLOCK):
            slots = np.arange(start, min(start + _LOOKUP_BLOCK, used))
            await asyncio.to_thread(fresh.look_up, slots)
        self._pending_next = _PendingChanges(
            [], [], []
        )  # nothing is counted yet: what came before is looked
        self._next = fresh  # up again
        devices = self._find_counted_devices()
        for start in range(0, len(devices), _COUNT_BLOCK):
            block = devices[start : start + _COUNT_BLOCK]
            await run_paused(lambda block=block: self._fold_pending(fresh, block))  # type: ignore[misc]  # binds
        await run_paused(lambda: self._switch(fresh))

    def _fold_pending(self, fresh: CodebookSums, devices: Slots) -> None:
        noted, self._pending_next = self._pending_next, _PendingChanges([], [], [])
        fresh.fold(noted.to_fold_input(devices), 0)

    def _switch(self, fresh: CodebookSums) -> None:
        self._fold_pending(fresh, np.empty(0, np.int64))
        fresh.effective_since = self.version + 1
        fresh.changed_at[:] = fresh.effective_since
        self._changed_at = fresh.effective_since
        self._current, self._next = fresh, None
        self._pending, self._pending_next = self._pending_next, _PendingChanges([], [], [])

    def _find_counted_devices(self) -> Slots:
        """Return the devices of this shard that have patterns."""
        used = self._table.device_allocator.high_water
        present = self._table.pattern_counts[:used] > 0
        return np.flatnonzero(present & ~self._table.relocated[:used])

    def _clusters_since(self, sums: CodebookSums, base: int) -> ClusterRows:
        """Return the rows that changed; those of too few devices leave the shard as zeros."""
        few = sums.features.devices < self._rules.k_anonymity
        changed = (sums.changed_at > base) & (~few | (sums.changed_at > sums.effective_since))
        chosen = np.flatnonzero(changed)
        new_rows = np.full(len(changed), -1, np.int64)
        new_rows[chosen] = np.arange(len(chosen))
        features = sums.features.select(chosen)
        features.clear(few[chosen])
        new_rows[few] = -1
        return ClusterRows(
            sums.anchors.cluster_ids[chosen],
            sums.changed_at[chosen],
            features,
            self._select_cluster_terms(sums, TermKind.GENRE, new_rows, GENRES_PER_CLUSTER),
            self._select_cluster_terms(sums, TermKind.CONTENT, new_rows, CONTENTS_PER_CLUSTER),
        )

    def _select_cluster_terms(
        self, sums: CodebookSums, kind: TermKind, new_rows: Integers, limit: int
    ) -> ClusterTerms:
        clusters, numbers, devices = sums.terms.select_kind(kind)
        return self._select_terms(kind, new_rows[clusters], numbers, devices, limit)

    def _select_terms(
        self, kind: TermKind, rows: Integers, numbers: Integers, devices: Integers, limit: int
    ) -> ClusterTerms:
        """Return the strongest words of each row that may leave the shard; rows of -1 have none."""
        chosen = np.flatnonzero((rows >= 0) & self._is_exportable(kind, numbers))
        rows, numbers, devices = rows[chosen], numbers[chosen], devices[chosen]
        order = np.lexsort((numbers, -devices, rows))
        rows, numbers, devices = rows[order], numbers[order], devices[order]
        rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
        rows, numbers, devices = (part[rank < limit] for part in (rows, numbers, devices))
        distinct, terms = np.unique(numbers, return_inverse=True)
        texts = [self._table.vocabulary.text(kind, number) for number in distinct.tolist()]
        return ClusterTerms(rows, terms, devices, texts)

    def _is_exportable(self, kind: TermKind, numbers: Integers) -> NDArray[np.bool_]:
        """Say which words are known to enough devices, or to the catalogue."""
        if kind is TermKind.GENRE:
            return self._table.public_genres[numbers]
        enough: NDArray[np.bool_] = self._table.support[numbers] >= self._rules.k_anonymity
        return enough

    def _hours_since(self, base: int) -> SubjectCounts:
        before = self._ring_versions.get(base, -1) if base else -1
        changed = self._ring.changed_since(before)
        since = self._find_exportable_since(changed)
        is_exportable = (since > 0) & (since <= self.version)
        parts = [(changed, is_exportable & ((since <= base) | (before < 0)))]
        if before >= 0 and any(
            (self._exportable_since[kind][: self._table.vocabulary.count(kind) + 1] > base).any()
            for kind in TermKind
        ):
            everything = self._ring.changed_since(-1)  # what is new to travel brings its past
            parts.append((everything, self._find_exportable_since(everything) > base))
        return self._build_subject_counts(parts)

    def _mark_exportable(self) -> None:
        """Let the words travel, from the next version on, that have become known to enough."""
        counts = self._ring.changed_since(self._ring_versions.get(self.version, -1))
        for kind in TermKind:
            since = self._exportable_since[kind][: self._table.vocabulary.count(kind) + 1]
            known = self._is_exportable(kind, np.arange(len(since)))
            chosen = counts.kinds == kind
            many = counts.devices[chosen] >= self._rules.k_anonymity
            if kind is TermKind.CONTENT:  # genres that are not the catalogue's are a device's text
                known[counts.numbers[chosen][many]] = True
            admitted = known & (since == 0)
            since[admitted] = self.version + 1
            if admitted[1:].any():  # 0 is no word
                self._changed_at = self.version + 1

    def _find_exportable_since(self, counts: HourlyCounts) -> Integers:
        since = np.zeros(len(counts.hours), np.int64)
        for kind in TermKind:
            chosen = counts.kinds == kind
            since[chosen] = self._exportable_since[kind][counts.numbers[chosen]]
        return since

    def _build_subject_counts(
        self, parts: list[tuple[HourlyCounts, NDArray[np.bool_]]]
    ) -> SubjectCounts:
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
