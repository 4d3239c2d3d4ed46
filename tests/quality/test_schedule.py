from __future__ import annotations

import numpy as np
import pytest

from constellation_settop import Brain
from constellation_settop.values import SECONDS_PER_HOUR, SIGNALS_PER_HOUR, TREND_WINDOW_HOURS
from examples.demo.households import to_settop_catalogue
from quality.schedule import MAX_LIKES, USED_HOURS, make_views, schedule_hours
from testing.catalogue import load_catalogue
from testing.viewings import LIKED, load_viewings, select_households

NOW_HOUR = 500_000


@pytest.mark.parametrize("count", [1, 5, 100, 166, 167, MAX_LIKES])
def test_likes_fill_the_week_in_order_within_the_rate_of_signals(count: int) -> None:
    hours = schedule_hours(np.ones(count, np.bool_), NOW_HOUR)

    assert (np.diff(hours) >= 0).all()
    assert np.unique(hours, return_counts=True)[1].max() <= SIGNALS_PER_HOUR
    assert hours[-1] == NOW_HOUR
    assert hours[0] > NOW_HOUR - USED_HOURS
    assert hours[0] == NOW_HOUR - (count - 1) * USED_HOURS // count


def test_the_oldest_of_too_many_likes_fall_out_of_the_week() -> None:
    hours = schedule_hours(np.ones(MAX_LIKES + 100, np.bool_), NOW_HOUR)

    assert np.unique(hours, return_counts=True)[1].max() <= SIGNALS_PER_HOUR
    assert (hours > NOW_HOUR - USED_HOURS).sum() == MAX_LIKES
    assert (hours[:100] <= NOW_HOUR - USED_HOURS).all()


def test_other_views_happen_with_the_next_like() -> None:
    is_liked = np.array([False, True, False, False, True, False])

    hours = schedule_hours(is_liked, NOW_HOUR)

    first = NOW_HOUR - USED_HOURS // 2
    assert hours.tolist() == [first, first, NOW_HOUR, NOW_HOUR, NOW_HOUR, NOW_HOUR]


def test_a_household_that_liked_nothing_watches_in_the_last_hour() -> None:
    assert schedule_hours(np.zeros(3, np.bool_), NOW_HOUR).tolist() == [NOW_HOUR] * 3


def test_a_device_signals_every_like_of_a_real_household() -> None:
    films = load_catalogue()
    viewings = select_households(load_viewings(films.films), households=1)
    brain = Brain(to_settop_catalogue(films))

    for view in make_views(viewings, NOW_HOUR * SECONDS_PER_HOUR):
        brain.observe(view)

    signals = brain.take_changes().signals
    liked = set(viewings.content_ids[viewings.ratings >= LIKED].tolist())
    assert liked <= {signal.content_id for signal in signals}
    assert all(NOW_HOUR - TREND_WINDOW_HOURS < signal.hour <= NOW_HOUR for signal in signals)
