"""Reasons name what led to a recommendation, and stay true when a name is missing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from constellation_settop import Catalogue
from constellation_settop.recommending.reasons import (
    explain_cluster,
    explain_own,
    explain_popular,
    explain_related,
    explain_trend,
)
from constellation_settop.recommending.shared_taste import SharedTaste
from constellation_settop.values import GlobalState, PopularContents, Scope, Subject, Trend
from tests.clients.samples import (
    make_catalogue,
    make_cluster,
    make_pattern,
    make_related,
    make_unit_rows,
)

CATALOGUE = make_catalogue()


def explain_one_trend(trend: Trend, content_id: str = "0-0") -> str:
    shared = SharedTaste(CATALOGUE, GlobalState(trends={trend.subject: trend}))
    return explain_trend(shared, CATALOGUE.find_rows([content_id])[0])


@pytest.mark.parametrize(
    ("trend", "reason"),
    [
        (Trend(Subject("0-0"), 1.0, "north", Scope.REGIONAL), "Trending in north"),
        (Trend(Subject("0-0"), 1.0, "north", Scope.GLOBAL), "Trending everywhere"),
        (Trend(Subject("0-0"), 1.0), "Trending everywhere"),
        (Trend(Subject("genre-0", is_genre=True), 1.0), "In a genre many are watching now"),
    ],
)
def test_a_trend_says_where(trend: Trend, reason: str) -> None:
    assert explain_one_trend(trend) == reason


@pytest.mark.parametrize(
    ("region", "reason"), [("north", "Popular in north"), ("", "Popular everywhere")]
)
def test_popular_content_says_where(region: str, reason: str) -> None:
    state = GlobalState(popular={b"p": PopularContents(region, ("0-1",), (9,))})

    assert explain_popular(SharedTaste(CATALOGUE, state), CATALOGUE.find_rows(["0-1"])[0]) == reason


def test_own_content_names_the_newest_title_that_is_in_the_catalogue() -> None:
    pattern = replace(make_pattern(1), content_ids=("0-0", "0-1", "elsewhere"))

    assert explain_own(CATALOGUE, pattern) == "Because you watched Film 0-1"
    assert (
        explain_own(CATALOGUE, replace(pattern, content_ids=("elsewhere",)))
        == "Close to what you like to watch"
    )


def test_related_content_names_what_was_liked_if_it_has_a_title() -> None:
    state = GlobalState(related=make_related("0-0", {"1-1": 64}))
    row = CATALOGUE.find_rows(["1-1"])[0]
    shared = SharedTaste(CATALOGUE, state)
    shared.related.score({"0-0": 64})
    nameless = Catalogue(["0-0", "1-1"], make_unit_rows(2))
    other = SharedTaste(nameless, state)
    other.related.score({"0-0": 64})

    assert explain_related(CATALOGUE, shared, row).startswith("Because you liked Film 0-0")
    assert explain_related(nameless, other, 1).startswith("Households that liked what you liked")


def test_a_cluster_is_described_by_its_first_genre() -> None:
    cluster = make_cluster(1, "0-0", ["2-2"])
    plain = replace(cluster, pattern=replace(cluster.pattern, genres=()))

    assert (
        explain_cluster(cluster) == f"Popular with households that like {cluster.pattern.genres[0]}"
    )
    assert explain_cluster(plain) == "Popular with many households"
