from __future__ import annotations

import numpy as np

from constellation_settop import Catalogue
from examples.demo.comparison import ALONE, CEILING, NEW, POPULAR, judge_recommenders
from examples.demo.data import DemoData
from testing.catalogue import FilmCatalogue
from testing.films import Film
from testing.viewings import Viewings

FILMS = "abcd"


def make_viewings(*rows: tuple[int, str, float]) -> Viewings:
    """Return viewings of (household, content id, rating)."""
    households, content_ids, ratings = zip(*rows, strict=True)
    count = len(rows)
    return Viewings(
        households=np.array(households),
        content_ids=np.array(content_ids),
        content_rows=np.array([max(FILMS.find(each), 0) for each in content_ids]),
        ratings=np.array(ratings, np.float32),
        timestamps=np.arange(count),
        watch_percentages=np.ones(count, np.float32),
        engagements=np.ones(count, np.float32),
    )


def make_data(watched: Viewings, held_out: Viewings) -> DemoData:
    films = [Film(name, name, 2000, (), name) for name in FILMS]
    codes = np.eye(len(films), 384, dtype=np.int8)
    return DemoData(
        films=FilmCatalogue(films, codes, codes.astype(np.float32)),
        catalogue=Catalogue(list(FILMS), codes.astype(np.float32)),
        watched=watched,
        times=np.arange(len(watched)),
        held_out=held_out,
        household_numbers=[1, 2],
    )


def test_each_recommender_is_judged_by_the_films_that_households_liked_later() -> None:
    watched = make_viewings((1, "a", 5), (2, "a", 5), (2, "b", 5), (3, "c", 5), (3, "b", 5))
    data = make_data(watched, make_viewings((1, "b", 5), (2, "d", 5)))

    found = judge_recommenders(data, [1, 2], {ALONE: [["c"], ["c"]], NEW: [["a", "b", "d"]] * 2})

    assert {name: each.hit_rate for name, each in found.items()} == {
        ALONE: 0.0,
        NEW: 1.0,
        POPULAR: 1.0,
        CEILING: 1.0,
    }


def test_a_film_that_a_household_has_watched_takes_no_place_in_its_list() -> None:
    watched = make_viewings((1, "a", 5), (1, "c", 1), (2, "b", 5))
    data = make_data(watched, make_viewings((1, "b", 5), (2, "a", 5)))

    found = judge_recommenders(data, [1, 2], {NEW: [["a", "c", "b"], ["b", "a"]]})

    assert found[NEW].ndcg == 1.0
