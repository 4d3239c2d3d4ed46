"""How well clusters agree with the truth, and data with a truth to agree with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from constellation.federated.clustering import cluster_points, find_nearest, refine_centres
from constellation.federated.fixed_point import CONTEXTS, SUM_ONE, WEIGHT_ONE, ClusterSums, Integers
from federation.merge.candidates import Candidates

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.encoding import Embeddings

TRUE_CLUSTER_COUNT = 64
SHARD_COUNT = 20
POINTS_PER_SHARD = 1500
"""Of each shard, each a device of its own."""
LOCAL_CLUSTER_COUNT = 96


@dataclass(frozen=True, slots=True, eq=False)
class LabelledPoints:
    """Points of several shards, and the cluster that each was drawn from."""

    points: Embeddings
    true_clusters: Integers
    shards: Integers


def draw_points(noise: float, skew: float, seed: int) -> LabelledPoints:
    """Draw shards with tastes of their own: the smaller `skew`, the fewer clusters a shard has."""
    random = np.random.default_rng(seed)
    centres = _normalize(random.standard_normal((TRUE_CLUSTER_COUNT, 384)))
    points, true_clusters = [], []
    for _ in range(SHARD_COUNT):
        mix = random.dirichlet(np.full(TRUE_CLUSTER_COUNT, skew))
        drawn_clusters = random.choice(TRUE_CLUSTER_COUNT, POINTS_PER_SHARD, p=mix)
        spread = random.standard_normal((POINTS_PER_SHARD, 384)) * noise / np.sqrt(384)
        points.append(_normalize(centres[drawn_clusters] + spread))
        true_clusters.append(drawn_clusters)
    return LabelledPoints(
        np.concatenate(points),
        np.concatenate(true_clusters),
        np.repeat(np.arange(SHARD_COUNT), POINTS_PER_SHARD),
    )


def sum_points(points: Embeddings, rows: Integers, count: int) -> ClusterSums:
    """Return the sums of points of weight 1, each of a device of its own."""
    devices = np.bincount(rows, minlength=count)
    sums = np.zeros((count, 384), np.int64)
    for row in np.flatnonzero(devices):
        sums[row] = np.rint(points[rows == row].astype(np.float64) * SUM_ONE).sum(axis=0)
    weights = devices * WEIGHT_ONE
    return ClusterSums(devices, weights, weights, sums, np.zeros((count, CONTEXTS), np.int64))


def collect_candidates(data: LabelledPoints) -> Candidates:
    """Return what each shard offers: its local clusters of five devices or more."""
    shard_ids, parts = [], []
    for shard in range(SHARD_COUNT):
        points = data.points[data.shards == shard]
        labels = cluster_points(points, np.ones(len(points)), LOCAL_CLUSTER_COUNT, 0)
        features = sum_points(points, labels, LOCAL_CLUSTER_COUNT)
        parts.append(features.select(features.devices >= 5))
        shard_ids.append(np.full(len(parts[-1]), shard))
    all_sums = ClusterSums(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("devices", "weights", "successes", "sums", "contexts")
        )
    )
    return Candidates(np.concatenate(shard_ids), all_sums)


def cluster_centrally(data: LabelledPoints, seed: int) -> Embeddings:
    """Return the centres that one process with all points would find: the best of five."""
    random, weights = np.random.default_rng(seed), np.ones(len(data.points))
    found = []
    for _ in range(5):
        start = data.points[random.choice(len(data.points), TRUE_CLUSTER_COUNT, replace=False)]
        found.append(refine_centres(data.points, weights, start, 10))
    return max(found, key=lambda centres: float(find_nearest(data.points, centres)[1].sum()))


def cluster_by_buckets(points: Embeddings) -> Integers:
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

    def count_pairs(counts: NDArray[np.float64]) -> float:
        return float((counts * (counts - 1) / 2).sum())

    together, rows, columns = (
        count_pairs(table),
        count_pairs(table.sum(axis=1)),
        count_pairs(table.sum(axis=0)),
    )
    expected = rows * columns / count_pairs(np.array([float(len(first))]))
    return (together - expected) / ((rows + columns) / 2 - expected)


def _normalize(vectors: NDArray[np.float64]) -> Embeddings:
    unit: Embeddings = (vectors / np.linalg.norm(vectors, axis=1)[:, None]).astype(np.float32)
    return unit
