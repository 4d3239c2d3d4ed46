"""Centralised recommenders: what a server could do that knew every rating of every household.

Each takes `likes`, shape (households, contents), 1 where a household liked a content item, and
returns scores of the same shape. They are the baselines of the federated system.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Matrix = np.ndarray[tuple[int, int], np.dtype[np.float64]]

KNN_NEIGHBOURS: Final = 64
KNN_SHRINKAGE: Final = 10.0
ALS_FACTORS: Final = 64
ALS_CONFIDENCE: Final = 10.0
ALS_REGULARISATION: Final = 30.0
ALS_SWEEPS: Final = 12
EASE_REGULARISATION: Final = 200.0
_SEED: Final = 7


def count_likes(liked: Sequence[NDArray[np.int64]], content_count: int) -> Matrix:
    """Return the matrix of likes, shape (households, contents)."""
    likes = np.zeros((len(liked), content_count))
    for household, rows in enumerate(liked):
        likes[household, rows] = 1.0
    return likes


def score_by_popularity(likes: Matrix) -> Matrix:
    """Return the number of households that liked each content item, the same for everybody."""
    return np.broadcast_to(likes.sum(axis=0), likes.shape)


def score_by_item_knn(
    likes: Matrix, neighbours: int = KNN_NEIGHBOURS, shrinkage: float = KNN_SHRINKAGE
) -> Matrix:
    """Score by the sum of similarities to what a household liked (Sarwar et al. 2001).

    The similarity is the cosine of two columns, shrunk towards 0 when few households share both.
    Only the nearest `neighbours` of each liked item count.
    """
    pairs = likes.T @ likes
    norms = np.sqrt(pairs.diagonal())
    similarities = pairs / (np.outer(norms, norms) + shrinkage)
    np.fill_diagonal(similarities, 0.0)
    return likes @ keep_largest(similarities, neighbours)


def keep_largest(weights: Matrix, count: int) -> Matrix:
    """Return the weights with only the `count` largest of each row kept; the others become 0."""
    if count >= weights.shape[1]:
        return weights
    kept = np.argpartition(-weights, count - 1, axis=1)[:, :count]
    result = np.zeros_like(weights)
    np.put_along_axis(result, kept, np.take_along_axis(weights, kept, axis=1), axis=1)
    return result


def score_by_als(
    likes: Matrix,
    factors: int = ALS_FACTORS,
    confidence: float = ALS_CONFIDENCE,
    regularisation: float = ALS_REGULARISATION,
) -> Matrix:
    """Score by implicit alternating least squares (Hu, Koren and Volinsky 2008)."""
    random = np.random.default_rng(_SEED)
    contents = random.normal(0.0, 0.01, (likes.shape[1], factors))
    households = np.zeros((len(likes), factors))
    for _ in range(ALS_SWEEPS):
        households = _solve_factors(likes, contents, confidence, regularisation)
        contents = _solve_factors(likes.T, households, confidence, regularisation)
    return households @ contents.T


def _solve_factors(
    likes: Matrix, others: Matrix, confidence: float, regularisation: float
) -> Matrix:
    """Return the factors of each row of `likes` that fit best, given those of the columns."""
    gram = others.T @ others + regularisation * np.eye(others.shape[1])
    factors = np.empty((len(likes), others.shape[1]))
    for row, line in enumerate(likes):
        known = others[np.flatnonzero(line)]
        equations = gram + confidence * (known.T @ known)
        factors[row] = np.linalg.solve(equations, (1.0 + confidence) * known.sum(axis=0))
    return factors


def score_by_ease(likes: Matrix, regularisation: float = EASE_REGULARISATION) -> Matrix:
    """Score by the linear item model EASE (Steck 2019, arXiv 1905.03375)."""
    liked = np.flatnonzero(likes.any(axis=0))  # the others have no weight
    scores = np.zeros_like(likes)
    known = likes[:, liked]
    scores[:, liked] = known @ solve_ease(known.T @ known, regularisation)
    return scores


def solve_ease(pairs: Matrix, regularisation: float) -> Matrix:
    """Return the item weights for counts of pairs, shape (contents, contents), diagonal 0."""
    inverse = np.linalg.inv(pairs + regularisation * np.eye(len(pairs)))
    weights = inverse / -inverse.diagonal()
    np.fill_diagonal(weights, 0.0)
    return weights
