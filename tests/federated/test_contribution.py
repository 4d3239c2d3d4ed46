from __future__ import annotations

from itertools import combinations

import pytest

from constellation.core.rows import MAX_LIKED, MAX_SIGNALS_PER_HOUR
from constellation.federated.contribution import ContributionBounds, combine_bounds


def test_the_bounds_are_those_that_rows_of_devices_have_room_for() -> None:
    assert ContributionBounds() == ContributionBounds(MAX_LIKED, MAX_SIGNALS_PER_HOUR)


@pytest.mark.parametrize("liked", [0, 1, 2, 32, 128])
def test_norms_are_those_of_what_one_device_adds(liked: int) -> None:
    bounds = ContributionBounds(liked, 4)

    assert bounds.likes_norm_squared == sum(1**2 for _ in range(liked))
    assert bounds.pairs_norm_squared == sum(1**2 for _ in combinations(range(liked), 2))
    assert bounds.hour_norm_squared == 4


def test_several_shards_have_the_largest_of_their_bounds() -> None:
    bounds = [ContributionBounds(32, 3), ContributionBounds(16, 4)]

    assert combine_bounds(bounds) == ContributionBounds(32, 4)
    assert combine_bounds([]) == ContributionBounds(0, 0)
