"""Projection: embeddings to places on a plane, near to what they resemble."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from sklearn.manifold import TSNE  # type: ignore[import-untyped]  # it ships no types

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.encoding import Embeddings

_PERPLEXITY: Final = 30.0
"""About how many neighbours count; the usual choice."""
_SEED: Final = 0
_MIN_POINTS: Final = 4


def project(embeddings: Embeddings) -> NDArray[np.float64]:
    """Return places, shape (n, 2), within [0, 1]; the same for the same embeddings."""
    count = len(embeddings)
    if count < _MIN_POINTS:  # too few to have neighbours: side by side
        return np.column_stack([np.linspace(0.2, 0.8, count), np.full(count, 0.5)])
    perplexity = min(_PERPLEXITY, (count - 1) / 3)
    model = TSNE(init="pca", random_state=_SEED, perplexity=perplexity)
    positions: NDArray[np.float64] = model.fit_transform(embeddings).astype(np.float64)
    positions -= positions.min(axis=0)
    scaled: NDArray[np.float64] = positions / np.maximum(positions.max(axis=0), 1e-9)
    return scaled


def find_nearest(embeddings: Embeddings, centres: Embeddings) -> NDArray[np.intp]:
    """Return the anchor of the highest cosine for each embedding, shape (n,)."""
    found: NDArray[np.intp] = (embeddings @ centres.T).argmax(axis=1)
    return found
