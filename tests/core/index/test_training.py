from __future__ import annotations

import numpy as np

from constellation.core.index.training import is_outgrown, to_vectors, train_partitions
from testing.patterns import sample_patterns

NONE = np.empty(0, np.int64)


def test_twice_the_patterns_outgrow_the_partitions() -> None:
    codes = sample_patterns(1500)
    rows = train_partitions(np.arange(500), codes)
    assert not is_outgrown(rows)

    more = np.arange(500, 1001)
    rows.stage(NONE, more, to_vectors(codes[more]))()

    assert is_outgrown(rows)


def test_one_partition_that_takes_everything_is_outgrown() -> None:
    codes = sample_patterns(1500)
    rows = train_partitions(np.arange(700), codes)
    same = np.arange(700, 1400)

    rows.stage(NONE, same, np.repeat(to_vectors(codes[:1]), len(same), axis=0))()

    assert len(rows) == 2 * rows.trained_count
    assert is_outgrown(rows)


def test_a_row_of_zeros_becomes_a_vector_of_zeros() -> None:
    codes = np.zeros((2, 384), np.int8)
    codes[1, 0] = 127

    vectors = to_vectors(codes)

    assert not vectors[0].any()
    assert vectors[1, 0] == 1
