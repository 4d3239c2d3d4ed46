from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import pytest

from constellation.federated.trends import (
    Counts,
    Direction,
    compute_strength,
    find_first_hour,
    find_trend_starts,
    is_trending,
    rank_trends,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

HOURS = 168
STARTS = [HOURS, HOURS + 6, HOURS + 12, HOURS + 18]
"""Hours of `_daily` at which the audience grows, is largest, shrinks, is smallest."""


def _make_counts(*series: list[float]) -> Counts:
    counts = np.zeros((HOURS, len(series)))
    for column, values in enumerate(series):
        counts[HOURS - len(values) :, column] = values
    return counts


def _repeat_for_days(*values: float) -> list[float]:
    """Return a series that has one value all day, for each day."""
    return [value for value in values for _ in range(24)]


def _make_daily_swing(hours: int, mean: float) -> NDArray[np.float64]:
    """Return counts that swing by 80 % with the day."""
    swing: NDArray[np.float64] = np.round(
        mean * (1 + 0.8 * np.sin(2 * np.pi * np.arange(hours) / 24))
    )
    return swing


def test_popularity_is_halved_every_thirteen_and_a_half_hours() -> None:
    counts = _make_counts([100.0] + [0.0] * 13, [100.0])

    found = compute_strength(counts, decay_rate=0.95, floor=5)

    assert found.popularity[1] == 100
    assert 50 < found.popularity[0] < 52


def test_a_surprise_is_measured_in_deviations_from_the_same_hour_of_the_days_before() -> None:
    counts = _make_counts(_repeat_for_days(100, 100, 100, 100, 100, 140, 300))

    found = compute_strength(counts, decay_rate=0.95, floor=50)

    mean = 100 + 0.35 * 40
    variance = 0.65 * 0.35 * 40**2
    expected = (300 - mean) / np.sqrt(variance + mean + 50)
    assert found.surprise.shape == (24, 1)
    assert np.allclose(found.surprise, expected)


def test_what_comes_every_day_at_the_same_hour_is_no_surprise() -> None:
    found = compute_strength(_make_daily_swing(HOURS, 1000)[:, None], decay_rate=0.95, floor=5)

    assert np.abs(found.surprise).max() < 1


def test_nothing_below_the_floor_is_a_surprise() -> None:
    counts = _make_counts(
        _repeat_for_days(1, 0, 0, 0, 0, 0, 50), _repeat_for_days(0, 0, 0, 0, 0, 0, 60)
    )

    found = compute_strength(counts, decay_rate=0.95, floor=50)

    assert found.surprise[-1, 0] <= 0 < found.surprise[-1, 1]


def test_nothing_is_a_surprise_before_its_hour_was_counted_on_three_days() -> None:
    third, fourth = (
        _make_counts(_repeat_for_days(10, 10, 100)),
        _make_counts(_repeat_for_days(10, 10, 10, 100)),
    )

    assert not compute_strength(third, decay_rate=0.95, floor=5).surprise.any()
    assert (compute_strength(fourth, decay_rate=0.95, floor=5).surprise > 6).all()


def test_hours_before_the_first_count_are_not_taken_for_quiet_ones() -> None:
    counts = _make_counts(_repeat_for_days(100, 100, 100, 100))

    found = compute_strength(counts, decay_rate=0.95, floor=5)

    assert find_first_hour(counts) == 72
    assert not found.surprise.any()  # zeros would make 100 far above the usual


def test_a_caller_may_know_of_earlier_counts_than_those_given() -> None:
    counts = _make_counts(_repeat_for_days(100))

    found = compute_strength(counts, decay_rate=0.95, floor=5, first_hour=0)

    assert (found.surprise > 6).all()


def test_a_score_is_popularity_raised_by_surprise_and_nothing_for_nothing() -> None:
    counts = _make_counts(
        _repeat_for_days(20, 20, 20, 20, 20, 20, 20),
        _repeat_for_days(20, 20, 20, 20, 20, 20, 120),
        [],
    )

    found = compute_strength(counts, decay_rate=0.95, floor=5)

    surprise = 100 / np.sqrt(25)
    expected = np.log1p(found.popularity[:2]) * [1, 1 + np.log1p(surprise)]
    assert np.allclose(found.scores, [*expected, 0])


def test_an_hour_that_has_just_begun_does_not_end_a_surprise() -> None:
    whole, begun = (
        _make_counts([10.0] * 158 + [90.0] * 10),
        _make_counts([10.0] * 158 + [90.0] * 9 + [1.0]),
    )

    at_its_end, at_its_start = (
        compute_strength(each, decay_rate=0.95, floor=5) for each in (whole, begun)
    )

    assert at_its_start.scores[0] > 0.9 * at_its_end.scores[0]
    assert at_its_start.directions[0] == at_its_end.directions[0] == Direction.PEAKING


def test_a_ramp_beats_a_steady_favourite_of_the_same_popularity() -> None:
    steady, ramp = [20.0] * 168, [0.0] * 160 + [10.0, 20.0, 40.0, 60.0, 80.0, 100.0, 120.0, 140.0]

    found = compute_strength(_make_counts(steady, ramp), decay_rate=0.95, floor=5)

    assert found.scores[1] > found.scores[0]
    assert found.directions.tolist() == [Direction.PEAKING, Direction.RISING]


def test_what_nobody_watches_any_more_is_falling() -> None:
    found = compute_strength(_make_counts([50.0] * 20 + [0.0] * 10), decay_rate=0.95, floor=5)

    assert found.directions.tolist() == [Direction.FALLING]


def test_what_nobody_watched_for_days_is_falling_still() -> None:
    found = compute_strength(_make_counts([50.0] * 20 + [0.0] * 40), decay_rate=0.95, floor=5)

    assert found.scores[0] > 0
    assert found.directions.tolist() == [Direction.FALLING]


def test_coming_and_going_with_the_day_is_neither_rising_nor_falling() -> None:
    hours = _make_daily_swing(HOURS + 24, 1000)

    directions = {
        int(compute_strength(hours[end - HOURS : end, None], 0.95, 50).directions[0])
        for end in range(HOURS, HOURS + 24)
    }

    assert directions == {Direction.PEAKING}


@pytest.mark.parametrize("start", STARTS)
def test_a_ramp_rises_then_peaks_then_falls_at_any_time_of_the_day(start: int) -> None:
    hours = _make_daily_swing(start + 24, 1000)
    hours[start : start + 17] *= np.interp(np.arange(17), [0, 5, 14, 16], [1.1, 1.6, 1.6, 1.2])

    directions = [
        Direction(int(compute_strength(hours[end - HOURS : end, None], 0.95, 50).directions[0]))
        for end in range(start + 3, start + 24)
    ]

    changes = [direction for direction, _ in groupby(directions)]
    assert changes == [Direction.RISING, Direction.PEAKING, Direction.FALLING]


def _make_surprises(*series: Sequence[float]) -> NDArray[np.float64]:
    """Return series of 24 hours, 0 at first."""
    surprise = np.zeros((24, len(series)))
    for column, values in enumerate(series):
        surprise[24 - len(values) :, column] = values
    return surprise


def test_a_trend_is_over_after_three_quiet_hours_in_a_row() -> None:
    surprise = _make_surprises(
        [7, 1, 1], [7, 1, 1, 1], [7, 1, 1, 2, 1, 1], [5.9] * 24, [7] + [2] * 23
    )

    assert is_trending(surprise, 6).tolist() == [True, False, True, False, True]


def test_a_trend_that_was_over_begins_anew() -> None:
    surprise = _make_surprises([7, 1, 1, 1, 8, 3], [9, 8, 7], [7, 0, 0, 0])

    assert find_trend_starts(surprise, 6).tolist() == [22, 21, 24]


def test_below_two_the_threshold_itself_keeps_a_trend() -> None:
    assert find_trend_starts(_make_surprises([1.5] * 24), 1.5).tolist() == [0]


def test_without_a_threshold_everything_trends() -> None:
    assert is_trending(_make_surprises([-7] * 24, []), 0).tolist() == [True, True]


def test_only_eligible_subjects_trend_best_first_and_ties_by_number() -> None:
    counts = _make_counts([9.0], [9.0], [50.0], [20.0], [])

    found = rank_trends(
        counts, np.array([True, True, False, True, True]), decay_rate=0.95, floor=5, limit=10
    )

    assert [subject for subject, *_ in found] == [3, 0, 1]


def test_a_shard_without_counts_has_no_trends() -> None:
    nothing = np.zeros((HOURS, 0))

    assert rank_trends(nothing, np.zeros(0, bool), decay_rate=0.95, floor=5, limit=10) == []
