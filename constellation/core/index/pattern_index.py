"""PatternIndex: the searchable index of one shard, built anew for each epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from constellation.core.index.exact import ExactRows
from constellation.core.index.partitioned import (
    MIN_TRAINED,
    PartitionedRows,
    build_partitions,
    load_partitions,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.core.rows import Slots
    from constellation.encoding import Codes, Embeddings

EXACT_LIMIT: Final = 4_000
"""With more rows than this, partitions are searched faster."""


class PatternIndex:
    """The shared patterns by slot. Every method blocks and belongs in a worker thread.

    A slot is the number of a group here. Up to `exact_limit` patterns every row is compared; above,
    the index is partitioned. `codes` is a live view of the groups' rows, shape (capacity,
    DIMENSION), row = slot. What serves the searches never changes and is replaced as a whole, so
    nobody waits for anybody. A row may have changed since then: discard results whose slot did.
    """

    def __init__(self, codes: Codes, *, exact_limit: int = EXACT_LIMIT) -> None:
        self._codes = codes
        self._exact_limit = max(exact_limit, MIN_TRAINED)
        self._rows: ExactRows | PartitionedRows = ExactRows(np.empty(0, np.int64), codes)

    def __len__(self) -> int:
        return len(self._rows.slots)

    @property
    def kind(self) -> Literal["exact", "partitioned"]:
        """Which structure serves the searches at present."""
        return "exact" if isinstance(self._rows, ExactRows) else "partitioned"

    @property
    def slots(self) -> Slots:
        """All slots that are present, ascending."""
        return self._rows.slots

    def fill(self, slots: Slots) -> None:
        """Let searches find exactly these slots, which ascend, from now on."""
        is_exact = len(slots) <= self._exact_limit
        self._rows = (ExactRows if is_exact else build_partitions)(slots, self._codes)

    def search(self, queries: Embeddings, limit: int) -> tuple[NDArray[np.float32], Slots]:
        """Return cosines and slots, shape (q, limit), best first; -inf and -1 after the last."""
        return self._rows.search(np.ascontiguousarray(queries, np.float32), limit)

    def dump(self) -> NDArray[np.uint8] | None:
        """Return the bytes of a snapshot; None for exact rows, which are quickly filled again."""
        rows = self._rows
        return None if isinstance(rows, ExactRows) else rows.dump()

    def restore(self, data: NDArray[np.uint8]) -> None:
        """Restore what `dump` returned; raise ValueError and change nothing when it is unusable."""
        self._rows = load_partitions(data, self._codes)
