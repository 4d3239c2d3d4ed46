"""An attacker who knows all devices but one, and asks the noised counts whether that one is there.

The best test for Gaussian noise projects what was released, without what is known, on what the one
device would add. Without noise it is always right; with it, no better than epsilon allows.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from constellation.federated.contribution import ContributionBounds
from federation.privacy import gaussian
from federation.privacy.budget import RHO_ONE, Mechanism, make_budget
from federation.privacy.gaussian import add_noise
from federation.privacy.releases import release_pairs

LIKED = 6
TRIALS = 1000
BOUNDS = ContributionBounds(LIKED, 4)


def measure_advantage(scale: float, trials: int = TRIALS) -> float:
    """Return how much likelier the attacker says "there" of a device that is than of one not."""
    others = np.full((LIKED, LIKED), 300.0)
    device = np.ones((LIKED, LIKED)) - np.eye(LIKED)
    norm_squared = BOUNDS.pairs_norm_squared
    guesses = []
    for is_there in (True, False):
        exact = others + device if is_there else others
        found = 0
        for _ in range(trials):
            released = release_pairs(exact, scale, add_noise)
            evidence = float(np.triu(released - others, 1).sum()) / norm_squared
            found += evidence > 0.5
        guesses.append(found / trials)
    return guesses[0] - guesses[1]


def test_without_noise_one_device_is_always_found() -> None:
    assert measure_advantage(0.01, trials=50) == 1


@pytest.mark.parametrize("epsilon", [2.0, 8.0])
def test_with_noise_it_is_found_as_rarely_as_the_ledger_says(epsilon: float) -> None:
    budget = make_budget(epsilon, 1e-10, gaussian)

    advantage = measure_advantage(budget.compute_scale(Mechanism.PAIRS, BOUNDS))

    rho = budget.get_units(Mechanism.PAIRS) / RHO_ONE
    expected = 2 * NormalDist().cdf(math.sqrt(2 * rho) / 2) - 1
    # Four standard errors of two shares of 1,000 trials.
    assert abs(advantage - expected) < 4 * math.sqrt(2 * 0.25 / TRIALS)
    assert expected < math.tanh(epsilon / 2)  # what epsilon allows at most
