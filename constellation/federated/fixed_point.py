"""Fixed-point sums over patterns: integers, so that every order of addition gives the same bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from constellation.encoding import DIMENSION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.encoding import Embeddings

WEIGHT_ONE: Final = 2**20
"""A weight of 1, which is the most that one device has over all clusters together."""
SUM_ONE: Final = 2**30
"""A coordinate of 1 at a weight of 1. The sums of 400 million devices fill 5 % of an int64."""
TIMES_OF_DAY: Final = 5
DAY_TYPES: Final = 3
CONTENT_TYPES: Final = 5
CONTEXTS: Final = TIMES_OF_DAY + DAY_TYPES + CONTENT_TYPES
"""Columns of `ClusterSums.contexts`: times of day, then day types, then content types.

Each of the three groups starts with its value 0, which means any.
"""

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class ClusterSums:
    """The sums of n clusters of unit vectors, one row per cluster. Owns its arrays.

    Sums of two disjoint sets of patterns can be added, as in the cluster features of BIRCH (Zhang,
    Ramakrishnan and Livny, SIGMOD 1996).
    """

    devices: Integers
    """Shape (n,): distinct devices."""
    weights: Integers
    """Shape (n,): sum of the weights w, in units of 1 / WEIGHT_ONE."""
    successes: Integers
    """Shape (n,): sum of w x success_rate, in units of 1 / WEIGHT_ONE."""
    sums: Integers
    """Shape (n, DIMENSION): sum of w x embedding, in units of 1 / SUM_ONE."""
    contexts: Integers
    """Shape (n, CONTEXTS): sum of w by context, in units of 1 / WEIGHT_ONE."""

    def __len__(self) -> int:
        return len(self.devices)

    def select(self, chosen: NDArray[np.int64] | NDArray[np.bool_] | slice) -> ClusterSums:
        """Return copies of the chosen rows; views when `chosen` is a slice."""
        return ClusterSums(
            self.devices[chosen],
            self.weights[chosen],
            self.successes[chosen],
            self.sums[chosen],
            self.contexts[chosen],
        )

    def add_at(self, rows: Integers | slice, more: ClusterSums) -> None:
        """Add row i of `more` to row `rows[i]`, in place; `rows` are distinct.

        A slice of rows avoids gathering and scattering.
        """
        self.devices[rows] += more.devices
        self.weights[rows] += more.weights
        self.successes[rows] += more.successes
        self.sums[rows] += more.sums
        self.contexts[rows] += more.contexts

    def clear(self, chosen: NDArray[np.bool_]) -> None:
        """Set the chosen rows to zero, in place."""
        for column in (self.devices, self.weights, self.successes, self.sums, self.contexts):
            column[chosen] = 0


def no_sums(count: int) -> ClusterSums:
    """Return `count` rows of zeros."""
    return ClusterSums(
        np.zeros(count, np.int64),
        np.zeros(count, np.int64),
        np.zeros(count, np.int64),
        np.zeros((count, DIMENSION), np.int64),
        np.zeros((count, CONTEXTS), np.int64),
    )


def concatenate_sums(parts: Sequence[ClusterSums]) -> ClusterSums:
    """Return the rows of all parts, in order."""
    if not parts:
        return no_sums(0)
    return ClusterSums(
        np.concatenate([part.devices for part in parts]),
        np.concatenate([part.weights for part in parts]),
        np.concatenate([part.successes for part in parts]),
        np.concatenate([part.sums for part in parts]),
        np.concatenate([part.contexts for part in parts]),
    )


def compute_centroids(sums: Integers) -> Embeddings:
    """Return each row scaled to unit length, shape (n, DIMENSION); rows of zeros stay zeros."""
    values = sums.astype(np.float64)
    norms = np.sqrt(np.einsum("ij,ij->i", values, values))
    directions: Embeddings = (values / np.maximum(norms, 1)[:, None]).astype(np.float32)
    return directions
