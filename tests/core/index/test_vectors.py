from __future__ import annotations

import numpy as np

from constellation.core.index.vectors import to_vectors


def test_a_row_of_zeros_becomes_a_vector_of_zeros() -> None:
    codes = np.zeros((2, 384), np.int8)
    codes[1, 0] = 127

    vectors = to_vectors(codes)

    assert not vectors[0].any()
    assert vectors[1, 0] == 1
