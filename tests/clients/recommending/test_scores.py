from __future__ import annotations

import numpy as np
import pytest

from constellation_settop.recommending.scores import (
    PEAK,
    compute_nearness,
    look_up_log,
    scale_to_peak,
    to_rate,
)

COSINES = np.array([[16_000, 6_000, 0], [3_000, 26_000, 0]], np.int16)


def test_the_largest_sum_becomes_the_peak_and_others_are_rounded_down() -> None:
    assert scale_to_peak(np.array([3, 2, 0])).tolist() == [PEAK, PEAK * 2 // 3, 0]


def test_what_is_below_zero_stays_below_zero_but_not_below_the_negative_peak() -> None:
    assert scale_to_peak(np.array([4, -1, -1_000])).tolist() == [PEAK, -8192, -PEAK]


def test_sums_without_a_positive_one_become_zeros() -> None:
    assert scale_to_peak(np.array([0, -5])).tolist() == [0, 0]
    assert scale_to_peak(np.zeros(0, np.int64)).tolist() == []


@pytest.mark.parametrize("bits", [40, 47, 48, 53, 62])
def test_sums_of_any_size_are_scaled_without_overflow(bits: int) -> None:
    scores = scale_to_peak(np.array([2**bits, 2 ** (bits - 1), -(2**62)]))

    assert scores.tolist() == [PEAK, PEAK // 2, -PEAK]


def test_nearness_is_that_to_the_nearest_pattern() -> None:
    scores = compute_nearness(COSINES, np.array([PEAK, PEAK]), 3)

    assert scores.tolist() == [PEAK * 16 // 26, PEAK, 0]


def test_a_heavy_pattern_is_nearer_than_a_light_one() -> None:
    scores = compute_nearness(COSINES, np.array([PEAK, PEAK // 8]), 3)

    assert scores.argmax() == 0


def test_without_patterns_nothing_is_near() -> None:
    assert (
        compute_nearness(np.empty((0, 3), np.int16), np.empty(0, np.int64), 3).tolist() == [0] * 3
    )


def test_logarithms_and_rates_are_integers() -> None:
    assert look_up_log(np.array([0, 1, 3, 255, 10**9])).tolist() == [0, 256, 512, 2048, 2048]
    assert to_rate(np.array([0, 0.5, 1, 1.7])).tolist() == [0, 2048, 4096, 4096]
