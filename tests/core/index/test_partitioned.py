from __future__ import annotations

import numpy as np
import pytest

from constellation.core.index.faiss import faiss
from constellation.core.index.partitioned import (
    PartitionedRows,
    build_partitions,
    load_partitions,
    rank_candidates,
)
from constellation.core.index.vectors import to_vectors
from constellation.encoding import DIMENSION, Codes, normalise_codes
from testing.patterns import sample_patterns

COUNT = 1000


@pytest.fixture(scope="module")
def codes() -> Codes:
    """A thousand real patterns."""
    return sample_patterns(COUNT)


def test_candidates_are_ranked_by_exact_cosines(codes: Codes) -> None:
    queries = normalise_codes(codes[[3]])

    scores, slots = rank_candidates(queries, np.array([[7, 3, -1, 9]]), codes, 4)

    cosines = queries @ normalise_codes(codes[[7, 3, 9]]).T
    assert slots[0, 0] == 3
    assert slots[0, 3] == -1
    assert scores[0, 3] == -np.inf
    assert np.allclose(np.sort(cosines[0])[::-1], scores[0, :3], atol=1e-5)


def test_a_search_ranks_by_what_is_in_the_rows_by_then(codes: Codes) -> None:
    live = codes.copy()
    rows = build_partitions(np.arange(COUNT), live)
    (found,) = rows.search(normalise_codes(codes[[3]]), 2)[1]

    live[3] = 0

    scores, slots = rows.search(normalise_codes(codes[[3]]), COUNT)
    assert found[0] == 3
    assert scores[slots == 3] == 0


def test_what_was_dumped_is_restored(codes: Codes) -> None:
    rows = build_partitions(np.arange(0, COUNT, 2), codes)
    queries = normalise_codes(codes[:20])

    restored = load_partitions(rows.dump(), codes)

    assert restored.slots.tolist() == list(range(0, COUNT, 2))
    np.testing.assert_array_equal(restored.search(queries, 10)[1], rows.search(queries, 10)[1])


def test_an_unusable_snapshot_is_refused(codes: Codes) -> None:
    payload = build_partitions(np.arange(COUNT), codes).dump()
    damaged = payload.copy()
    damaged[-1] ^= 1

    with pytest.raises(ValueError, match="too short: 3 bytes"):
        load_partitions(payload[:3], codes)
    with pytest.raises(ValueError, match="damaged"):
        load_partitions(damaged, codes)
    with pytest.raises(ValueError, match="slots from 0 to 999, but the table has only 10"):
        load_partitions(payload, codes[:10])


def test_a_snapshot_of_an_index_with_other_codes_is_refused(codes: Codes) -> None:
    """A search would find too little: it ranks as few candidates as these codes need."""
    vectors = to_vectors(codes)
    coarser = faiss.IndexIVFPQFastScan(faiss.IndexFlatIP(DIMENSION), DIMENSION, 1, 96, 4)
    coarser.cp.min_points_per_centroid = coarser.pq.cp.min_points_per_centroid = 1
    coarser.train(vectors)
    coarser.add(vectors)
    payload = PartitionedRows(coarser, np.arange(COUNT), codes).dump()

    with pytest.raises(ValueError, match="another kind of index"):
        load_partitions(payload, codes)
