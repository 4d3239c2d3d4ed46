from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from constellation_settop import Brain, Context, DayType, RankingWeights, TimeOfDay
from constellation_settop.recommending.ranking import (
    Ranker,
    Source,
    build_own_taste,
    build_shared_taste,
)
from constellation_settop.values import GlobalState, Scope, Subject, Trend
from tests.clients.samples import (
    EVENING,
    make_catalogue,
    make_cluster,
    make_liked_view,
    make_similar,
)

NO_WEIGHTS = {source.name.lower(): 0.0 for source in Source}
TREND = Trend(Subject("3-3"), 5.0, "north")


def make_brain_with_every_source(weights: RankingWeights) -> Brain:
    """Return a brain in which each source scores some content."""
    contents = make_catalogue()
    brain = Brain(contents, weights=weights)
    brain.observe(make_liked_view("0-0"))
    cluster = make_cluster(1, "0-0", ["2-2"])
    state = GlobalState(
        similar={b"a": make_similar(1, ("0-5", "0-6"), contents)},
        trends={TREND.subject: TREND},
        clusters={cluster.pattern.pattern_id: cluster},
    )
    brain.use_global_state(lambda: state)
    return brain


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (Source.SIMILAR_SUPPORT, "Watched by households with your taste"),
        (Source.OWN_NEARNESS, "Because you watched Film 0-0"),
        (Source.SIMILAR_NEARNESS, "Close to what households with your taste enjoy"),
        (Source.TREND, "Trending in north"),
        (Source.CLUSTER_SUPPORT, "Popular with households that like genre-0"),
        (Source.CLUSTER_NEARNESS, "Close to what households that like genre-0 enjoy"),
    ],
)
def test_the_weight_of_a_source_and_its_reason_belong_together(source: Source, reason: str) -> None:
    weights = RankingWeights(**{**NO_WEIGHTS, source.name.lower(): 1.0})

    first = make_brain_with_every_source(weights).recommend(EVENING, 1)[0]

    assert first.reason == reason


def test_without_any_weight_nothing_has_a_reason() -> None:
    choices = make_brain_with_every_source(RankingWeights(**NO_WEIGHTS)).recommend(EVENING, 5)

    assert {choice.reason for choice in choices} == {"New to you"}


def test_a_trending_genre_is_a_reason_without_a_region() -> None:
    trend = Trend(Subject("genre-2", is_genre=True), 3.0, "north")
    brain = Brain(make_catalogue())
    brain.use_global_state(lambda: GlobalState(trends={trend.subject: trend}))

    choices = brain.recommend(EVENING, 10)

    assert {choice.content_id[0] for choice in choices} == {"2"}
    assert choices[0].reason == "In a genre many are watching now"


def test_a_pattern_of_this_part_of_the_day_counts_more() -> None:
    night = Context(TimeOfDay.NIGHT, DayType.WEEKDAY)
    brain = Brain(make_catalogue())
    for number in range(3):
        brain.observe(make_liked_view(f"0-{number}"))
        brain.observe(make_liked_view(f"1-{number}", context=night))

    assert brain.recommend(EVENING, 1)[0].content_id.startswith("0-")
    assert brain.recommend(night, 1)[0].content_id.startswith("1-")


def test_excluded_rows_are_not_ranked() -> None:
    contents = make_catalogue()
    ranker = Ranker(
        contents,
        build_own_taste(contents, []),
        build_shared_taste(contents, GlobalState(trends={TREND.subject: TREND})),
        RankingWeights(),
    )
    excluded = contents.find_rows(["3-3", "0-0"])

    choices = ranker.rank(EVENING, excluded, limit=len(contents))

    assert len(choices) == len(contents) - 2
    assert not {"3-3", "0-0"} & {choice.content_id for choice in choices}


def test_similar_patterns_bring_content_the_own_taste_would_not_find() -> None:
    contents = make_catalogue()
    brain = Brain(contents)
    for number in range(5):
        brain.observe(make_liked_view(f"0-{number}"))
    alone = [choice.content_id for choice in brain.recommend(EVENING, 5)]

    state = GlobalState(similar={b"a": make_similar(1, ("0-5", "3-1", "3-2"), contents)})
    brain.use_global_state(lambda: state)
    together = brain.recommend(EVENING, 5)

    assert not {"3-1", "3-2"} & set(alone)
    assert {"3-1", "3-2"} <= {choice.content_id for choice in together}
    assert together[0].reason == "Watched by households with your taste"


def test_similar_patterns_let_a_household_find_what_it_will_like() -> None:
    """Each taste mixes two themes. Other households know what to like of the second one."""
    contents = make_catalogue(themes=8, contents=20)
    random = np.random.default_rng(3)
    alone = together = 0
    for taste in range(20):
        one, other = random.choice(8, 2, replace=False)
        wanted = {f"{other}-{number}" for number in random.choice(20, 6, replace=False)}
        brain = Brain(contents)
        for number in range(4):
            brain.observe(make_liked_view(f"{one}-{number}"))
        alone += len(wanted & {each.content_id for each in brain.recommend(EVENING, 10)})
        known = {b"a": make_similar(taste, (f"{one}-5", *sorted(wanted)[:4]), contents)}
        brain.use_global_state(partial(GlobalState, similar=known))
        together += len(wanted & {each.content_id for each in brain.recommend(EVENING, 10)})

    assert together > 3 * max(alone, 1)


def test_a_new_household_gets_what_is_trending() -> None:
    brain = Brain(make_catalogue())
    trend = Trend(Subject("3-3"), 5.0, "north")
    brain.use_global_state(lambda: GlobalState(trends={trend.subject: trend}))

    first = brain.recommend(EVENING, 3)[0]

    assert (first.content_id, first.reason) == ("3-3", "Trending in north")


def test_a_trend_of_many_regions_names_none() -> None:
    brain = Brain(make_catalogue())
    trend = Trend(Subject("3-3"), 5.0, "global", Scope.GLOBAL)
    brain.use_global_state(lambda: GlobalState(trends={trend.subject: trend}))

    assert brain.recommend(EVENING, 3)[0].reason == "Trending everywhere"
