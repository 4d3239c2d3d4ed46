"""Candidates: clusters of the patterns far from every anchor, offered for the next codebook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.aggregates.term_counts import (
    TermCounts,
    pack_pairs,
    pack_terms,
    sort_distinct,
    unpack_clusters,
    unpack_devices,
)
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
    from constellation.core.aggregates.disclosure import Disclosure
    from constellation.core.table.shard_table import Table

_SEED: Final = 0
"""Seeds the clustering, so that the same sample gives the same clusters."""


@dataclass(frozen=True, slots=True, eq=False)
class PatternSample:
    """Patterns of several devices, and their weights."""

    rows: PatternRows
    weights: Integers
    """Shape (n,), in units of 1 / WEIGHT_ONE."""

    @classmethod
    def from_devices(
        cls, table: Table, devices: Slots, sums: CodebookSums | None, residual_cosine: float
    ) -> PatternSample:
        """Return the patterns of devices that are far from every anchor of `sums`.

        Without a codebook these are all patterns. Weights are bounded over all patterns of a
        device.
        """
        stored = table.find_patterns(devices)
        rows = table.patterns[stored.slots]
        claimed = compute_claims(rows["success_rate"], rows["sample_count"])
        weights = bound_weights(claimed, stored.owners, len(devices))
        if sums is None:
            return cls(rows, weights)
        is_far = np.isin(stored.slots, sums.find_residual_slots(stored.slots, residual_cosine))
        return cls(rows[is_far], weights[is_far])


def compute_candidates(sample: PatternSample, limit: int, disclosure: Disclosure) -> ClusterRows:
    """Return at most `limit` clusters of a sample: the local step of k-FED.

    Clusters of too few devices are left out. The same sample gives the same clusters. Dennis, Li
    and Smith, "Heterogeneity for the win", arXiv 2103.00697.
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
    members = sort_distinct(pairs)
    clusters, origins = unpack_clusters(members), disclosure.find_origins(unpack_devices(members))
    features.devices[:] = np.bincount(clusters, minlength=count)

    floor = disclosure.require_support()
    chosen = np.flatnonzero(floor.find_supported(clusters, origins, count))
    new_rows = np.full(count, -1, np.int64)
    new_rows[chosen] = np.arange(len(chosen))
    term_counts = TermCounts()
    term_counts.add(pack_terms(pairs, sample.rows), 1)

    def select_kind(kind: TermKind, most: int) -> ClusterTerms:
        clusters, numbers, devices = term_counts.select_kind(kind)
        return disclosure.select_terms(kind, new_rows[clusters], numbers, devices, most)

    return ClusterRows(
        np.arange(len(chosen), dtype=np.uint32),
        np.zeros(len(chosen), np.int64),
        features.select(chosen),
        select_kind(TermKind.GENRE, GENRES_PER_CLUSTER),
        select_kind(TermKind.CONTENT, CONTENTS_PER_CLUSTER),
    )
