from __future__ import annotations

import numpy as np
import pytest

from constellation.core.distinct import find_distinct


@pytest.mark.parametrize("kind", [np.uint64, np.int64, np.uint32])
@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_it_is_what_numpy_calls_unique(kind: type[np.integer], count: int) -> None:
    numbers = np.random.default_rng(count).integers(0, 300, count).astype(kind)

    found = find_distinct(numbers)

    assert found.dtype == kind
    np.testing.assert_array_equal(found, np.unique(numbers))


def test_the_array_stays_as_it_was() -> None:
    numbers = np.array([3, 1, 3])

    find_distinct(numbers)

    assert numbers.tolist() == [3, 1, 3]
