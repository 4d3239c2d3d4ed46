"""Local clusters: what a shard offers to a codebook, of patterns that no anchor is near."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from constellation.core.aggregates.term_counts import TermCounts, pack_pairs, pack_terms
from constellation.core.aggregates.weights import (
    WeightChanges,
    bound_weights,
    compute_claims,
    sum_clusters,
)
from constellation.core.rows import PatternRows, Slots, TermKind
from constellation.encoding import normalise_codes
from constellation.federated.aggregate import (
    CONTENTS_PER_CLUSTER,
    GENRES_PER_CLUSTER,
    ClusterRows,
    ClusterTerms,
    no_clusters,
)
from constellation.federated.clustering import cluster_points
from constellation.federated.fixed_point import WEIGHT_ONE, Integers

if TYPE_CHECKING:
    from constellation.core.aggregates.codebook_sums import CodebookSums
    from constellation.core.table.shard_table import Table

_SEED: Final = 0


class TermSelector(Protocol):
    """Turns numbers of words into those that may leave the shard."""

    def __call__(
        self, kind: TermKind, rows: Integers, numbers: Integers, devices: Integers, limit: int
    ) -> ClusterTerms: ...


@dataclass(frozen=True, slots=True, eq=False)
class PatternSample:
    """Some patterns, and what each weighs in its device."""

    rows: PatternRows
    weights: Integers
    """In units of 1 / WEIGHT_ONE."""

    @classmethod
    def from_devices(
        cls, table: Table, devices: Slots, sums: CodebookSums | None, residual_cosine: float
    ) -> PatternSample:
        """Return the patterns of devices that no anchor is near; all without a codebook."""
        holding = table.find_patterns(devices)
        rows = table.patterns[holding.slots]
        claimed = compute_claims(rows["success_rate"], rows["sample_count"])
        weights = bound_weights(claimed, holding.owners, len(devices))
        if sums is None:
            return cls(rows, weights)
        far = np.isin(holding.slots, sums.find_residual_slots(holding.slots, residual_cosine))
        return cls(rows[far], weights[far])


def compute_candidates(
    sample: PatternSample, limit: int, min_devices: int, select_terms: TermSelector
) -> ClusterRows:
    """Return local clusters of at least `min_devices` devices: the first step of k-FED.

    Dennis, Li and Smith, "Heterogeneity for the win", arXiv 2103.00697. Deterministic: the same
    sample gives the same clusters.
    """
    if not len(sample.rows):
        return no_clusters()
    points = normalise_codes(sample.rows["codes"])
    weights = sample.weights.astype(np.float64) / WEIGHT_ONE
    _, labels = np.unique(cluster_points(points, weights, limit, _SEED), return_inverse=True)
    count = int(labels.max()) + 1
    features = sum_clusters(
        WeightChanges(sample.rows, labels, np.zeros_like(labels), sample.weights), count
    )
    pairs = pack_pairs(sample.rows["device"].astype(np.int64), labels)
    members = (np.unique(pairs) >> np.uint64(22)) & np.uint64(0xFFFF)
    features.devices[:] = np.bincount(members.astype(np.int64), minlength=count)

    chosen = np.flatnonzero(features.devices >= min_devices)
    new_rows = np.full(count, -1, np.int64)
    new_rows[chosen] = np.arange(len(chosen))
    term_counts = TermCounts()
    term_counts.add(pack_terms(pairs, sample.rows), 1)

    def select_kind(kind: TermKind, most: int) -> ClusterTerms:
        clusters, numbers, devices = term_counts.select_kind(kind)
        return select_terms(kind, new_rows[clusters], numbers, devices, most)

    return ClusterRows(
        np.arange(len(chosen), dtype=np.uint32),
        np.zeros(len(chosen), np.int64),
        features.select(chosen),
        select_kind(TermKind.GENRE, GENRES_PER_CLUSTER),
        select_kind(TermKind.CONTENT, CONTENTS_PER_CLUSTER),
    )
