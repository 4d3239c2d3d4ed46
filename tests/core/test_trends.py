from __future__ import annotations

import numpy as np

from constellation.core.global_state import GlobalState, Version
from constellation.core.trends import Direction, Trend, genre_counts, strength, trending

HOURS = 168


def _counts(*series: list[float]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    counts = np.zeros((HOURS, len(series)))
    for column, values in enumerate(series):
        counts[HOURS - len(values) :, column] = values
    return counts


def test_popularity_is_halved_every_thirteen_and_a_half_hours() -> None:
    counts = _counts([100.0] + [0.0] * 13, [100.0])

    found = strength(counts, decay_rate=0.95, floor=5)

    assert found.popularity[1] == 100
    assert 50 < found.popularity[0] < 52


def test_a_ramp_beats_a_steady_favourite_of_the_same_popularity() -> None:
    steady, ramp = [20.0] * 168, [0.0] * 160 + [10.0, 20.0, 40.0, 60.0, 80.0, 100.0, 120.0, 140.0]

    found = strength(_counts(steady, ramp), decay_rate=0.95, floor=5)

    assert found.scores[1] > found.scores[0]
    assert found.directions.tolist() == [Direction.PEAKING, Direction.RISING]


def test_what_nobody_watches_any_more_is_falling() -> None:
    found = strength(_counts([50.0] * 20 + [0.0] * 10), decay_rate=0.95, floor=5)

    assert found.directions.tolist() == [Direction.FALLING]


def test_only_eligible_subjects_trend_best_first_and_ties_by_number() -> None:
    counts = _counts([9.0], [9.0], [50.0], [20.0])

    found = trending(
        counts, np.array([True, True, False, True]), decay_rate=0.95, floor=5, limit=10
    )

    assert [subject for subject, *_ in found] == [3, 0, 1]


def test_genres_are_counted_once_for_each_content() -> None:
    genres = np.array([[1, 2, 0, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0, 0, 0]], np.uint16)

    counts = genre_counts(_counts([3.0], [4.0]), genres, genre_total=2)

    assert counts[-1].tolist() == [0, 3, 7]


def _trend(content_id: str, score: float) -> Trend:
    return Trend(content_id, "", score, Direction.RISING, 1.0)


def test_a_version_is_published_only_when_trends_changed() -> None:
    state = GlobalState(generation=3)

    assert state.publish([_trend("a", 1)])
    assert not state.publish([_trend("a", 1)])
    assert state.version == Version(3, 1)


def test_a_change_names_what_is_new_changed_and_over() -> None:
    state = GlobalState(generation=1)
    state.publish([_trend("a", 1), _trend("b", 2)])
    held = state.version
    state.publish([_trend("b", 3), _trend("c", 4)])

    change = state.change_since(held)

    assert not change.reset
    assert {trend.content_id for trend in change.upserts} == {"b", "c"}
    assert change.removed == [("a", "")]
    assert change.count == 2


def test_an_unknown_or_too_old_version_gets_the_full_state() -> None:
    state = GlobalState(generation=2)
    for score in range(100):
        state.publish([_trend("a", score)])

    for held in (Version(1, 5), Version(2, 1), Version()):
        change = state.change_since(held)
        assert change.reset
        assert len(change.upserts) == 1
