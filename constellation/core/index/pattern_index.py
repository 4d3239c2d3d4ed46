"""PatternIndex: the searchable index of one shard, rebuilt in the background as it grows."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Literal

import numpy as np

from constellation.core.index.exact import ExactRows
from constellation.core.index.lock import ReadersWriterLock
from constellation.core.index.partitioned import PartitionedRows, load_partitions, rank_candidates
from constellation.core.index.training import BLOCK, is_outgrown, to_vectors, train_partitions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.core.rows import Slots
    from constellation.encoding import Codes, Embeddings

_IndexChange = tuple["Slots", "Slots", "Codes"]


class PatternIndex:
    """The shared patterns by slot. Every method blocks and belongs in a worker thread.

    A slot is the number of a group here. Up to `exact_limit` patterns every row is compared; above,
    the index is partitioned. `codes` is a live view of the groups' rows, shape (capacity,
    DIMENSION), row = slot. A search may read a row while it is overwritten: discard results whose
    slot changed meanwhile.
    """

    def __init__(self, codes: Codes, *, exact_limit: int = 50_000) -> None:
        self._codes = codes
        self._exact_limit = exact_limit
        self._rows: ExactRows | PartitionedRows = ExactRows(len(codes))
        self._lock = ReadersWriterLock()
        """Searches share it; the short last part of a change holds it alone."""
        self._change_lock = threading.Lock()
        """Held by a whole change and by a swap, which both use `_rows` and `_missed_changes`."""
        self._rebuild_lock = threading.Lock()
        """Held by a rebuild and by a restore: one at a time."""
        self._missed_changes: list[_IndexChange] | None = None
        """Changes that the rows being built lack; None when none are being built."""

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def kind(self) -> Literal["exact", "partitioned"]:
        """Which structure serves the searches at present."""
        return "exact" if isinstance(self._rows, ExactRows) else "partitioned"

    def slots(self) -> Slots:
        """Return all slots that are present, ascending."""
        with self._lock.lock_shared():
            return self._rows.slots()

    def apply(self, removed: Slots, added: Slots, codes: Codes) -> None:
        """Remove slots, then add or replace others; `codes` has a row for each of `added`."""
        with self._change_lock:
            if self._missed_changes is not None:
                self._missed_changes.append((removed.copy(), added.copy(), codes.copy()))
            self._apply(self._rows, (removed, added, codes))

    def search(self, queries: Embeddings, limit: int) -> tuple[NDArray[np.float32], Slots]:
        """Return cosines and slots, shape (q, limit), best first; -inf and -1 after the last."""
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        with self._lock.lock_shared():
            rows = self._rows
            if isinstance(rows, ExactRows):
                return _pad_results(*rows.search(queries, limit), limit)
            candidates = rows.find_candidates(queries, limit)
        return rank_candidates(queries, candidates, self._codes, limit)

    def is_rebuild_due(self) -> bool:
        """Return whether a rebuild would fit the present patterns better."""
        with self._lock.lock_shared():
            rows = self._rows
            if isinstance(rows, ExactRows):
                return len(rows) > self._exact_limit
            return self._can_be_exact(rows) or is_outgrown(rows)

    def rebuild(self) -> None:
        """Build new rows beside those that serve, replay the changes they missed, and swap.

        The number of patterns decides whether they are exact or partitioned.
        """
        with self._rebuild_lock:
            with self._change_lock:
                slots, self._missed_changes = self.slots(), []
            try:
                fresh = self._build(slots)
                self._replay_missed(fresh)
                with self._change_lock:
                    self._replay_missed(fresh)
                    self._swap(fresh)
            finally:
                self._missed_changes = None

    def dump(self) -> NDArray[np.uint8] | None:
        """Return the bytes of a snapshot; None for exact rows, which are quickly filled again."""
        with self._lock.lock_shared():
            if isinstance(self._rows, ExactRows):
                return None
            copy = self._rows.copy()
        return copy.dump()

    def restore(self, data: NDArray[np.uint8]) -> None:
        """Restore what `dump` returned; raise ValueError and change nothing when it is unusable."""
        fresh = load_partitions(data, self._codes)
        with self._rebuild_lock, self._change_lock:
            self._swap(fresh)

    def _build(self, slots: Slots) -> ExactRows | PartitionedRows:
        """Build rows from the live table; rows that change meanwhile are replayed later."""
        limit = self._exact_limit if self.kind == "exact" else self._exact_limit // 2
        if len(slots) > limit:
            return train_partitions(slots, self._codes)
        rows = ExactRows(len(self._codes))
        rows.stage(slots[:0], slots, to_vectors(self._codes[slots]))()
        return rows

    def _replay_missed(self, fresh: ExactRows | PartitionedRows) -> None:
        """Make the missed changes in `fresh`, in order. `apply` may append more meanwhile."""
        missed = self._missed_changes or []
        while missed:
            for part in _split_change(missed.pop(0)):
                fresh.stage(*part)()

    def _apply(self, rows: ExactRows | PartitionedRows, change: _IndexChange) -> None:
        for part in _split_change(change):
            commit = rows.stage(*part)
            with self._lock.lock_exclusive():
                commit()

    def _swap(self, fresh: ExactRows | PartitionedRows) -> None:
        with self._lock.lock_exclusive():
            old, self._rows = self._rows, fresh
        del old  # frees its memory beside the searches

    def _can_be_exact(self, rows: PartitionedRows) -> bool:
        """Return whether few enough patterns are left; half the limit, so as not to flip often."""
        return len(rows) < self._exact_limit // 2


def _split_change(change: _IndexChange) -> list[tuple[Slots, Slots, Embeddings]]:
    """Return the change as blocks of (leaving, added, vectors), to keep exclusive sections short.

    A slot that is replaced leaves and returns within one block.
    """
    removed, added, codes = change
    last = len(added) - 1 - np.unique(added[::-1], return_index=True)[1]  # the later row wins
    added, codes = np.ascontiguousarray(added[last]), codes[last]
    parts = []
    gone = np.setdiff1d(removed, added)
    for start in range(0, max(len(added), 1), BLOCK):
        block = added[start : start + BLOCK]
        leaving = block if start else np.concatenate([gone, block])
        parts.append((leaving, block, to_vectors(codes[start : start + BLOCK])))
    return parts


def _pad_results(
    scores: NDArray[np.float32], slots: Slots, limit: int
) -> tuple[NDArray[np.float32], Slots]:
    rest = ((0, 0), (0, limit - slots.shape[1]))
    return (
        np.pad(scores, rest, constant_values=-np.inf),
        np.pad(slots, rest, constant_values=-1),
    )
