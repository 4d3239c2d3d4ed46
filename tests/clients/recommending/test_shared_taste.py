"""The global state is prepared once for a catalogue, as integers that are the same everywhere."""

from __future__ import annotations

from constellation_settop.recommending.scores import PEAK
from constellation_settop.recommending.shared_taste import SharedTaste, SharedTasteCache
from constellation_settop.values import GlobalState, PopularContents, Subject, Trend
from tests.clients.samples import make_catalogue, make_similar

CATALOGUE = make_catalogue()


def find(content_id: str) -> int:
    return int(CATALOGUE.find_rows([content_id])[0])


def test_a_state_is_loaded_once_and_again_for_another_state_or_catalogue() -> None:
    loads = []

    def load() -> GlobalState:
        loads.append(1)
        return GlobalState()

    cache = SharedTasteCache()
    cache.use_global_state(load)
    assert not loads

    first = cache.prepare(CATALOGUE)
    assert cache.prepare(CATALOGUE) is first
    assert cache.prepare(make_catalogue()) is not first
    cache.use_global_state(load)
    assert cache.prepare(CATALOGUE) is not first

    assert len(loads) == 3


def test_similar_patterns_support_what_they_were_learned_from() -> None:
    similar = {
        b"a": make_similar(1, ("0-1", "elsewhere"), CATALOGUE),
        b"b": make_similar(2, ("0-1", "0-2"), CATALOGUE),
    }

    support = SharedTaste(CATALOGUE, GlobalState(similar=similar)).similar_support

    assert support[find("0-1")] == PEAK
    assert 0 < support[find("0-2")] < PEAK
    assert (support > 0).sum() == 2


def test_a_genre_that_trends_counts_a_tenth_of_a_content_item_that_does() -> None:
    trends = {
        each.subject: each
        for each in (Trend(Subject("0-1"), 5.0), Trend(Subject("genre-1", is_genre=True), 5.0))
    }

    shared = SharedTaste(CATALOGUE, GlobalState(trends=trends))

    assert shared.trend_scores[find("0-1")] == PEAK
    assert shared.trend_scores[find("1-0")] == PEAK // 10
    assert set(shared.trend_by_row) == {find("0-1")}


def test_a_trend_without_end_is_bounded_and_one_below_zero_does_not_count() -> None:
    trends = {
        each.subject: each for each in (Trend(Subject("0-1"), 1e300), Trend(Subject("0-2"), -1.0))
    }

    scores = SharedTaste(CATALOGUE, GlobalState(trends=trends)).trend_scores

    assert (scores[find("0-1")], scores[find("0-2")]) == (PEAK, 0)


def test_each_popular_list_counts_by_shares_of_its_first_content_item() -> None:
    lists = {
        b"w": PopularContents("", ("0-1", "0-2"), (1_000_000, 500_000)),
        b"n": PopularContents("north", ("elsewhere", "0-2", "0-3"), (40, 40, 10)),
    }

    shared = SharedTaste(CATALOGUE, GlobalState(popular=lists))

    assert shared.popular_scores[find("0-2")] == PEAK
    assert shared.popular_scores[find("0-1")] > shared.popular_scores[find("0-3")] > 0
    assert shared.regions_by_row == {find("0-1"): "", find("0-2"): "north", find("0-3"): "north"}
