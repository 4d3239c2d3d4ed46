"""Trains the partitions of an index, and decides when they no longer fit its patterns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from constellation.core.index.faiss import faiss
from constellation.core.index.partitioned import PartitionedRows
from constellation.encoding import DIMENSION, unit_scales

if TYPE_CHECKING:
    from constellation.core.rows import Slots
    from constellation.encoding import Codes, Embeddings

BLOCK = 4096
"""Patterns read, assigned to partitions and inserted at once."""
_SAMPLES_PER_PARTITION = 64
"""Patterns per partition that k-means is trained on."""
_ITERATIONS = 6
"""Iterations of k-means."""


def to_vectors(codes: Codes) -> Embeddings:
    """Return unit embeddings; zeros for a row of zeros, whose pattern is about to be removed."""
    scales = unit_scales(codes)
    scales[~np.isfinite(scales)] = 0
    return codes * scales[:, None]


def train_partitions(slots: Slots, codes: Codes) -> PartitionedRows:
    """Return partitions that hold `slots`, read from the live table. Takes seconds.

    `codes` is the live view of the table, shape (capacity, DIMENSION), row = slot.
    """
    ivf = faiss.IndexIVFRaBitQ(
        faiss.IndexFlatIP(DIMENSION),
        DIMENSION,
        _choose_partition_count(len(slots)),
        faiss.METRIC_INNER_PRODUCT,
    )
    ivf.cp.niter = _ITERATIONS
    ivf.cp.min_points_per_centroid = 1  # otherwise FAISS prints a warning when there are few
    ivf.cp.max_points_per_centroid = _SAMPLES_PER_PARTITION
    ivf.train(to_vectors(codes[_sample_slots(slots, _SAMPLES_PER_PARTITION * ivf.nlist)]))
    ivf.set_direct_map_type(faiss.DirectMap.Hashtable)  # finds removed slots without a scan
    rows = PartitionedRows(ivf, codes, trained_count=len(slots), imbalance=1.0)
    for start in range(0, len(slots), BLOCK):
        block = slots[start : start + BLOCK]
        rows.stage(block[:0], block, to_vectors(codes[block]))()
    rows.trained_imbalance = rows.imbalance
    return rows


def is_outgrown(rows: PartitionedRows) -> bool:
    """Return whether to train again: patterns have doubled, or partitions have become uneven."""
    uneven = rows.imbalance > max(2.0, 1.5 * rows.trained_imbalance)
    return uneven or len(rows) > 2 * rows.trained_count


def _choose_partition_count(count: int) -> int:
    return max(8, min(8192, int(2 * np.sqrt(count))))


def _sample_slots(slots: Slots, count: int) -> Slots:
    if len(slots) <= count:
        return slots
    return np.sort(np.random.default_rng(count).choice(slots, size=count, replace=False))
