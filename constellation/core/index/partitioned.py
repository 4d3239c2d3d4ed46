"""PartitionedRows: the index for many patterns, with 4-bit codes that find likely matches.

The stored codes then rank the candidates by their exact cosines.
"""

from __future__ import annotations

import math
import struct
import zlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from constellation.core.index.faiss import faiss
from constellation.core.index.vectors import to_vectors
from constellation.encoding import DIMENSION

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.core.rows import Slots
    from constellation.encoding import Codes, Embeddings

MIN_TRAINED: Final = 64
"""Rows without which the 4-bit codes, which have 16 values each, cannot be trained."""
_MIN_CANDIDATES: Final = 64
"""Candidates ranked for one query: with fewer, the 4-bit codes would miss near patterns."""
_SUBVECTORS: Final = 192
"""Each is one 4-bit code: 96 bytes for a row. Half as many would need thrice the candidates, whose
exact ranking takes longer than the shorter codes save (docs/decisions/0004)."""
_MIN_PROBES: Final = 24
"""Partitions that a search visits at least."""
_PARTITIONS_PER_PROBE: Final = 16
"""Of many partitions, a search visits one in this many."""
_SAMPLES_PER_PARTITION: Final = 64
"""Rows for each partition that k-means is trained on."""
_MIN_SAMPLES: Final = 16_384
"""Rows that the 4-bit codes are trained on."""
_ITERATIONS: Final = 6
"""Iterations of k-means."""
_BLOCK: Final = 4096
"""Rows read and inserted at once."""

_HEADER: Final = struct.Struct("<4sIq")
"""Of a snapshot: magic, CRC-32 of the rest, and the number of rows; their slots follow."""
_MAGIC: Final = b"CPI2"


