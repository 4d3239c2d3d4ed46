from __future__ import annotations

from time import perf_counter

import pytest

from constellation_settop import (
    Brain,
    Catalogue,
    Pattern,
    RankingWeights,
    View,
)
from constellation_settop.columns import MAX_CLUSTERS
from constellation_settop.values import Cluster, GlobalState, Subject, Trend
from tests.clients.samples import (
    EVENING,
    make_catalogue,
    make_cluster,
    make_unit_rows,
    to_cluster_id,
)

TWO_CLUSTERS = (make_cluster(1, "0-0", ["0-1"], devices=60), make_cluster(2, "1-0", ["1-1"]))


def make_global_state(*clusters: Cluster, trends: tuple[Trend, ...] = ()) -> GlobalState:
    return GlobalState(
        clusters={each.pattern.pattern_id: each for each in clusters},
        trends={trend.subject: trend for trend in trends},
    )


ONLY_CLUSTERS = RankingWeights(own_nearness=0)


def make_brain(
    global_state: GlobalState, *watched: str, weights: RankingWeights | None = None
) -> Brain:
    brain = Brain(make_catalogue(), weights=weights)
    for content_id in watched:
        brain.observe(View(content_id, 1.0, 0.9, 0, EVENING))
    brain.use_global_state(lambda: global_state)
    return brain


def test_a_new_household_gets_what_clusters_enjoy_the_strongest_first() -> None:
    weak = make_cluster(1, "0-0", ["0-1", "0-2"], devices=50)
    strong = make_cluster(2, "1-0", ["1-1", "1-2"], devices=5_000)
    middle = make_cluster(3, "2-0", ["2-1", "2-2"], devices=500)

    choices = make_brain(make_global_state(weak, strong, middle)).recommend(EVENING, limit=7)

    themes = [choice.content_id[0] for choice in choices]
    assert themes[:6] == ["1", "1", "2", "2", "0", "0"]
    assert choices[0].reason == "Popular with households that like genre-1"
    assert choices[6].reason == "New to you"


def test_a_content_of_several_clusters_is_named_after_the_strongest() -> None:
    weak = make_cluster(1, "0-0", ["3-3"])
    strong = make_cluster(2, "1-0", ["3-3"], devices=500)

    first = make_brain(make_global_state(weak, strong)).recommend(EVENING, limit=1)[0]

    assert (first.content_id, first.reason) == ("3-3", "Popular with households that like genre-1")


def test_a_cluster_without_genres_has_a_reason_too() -> None:
    row = make_catalogue().embeddings[0]
    state = make_global_state(
        Cluster(Pattern(to_cluster_id(1), row, 0.9, 50, content_ids=("0-1",)), 50)
    )

    choices = make_brain(state).recommend(EVENING, limit=2)

    assert [choice.reason for choice in choices] == ["Popular with many households", "New to you"]


def test_a_new_household_gets_clusters_and_trends() -> None:
    trend = Trend(Subject("3-3"), 5.0, "north")

    choices = make_brain(make_global_state(*TWO_CLUSTERS, trends=(trend,))).recommend(
        EVENING, limit=3
    )

    assert {choice.content_id for choice in choices} == {"0-1", "1-1", "3-3"}
    assert "Trending in north" in {choice.reason for choice in choices}


def test_a_near_cluster_counts_more_than_a_far_one_however_strong() -> None:
    near = make_cluster(1, "0-7", ["3-1"])
    far = make_cluster(2, "1-0", ["3-2"], devices=100_000)
    brain = make_brain(make_global_state(near, far), "0-0", "0-1", "0-2", weights=ONLY_CLUSTERS)

    ranks = {
        choice.content_id: rank for rank, choice in enumerate(brain.recommend(EVENING, limit=40))
    }

    assert ranks["3-1"] < ranks["3-2"]
    assert brain.recommend(EVENING, 1)[0].reason == "Popular with households that like genre-0"


def test_a_household_that_no_cluster_is_near_is_told_what_is_popular_in_all_of_them() -> None:
    watched = ("3-0", "3-1", "3-2")
    brain = make_brain(make_global_state(*TWO_CLUSTERS), *watched, weights=ONLY_CLUSTERS)

    choices = brain.recommend(EVENING, limit=40)

    assert [choice.content_id for choice in choices[:2]] == ["0-1", "1-1"]


def test_contents_and_clusters_out_of_the_catalogue_do_no_harm() -> None:
    state = make_global_state(make_cluster(1, "0-0", ["elsewhere"]))

    assert len(make_brain(state).recommend(EVENING, limit=7)) == 7
    assert Brain(Catalogue([], make_unit_rows(0))).recommend(EVENING) == []


@pytest.mark.parametrize("views", [0, 200])
def test_recommending_with_every_cluster_takes_less_than_15_ms(views: int) -> None:
    contents = Catalogue([str(row) for row in range(10_000)], make_unit_rows(10_000))
    brain = Brain(contents)
    for row in range(views):
        brain.observe(View(str(row), 1.0, 0.9, 0, EVENING))
    supported = [tuple(str(16 * each + n) for n in range(16)) for each in range(MAX_CLUSTERS)]
    state = make_global_state(
        *(
            Cluster(Pattern(to_cluster_id(number), row, 0.9, 50, content_ids=supported[number]), 50)
            for number, row in enumerate(make_unit_rows(MAX_CLUSTERS, seed=2))
        )
    )
    brain.use_global_state(lambda: state)
    brain.recommend(EVENING)

    times = []
    for row in range(60):
        if views:
            brain.observe(View(str(1000 + row), 1.0, 0.9, 0, EVENING))
        start = perf_counter()
        brain.recommend(EVENING)
        times.append(perf_counter() - start)

    assert min(times) < 0.015  # the machine may be busy with other things
