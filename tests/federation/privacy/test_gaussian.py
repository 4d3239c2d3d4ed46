from __future__ import annotations

import math

import dp_accounting
import numpy as np
import pytest
from dp_accounting.pld import PLDAccountant

from federation.privacy.gaussian import add_noise, compute_epsilon, compute_rho

SAMPLES = 20_000


@pytest.mark.parametrize("scale", [0.5, 3.0, 85.25])
def test_noise_has_the_distribution_of_a_discrete_gaussian(scale: float) -> None:
    noise = add_noise(np.zeros(SAMPLES, np.int64), scale)

    support = np.arange(-math.ceil(12 * scale), math.ceil(12 * scale) + 1)
    weights = np.exp(-(support**2) / (2 * scale**2))
    cumulative = np.cumsum(weights / weights.sum())
    found = np.searchsorted(np.sort(noise), support, side="right") / SAMPLES
    # Kolmogorov and Smirnov: a right sampler exceeds this once in ten million runs.
    assert np.abs(found - cumulative).max() < 2.9 / math.sqrt(SAMPLES)


def test_every_value_has_noise_of_its_own() -> None:
    values = np.arange(10_000).reshape(100, 100)

    first, second = (add_noise(values, 50.0) - values for _ in range(2))

    assert first.shape == (100, 100)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.06
    assert abs(np.corrcoef(first.ravel()[1:], first.ravel()[:-1])[0, 1]) < 0.06


def test_large_counts_are_exact_integers() -> None:
    assert int(add_noise(np.array([2**53 + 1]), 0.01)[0]) == 2**53 + 1


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 2.0, 4.0, 8.0])
def test_a_budget_is_spent_exactly(epsilon: float) -> None:
    rho = compute_rho(epsilon, 5e-11)

    assert compute_epsilon(rho, 5e-11) <= epsilon
    assert compute_epsilon(rho * 1.001, 5e-11) > epsilon


@pytest.mark.parametrize("epsilon", [0.5, 2.0, 8.0])
def test_a_second_accountant_finds_a_little_less(epsilon: float) -> None:
    rho = compute_rho(epsilon, 5e-11)

    tight = PLDAccountant().compose(dp_accounting.GaussianDpEvent(1 / math.sqrt(2 * rho)))

    assert 0.9 * epsilon < tight.get_epsilon(5e-11) <= epsilon


def test_nothing_spent_tells_nothing() -> None:
    assert compute_epsilon(0.0, 1e-10) == 0.0
