from __future__ import annotations

import math

import pytest

from constellation.federated.contribution import ContributionBounds
from federation.privacy import gaussian
from federation.privacy.budget import (
    RELEASES_PER_WEEK,
    RHO_ONE,
    SHARES,
    Budget,
    Mechanism,
    get_norm_squared,
    make_budget,
)

BOUNDS = ContributionBounds(32, 4)


def test_the_shares_of_all_mechanisms_are_the_whole_budget() -> None:
    assert set(SHARES) == set(RELEASES_PER_WEEK) == set(Mechanism)
    assert math.isclose(sum(SHARES.values()), 1)


@pytest.mark.parametrize("epsilon", [0.5, 2.0, 8.0])
def test_all_releases_of_a_week_stay_within_the_budget(epsilon: float) -> None:
    budget = make_budget(epsilon, 1e-10, gaussian)

    total = sum(budget.get_units(each) * RELEASES_PER_WEEK[each] for each in Mechanism)

    assert total <= budget.units
    assert gaussian.compute_epsilon(budget.units / RHO_ONE, 1e-10 / 2) <= epsilon


@pytest.mark.parametrize("mechanism", Mechanism)
@pytest.mark.parametrize("units", [10**6, 10**9, 10**12])
def test_noise_is_large_enough_for_what_a_release_spends(mechanism: Mechanism, units: int) -> None:
    budget = Budget(2.0, 1e-10, units)

    scale = budget.compute_scale(mechanism, BOUNDS)

    rho = get_norm_squared(mechanism, BOUNDS) / (2 * scale**2)
    assert rho <= budget.get_units(mechanism) / RHO_ONE
    assert scale * 64 == int(scale * 64)


def test_more_content_items_of_one_device_need_more_noise() -> None:
    budget = make_budget(2.0, 1e-10, gaussian)

    few, many = (
        budget.compute_scale(Mechanism.PAIRS, ContributionBounds(liked, 4)) for liked in (32, 128)
    )

    assert math.isclose(many / few, math.sqrt((128 * 127) / (32 * 31)), rel_tol=1e-3)


def test_the_name_of_one_device_passes_the_threshold_with_at_most_half_of_delta() -> None:
    budget = make_budget(2.0, 1e-10, gaussian)

    probability = 0.0
    for mechanism, names in ((Mechanism.LIKES, 32), (Mechanism.HOURS, 4)):
        scale = budget.compute_scale(mechanism, BOUNDS)
        needed = budget.compute_threshold(mechanism, BOUNDS) - 1
        support = range(needed, needed + math.ceil(20 * scale))
        weights = sum(math.exp(-(each**2) / (2 * scale**2)) for each in support)
        tail = weights / (scale * math.sqrt(2 * math.pi))
        probability += RELEASES_PER_WEEK[mechanism] * names * tail

    assert probability <= budget.delta / 2
