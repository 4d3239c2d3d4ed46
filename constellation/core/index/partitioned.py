"""Many patterns: partitions of 1-bit codes pick candidates, the stored codes rank them."""

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
"""Ranked exactly for each query; 1-bit codes alone find too few."""

_HEADER = struct.Struct("<4sIqd")
_MAGIC = b"CPI1"


class PartitionedRows:
    """An IVF of RaBitQ codes by slot. Locked by its owner; `codes` is the shard's live table."""

    def __init__(self, ivf: Any, codes: Codes, *, trained_count: int, imbalance: float) -> None:
        self._ivf = ivf
        self._codes = codes
        self.trained_count = trained_count
        """Patterns it was trained for."""
        self.trained_imbalance = imbalance
        """Imbalance of the partitions when they were fresh; 1 is even."""

    def __len__(self) -> int:
        return int(self._ivf.ntotal)

    @property
    def imbalance(self) -> float:
        return float(self._ivf.invlists.imbalance_factor())

    def slots(self) -> Slots:
        """Return what is in the partitions themselves, ascending."""
        lists = self._ivf.invlists
        parts = [_read_partition(lists, number) for number in range(self._ivf.nlist)]
        return np.sort(np.concatenate(parts))

    def stage(self, leaving: Slots, added: Slots, vectors: Embeddings) -> Callable[[], None]:
        """Assign rows to partitions; return the rest, to be called while nobody searches.

        `leaving` must name every slot of `added`: FAISS would keep both rows. Slots are distinct.
        """
        lists = np.empty(0, dtype=np.int64)
        if len(added):
            lists = np.ascontiguousarray(self._ivf.quantizer.search(vectors, 1)[1].ravel())
        return partial(self._change, leaving, added, vectors, lists)

    def find_candidates(self, queries: Embeddings, limit: int) -> Slots:
        """Return slots worth ranking, shape (q, n); -1 where there are fewer."""
        wanted = max(MIN_CANDIDATES, 2 * limit)
        probes = _choose_probe_count(self._ivf.nlist, wanted / max(len(self), 1))
        settings = faiss.SearchParametersIVF(nprobe=probes)
        slots: Slots = self._ivf.search(queries, wanted, params=settings)[1]
        return slots

    def copy(self) -> PartitionedRows:
        return PartitionedRows(
            faiss.clone_index(self._ivf),
            self._codes,
            trained_count=self.trained_count,
            imbalance=self.trained_imbalance,
        )

    def dump(self) -> NDArray[np.uint8]:
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
    """Return what `dump` wrote. Raises ValueError when it is damaged or does not fit `codes`."""
    if len(data) < _HEADER.size:
        raise ValueError("an index snapshot is too short")
    magic, checksum, trained_count, imbalance = _HEADER.unpack(data[: _HEADER.size].tobytes())
    body = np.ascontiguousarray(data[_HEADER.size :])
    if magic != _MAGIC or zlib.crc32(body.data) != checksum:
        raise ValueError("an index snapshot is damaged")
    try:
        ivf = faiss.deserialize_index(body)
    except RuntimeError as error:  # written by a FAISS this one does not read
        raise ValueError("an index snapshot cannot be read") from error
    if not isinstance(ivf, faiss.IndexIVFRaBitQ) or ivf.d != DIMENSION:
        raise ValueError("an index snapshot holds another kind of index")
    rows = PartitionedRows(ivf, codes, trained_count=trained_count, imbalance=imbalance)
    if len(rows) and not 0 <= rows.slots()[0] <= rows.slots()[-1] < len(codes):
        raise ValueError("an index snapshot names slots the table does not have")
    return rows


def rank_candidates(
    queries: Embeddings, candidates: Slots, codes: Codes, limit: int
) -> tuple[Embeddings, Slots]:
    """Return exact cosines of the best candidates and their slots, shape (q, limit)."""
    scores = np.full((len(queries), limit), -np.inf, dtype=np.float32)
    slots = np.full((len(queries), limit), -1, dtype=np.int64)
    for row, query in enumerate(queries):  # one query's candidates fit the cache, a batch's do not
        found = candidates[row][candidates[row] >= 0]
        cosines = _compute_cosines(query, codes[found])
        best = np.argsort(-cosines, kind="stable")[:limit]
        scores[row, : len(best)] = cosines[best]
        slots[row, : len(best)] = found[best]
    return scores, slots


def _compute_cosines(query: NDArray[np.float32], codes: Codes) -> NDArray[np.float32]:
    """Return cosines, shape (n,); 0 for a row of zeros, which is being removed."""
    rows = codes.astype(np.float32)
    squares = np.einsum("ij,ij->i", rows, rows)  # exact: below 2**24
    cosines: NDArray[np.float32] = np.einsum("ij,j->i", rows, query) / np.sqrt(
        np.maximum(squares, 1)
    )
    return cosines


def _choose_probe_count(partitions: int, wanted: float) -> int:
    """Return how many partitions a search visits for recall@10 of at least 0.95.

    `wanted` is the share of all patterns to be ranked: an index that shrank is searched whole.
    """
    return min(partitions, max(48 + partitions // 20, int(4 * wanted * partitions)))


def _read_partition(lists: Any, number: int) -> Slots:
    size = lists.list_size(number)
    if not size:
        return np.empty(0, dtype=np.int64)
    slots: Slots = faiss.rev_swig_ptr(lists.get_ids(number), size).copy()
    return slots
