"""The geometric median of centroids, which a minority of lying shards cannot move far."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from constellation.federated.fixed_point import WEIGHT_ONE, Integers, compute_centroids

if TYPE_CHECKING:
    from constellation.encoding import Embeddings


def compute_geometric_medians(sums: Integers, weights: Integers, iterations: int = 8) -> Embeddings:
    """Return the geometric median of the shards' centroids for each cluster, shape (k, DIMENSION).

    The medians have unit length. `sums` has the shape (s, k, DIMENSION) and `weights` (s, k) for s
    shards; a shard without weight in a cluster does not affect it. Smoothed Weiszfeld steps
    (Pillutla, Kakade and Harchaoui, "Robust aggregation for federated learning", arXiv 1912.13445):
    shards with less than half of the weight cannot move the result arbitrarily far.
    """
    points = np.stack([compute_centroids(each) for each in sums]).astype(np.float64)
    weighted = weights / WEIGHT_ONE
    share = weighted / np.maximum(weighted.sum(axis=0), 1 / WEIGHT_ONE)
    found = np.einsum("skd,sk->kd", points, share)
    for _ in range(iterations):
        distances = np.linalg.norm(points - found, axis=2)
        share = weighted / np.maximum(distances, 1e-6)
        share /= np.maximum(share.sum(axis=0), 1e-12)
        found = np.einsum("skd,sk->kd", points, share)
    norms = np.linalg.norm(found, axis=1)
    medians: Embeddings = (found / np.where(norms > 0, norms, 1)[:, None]).astype(np.float32)
    return medians
