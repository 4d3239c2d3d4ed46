"""Candidates: local clusters that shards offer as new anchors. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from constellation.federated.aggregate import ClusterRows, ClusterTerms
from constellation.federated.clustering import find_nearest
from constellation.federated.fixed_point import (
    ClusterSums,
    Integers,
    compute_centroids,
    concatenate_sums,
    no_sums,
)
from federation.merge.aggregates import (
    MergedClusters,
    MergedTerms,
    ShardAggregate,
    add_term_counts,
    cap_weights,
    concatenate_rows,
    find_positions,
    scale_sums,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.encoding import Embeddings

OfferedRows = Mapping[int, ClusterRows]
"""By shard_id: the local clusters that each shard offers."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Local clusters that shards made of the patterns that are near no anchor."""

    shard_ids: Integers
    """Shape (m,): the shard that offers each candidate."""
    features: ClusterSums
    """The sums of each candidate, m rows."""

    def to_canonical(self) -> Candidates:
        """Return the same candidates in an order that depends on their values alone."""
        sums = self.features
        scalars = np.column_stack([sums.devices, sums.weights, sums.successes, sums.contexts])
        digests = [
            blake2b(row.tobytes() + scalar_row.tobytes(), digest_size=16).digest()
            for row, scalar_row in zip(sums.sums, scalars, strict=True)
        ]
        shard_ids = self.shard_ids.tolist()
        order = sorted(range(len(digests)), key=lambda row: (shard_ids[row], digests[row]))
        chosen = np.array(order, np.int64)
        return Candidates(self.shard_ids[chosen], self.features.select(chosen))


def collect_candidates(offered: OfferedRows) -> Candidates:
    """Return the local clusters of all shards, ordered by shard_id."""
    ordered = sorted(offered.items())
    rows = concatenate_rows([rows for _, rows in ordered])
    shard_ids = [np.full(len(rows), shard_id) for shard_id, rows in ordered]
    return Candidates(np.concatenate([np.empty(0, np.int64), *shard_ids]), rows.features)


def filter_candidates(
    offered: OfferedRows,
    aggregates: Sequence[ShardAggregate],
    cluster_ids: NDArray[np.uint32],
    anchors: Embeddings,
) -> Candidates:
    """Return the local clusters that agree with their shard's own sums, scaled down as those are.

    `cluster_ids` and `anchors` are those of the codebook that the sums are over.
    Reanchoring subtracts candidates from the sums of their nearest anchor. A shard that offers more
    at an anchor than it contributed there could thus remove the sums of other shards, so its
    candidates at that anchor are ignored.
    """
    factors = cap_weights([int(each.clusters.features.weights.sum()) for each in aggregates])
    index_of = {each.version.shard_id: index for index, each in enumerate(aggregates)}
    shard_ids, parts = [np.empty(0, np.int64)], []
    for shard_id, rows in sorted(offered.items()):
        index = index_of.get(shard_id)
        if index is None:
            continue
        clusters = aggregates[index].clusters
        nearest, _ = find_nearest(compute_centroids(rows.features.sums), anchors)
        claimed = np.bincount(nearest, rows.features.weights, minlength=len(anchors))
        contributed = np.zeros(len(anchors))
        positions = find_positions(clusters.cluster_ids, cluster_ids)
        contributed[positions[positions >= 0]] = clusters.features.weights[positions >= 0]
        chosen = np.flatnonzero(claimed[nearest] <= contributed[nearest])
        shard_ids.append(np.full(len(chosen), shard_id))
        parts.append(scale_sums(rows.features.select(chosen), factors[index]))
    return Candidates(np.concatenate(shard_ids), concatenate_sums(parts))


def merge_candidates(
    candidates: Candidates, offered: OfferedRows, anchors: Embeddings
) -> MergedClusters:
    """Return the clusters of a first codebook: the candidates nearest to each anchor, added up.

    `candidates` are all the local clusters of `offered`, as `collect_candidates` returns them.
    """
    features, shards = assign_candidates(candidates, anchors)
    if not len(anchors):
        return MergedClusters(
            features, shards, features.devices, add_term_counts([]), add_term_counts([])
        )
    rows = concatenate_rows([rows for _, rows in sorted(offered.items())])
    nearest, _ = find_nearest(compute_centroids(candidates.features.sums), anchors)
    return MergedClusters(
        features,
        shards,
        features.devices,
        _merge_terms(rows.genres, candidates.shard_ids, nearest),
        _merge_terms(rows.contents, candidates.shard_ids, nearest),
    )


def assign_candidates(candidates: Candidates, anchors: Embeddings) -> tuple[ClusterSums, Integers]:
    """Return the sums of the candidates nearest to each anchor, and its number of shards.

    A device may be in several candidates of its shard, so adding up their devices could count it
    twice. `devices` is therefore a lower bound: the largest candidate of each shard, added up over
    the shards.
    """
    total = no_sums(len(anchors))
    shards = np.zeros(len(anchors), np.int64)
    if not len(total) or not len(candidates.shard_ids):
        return total, shards
    features = candidates.features
    rows, _ = find_nearest(compute_centroids(features.sums), anchors)
    for column in ("weights", "successes", "sums", "contexts"):
        np.add.at(getattr(total, column), rows, getattr(features, column))
    for shard_id in np.unique(candidates.shard_ids).tolist():
        of_shard = candidates.shard_ids == shard_id
        largest = np.zeros(len(total), np.int64)
        np.maximum.at(largest, rows[of_shard], features.devices[of_shard])
        total.devices[:] += largest
        shards += largest > 0
    return total, shards


def _merge_terms(counts: ClusterTerms, shard_ids: Integers, anchors: Integers) -> MergedTerms:
    """Return the devices for each (anchor, term), a lower bound as in `assign_candidates`.

    `shard_ids` and `anchors` have one entry for each row that `counts` refers to.
    """
    parts = []
    for shard_id in np.unique(shard_ids[counts.rows]).tolist():
        chosen = shard_ids[counts.rows] == shard_id
        keys = np.stack([anchors[counts.rows[chosen]], counts.terms[chosen]])
        distinct, which = np.unique(keys, axis=1, return_inverse=True)
        largest = np.zeros(distinct.shape[1], np.int64)
        np.maximum.at(largest, which.ravel(), counts.devices[chosen])
        parts.append(ClusterTerms(distinct[0], distinct[1], largest, counts.texts))
    return add_term_counts(parts)
