"""Project embeddings to a plane with t-SNE (van der Maaten and Hinton, 2008)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from sklearn.manifold import TSNE  # type: ignore[import-untyped]  # it ships no types

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.encoding import Embeddings

_PERPLEXITY: Final = 30.0
"""About how many neighbours influence a point; 30 is the usual choice."""
_SEED: Final = 0
_MIN_POINTS: Final = 4
"""t-SNE needs at least this many points."""


def project(embeddings: Embeddings) -> NDArray[np.float64]:
    """Return positions, shape (n, 2), in [0, 1]; similar embeddings are close together.

    The same embeddings give the same positions. Fewer than four embeddings are placed side by side.
    """
    count = len(embeddings)
    if count < _MIN_POINTS:
        return np.column_stack([np.linspace(0.2, 0.8, count), np.full(count, 0.5)])
    perplexity = min(_PERPLEXITY, (count - 1) / 3)
    model = TSNE(init="pca", random_state=_SEED, perplexity=perplexity)
    positions: NDArray[np.float64] = model.fit_transform(embeddings).astype(np.float64)
    positions -= positions.min(axis=0)
    scaled: NDArray[np.float64] = positions / np.maximum(positions.max(axis=0), 1e-9)
    return scaled


def find_nearest(embeddings: Embeddings, centres: Embeddings) -> NDArray[np.intp]:
    """Return the index of the most similar centre by cosine, for each embedding, shape (n,)."""
    nearest: NDArray[np.intp] = (embeddings @ centres.T).argmax(axis=1)
    return nearest
