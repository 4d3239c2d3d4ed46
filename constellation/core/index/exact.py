"""ExactRows: the index for few patterns, which compares each query with every row."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from constellation.core.index.faiss import faiss
from constellation.core.rows import reserve
from constellation.encoding import DIMENSION

if TYPE_CHECKING:
    from collections.abc import Callable

    from constellation.core.rows import Slots
    from constellation.encoding import Embeddings


class ExactRows:
    """Unit vectors by slot, in no order. The owner of the object locks it."""

    def __init__(self, capacity: int) -> None:
        self._count = 0
        self._rows = np.empty((1024, DIMENSION), dtype=np.float32)
        self._slots = np.empty(1024, dtype=np.int64)
        self._positions = reserve(capacity, np.dtype(np.int32)).view(np.int32)
        """Shape (capacity,): by slot, row + 1; 0 for an absent slot."""

    def __len__(self) -> int:
        return self._count

    def slots(self) -> Slots:
        """Return all slots that are present, ascending."""
        return np.sort(self._slots[: self._count])

    def stage(self, leaving: Slots, added: Slots, vectors: Embeddings) -> Callable[[], None]:
        """Return a function that makes the change, to be called while nobody searches.

        `leaving` and `added` are distinct slots each, and `leaving` holds every slot of `added`
        that is present. `vectors` has a row for each of `added`.
        """
        return partial(self._change, leaving, added, vectors)

    def search(self, queries: Embeddings, limit: int) -> tuple[Embeddings, Slots]:
        """Return cosines and slots, shape (q, min(limit, len(self))), best first."""
        count = min(limit, self._count)
        if not count:
            empty = (len(queries), 0)
            return np.empty(empty, dtype=np.float32), np.empty(empty, dtype=np.int64)
        metric = faiss.METRIC_INNER_PRODUCT
        scores, rows = faiss.knn(queries, self._rows[: self._count], count, metric=metric)
        return scores, self._slots[rows]

    def _change(self, leaving: Slots, added: Slots, vectors: Embeddings) -> None:
        self._remove(leaving)
        start, end = self._count, self._count + len(added)
        self._grow(end)
        self._rows[start:end] = vectors
        self._slots[start:end] = added
        self._positions[added] = np.arange(start + 1, end + 1, dtype=np.int32)
        self._count = end

    def _remove(self, leaving: Slots) -> None:
        """Remove rows, and move the last rows into the gaps."""
        positions = self._positions[leaving]
        rows = positions[positions > 0].astype(np.int64) - 1
        self._positions[leaving] = 0
        rest = self._count - len(rows)
        holes = rows[rows < rest]
        tail = np.arange(rest, self._count)
        movers = tail[self._positions[self._slots[tail]] > 0]  # rows at the end that stay
        self._rows[holes] = self._rows[movers]
        self._slots[holes] = self._slots[movers]
        self._positions[self._slots[holes]] = holes.astype(np.int32) + 1
        self._count = rest

    def _grow(self, count: int) -> None:
        if count <= len(self._slots):
            return
        size = max(count, 2 * len(self._slots))
        rows = np.empty((size, DIMENSION), dtype=np.float32)
        slots = np.empty(size, dtype=np.int64)
        rows[: self._count] = self._rows[: self._count]
        slots[: self._count] = self._slots[: self._count]
        self._rows, self._slots = rows, slots
