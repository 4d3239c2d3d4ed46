"""How well clusters agree with the truth, and data with a truth to agree with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from constellation.federated.clustering import lloyd, local_clusters, nearest
from constellation.federated.fixed_point import CONTEXTS, SUM_ONE, WEIGHT_ONE, ClusterSums, Integers
from federation.merge.codebook import Candidates

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.encoding import Embeddings

TRUE_CLUSTERS = 64
SHARDS = 20
POINTS = 1500
"""Of each shard, each a device of its own."""
LOCAL_CLUSTERS = 96


@dataclass(frozen=True, slots=True, eq=False)
class Fleet:
    """Points of several shards, and the cluster that each was drawn from."""

    points: Embeddings
    truth: Integers
    shards: Integers


def fleet(noise: float, skew: float, seed: int) -> Fleet:
    """Draw shards with tastes of their own: the smaller `skew`, the fewer clusters a shard has."""
    random = np.random.default_rng(seed)
    centres = _unit(random.standard_normal((TRUE_CLUSTERS, 384)))
    points, truth = [], []
    for _ in range(SHARDS):
        mix = random.dirichlet(np.full(TRUE_CLUSTERS, skew))
        drawn = random.choice(TRUE_CLUSTERS, POINTS, p=mix)
        spread = random.standard_normal((POINTS, 384)) * noise / np.sqrt(384)
        points.append(_unit(centres[drawn] + spread))
        truth.append(drawn)
    return Fleet(
        np.concatenate(points), np.concatenate(truth), np.repeat(np.arange(SHARDS), POINTS)
    )


def sums_of(points: Embeddings, rows: Integers, count: int) -> ClusterSums:
    """Return the sums of points of weight 1, each of a device of its own."""
    devices = np.bincount(rows, minlength=count)
    sums = np.zeros((count, 384), np.int64)
    for row in np.flatnonzero(devices):
        sums[row] = np.rint(points[rows == row].astype(np.float64) * SUM_ONE).sum(axis=0)
    weights = devices * WEIGHT_ONE
    return ClusterSums(devices, weights, weights, sums, np.zeros((count, CONTEXTS), np.int64))


def offered(data: Fleet) -> Candidates:
    """Return what each shard offers: its local clusters of five devices or more."""
    shard_ids, parts = [], []
    for shard in range(SHARDS):
        points = data.points[data.shards == shard]
        labels = local_clusters(points, np.ones(len(points)), LOCAL_CLUSTERS, 0)
        features = sums_of(points, labels, LOCAL_CLUSTERS)
        parts.append(features.rows(features.devices >= 5))
        shard_ids.append(np.full(len(parts[-1]), shard))
    every = ClusterSums(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("devices", "weights", "successes", "sums", "contexts")
        )
    )
    return Candidates(np.concatenate(shard_ids), every)


def centralised(data: Fleet, seed: int) -> Embeddings:
    """Return the centres that one process with all points would find: the best of five."""
    random, weights = np.random.default_rng(seed), np.ones(len(data.points))
    found = []
    for _ in range(5):
        start = data.points[random.choice(len(data.points), TRUE_CLUSTERS, replace=False)]
        found.append(lloyd(data.points, weights, start, 10))
    return max(found, key=lambda centres: float(nearest(data.points, centres)[1].sum()))


def bucketed(points: Embeddings) -> Integers:
    """Return clusters as the reference makes them: 8 numbers, rounded at x 10, are a key."""
    _, labels = np.unique(np.rint(points[:, :8] * 10), axis=0, return_inverse=True)
    flat: Integers = labels.ravel()
    return flat


def adjusted_rand_index(first: Integers, second: Integers) -> float:
    """Return how far two partitions agree: 1 when they are the same, 0 by chance.

    Hubert and Arabie, "Comparing partitions", Journal of Classification 2, 1985.
    """
    table = np.zeros((int(first.max()) + 1, int(second.max()) + 1))
    np.add.at(table, (first, second), 1)

    def pairs(counts: NDArray[np.float64]) -> float:
        return float((counts * (counts - 1) / 2).sum())

    together, rows, columns = pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    expected = rows * columns / pairs(np.array([float(len(first))]))
    return (together - expected) / ((rows + columns) / 2 - expected)


def _unit(vectors: NDArray[np.float64]) -> Embeddings:
    unit: Embeddings = (vectors / np.linalg.norm(vectors, axis=1)[:, None]).astype(np.float32)
    return unit
