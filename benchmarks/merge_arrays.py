"""The input of every merge that is measured: means and weights of 100 shards. Needs only numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHARDS: Final = 100
CLUSTERS: Final = 512
_DIMENSION: Final = 384
_MIN_DEVICES, _MAX_DEVICES = 50, 150
"""Smallest and largest number of devices of a shard."""


def make_shard_means(seed: int = 7) -> list[NDArray[np.float32]]:
    """Return the centroids of each shard, shape (CLUSTERS, 384). They depend only on the seed."""
    random = np.random.default_rng(seed)
    shape = (CLUSTERS, _DIMENSION)
    means = [random.standard_normal(shape, np.float32) for _ in range(SHARDS)]
    return [each / np.linalg.norm(each, axis=1, keepdims=True) for each in means]


def make_shard_weights(seed: int = 11) -> list[int]:
    """Return the weight of each shard. The weights depend only on the seed."""
    weights: list[int] = (
        np.random.default_rng(seed).integers(_MIN_DEVICES, _MAX_DEVICES, SHARDS).tolist()
    )
    return weights
