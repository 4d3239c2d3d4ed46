from __future__ import annotations

from dataclasses import replace

import numpy as np

from constellation_settop import Context, DayType, TimeOfDay
from constellation_settop.recommending.own_taste import MAX_ACTIVE_PATTERNS, OwnTaste
from constellation_settop.recommending.scores import PEAK
from tests.clients.samples import EVENING, make_catalogue, make_pattern


def score(own: OwnTaste) -> list[int]:
    scores: list[int] = own.compute_nearness(*own.select(EVENING)).tolist()
    return scores


def test_patterns_that_come_change_and_go_leave_what_a_new_taste_has() -> None:
    """Cosines are kept from one update to the next, in places that are used again."""
    random = np.random.default_rng(4)
    contents = make_catalogue()
    kept = OwnTaste(contents)
    patterns = {number: make_pattern(number, sample_count=9) for number in range(12)}
    for _ in range(40):
        number = int(random.integers(30))
        if number in patterns and random.random() < 0.5:
            del patterns[number]
        else:
            other = make_pattern(100 + int(random.integers(50)), sample_count=number + 1)
            patterns[number] = replace(other, pattern_id=make_pattern(number).pattern_id)
        present = list(patterns.values())
        kept.update(present)
        anew = OwnTaste(contents)
        anew.update(present)

        assert score(kept) == score(anew)


def test_the_strongest_patterns_count_and_the_strongest_has_the_peak() -> None:
    own = OwnTaste(make_catalogue())
    own.update([make_pattern(number, sample_count=number + 1) for number in range(40)])

    active, weights = own.select(EVENING)

    assert active.tolist() == list(range(39, 39 - MAX_ACTIVE_PATTERNS, -1))
    assert weights[0] == PEAK


def test_a_pattern_of_another_part_of_the_day_and_kind_of_day_counts_less() -> None:
    own = OwnTaste(make_catalogue())
    fitting = replace(make_pattern(1), time_of_day=TimeOfDay.EVENING, day_type=DayType.WEEKDAY)
    other = replace(make_pattern(2), time_of_day=TimeOfDay.NIGHT, day_type=DayType.WEEKEND)
    own.update([other, fitting])

    active, weights = own.select(EVENING)

    assert (active.tolist(), weights[0]) == ([1, 0], PEAK)
    assert weights[1] == (4096 * 256 * 7 // 10 * 7 // 10) * PEAK // (4096 * 256)
    assert own.select(Context())[1].tolist() == [PEAK, PEAK]


def test_a_household_without_patterns_is_near_nothing() -> None:
    assert not any(score(OwnTaste(make_catalogue())))
