"""Clustering of unit vectors: for the candidates of a shard and the codebook of a federation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.encoding import Embeddings

_BLOCK: Final = 8192
"""Points compared with the anchors at once: this bounds the matrix of cosines."""
_SUM_BLOCK: Final = 1024
"""Points added up at once: in double precision they fit into a CPU cache."""
_COSINE_TOLERANCE: Final = np.float32(1e-6)
"""Cosines that differ by less count as equal: BLAS may round one product in several ways."""
_TRAINING_POINTS: Final = 20_000
"""Centres are trained on at most this many points; the other points are only assigned."""
_ITERATIONS: Final = 10
_POINTS_PER_CLUSTER: Final = 16
"""More points per cluster would mix tastes; fewer would leave clusters too small to export."""
_FEW_CLUSTERS: Final = 16
"""Up to this many clusters, a quarter of `_POINTS_PER_CLUSTER` is enough."""


def find_nearest(
    points: Embeddings, anchors: Embeddings
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the row of the anchor nearest to each unit-length point, and the cosine.

    Both have shape (n,). The first of several equally near anchors wins. There must be at least
    one anchor.
    """
    rows = np.empty(len(points), np.int64)
    cosines = np.empty(len(points), np.float32)
    for start in range(0, len(points), _BLOCK):
        scores = points[start : start + _BLOCK] @ anchors.T
        enough = scores.max(axis=1) - _COSINE_TOLERANCE
        best = (scores >= enough[:, None]).argmax(axis=1)
        rows[start : start + _BLOCK] = best
        cosines[start : start + _BLOCK] = scores[np.arange(len(best)), best]
    return rows, cosines


def refine_centres(
    points: Embeddings, weights: NDArray[np.float64], centres: Embeddings, iterations: int
) -> Embeddings:
    """Return the centres after weighted spherical k-means.

    A centre without points stays where it is. Stops early when no centre moves.

    Dhillon and Modha, "Concept decompositions for large sparse text data using clustering",
    Machine Learning 42, 2001.
    """
    for _ in range(iterations):
        rows, _ = find_nearest(points, centres)
        moved = normalise_sums(_sum_by_centre(points, weights, rows, len(centres)), centres)
        if (moved == centres).all():
            break
        centres = moved
    return centres


def normalise_sums(sums: NDArray[np.float64], fallback: Embeddings) -> Embeddings:
    """Return the unit-length direction of each row of sums; rows of zeros take `fallback`."""
    norms = np.sqrt(np.einsum("ij,ij->i", sums, sums))
    found = (sums / np.where(norms > 0, norms, 1)[:, None]).astype(np.float32)
    chosen: Embeddings = np.where((norms > 0)[:, None], found, fallback)
    return chosen


def cluster_points(
    points: Embeddings, weights: NDArray[np.float64], limit: int, seed: int
) -> NDArray[np.int64]:
    """Return a cluster number below `limit` for each point, shape (n,).

    Weighted spherical k-means, seeded as in k-means++ (Arthur and Vassilvitskii, SODA 2007). Some
    numbers may stay unused. The same points in the same order give the same clusters.
    """
    if not len(points):
        return np.empty(0, np.int64)
    trained = points[:: max(1, -(-len(points) // _TRAINING_POINTS))]
    heavy = weights[:: max(1, -(-len(points) // _TRAINING_POINTS))]
    few = min(_FEW_CLUSTERS, len(trained) * 4 // _POINTS_PER_CLUSTER)
    count = min(limit, max(1, few, len(trained) // _POINTS_PER_CLUSTER))
    centres = _choose_seeds(trained, heavy, count, np.random.default_rng(seed))
    return find_nearest(points, refine_centres(trained, heavy, centres, _ITERATIONS))[0]


def _choose_seeds(
    points: Embeddings, weights: NDArray[np.float64], count: int, random: np.random.Generator
) -> Embeddings:
    """Return seeds, drawn one by one with a probability by their distance from earlier seeds.

    Returns at least one point, even when no point has weight.
    """
    chosen: list[int] = []
    distances = np.ones(len(points))
    for _ in range(count):
        mass = np.cumsum(weights * distances)
        if mass[-1] <= 0:  # every point is a seed already
            break
        chosen.append(int(np.searchsorted(mass, random.random() * mass[-1], side="right")))
        cosines = points @ points[chosen[-1]]
        distances = np.minimum(distances, np.maximum(1 - cosines.astype(np.float64), 0))
        distances[chosen[-1]] = 0
    return points[chosen or [0]]


def _sum_by_centre(
    points: Embeddings, weights: NDArray[np.float64], rows: NDArray[np.int64], count: int
) -> NDArray[np.float64]:
    """Return the weighted sum of each centre's points, shape (count, DIMENSION)."""
    order = np.argsort(rows, kind="stable")
    sums = np.zeros((count, points.shape[1]))
    for start in range(0, len(order), _SUM_BLOCK):
        block = order[start : start + _SUM_BLOCK]
        starts = np.flatnonzero(np.diff(rows[block], prepend=-1))
        weighted = points[block] * weights[block, None]
        sums[rows[block][starts]] += np.add.reduceat(weighted, starts, axis=0)
    return sums
