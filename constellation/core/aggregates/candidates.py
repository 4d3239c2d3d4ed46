"""Local clusters: what a shard offers to a codebook, of patterns that no anchor is near."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from constellation.core.aggregates.term_counts import WordTally, pair_keys, word_keys
from constellation.core.aggregates.weights import Terms, bounded, claims, summed
from constellation.core.rows import PatternRows, Slots, WordKind
from constellation.encoding import unit
from constellation.federated.aggregate import (
    CONTENTS_PER_CLUSTER,
    GENRES_PER_CLUSTER,
    ClusterRows,
    WordCounts,
    no_clusters,
)
from constellation.federated.clustering import local_clusters
from constellation.federated.fixed_point import WEIGHT_ONE, Integers

if TYPE_CHECKING:
    from constellation.core.aggregates.codebook_sums import AnchoredSums
    from constellation.core.table.shard_table import Table

_SEED: Final = 0


class Named(Protocol):
    """Turns numbers of words into those that may leave the shard."""

    def __call__(
        self, kind: WordKind, rows: Integers, numbers: Integers, devices: Integers, limit: int
    ) -> WordCounts: ...


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Some patterns, and what each weighs in its device."""

    rows: PatternRows
    weights: Integers
    """In units of 1 / WEIGHT_ONE."""

    @classmethod
    def of(
        cls, table: Table, devices: Slots, sums: AnchoredSums | None, residual_cosine: float
    ) -> Sample:
        """Return the patterns of devices that no anchor is near; all without a codebook."""
        holding = table.holding(devices)
        rows = table.patterns[holding.slots]
        claimed = claims(rows["success_rate"], rows["sample_count"])
        weights = bounded(claimed, holding.owners, len(devices))
        if sums is None:
            return cls(rows, weights)
        far = np.isin(holding.slots, sums.residual(holding.slots, residual_cosine))
        return cls(rows[far], weights[far])


def candidates_of(sample: Sample, limit: int, min_devices: int, named: Named) -> ClusterRows:
    """Return local clusters of at least `min_devices` devices: the first step of k-FED.

    Dennis, Li and Smith, "Heterogeneity for the win", arXiv 2103.00697. Deterministic: the same
    sample gives the same clusters.
    """
    if not len(sample.rows):
        return no_clusters()
    points = unit(sample.rows["codes"])
    weights = sample.weights.astype(np.float64) / WEIGHT_ONE
    _, labels = np.unique(local_clusters(points, weights, limit, _SEED), return_inverse=True)
    count = int(labels.max()) + 1
    features = summed(Terms(sample.rows, labels, np.zeros_like(labels), sample.weights), count)
    pairs = pair_keys(sample.rows["device"].astype(np.int64), labels)
    members = (np.unique(pairs) >> np.uint64(22)) & np.uint64(0xFFFF)
    features.devices[:] = np.bincount(members.astype(np.int64), minlength=count)

    chosen = np.flatnonzero(features.devices >= min_devices)
    place = np.full(count, -1, np.int64)
    place[chosen] = np.arange(len(chosen))
    tally = WordTally()
    tally.add(word_keys(pairs, sample.rows), 1)

    def words(kind: WordKind, most: int) -> WordCounts:
        clusters, numbers, devices = tally.of_kind(kind)
        return named(kind, place[clusters], numbers, devices, most)

    return ClusterRows(
        np.arange(len(chosen), dtype=np.uint32),
        np.zeros(len(chosen), np.int64),
        features.rows(chosen),
        words(WordKind.GENRE, GENRES_PER_CLUSTER),
        words(WordKind.CONTENT, CONTENTS_PER_CLUSTER),
    )
