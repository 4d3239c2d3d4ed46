from __future__ import annotations

import numpy as np
import pytest

from constellation.core.index.partitioned import load_partitions, rank_candidates
from constellation.core.index.training import train_partitions
from constellation.encoding import Codes, normalise_codes
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


def test_what_was_dumped_is_restored(codes: Codes) -> None:
    rows = train_partitions(np.arange(0, COUNT, 2), codes)

    restored = load_partitions(rows.dump(), codes)

    assert restored.slots().tolist() == list(range(0, COUNT, 2))
    assert restored.trained_count == COUNT // 2


def test_a_copy_does_not_change_with_the_original(codes: Codes) -> None:
    rows = train_partitions(np.arange(COUNT), codes)
    copy = rows.copy()

    rows.stage(np.array([0, 1]), np.empty(0, np.int64), np.empty((0, 384), np.float32))()

    assert (len(rows), len(copy)) == (COUNT - 2, COUNT)


def test_an_unusable_snapshot_is_refused(codes: Codes) -> None:
    payload = train_partitions(np.arange(COUNT), codes).dump()
    damaged = payload.copy()
    damaged[-1] ^= 1

    with pytest.raises(ValueError, match="too short: 3 bytes"):
        load_partitions(payload[:3], codes)
    with pytest.raises(ValueError, match="damaged"):
        load_partitions(damaged, codes)
    with pytest.raises(ValueError, match="slots from 0 to 999, but the table has only 10"):
        load_partitions(payload, codes[:10])
