"""PartitionedRows: the index for many patterns, with 1-bit codes that find likely matches.

The stored codes then rank the candidates by their exact cosines.
"""

from __future__ import annotations

import struct
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from constellation.core.index.faiss import faiss
from constellation.encoding import DIMENSION

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from constellation.core.rows import Slots
    from constellation.encoding import Codes, Embeddings

MIN_CANDIDATES = 500
"""Candidates ranked for each query: with fewer, the 1-bit codes would miss near patterns."""

_HEADER = struct.Struct("<4sIqd")
"""Of a snapshot: magic, CRC-32 of the body, trained_count and trained_imbalance."""
_MAGIC = b"CPI1"


class PartitionedRows:
    """A FAISS IVF index of RaBitQ codes by slot. The owner of the object locks it.

    `codes` is a live view of the pattern table, shape (capacity, DIMENSION), row = slot.
    """

    def __init__(self, ivf: Any, codes: Codes, *, trained_count: int, imbalance: float) -> None:
        self._ivf = ivf
        self._codes = codes
        self.trained_count = trained_count
        """Patterns in the index when it was trained."""
        self.trained_imbalance = imbalance
        """Imbalance of the partitions after the training; 1 means that all are equally large."""

    def __len__(self) -> int:
        return int(self._ivf.ntotal)

    @property
    def imbalance(self) -> float:
        """The present imbalance of the partitions; 1 means that all are equally large."""
        return float(self._ivf.invlists.imbalance_factor())

    def slots(self) -> Slots:
        """Return all slots in the partitions, ascending."""
        lists = self._ivf.invlists
        parts = [_read_partition(lists, number) for number in range(self._ivf.nlist)]
        return np.sort(np.concatenate(parts))

    def stage(self, leaving: Slots, added: Slots, vectors: Embeddings) -> Callable[[], None]:
        """Assign rows to partitions; return a function that makes the change.

        Call that function while nobody searches. `leaving` must hold every slot of `added`, because
        FAISS would otherwise keep both rows. The slots of each are distinct.
        """
        lists = np.empty(0, dtype=np.int64)
        if len(added):
            lists = np.ascontiguousarray(self._ivf.quantizer.search(vectors, 1)[1].ravel())
        return partial(self._change, leaving, added, vectors, lists)

    def find_candidates(self, queries: Embeddings, limit: int) -> Slots:
        """Return candidates for each query, shape (q, n); -1 where there are fewer."""
        count = max(MIN_CANDIDATES, 2 * limit)
        probes = _choose_probe_count(self._ivf.nlist, count / max(len(self), 1))
        settings = faiss.SearchParametersIVF(nprobe=probes)
        slots: Slots = self._ivf.search(queries, count, params=settings)[1]
        return slots

    def copy(self) -> PartitionedRows:
        """Return a copy that does not change with this one."""
        return PartitionedRows(
            faiss.clone_index(self._ivf),
            self._codes,
            trained_count=self.trained_count,
            imbalance=self.trained_imbalance,
        )

    def dump(self) -> NDArray[np.uint8]:
        """Return the bytes from which `load_partitions` restores this."""
        data: NDArray[np.uint8] = faiss.serialize_index(self._ivf)
        head = _HEADER.pack(
            _MAGIC, zlib.crc32(data.data), self.trained_count, self.trained_imbalance
        )
        return np.concatenate([np.frombuffer(head, dtype=np.uint8), data])

    def _change(
        self, leaving: Slots, added: Slots, vectors: Embeddings, lists: NDArray[np.int64]
    ) -> None:
        if len(leaving):
            self._ivf.remove_ids(leaving)
        if len(added):
            pointers = (faiss.swig_ptr(column) for column in (vectors, added, lists))
            self._ivf.add_core(len(added), *pointers)


def load_partitions(data: NDArray[np.uint8], codes: Codes) -> PartitionedRows:
    """Restore what `dump` returned; raise ValueError when it is damaged or does not fit `codes`."""
    if len(data) < _HEADER.size:
        raise ValueError(f"the index snapshot is too short: {len(data)} bytes")
    magic, checksum, trained_count, imbalance = _HEADER.unpack(data[: _HEADER.size].tobytes())
    body = np.ascontiguousarray(data[_HEADER.size :])
    if magic != _MAGIC or zlib.crc32(body.data) != checksum:
        raise ValueError("the index snapshot is damaged: its header or checksum is wrong")
    try:
        ivf = faiss.deserialize_index(body)
    except RuntimeError as error:  # another version of FAISS wrote it
        raise ValueError(f"FAISS cannot read the index snapshot: {error}") from error
    if not isinstance(ivf, faiss.IndexIVFRaBitQ) or ivf.d != DIMENSION:
        raise ValueError("the index snapshot holds another kind of index")
    rows = PartitionedRows(ivf, codes, trained_count=trained_count, imbalance=imbalance)
    slots = rows.slots()
    if len(slots) and not 0 <= slots[0] <= slots[-1] < len(codes):
        raise ValueError(
            f"the index snapshot has slots from {slots[0]} to {slots[-1]}, but the table has only "
            f"{len(codes)}"
        )
    return rows


def rank_candidates(
    queries: Embeddings, candidates: Slots, codes: Codes, limit: int
) -> tuple[Embeddings, Slots]:
    """Return the exact cosines and the slots of the best candidates, shape (q, limit).

    Best first; -inf and -1 where there are too few.
    """
    scores = np.full((len(queries), limit), -np.inf, dtype=np.float32)
    slots = np.full((len(queries), limit), -1, dtype=np.int64)
    for row, query in enumerate(queries):  # the codes for one query fit the CPU cache
        found = candidates[row][candidates[row] >= 0]
        cosines = _compute_cosines(query, codes[found])
        best = np.argsort(-cosines, kind="stable")[:limit]
        scores[row, : len(best)] = cosines[best]
        slots[row, : len(best)] = found[best]
    return scores, slots


def _compute_cosines(query: NDArray[np.float32], codes: Codes) -> NDArray[np.float32]:
    """Return cosines, shape (n,); 0 for a row of zeros, whose pattern is being removed."""
    rows = codes.astype(np.float32)
    squares = np.einsum("ij,ij->i", rows, rows)  # exact, because sums stay below 2**24
    cosines: NDArray[np.float32] = np.einsum("ij,j->i", rows, query) / np.sqrt(
        np.maximum(squares, 1)
    )
    return cosines


def _choose_probe_count(partitions: int, share: float) -> int:
    """Return how many partitions a search must visit for a recall@10 of at least 0.95.

    `share` is the share of all patterns that are candidates: it is large in an index that shrank,
    which is then searched as a whole.
    """
    return min(partitions, max(48 + partitions // 20, int(4 * share * partitions)))


def _read_partition(lists: Any, number: int) -> Slots:
    size = lists.list_size(number)
    if not size:
        return np.empty(0, dtype=np.int64)
    slots: Slots = faiss.rev_swig_ptr(lists.get_ids(number), size).copy()
    return slots
