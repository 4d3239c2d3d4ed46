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
_FEW: Final = 4


def project(embeddings: Embeddings) -> NDArray[np.float64]:
    """Return places, shape (n, 2), within [0, 1]; the same for the same embeddings."""
    count = len(embeddings)
    if count < _FEW:  # too few to have neighbours: side by side
        return np.column_stack([np.linspace(0.2, 0.8, count), np.full(count, 0.5)])
    perplexity = min(_PERPLEXITY, (count - 1) / 3)
    model = TSNE(init="pca", random_state=_SEED, perplexity=perplexity)
    places: NDArray[np.float64] = model.fit_transform(embeddings).astype(np.float64)
    places -= places.min(axis=0)
    spread: NDArray[np.float64] = places / np.maximum(places.max(axis=0), 1e-9)
    return spread


def nearest(embeddings: Embeddings, anchors: Embeddings) -> NDArray[np.intp]:
    """Return the anchor of the highest cosine for each embedding, shape (n,)."""
    found: NDArray[np.intp] = (embeddings @ anchors.T).argmax(axis=1)
    return found
