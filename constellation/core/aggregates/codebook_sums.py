"""CodebookSums: the sums of one shard's patterns over the anchors of one codebook."""

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
    unpack_clusters,
    unpack_devices,
)
from constellation.core.aggregates.weights import (
    WeightChanges,
    add_weight_changes,
    bound_weights,
    compute_claims,
)
from constellation.core.rows import PATTERN, reserve
from constellation.core.table.shard_table import DevicePatterns
from constellation.core.table.standing import ORIGIN_NUMBERS
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
    """Distinct slots that were overwritten or freed."""
    rows: PatternRows
    """For each of `slots`, the row that it held at the last fold."""


@dataclass(frozen=True, slots=True, eq=False)
class _CountedPatterns:
    """Patterns that enter or leave the sums."""

    rows: PatternRows
    clusters: Integers
    weights: Integers
    pairs: PackedKeys
    """Their (device, cluster) keys."""


class CodebookSums:
    """The sums over one codebook, and what they count of each pattern.

    A fold brings them from the table at the last fold to the table as it is now. What it subtracts
    is exactly what an earlier fold added, because both are computed from the same bytes.
    """

    def __init__(self, table: Table, anchors: Anchors, version: int) -> None:
        assert len(anchors.cluster_ids) <= MAX_CLUSTERS
        self.anchors = anchors
        self.effective_since = version
        """The version at which this codebook took effect."""
        self.features = no_sums(len(anchors.cluster_ids))
        self.changed_at = np.full(len(anchors.cluster_ids), version, np.int64)
        """Shape (k,): the version that last changed each row."""
        self.origin_devices = np.zeros((len(anchors.cluster_ids), ORIGIN_NUMBERS), np.int32)
        """Shape (k, ORIGIN_NUMBERS): `features.devices` by their origin."""
        self.terms = TermCounts()
        self._table = table
        capacity = len(table.patterns)
        self._weights = reserve(capacity, np.dtype("<i4"))
        """By slot: the weight that is counted; 0 for a pattern that is not."""
        self._clusters = reserve(capacity, np.dtype("<u2"))
        """By slot: the row of its anchor.

        For a pattern that is not counted, valid only while `_lookup_lsns[slot]` is its lsn + 1.
        """
        self._lookup_lsns = reserve(capacity, np.dtype("<i8"))
        """By slot: the lsn + 1 of the row whose anchor was looked up ahead; 0 for none."""
        self._cosines = reserve(capacity, np.dtype("<f2"))
        """By slot: the cosine with its anchor; valid when `_clusters` is."""
        self._origins = reserve(len(table.devices), np.dtype("u1"))
        """By device: the origin number with which it is counted; 0 when it is not."""
        self._lock = threading.Lock()
        """One thread at a time changes what is counted."""

    def assign_anchors(self, slots: Slots) -> None:
        """Find and keep the nearest anchor of each pattern, so that a later fold is quick.

        May run beside commits.
        """
        rows = self._table.patterns[slots]  # a copy, made at once
        is_used = rows["sample_count"] > 0
        slots, rows = slots[is_used], rows[is_used]
        clusters, cosines = find_nearest(normalise_codes(rows["codes"]), self.anchors.embeddings)
        with self._lock:
            is_same = self._table.patterns["lsn"][slots] == rows["lsn"]
            is_same &= self._weights[slots] == 0
            found = slots[is_same]
            self._clusters[found] = clusters[is_same]
            self._cosines[found] = cosines[is_same]
            self._lookup_lsns[found] = rows["lsn"][is_same] + 1

    def fold(self, changes: FoldInput, version: int) -> None:
        """Subtract the old rows of changed patterns, and add the new ones.

        No commit may run meanwhile.
        """
        with self._lock:
            self._fold(changes, version)

    def _fold(self, changes: FoldInput, version: int) -> None:
        changes, stored = self._leave_out_uncounted(changes)
        slots, devices = stored.slots, changes.devices[stored.owners]
        weights = self._compute_weights(slots, stored.owners, len(changes.devices))

        old = self._take_old(changes)
        is_fresh = self._weights[slots] == 0
        fresh = self._collect_fresh(slots[is_fresh], devices[is_fresh], weights[is_fresh])
        kept, kept_weights = slots[~is_fresh], weights[~is_fresh]
        kept_clusters = self._clusters[kept].astype(np.int64)
        kept_pairs = pack_pairs(devices[~is_fresh], kept_clusters)
        self._count_devices(changes.devices, kept_pairs, old.pairs, fresh.pairs)
        self._count_terms(kept, kept_pairs, old, fresh)

        rescaled = np.flatnonzero(kept_weights - self._weights[kept])
        weight_changes = WeightChanges(
            np.concatenate([old.rows, fresh.rows, self._table.patterns[kept[rescaled]]]),
            np.concatenate([old.clusters, fresh.clusters, kept_clusters[rescaled]]),
            np.concatenate(
                [
                    old.weights,
                    np.zeros_like(fresh.weights),
                    self._weights[kept[rescaled]].astype(np.int64),
                ]
            ),
            np.concatenate([np.zeros_like(old.weights), fresh.weights, kept_weights[rescaled]]),
        )
        add_weight_changes(self.features, weight_changes)
        self._weights[slots] = weights
        self.changed_at[weight_changes.clusters] = version

    def find_residual_slots(self, slots: Slots, cosine: float) -> Slots:
        """Return the counted slots whose cosine with their nearest anchor is below `cosine`.

        A `cosine` of 1 or more selects all counted slots: stored cosines may be rounded up to 1.
        """
        is_far = (self._cosines[slots] < cosine) | (cosine >= 1)
        return slots[is_far & (self._weights[slots] > 0)]

    def count_origins(self) -> Integers:
        """Return how many origins the devices of each cluster have, shape (k,)."""
        counts: Integers = np.count_nonzero(self.origin_devices, axis=1)
        return counts

    def _leave_out_uncounted(self, changes: FoldInput) -> tuple[FoldInput, DevicePatterns]:
        """Return the changes of devices that count, and the stored patterns of these devices.

        Counted patterns of a device that no longer counts for others are freed.
        """
        stored = self._table.find_patterns(changes.devices)
        counts = self._table.counts_for_others(changes.devices)[stored.owners]
        leaving = stored.slots[~counts & (self._weights[stored.slots] > 0)]
        leaving = np.setdiff1d(leaving, changes.slots, assume_unique=True)
        if len(leaving):
            slots = np.concatenate([changes.slots, leaving])
            rows = np.concatenate([changes.rows, self._table.patterns[leaving]])
            changes = FoldInput(changes.devices, slots, rows)
        return changes, DevicePatterns(stored.owners[counts], stored.slots[counts])

    def _take_old(self, changes: FoldInput) -> _CountedPatterns:
        """Return the counted patterns that were overwritten or freed, as not counted any more."""
        is_counted = self._weights[changes.slots] > 0
        slots, rows = changes.slots[is_counted], changes.rows[is_counted]
        clusters = self._clusters[slots].astype(np.int64)
        weights = self._weights[slots].astype(np.int64)
        self._weights[slots] = 0
        pairs = pack_pairs(rows["device"].astype(np.int64), clusters)
        return _CountedPatterns(rows, clusters, weights, pairs)

    def _collect_fresh(self, slots: Slots, devices: Slots, weights: Integers) -> _CountedPatterns:
        """Return the patterns that are not counted yet, with their anchors."""
        self._assign_anchors(slots)
        clusters = self._clusters[slots].astype(np.int64)
        pairs = pack_pairs(devices, clusters)
        return _CountedPatterns(self._table.patterns[slots], clusters, weights, pairs)

    def _compute_weights(self, slots: Slots, owners: Integers, devices: int) -> Integers:
        rows = self._table.patterns
        claimed = compute_claims(rows["success_rate"][slots], rows["sample_count"][slots])
        return bound_weights(claimed, owners, devices)

    def _assign_anchors(self, slots: Slots) -> None:
        """Find the anchors of patterns whose present rows were not looked up ahead."""
        unknown = slots[self._lookup_lsns[slots] != self._table.patterns["lsn"][slots] + 1]
        self._lookup_lsns[slots] = 0
        if not len(unknown):
            return
        codes = self._table.patterns["codes"][unknown]
        clusters, cosines = find_nearest(normalise_codes(codes), self.anchors.embeddings)
        self._clusters[unknown] = clusters
        self._cosines[unknown] = cosines

    def _count_devices(
        self, devices: Slots, kept_pairs: PackedKeys, old_pairs: PackedKeys, fresh_pairs: PackedKeys
    ) -> None:
        """Count each device once for each cluster in which it has a pattern.

        `devices` are those of all pairs. A device whose origin changed leaves all its clusters with
        its former origin.
        """
        numbers = self._table.standing.numbers[devices]
        moved = devices[numbers != self._origins[devices]]
        before = sort_distinct(np.concatenate([kept_pairs, old_pairs]))
        after = sort_distinct(np.concatenate([kept_pairs, fresh_pairs]))
        kept = np.intersect1d(before, after, assume_unique=True)
        kept = kept[~np.isin(unpack_devices(kept), moved)]
        self._add_devices(subtract_keys(before, kept), -1)
        self._origins[devices] = numbers
        self._add_devices(subtract_keys(after, kept), 1)

    def _add_devices(self, keys: PackedKeys, change: int) -> None:
        """Add `change` to the devices of each key's cluster, with the origin of its device."""
        clusters, origins = unpack_clusters(keys), self._origins[unpack_devices(keys)]
        np.add.at(self.features.devices, clusters, change)
        np.add.at(self.origin_devices, (clusters, origins.astype(np.int64) - 1), change)

    def _count_terms(
        self,
        kept: Slots,
        kept_pairs: PackedKeys,
        old: _CountedPatterns,
        fresh: _CountedPatterns,
    ) -> None:
        """Count each device once for each term that its patterns in a cluster name.

        `kept_pairs` are the (device, cluster) keys of the patterns in `kept`, which stay counted.
        """
        is_beside = np.isin(kept_pairs, np.concatenate([old.pairs, fresh.pairs]))
        kept_rows = (
            self._table.patterns[kept[is_beside]] if is_beside.any() else np.empty(0, PATTERN)
        )
        steady = pack_terms(kept_pairs[is_beside], kept_rows)
        before = subtract_keys(pack_terms(old.pairs, old.rows), steady)
        after = subtract_keys(pack_terms(fresh.pairs, fresh.rows), steady)
        self.terms.add(subtract_keys(before, after), -1)
        self.terms.add(subtract_keys(after, before), 1)
