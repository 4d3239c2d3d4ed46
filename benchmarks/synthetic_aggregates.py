"""Aggregates of shards that have every cluster, words and hourly counts, ready-made."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.encoding import Embeddings, unit
from constellation.federated.aggregate import (
    CONTENTS_PER_CLUSTER,
    GENRES_PER_CLUSTER,
    AggregateUpdate,
    AggregateVersion,
    ClusterRows,
    ShardFacts,
    SubjectCounts,
    WordCounts,
)
from constellation.federated.fixed_point import (
    CONTEXTS,
    SUM_ONE,
    WEIGHT_ONE,
    ClusterSums,
    centroids,
)
from federation.merge.codebook import Codebook
from testing.patterns import real_patterns

if TYPE_CHECKING:
    from constellation.federated.fixed_point import Integers

CLUSTERS: Final = 1024
CHANGED: Final = 0.1
"""Share of the clusters that change until the next round."""
_IDS: Final = np.arange(1, CLUSTERS + 1, dtype=np.uint32)
_DEVICES: Final = 20_000
"""Of a shard."""
_PER_CLUSTER: Final = 40
"""Devices of a shard in one cluster, on average; there are never fewer than words."""
_WEIGHT: Final = WEIGHT_ONE // 2
"""Of a device in one cluster."""
_AGREEMENT: Final = 0.8
"""Mean resultant length of a cluster."""
_TURN: Final = 0.02
"""How far a shard's centroids lie from the anchors, in each coordinate."""
_SUCCESS: Final = 0.9
_GENRES: Final = [f"genre:{number}" for number in range(20)]
_CATALOGUE: Final = [f"film:{number}" for number in range(5000)]
_POOL: Final = 1.5
"""Words that a cluster's devices know in all, for each that a shard tells."""
_TRENDING: Final = 200
"""Contents with signals ..."""
_HOURS: Final = 24
"""... in each of the last hours."""
_SIGNALS, _MORE_SIGNALS = 20, 200
"""Devices an hour and content, at first and when they are told again."""


def codebook() -> Codebook:
    """Return a codebook whose anchors are tastes of real households."""
    return Codebook(1, _IDS, unit(real_patterns(CLUSTERS, seed=13)), CLUSTERS + 1)


def first(shard_id: int, anchors: Embeddings, generation: int) -> AggregateUpdate:
    """Return all that a shard has summed up over these anchors; a shard always has the same.

    `generation` is that of the federation whose codebook it is.
    """
    random = np.random.default_rng(shard_id)
    devices = CONTENTS_PER_CLUSTER + random.poisson(_PER_CLUSTER - CONTENTS_PER_CLUSTER, CLUSTERS)
    noise = random.standard_normal(anchors.shape, np.float32)
    return AggregateUpdate(
        AggregateVersion(shard_id, 1, 1),
        ShardFacts(f"region-{shard_id % 4}", generation, 1, 1, _DEVICES),
        0,
        ClusterRows(
            _IDS,
            np.ones(CLUSTERS, np.int64),
            _features(devices.astype(np.int64), anchors + np.float32(_TURN) * noise),
            _words(devices, GENRES_PER_CLUSTER, _GENRES, random),
            _words(devices, CONTENTS_PER_CLUSTER, _CATALOGUE, random),
        ),
        _hours(_HOURS, _SIGNALS, random),
    )


def following(before: AggregateUpdate) -> AggregateUpdate:
    """Return what changed then: a device more in some clusters, and the counts of the last hour."""
    random = np.random.default_rng([before.of.shard_id, before.of.version])
    chosen = np.sort(random.choice(CLUSTERS, int(CLUSTERS * CHANGED), replace=False))
    rows, version = before.clusters.rows(chosen), before.of.version + 1
    changed = replace(
        rows,
        versions=np.full(len(rows), version, np.int64),
        features=_features(rows.features.devices + 1, centroids(rows.features.sums)),
    )
    return replace(
        before,
        of=replace(before.of, version=version),
        base_version=before.of.version,
        clusters=changed,
        hours=_hours(1, _MORE_SIGNALS, random),
    )


def _features(devices: Integers, directions: Embeddings) -> ClusterSums:
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


def _words(
    devices: Integers, limit: int, texts: list[str], random: np.random.Generator
) -> WordCounts:
    """Return `limit` words of each cluster, most devices first, out of the cluster's own."""
    known = int(limit * _POOL)
    starts = np.arange(CLUSTERS)[:, None] * 7
    ranks = random.random((CLUSTERS, known)).argsort(axis=1)[:, :limit]
    return WordCounts(
        np.repeat(np.arange(CLUSTERS), limit),
        ((starts + ranks) % len(texts)).ravel(),
        (devices[:, None] - np.arange(limit)).ravel(),
        texts,
    )


def _hours(hours: int, signals: int, random: np.random.Generator) -> SubjectCounts:
    """Return counts of the same contents in each of the last hours that are over."""
    now_hour = int(time.time()) // 3600
    return SubjectCounts(
        _CATALOGUE[:_TRENDING],
        (),
        np.tile(np.arange(_TRENDING, dtype=np.uint32), hours),
        np.repeat(np.arange(now_hour - hours, now_hour, dtype=np.uint32), _TRENDING),
        random.poisson(signals, hours * _TRENDING).astype(np.uint32) + np.uint32(5),
    )
