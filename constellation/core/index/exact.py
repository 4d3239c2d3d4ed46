"""ExactRows: the index for few patterns, which compares each query with every row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from constellation.core.index.faiss import faiss
from constellation.core.index.vectors import to_vectors

if TYPE_CHECKING:
    from constellation.core.rows import Slots
    from constellation.encoding import Codes, Embeddings


class ExactRows:
    """Unit vectors of some slots, which never change."""

    def __init__(self, slots: Slots, codes: Codes) -> None:
        self.slots = slots
        """Ascending."""
        self._vectors = to_vectors(codes[slots])

    def search(self, queries: Embeddings, limit: int) -> tuple[Embeddings, Slots]:
        """Return cosines and slots, shape (q, limit), best first; -inf and -1 after the last."""
        count = min(limit, len(self.slots))
        scores = np.full((len(queries), limit), -np.inf, np.float32)
        slots = np.full((len(queries), limit), -1, np.int64)
        if count:
            metric = faiss.METRIC_INNER_PRODUCT
            scores[:, :count], rows = faiss.knn(queries, self._vectors, count, metric=metric)
            slots[:, :count] = self.slots[rows]
        return scores, slots
