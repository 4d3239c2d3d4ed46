"""Clustering."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from constellation.encoding import Embeddings


def nearest(points: Embeddings, anchors: Embeddings) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the nearest anchor of each point, and its cosine."""
    cosines = points @ anchors.T
    best = cosines.argmax(axis=1)
    return best, cosines[np.arange(len(points)), best]


def local_clusters(
    points: Embeddings, weights: NDArray[np.float64], limit: int, seed: int
) -> NDArray[np.int64]:
    """Return labels."""
    random = np.random.default_rng(seed)
    centres = points[random.choice(len(points), min(limit, len(points)), replace=False)]
    return nearest(points, centres)[0]
