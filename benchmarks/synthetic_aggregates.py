"""Synthetic aggregates of shards, with every cluster, its terms, and hourly counts."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.encoding import Embeddings, normalise_codes
from constellation.federated.aggregate import (
    CONTENTS_PER_CLUSTER,
    GENRES_PER_CLUSTER,
    AggregateHeader,
    AggregateUpdate,
    AggregateVersion,
    ClusterRows,
    ClusterTerms,
    SubjectCounts,
)
from constellation.federated.fixed_point import (
    CONTEXTS,
    SUM_ONE,
    WEIGHT_ONE,
    ClusterSums,
    compute_centroids,
)
from federation.merge.codebook import Codebook
from testing.patterns import sample_patterns

if TYPE_CHECKING:
    from constellation.federated.fixed_point import Integers

CLUSTERS: Final = 1024
CHANGED_SHARE: Final = 0.1
"""Share of the clusters that change before the next round."""
_IDS: Final = np.arange(1, CLUSTERS + 1, dtype=np.uint32)
_DEVICES: Final = 20_000
"""Devices of a shard."""
_DEVICES_PER_CLUSTER: Final = 40
"""Devices of a shard in one cluster, on average; at least as many as its terms."""
_WEIGHT: Final = WEIGHT_ONE // 2
"""Weight of a device in one cluster."""
_AGREEMENT: Final = 0.8
"""Mean resultant length of a cluster."""
_NOISE: Final = 0.02
"""Standard deviation of a shard's centroids from the anchors, in each coordinate."""
_SUCCESS: Final = 0.9
"""Success rate of each cluster."""
_GENRES: Final = [f"genre:{number}" for number in range(20)]
_CATALOGUE: Final = [f"film:{number}" for number in range(5000)]
_TERMS_FACTOR: Final = 1.5
"""Terms that a cluster has, for each term that a shard exports."""
_TRENDING: Final = 200
"""Content items with signals in each hour."""
_HOURS: Final = 24
"""Last hours with signals."""
_SIGNALS, _MORE_SIGNALS = 20, 200
"""Devices for each hour and content item, in the first update and in the next."""


def make_codebook() -> Codebook:
    """Return a codebook whose anchors are patterns sampled from real ratings."""
    return Codebook(1, _IDS, normalise_codes(sample_patterns(CLUSTERS, seed=13)), CLUSTERS + 1)


def make_first_update(shard_id: int, anchors: Embeddings, generation: int) -> AggregateUpdate:
    """Return the whole aggregate of a shard over these anchors. It depends on `shard_id` alone.

    `generation` is the generation of the federation that made the codebook.
    """
    random = np.random.default_rng(shard_id)
    devices = CONTENTS_PER_CLUSTER + random.poisson(
        _DEVICES_PER_CLUSTER - CONTENTS_PER_CLUSTER, CLUSTERS
    )
    noise = random.standard_normal(anchors.shape, np.float32)
    return AggregateUpdate(
        AggregateVersion(shard_id, 1, 1),
        AggregateHeader(f"region-{shard_id % 4}", generation, 1, 1, _DEVICES),
        0,
        ClusterRows(
            _IDS,
            np.ones(CLUSTERS, np.int64),
            _make_features(devices.astype(np.int64), anchors + np.float32(_NOISE) * noise),
            _make_term_counts(devices, GENRES_PER_CLUSTER, _GENRES, random),
            _make_term_counts(devices, CONTENTS_PER_CLUSTER, _CATALOGUE, random),
        ),
        _make_hourly_counts(_HOURS, _SIGNALS, random),
    )


def make_next_update(before: AggregateUpdate) -> AggregateUpdate:
    """Return the next update: one more device in some clusters, and counts of the last hour."""
    random = np.random.default_rng([before.version.shard_id, before.version.version])
    chosen = np.sort(random.choice(CLUSTERS, int(CLUSTERS * CHANGED_SHARE), replace=False))
    rows, version = before.clusters.select(chosen), before.version.version + 1
    changed = replace(
        rows,
        versions=np.full(len(rows), version, np.int64),
        features=_make_features(rows.features.devices + 1, compute_centroids(rows.features.sums)),
    )
    return replace(
        before,
        version=replace(before.version, version=version),
        base_version=before.version.version,
        clusters=changed,
        hours=_make_hourly_counts(1, _MORE_SIGNALS, random),
    )


def _make_features(devices: Integers, directions: Embeddings) -> ClusterSums:
    weights = devices * _WEIGHT
    units = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    lengths = weights * (SUM_ONE / WEIGHT_ONE * _AGREEMENT)
    contexts = np.zeros((len(devices), CONTEXTS), np.int64)
    contexts[:, [3, 6, 9]] = weights[:, None]
    return ClusterSums(
        devices,
        weights,
        np.rint(weights * _SUCCESS).astype(np.int64),
        np.rint(units * lengths[:, None]).astype(np.int64),
        contexts,
    )


def _make_term_counts(
    devices: Integers, limit: int, texts: list[str], random: np.random.Generator
) -> ClusterTerms:
    """Return `limit` terms of each cluster, most devices first, from a pool of its own."""
    pool_size = int(limit * _TERMS_FACTOR)
    starts = np.arange(CLUSTERS)[:, None] * 7
    ranks = random.random((CLUSTERS, pool_size)).argsort(axis=1)[:, :limit]
    return ClusterTerms(
        np.repeat(np.arange(CLUSTERS), limit),
        ((starts + ranks) % len(texts)).ravel(),
        (devices[:, None] - np.arange(limit)).ravel(),
        texts,
    )


def _make_hourly_counts(hours: int, signals: int, random: np.random.Generator) -> SubjectCounts:
    """Return counts of the same content items in each of the last complete hours."""
    now_hour = int(time.time()) // 3600
    return SubjectCounts(
        _CATALOGUE[:_TRENDING],
        (),
        np.tile(np.arange(_TRENDING, dtype=np.uint32), hours),
        np.repeat(np.arange(now_hour - hours, now_hour, dtype=np.uint32), _TRENDING),
        random.poisson(signals, hours * _TRENDING).astype(np.uint32) + np.uint32(5),
    )
