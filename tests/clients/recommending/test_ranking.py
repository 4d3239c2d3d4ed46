from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from constellation_settop import (
    Brain,
    Context,
    DayType,
    InvalidArgumentError,
    RankingWeights,
    TimeOfDay,
)
from constellation_settop.recommending.ranking import Ranker, Source
from constellation_settop.values import GlobalState, PopularContents, Scope, Subject, Trend
from tests.clients.samples import (
    EVENING,
    make_catalogue,
    make_cluster,
    make_disliked_view,
    make_liked_view,
    make_related,
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
        related=make_related("0-0", {"1-1": 64}),
        popular={b"p": PopularContents("north", ("1-3",), (9,))},
    )
    brain.use_global_state(lambda: state)
    return brain


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (Source.RELATED, "Because you liked Film 0-0, as households who liked this did"),
        (Source.SIMILAR_SUPPORT, "Watched by households with your taste"),
        (Source.OWN_NEARNESS, "Because you watched Film 0-0"),
        (Source.TREND, "Trending in north"),
        (Source.CLUSTER_SUPPORT, "Popular with households that like genre-0"),
        (Source.POPULAR, "Popular in north"),
    ],
)
def test_the_weight_of_a_source_and_its_reason_belong_together(source: Source, reason: str) -> None:
    weights = RankingWeights(**{**NO_WEIGHTS, source.name.lower(): 1.0})

    first = make_brain_with_every_source(weights).recommend(EVENING, 1)[0]

    assert first.reason == reason


def test_without_any_weight_nothing_has_a_reason() -> None:
    choices = make_brain_with_every_source(RankingWeights(**NO_WEIGHTS)).recommend(EVENING, 5)

    assert {choice.reason for choice in choices} == {"New to you"}


def test_with_signed_sources_alone_nothing_that_a_shard_makes_up_is_a_reason() -> None:
    choices = make_brain_with_every_source(RankingWeights.only_signed()).recommend(EVENING, 40)

    own_or_popular = {"Because you watched Film 0-0", "Popular in north", "New to you"}
    assert {choice.reason for choice in choices} == own_or_popular


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


def test_excluded_content_is_not_ranked() -> None:
    contents = make_catalogue()
    ranker = Ranker(contents, RankingWeights())
    ranker.use_global_state(lambda: GlobalState(trends={TREND.subject: TREND}))
    ranker.exclude(["3-3", "0-0", "elsewhere"])

    choices = ranker.rank(EVENING, len(contents), exclude=["1-1"])

    assert len(choices) == len(contents) - 3
    assert not {"3-3", "0-0", "1-1"} & {choice.content_id for choice in choices}
    ranker.include(["3-3"])
    assert ranker.rank(EVENING, 1)[0].content_id == "3-3"


def test_only_content_of_the_genres_that_are_wanted_is_ranked() -> None:
    ranker = Ranker(make_catalogue(), RankingWeights())

    choices = ranker.rank(EVENING, 40, genres=["genre-1", "genre-3", "unheard of"])

    assert {choice.content_id[0] for choice in choices} == {"1", "3"}
    assert len(choices) == 20
    assert ranker.rank(EVENING, 40, genres=[]) == []


def test_ties_go_by_content_id() -> None:
    choices = Ranker(make_catalogue(1, 12), RankingWeights()).rank(EVENING, 12)

    assert [choice.content_id for choice in choices] == sorted(f"0-{each}" for each in range(12))


def test_reasons_are_left_out_when_nobody_wants_them() -> None:
    choices = Ranker(make_catalogue(), RankingWeights()).rank(EVENING, 3, explain=False)

    assert {choice.reason for choice in choices} == {""}


def test_a_dislike_lowers_what_is_related_to_it() -> None:
    related = make_related("0-0", {"1-1": 100, "1-2": 99}) | make_related("0-1", {"1-1": 64})
    brain = Brain(make_catalogue(), weights=RankingWeights(own_nearness=0))
    brain.use_global_state(lambda: GlobalState(related=related))
    brain.observe(make_liked_view("0-0"))
    before = [choice.content_id for choice in brain.recommend(EVENING, 2)]

    brain.observe(make_disliked_view("0-1"))

    assert before == ["1-1", "1-2"]
    assert [choice.content_id for choice in brain.recommend(EVENING, 2)] == ["1-2", "1-1"]


def test_popularity_gives_way_as_the_history_grows() -> None:
    related = make_related("0-0", {"1-1": 64}) | make_related("0-1", {"1-1": 64})
    popular = {b"p": PopularContents("", ("3-3", "3-4"), (9, 8))}
    brain = Brain(make_catalogue())
    brain.use_global_state(lambda: GlobalState(related=related, popular=popular))

    firsts = [brain.recommend(EVENING, 1)[0]]
    for content_id in ("0-0", "0-1", "0-2"):
        brain.observe(make_liked_view(content_id))
        firsts.append(brain.recommend(EVENING, 1)[0])

    assert [each.content_id for each in firsts] == ["3-3", "3-3", "3-3", "1-1"]
    assert firsts[0].reason == "Popular everywhere"


@pytest.mark.parametrize("weight", [-1.0, float("nan"), 2000.0])
def test_a_weight_out_of_range_is_refused_by_name(weight: float) -> None:
    with pytest.raises(InvalidArgumentError, match="trend must be from 0 to 1024, got"):
        RankingWeights(trend=weight)


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
