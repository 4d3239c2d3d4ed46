"""The item model: from how many households like both of two content items to weights.

EASE (Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019, arXiv 1905.03375):
with X the households x contents matrix of likes, G = X'X and P = (G + lambda I)^-1, the weights are
B = -P / diag(P) with a diagonal of 0. Of all weights they predict best, by least squares, which
content items a household likes from the others that it likes. G is a sum over households, and so
over shards: no household's likes are needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from constellation.federated.fixed_point import Integers
    from constellation.federated.likes import PairRows

_SMALL: Final = 256
"""Triangles up to this size are inverted directly; larger ones by products of their halves."""


def sum_pairs(devices: Integers, parts: Sequence[PairRows]) -> NDArray[np.float64]:
    """Return G: how many households like both content items of each pair, and one of each.

    `devices` are the households of each content item, shape (n,); `parts` has the pairs of each
    shard. All are integers below 2**53, so the sums are exact, and the same in any order.
    """
    total = np.zeros((len(devices), len(devices)))
    for pairs in parts:
        starts = pairs.find_starts()
        for index, row in enumerate(pairs.rows.tolist()):
            cells = slice(starts[index], starts[index + 1])
            total[row, pairs.columns[cells]] += pairs.devices[cells]
    # In blocks: a transposed copy of the whole would take as much memory again.
    for start in range(0, len(total), _SMALL):
        block = slice(start, start + _SMALL)
        total[start:, block] += np.triu(total[block, start:], 1).T
    np.fill_diagonal(total, devices)
    return total


def solve_weights(gram: NDArray[np.float64], regularisation: float) -> NDArray[np.float64]:
    """Return B for the matrix G: row i has what a like of i is worth.

    Takes about 2 n**3 operations and three matrices of n x n. `gram` is overwritten.
    """
    gram[np.diag_indices_from(gram)] += regularisation
    lower = np.linalg.cholesky(gram).astype(np.float64, copy=False)
    _invert_triangle(lower)
    np.matmul(lower.T, lower, out=gram)  # P
    diagonal = gram.diagonal().copy()
    np.divide(gram, -diagonal, out=gram)
    np.fill_diagonal(gram, 0)
    return gram


def _invert_triangle(lower: NDArray[np.float64]) -> None:
    """Replace a lower triangular matrix by its inverse.

    numpy has no LAPACK routine for it. By halves, nearly all of the work are matrix products.
    """
    if len(lower) <= _SMALL:
        lower[:] = np.tril(np.linalg.inv(lower))
        return
    half = len(lower) // 2
    first, last, between = lower[:half, :half], lower[half:, half:], lower[half:, :half]
    _invert_triangle(first)
    _invert_triangle(last)
    between[:] = -(last @ between @ first)
