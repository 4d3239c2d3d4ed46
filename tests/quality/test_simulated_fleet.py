from __future__ import annotations

import numpy as np

from quality.simulated_fleet import MAX_COUNTED, simulate_fleet
from tests.quality.samples import make_household

HOUSEHOLDS = [make_household([3, 1, 2], [9]), make_household([1, 5], [9])]


def test_a_fleet_of_the_households_counts_what_they_like() -> None:
    fleet = simulate_fleet(HOUSEHOLDS, 2, 10)

    assert fleet.devices == 2
    assert fleet.contents[:, :4].tolist() == [[3, 2, 4, 0], [6, 2, 0, 0]]  # the latest first
    assert fleet.count_likes(128).tolist() == [0, 2, 1, 1, 0, 1, 0, 0, 0, 0]
    assert fleet.count_likes(1).tolist() == [0, 0, 1, 0, 0, 1, 0, 0, 0, 0]
    pairs = fleet.count_pairs(128, np.array([1, 2, 3, 5]))
    assert pairs.tolist() == [[0, 1, 1, 1], [1, 0, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]]


def test_replicas_have_histories_of_their_own() -> None:
    fleet = simulate_fleet(HOUSEHOLDS, 400, 10)

    assert fleet.devices == 400
    assert len(np.unique(fleet.contents[:200], axis=0)) > 3
    assert not np.isin(fleet.contents[:200], [6]).any()  # of the other household


def test_a_larger_fleet_is_the_same_multiplied() -> None:
    small, large = (simulate_fleet(HOUSEHOLDS, MAX_COUNTED * size, 10) for size in (1, 40))

    assert large.devices == 40 * small.devices
    assert (large.count_likes(2) == 40 * small.count_likes(2)).all()