class PartitionedRows:
    """A FAISS IVF index of product-quantised codes, which never changes.

    `codes` is a live view of the rows, shape (capacity, DIMENSION), row = slot.
    """

    def __init__(self, ivf: Any, slots: Slots, codes: Codes) -> None:
        self.slots = slots
        """Ascending; FAISS knows a row by its position here."""
        self._ivf = ivf
        self._codes = codes

    def search(self, queries: Embeddings, limit: int) -> tuple[Embeddings, Slots]:
        """Return cosines and slots, shape (q, limit), best first; -inf and -1 after the last."""
        count = max(_MIN_CANDIDATES, limit + limit // 2)
        probes = _choose_probe_count(self._ivf.nlist, count / len(self.slots))
        settings = faiss.SearchParametersIVF(nprobe=probes)
        found: Slots = self._ivf.search(queries, count, params=settings)[1]
        candidates = np.where(found >= 0, self.slots[found], -1)
        return rank_candidates(queries, candidates, self._codes, limit)

    def dump(self) -> NDArray[np.uint8]:
        """Return the bytes from which `load_partitions` restores this."""
        body = np.concatenate([self.slots.view(np.uint8), faiss.serialize_index(self._ivf)])
        head = _HEADER.pack(_MAGIC, zlib.crc32(body.data), len(self.slots))
        return np.concatenate([np.frombuffer(head, np.uint8), body])


def build_partitions(slots: Slots, codes: Codes) -> PartitionedRows:
    """Return partitions of at least MIN_TRAINED ascending slots, read from the live rows.

    Takes about 10 µs of processor time for each. Rows may change meanwhile: the candidates of a
    search are ranked by what is in the rows by then.
    """
    ivf = faiss.IndexIVFPQFastScan(
        faiss.IndexFlatIP(DIMENSION),
        DIMENSION,
        max(1, int(math.sqrt(len(slots)))),
        _SUBVECTORS,
        4,
        faiss.METRIC_INNER_PRODUCT,
    )
    for training in (ivf.cp, ivf.pq.cp):
        training.niter = _ITERATIONS
        training.min_points_per_centroid = 1  # otherwise FAISS prints a warning when there are few
        training.max_points_per_centroid = _SAMPLES_PER_PARTITION
    ivf.pq.cp.max_points_per_centroid = _MIN_SAMPLES
    samples = max(_MIN_SAMPLES, _SAMPLES_PER_PARTITION * ivf.nlist)
    ivf.train(to_vectors(codes[_sample_slots(slots, samples)]))
    for start in range(0, len(slots), _BLOCK):
        ivf.add(to_vectors(codes[slots[start : start + _BLOCK]]))
    return PartitionedRows(ivf, slots, codes)


def load_partitions(data: NDArray[np.uint8], codes: Codes) -> PartitionedRows:
    """Restore what `dump` returned; raise ValueError when it is damaged or does not fit `codes`."""
    if len(data) < _HEADER.size:
        raise ValueError(f"the index snapshot is too short: {len(data)} bytes")
    magic, checksum, count = _HEADER.unpack(data[: _HEADER.size].tobytes())
    body = np.ascontiguousarray(data[_HEADER.size :])
    if magic != _MAGIC or zlib.crc32(body.data) != checksum or not 0 < 8 * count <= len(body):
        raise ValueError("the index snapshot is damaged: its header or checksum is wrong")
    slots = body[: 8 * count].view(np.int64).copy()
    try:
        ivf = faiss.deserialize_index(np.ascontiguousarray(body[8 * count :]))
    except RuntimeError as error:  # another version of FAISS wrote it
        raise ValueError(f"FAISS cannot read the index snapshot: {error}") from error
    is_ours = isinstance(ivf, faiss.IndexIVFPQFastScan) and ivf.d == DIMENSION
    is_ours = is_ours and ivf.pq.M == _SUBVECTORS
    if not is_ours or ivf.ntotal != count or (np.diff(slots) <= 0).any():
        raise ValueError("the index snapshot holds another kind of index")
    if not 0 <= slots[0] <= slots[-1] < len(codes):
        raise ValueError(
            f"the index snapshot has slots from {slots[0]} to {slots[-1]}, but the table has only "
            f"{len(codes)}"
        )
    return PartitionedRows(ivf, slots, codes)


def rank_candidates(
    queries: Embeddings, candidates: Slots, codes: Codes, limit: int
) -> tuple[Embeddings, Slots]:
    """Return the exact cosines and the slots of the best candidates, shape (q, limit).

    Best first; -inf and -1 where there are too few.
    """
    cosines = _compute_cosines(queries, candidates, codes)
    best = np.argsort(-cosines, axis=1)[:, :limit]
    scores = np.full((len(queries), limit), -np.inf, np.float32)
    slots = np.full((len(queries), limit), -1, np.int64)
    scores[:, : best.shape[1]] = np.take_along_axis(cosines, best, axis=1)
    slots[:, : best.shape[1]] = np.take_along_axis(candidates, best, axis=1)
    return scores, slots


def _compute_cosines(queries: Embeddings, candidates: Slots, codes: Codes) -> NDArray[np.float32]:
    """Return the cosine of each candidate with its query, shape (q, n); -inf for candidate -1.

    It is 0 for a row of zeros, whose pattern is being removed.
    """
    products = np.empty(candidates.shape, np.float32)
    squares = np.empty(candidates.shape, np.float32)  # exact, because they stay below 2**24
    rows = np.empty((candidates.shape[1], DIMENSION), np.float32)
    for query, slots, product, square in zip(queries, candidates, products, squares, strict=True):
        np.copyto(rows, codes[slots])  # the rows of one query fit the CPU cache
        np.dot(rows, query, out=product)
        np.vecdot(rows, rows, out=square)
    products /= np.sqrt(np.maximum(squares, 1))
    products[candidates < 0] = -np.inf
    return products


def _choose_probe_count(partitions: int, share: float) -> int:
    """Return how many partitions a search must visit for a recall@10 of at least 0.95.

    `share` is the share of all rows that are candidates: when it is large, all are visited.
    """
    probes = max(_MIN_PROBES, partitions // _PARTITIONS_PER_PROBE, int(4 * share * partitions))
    return min(partitions, probes)


def _sample_slots(slots: Slots, count: int) -> Slots:
    if len(slots) <= count:
        return slots
    return np.sort(np.random.default_rng(count).choice(slots, size=count, replace=False))
