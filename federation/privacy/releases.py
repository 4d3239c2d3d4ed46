"""Releases: turn the exact counts of all shards into noised ones. Only the noise is random.

A release names only what passes a threshold, because a name alone could belong to one device. Pairs
have no threshold: their names are those of the dictionary, which was released before, and every
pair of it gets noise, also one that no device likes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from constellation.federated.fixed_point import Integers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

AddNoise = Callable[[Integers, float], Integers]
"""Takes whole numbers and a standard deviation; returns the numbers with noise."""


def release_named_counts(
    names: Sequence[str], devices: Integers, threshold: int, scale: float, add_noise: AddNoise
) -> Mapping[str, int]:
    """Return the noised counts that reach a threshold, by name.

    Names that no device has get none: what is not counted must look like a count of 0.
    """
    counted = np.flatnonzero(devices)
    noised = add_noise(devices[counted], scale)
    kept = noised >= threshold
    return {
        names[number]: count
        for number, count in sorted(
            zip(counted[kept].tolist(), noised[kept].tolist(), strict=True),
            key=lambda each: names[each[0]],
        )
    }


def release_pairs(
    gram: NDArray[np.float64], scale: float, add_noise: AddNoise
) -> NDArray[np.float64]:
    """Return a symmetric matrix of counts with noise in every cell but those of the diagonal.

    The diagonal, which is not released here, is 0.
    """
    size = len(gram)
    noised = np.zeros_like(gram)
    for row in range(size - 1):
        exact = gram[row, row + 1 :].astype(np.int64)  # whole numbers below 2**53
        noised[row, row + 1 :] = noised[row + 1 :, row] = add_noise(exact, scale)
    return noised
