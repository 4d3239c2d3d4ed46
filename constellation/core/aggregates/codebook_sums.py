"""AnchoredSums: the sums of one shard's patterns over the anchors of one codebook."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from constellation.core.aggregates.term_counts import (
    MAX_CLUSTERS,
    PackedKeys,
    TermCounts,
    pack_pairs,
    pack_terms,
    sort_distinct,
    subtract_keys,
)
from constellation.core.aggregates.weights import (
    WeightChanges,
    add_weight_changes,
    bound_weights,
    compute_claims,
)
from constellation.core.rows import PATTERN, reserve
from constellation.encoding import normalise_codes
from constellation.federated.clustering import find_nearest
from constellation.federated.fixed_point import Integers, no_sums

if TYPE_CHECKING:
    from constellation.core.rows import PatternRows, Slots
    from constellation.core.table.shard_table import Table
    from constellation.federated.aggregate import Anchors


@dataclass(frozen=True, slots=True, eq=False)
class FoldInput:
    """What commits did to patterns since the last fold."""

    devices: Slots
    """Distinct devices whose patterns may have changed."""
    slots: Slots
    """Distinct slots that were overwritten or freed ..."""
    rows: PatternRows
    """... and what they held at the last fold."""


class CodebookSums:
    """What has been counted of each pattern, and the sums of all that.

    A fold brings them from the state of the last fold to that of the table: what it takes away is
    what it once added, worked out from the same bytes.
    """

    def __init__(self, table: Table, anchors: Anchors, version: int) -> None:
        assert len(anchors.cluster_ids) <= MAX_CLUSTERS
        self.anchors = anchors
        self.effective_since = version
        """The version at which this codebook took effect."""
        self.features = no_sums(len(anchors.cluster_ids))
        self.changed_at = np.full(len(anchors.cluster_ids), version, np.int64)
        """Shape (k,): the version that last changed each row."""
        self.terms = TermCounts()
        self._table = table
        capacity = len(table.patterns)
        self._weights = reserve(capacity, np.dtype("<i4"))
        """By slot: the weight that is counted; 0 for a pattern that is not."""
        self._clusters = reserve(capacity, np.dtype("<u2"))
        """By slot: the row of its anchor; also before it is counted, if it was looked up at ..."""
        self._lookup_lsns = reserve(capacity, np.dtype("<i8"))
        """... this lsn + 1."""
        self._cosines = reserve(capacity, np.dtype("<f2"))
        """By slot: with its anchor."""
        self._lock = threading.Lock()
        """What is counted changes one thread at a time."""

    def look_up(self, slots: Slots) -> None:
        """Find the anchors of patterns ahead of counting them. May run beside commits."""
        rows = self._table.patterns[slots]  # a copy, made at once
        used = rows["sample_count"] > 0
        slots, rows = slots[used], rows[used]
        clusters, cosines = find_nearest(normalise_codes(rows["codes"]), self.anchors.embeddings)
        with self._lock:
            same = (self._table.patterns["lsn"][slots] == rows["lsn"]) & (self._weights[slots] == 0)
            found = slots[same]
            self._clusters[found] = clusters[same]
            self._cosines[found] = cosines[same]
            self._lookup_lsns[found] = rows["lsn"][same] + 1

    def fold(self, changes: FoldInput, version: int) -> None:
        """Count the devices as the table has them now. No commit may happen meanwhile."""
        with self._lock:
            self._fold(changes, version)

    def _fold(self, changes: FoldInput, version: int) -> None:
        table = self._table
        holding = table.find_patterns(changes.devices)
        slots, devices = holding.slots, changes.devices[holding.owners]
        weights = self._compute_weights(slots, holding.owners, len(changes.devices))

        counted = self._weights[changes.slots] > 0
        old_slots, old_rows = changes.slots[counted], changes.rows[counted]
        old_clusters = self._clusters[old_slots].astype(np.int64)
        old_weights = self._weights[old_slots].astype(np.int64)
        self._weights[old_slots] = 0

        is_fresh = self._weights[slots] == 0
        fresh = slots[is_fresh]
        self._assign_anchors(fresh)
        fresh_clusters = self._clusters[fresh].astype(np.int64)
        fresh_rows, fresh_weights = table.patterns[fresh], weights[is_fresh]

        kept = slots[~is_fresh]
        kept_clusters = self._clusters[kept].astype(np.int64)
        moved = weights[~is_fresh] - self._weights[kept]
        rescaled = np.flatnonzero(moved)
        rescaled_rows = table.patterns[kept[rescaled]]
        rescaled_old = self._weights[kept[rescaled]].astype(np.int64)

        pairs = pack_pairs(devices[~is_fresh], kept_clusters)
        old_pairs = pack_pairs(old_rows["device"].astype(np.int64), old_clusters)
        fresh_pairs = pack_pairs(devices[is_fresh], fresh_clusters)
        self._count_devices(pairs, old_pairs, fresh_pairs)
        self._count_terms(kept, pairs, (old_pairs, old_rows), (fresh_pairs, fresh_rows))

        weight_changes = WeightChanges(
            np.concatenate([old_rows, fresh_rows, rescaled_rows]),
            np.concatenate([old_clusters, fresh_clusters, kept_clusters[rescaled]]),
            np.concatenate([old_weights, np.zeros_like(fresh_weights), rescaled_old]),
            np.concatenate(
                [np.zeros_like(old_weights), fresh_weights, weights[~is_fresh][rescaled]]
            ),
        )
        add_weight_changes(self.features, weight_changes)
        self._weights[slots] = weights
        self.changed_at[weight_changes.clusters] = version

    def find_residual_slots(self, slots: Slots, cosine: float) -> Slots:
        """Return those of the counted slots whose nearest anchor is further away than this."""
        far = (self._cosines[slots] < cosine) | (cosine >= 1)  # whose rounding they may be above
        return slots[far & (self._weights[slots] > 0)]

    def _compute_weights(self, slots: Slots, owners: Integers, devices: int) -> Integers:
        rows = self._table.patterns
        claimed = compute_claims(rows["success_rate"][slots], rows["sample_count"][slots])
        return bound_weights(claimed, owners, devices)

    def _assign_anchors(self, slots: Slots) -> None:
        """Find the anchors of patterns, unless they were looked up as they are."""
        unknown = slots[self._lookup_lsns[slots] != self._table.patterns["lsn"][slots] + 1]
        self._lookup_lsns[slots] = 0
        if not len(unknown):
            return
        codes = self._table.patterns["codes"][unknown]
        clusters, cosines = find_nearest(normalise_codes(codes), self.anchors.embeddings)
        self._clusters[unknown] = clusters
        self._cosines[unknown] = cosines

    def _count_devices(
        self, pairs: PackedKeys, old_pairs: PackedKeys, fresh_pairs: PackedKeys
    ) -> None:
        """Count each device once for each cluster that it has a pattern in."""
        kept = sort_distinct(pairs)
        before, after = (
            subtract_keys(sort_distinct(old_pairs), kept),
            subtract_keys(sort_distinct(fresh_pairs), kept),
        )
        for keys, change in ((subtract_keys(before, after), -1), (subtract_keys(after, before), 1)):
            clusters = (keys >> np.uint64(22)) & np.uint64(0xFFFF)
            np.add.at(self.features.devices, clusters.astype(np.int64), change)

    def _count_terms(
        self,
        kept: Slots,
        pairs: PackedKeys,
        old: tuple[PackedKeys, PatternRows],
        fresh: tuple[PackedKeys, PatternRows],
    ) -> None:
        """Count each device once for each word of a cluster that its patterns there name."""
        (old_pairs, old_rows), (fresh_pairs, fresh_rows) = old, fresh
        beside = np.isin(pairs, np.concatenate([old_pairs, fresh_pairs]))
        kept_rows = self._table.patterns[kept[beside]] if beside.any() else np.empty(0, PATTERN)
        steady = pack_terms(pairs[beside], kept_rows)
        before = subtract_keys(pack_terms(old_pairs, old_rows), steady)
        after = subtract_keys(pack_terms(fresh_pairs, fresh_rows), steady)
        self.terms.add(subtract_keys(before, after), -1)
        self.terms.add(subtract_keys(after, before), 1)
