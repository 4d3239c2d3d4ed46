"""Aggregates of shards that have every cluster, words and hourly counts, ready-made."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.patterns import real_patterns
from constellation.core.aggregate import (
    CONTENTS_PER_CLUSTER,
    GENRES_PER_CLUSTER,
    AggregateUpdate,
    AggregateVersion,
    ClusterRows,
    ShardFacts,
    SubjectCounts,
    WordCounts,
)
from constellation.core.sums import CONTEXTS, SUM_ONE, WEIGHT_ONE, ClusterSums
from constellation.encoding import DIMENSION, unit
from federation.clusters import Codebook

if TYPE_CHECKING:
    from constellation.core.sums import Integers
    from constellation.encoding import Embeddings

CLUSTERS: Final = 1024
CHANGED: Final = 0.1
"""Share of the clusters that change until the next round."""
CONTENTS: Final = 200
"""Contents with signals in each hour."""
HOURS: Final = 24
_DEVICES: Final = 20_000
"""Of a shard."""
_PER_CLUSTER: Final = 40
"""Devices of a shard in one cluster, on average."""
_AGREEMENT: Final = 0.8
"""Mean resultant length of a cluster."""
_TURN: Final = 0.02
"""How far a shard's centroid lies from the anchor, in each coordinate."""
_CATALOGUE: Final = 5000
_POOL: Final = 48
"""Contents that a cluster's devices like, of which a shard tells CONTENTS_PER_CLUSTER."""
_GENRES: Final = 20
_SUCCESS: Final = 0.9


def codebook(seed: int = 13) -> Codebook:
    """Return a codebook whose anchors are tastes of real households."""
    return Codebook(1, np.arange(1, CLUSTERS + 1, dtype=np.uint32), _anchors(seed), CLUSTERS + 1)


def _anchors(seed: int) -> Embeddings:
    return unit(real_patterns(CLUSTERS, seed=seed))


def first(shard_id: int, anchors: Embeddings) -> AggregateUpdate:
    """Return all that a shard has summed up over these anchors; a shard always has the same."""
    random = np.random.default_rng(shard_id)
    devices = random.poisson(_PER_CLUSTER, CLUSTERS).astype(np.int64) + CONTENTS_PER_CLUSTER
    return AggregateUpdate(
        AggregateVersion(shard_id, 1, 1),
        ShardFacts(f"region-{shard_id % 4}", 1, 1, _DEVICES),
        0,
        ClusterRows(
            np.arange(1, CLUSTERS + 1, dtype=np.uint32),
            np.ones(CLUSTERS, np.int64),
            _features(devices, anchors, random),
            _words(devices, GENRES_PER_CLUSTER, _GENRES, "genre", random),
            _words(devices, CONTENTS_PER_CLUSTER, _CATALOGUE, "film", random),
        ),
        _hours(random, HOURS),
    )


def following(before: AggregateUpdate) -> AggregateUpdate:
    """Return what changed after it: some clusters by a tenth, and the counts of the last hour."""
    random = np.random.default_rng([before.of.shard_id, 2])
    chosen = random.choice(CLUSTERS, int(CLUSTERS * CHANGED), replace=False)
    rows = before.clusters.rows(np.sort(chosen))
    more = before.clusters.features.rows(np.sort(chosen))
    rows = replace(
        rows,
        versions=np.full(len(rows), 2, np.int64),
        features=replace(more, devices=more.devices + 1),
    )
    of = replace(before.of, version=2)
    return replace(before, of=of, base_version=1, clusters=rows, hours=_hours(random, 1, least=200))


def _features(
    devices: Integers, anchors: Embeddings, random: np.random.Generator
) -> ClusterSums:
    weights = devices * (WEIGHT_ONE // 2)
    turned = anchors + random.standard_normal(anchors.shape, np.float32) * np.float32(_TURN)
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)
    lengths = weights * (SUM_ONE / WEIGHT_ONE * _AGREEMENT)
    contexts = np.zeros((len(devices), CONTEXTS), np.int64)
    contexts[:, [3, 6, 9]] = weights[:, None]
    assert turned.shape[1] == DIMENSION
    return ClusterSums(
        devices,
        weights,
        np.rint(weights * _SUCCESS).astype(np.int64),
        np.rint(turned * lengths[:, None]).astype(np.int64),
        contexts,
    )


def _words(
    devices: Integers, limit: int, distinct: int, kind: str, random: np.random.Generator
) -> WordCounts:
    """Return `limit` words of each cluster, most devices first, from the cluster's own pool."""
    pools = np.random.default_rng(3).integers(distinct, size=(CLUSTERS, max(limit, _POOL)))
    order = random.random(pools.shape).argsort(axis=1)
    ...
