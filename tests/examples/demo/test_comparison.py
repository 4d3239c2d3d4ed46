from __future__ import annotations

import numpy as np

from examples.demo.comparison import RECOMMENDATION_LIMIT, compute_hit_rate, rank_most_liked
from testing.viewings import Viewings


def make_viewings(*rows: tuple[int, str, float]) -> Viewings:
    """Return viewings of (household, content id, rating)."""
    households, content_ids, ratings = zip(*rows, strict=True)
    count = len(rows)
    return Viewings(
        households=np.array(households),
        content_ids=np.array(content_ids),
        content_rows=np.arange(count),
        ratings=np.array(ratings, np.float32),
        timestamps=np.arange(count),
        watch_percentages=np.ones(count, np.float32),
        engagements=np.ones(count, np.float32),
    )


def test_films_are_ranked_by_how_many_households_liked_them() -> None:
    watched = make_viewings((1, "a", 5), (1, "b", 5), (2, "b", 5), (2, "c", 1), (3, "c", 1))

    assert rank_most_liked(watched) == ["b", "a"]


def test_a_film_that_a_household_has_watched_takes_no_place_in_its_list() -> None:
    ranked = [str(number) for number in range(RECOMMENDATION_LIMIT + 1)]
    watched = make_viewings((1, "0", 5), (2, "x", 5))
    held_out = make_viewings((1, ranked[-1], 5), (2, ranked[-1], 5))

    assert compute_hit_rate(ranked, watched, held_out) == 0.5
