from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from constellation.core.global_state import GlobalState, GlobalVersion, compute_local_trends
from constellation.core.rows import TermKind
from constellation.core.rules import Rules
from constellation.core.store import HourlyCounts, Term
from constellation.core.table.hourly import HourlyRing
from constellation.core.table.shard_table import Table
from constellation.encoding import DIMENSION
from constellation.federated.aggregate import Anchors
from constellation.federated.published import PublishedClusters, PublishedGlobal, RoundKey
from constellation.federated.trends import Direction, Trend

HOUR = 500_000


def make_trend(content_id: str, score: float) -> Trend:
    return Trend(content_id, "", score, Direction.RISING, 1.0)


def test_a_version_is_published_only_when_trends_changed() -> None:
    state = GlobalState(generation=3, region="north", trend_limit=50)

    assert state.set_local_trends([make_trend("a", 1)])
    assert not state.set_local_trends([make_trend("a", 1)])
    assert state.version == GlobalVersion(3, 1)


def test_a_change_names_what_is_new_changed_and_over() -> None:
    state = GlobalState(generation=1, region="north", trend_limit=50)
    state.set_local_trends([make_trend("a", 1), make_trend("b", 2)])
    version = state.version
    state.set_local_trends([make_trend("b", 3), make_trend("c", 4)])

    change = state.change_since(version)

    assert not change.is_reset
    assert {trend.content_id for trend in change.upserts} == {"b", "c"}
    assert change.removed_subjects == [("a", "")]
    assert change.trend_count == 2


def test_an_unknown_or_too_old_version_gets_the_full_state() -> None:
    state = GlobalState(generation=2, region="north", trend_limit=50)
    for score in range(100):
        state.set_local_trends([make_trend("a", score)])

    for version in (GlobalVersion(1, 5), GlobalVersion(2, 1), GlobalVersion()):
        change = state.change_since(version)
        assert change.is_reset
        assert len(change.upserts) == 1


def make_published(round_id: int, *trends: Trend) -> PublishedGlobal:
    """Return what a federation that has only trends published in a round."""
    rows = np.empty((0, DIMENSION), np.float32)
    none = np.empty(0, np.uint8)
    numbers = np.empty(0, np.uint32)
    clusters = PublishedClusters(
        ids=[],
        codes=np.empty((0, DIMENSION), np.int8),
        success_rates=np.empty(0, np.float32),
        devices=numbers,
        times_of_day=none,
        day_types=none,
        content_types=none,
        changed_at=numbers,
        genres=[],
        content_ids=[],
    )
    return PublishedGlobal(RoundKey(1, round_id), Anchors(1, 0, numbers, rows), clusters, trends, 0)


def make_federated_trend(content_id: str, score: float, region: str = "") -> Trend:
    return replace(make_trend(content_id, score), region=region, is_global=not region)


def test_trends_of_everywhere_and_of_the_own_region_count_and_those_of_another_do_not() -> None:
    state = GlobalState(generation=1, region="north", trend_limit=50)

    state.adopt(
        make_published(
            1,
            make_federated_trend("a", 3),
            make_federated_trend("b", 2, "south"),
            make_federated_trend("c", 1, "north"),
        )
    )

    assert [trend.content_id for trend in state.trends()] == ["a", "c"]


@pytest.mark.parametrize("local_first", [True, False])
def test_the_federation_overrules_the_shard_on_what_both_see(*, local_first: bool) -> None:
    state = GlobalState(generation=1, region="north", trend_limit=50)
    seen_everywhere, seen_here = (
        make_federated_trend("a", 5),
        [make_trend("a", 9), make_trend("own", 2)],
    )

    if local_first:
        state.set_local_trends(seen_here)
    state.adopt(make_published(1, seen_everywhere))
    if not local_first:
        state.set_local_trends(seen_here)

    assert state.trends() == [seen_everywhere, make_trend("own", 2)]


def test_a_genre_is_another_subject_than_a_content_item_of_its_name() -> None:
    state = GlobalState(generation=1, region="north", trend_limit=50)
    genre = replace(make_trend("", 1), genre="a")
    state.set_local_trends([genre])

    state.adopt(make_published(1, make_federated_trend("a", 5)))

    assert state.trends() == [make_federated_trend("a", 5), genre]


def test_the_trends_of_a_shard_get_the_room_that_the_federation_leaves() -> None:
    state = GlobalState(generation=1, region="north", trend_limit=3)
    state.set_local_trends([make_trend("a", 9), make_trend("b", 8), make_trend("c", 7)])

    state.adopt(
        make_published(1, make_federated_trend("x", 2), make_federated_trend("y", 1, "north"))
    )
    roomy = {trend.content_id for trend in state.trends()}
    state.adopt(make_published(2, *(make_federated_trend(content_id, 1) for content_id in "wxyz")))
    full = {trend.content_id for trend in state.trends()}

    assert roomy == {"x", "y", "a"}
    assert full == {"w", "x", "y"}


def test_a_trend_of_the_shard_returns_when_the_federation_drops_it() -> None:
    state = GlobalState(generation=1, region="north", trend_limit=50)
    state.set_local_trends([make_trend("a", 9)])
    state.adopt(make_published(1, make_federated_trend("a", 5), make_federated_trend("b", 4)))
    version = state.version

    state.adopt(make_published(2))
    change = state.change_since(version)

    assert not change.is_reset
    assert change.upserts == [make_trend("a", 9)]
    assert change.removed_subjects == [("b", "")]


def test_a_later_round_with_the_same_trends_is_a_new_version_for_its_clusters() -> None:
    state = GlobalState(generation=1, region="north", trend_limit=50)
    state.adopt(make_published(1, make_federated_trend("a", 5)))
    version = state.version

    assert state.adopt(make_published(2, make_federated_trend("a", 5)))
    assert state.version > version
    assert state.change_since(version).upserts == []


class CountedTable:
    """A table and a ring with devices per content item and genre in the newest hour."""

    def __init__(self, contents: dict[str, int], genres: dict[str, int]) -> None:
        self.table = Table(Rules(max_devices=1, max_patterns=1))
        terms = [
            *(Term(TermKind.CONTENT, n, text) for n, text in enumerate(contents, 1)),
            *(Term(TermKind.GENRE, n, text) for n, text in enumerate(genres, 1)),
        ]
        self.table.vocabulary.add(terms)
        self.ring = HourlyRing()
        devices = [*contents.values(), *genres.values()]
        self.ring.put(
            HourlyCounts(
                np.full(len(terms), HOUR, np.uint32),
                np.array([term.kind for term in terms], np.uint8),
                np.array([term.number for term in terms], np.uint32),
                np.array(devices, np.uint32),
            )
        )

    def compute(self, trend_limit: int = 50) -> list[str]:
        rules = Rules(k_anonymity=5, trend_limit=trend_limit)
        trends = compute_local_trends(self.table, self.ring, rules, HOUR)
        return [trend.content_id or trend.genre for trend in trends]


def test_subjects_of_too_few_devices_do_not_trend() -> None:
    counted = CountedTable({"many": 9, "few": 8}, {"Drama": 9, "Noir": 8})

    assert counted.compute() == ["many", "Drama"], "with 2 K - 1, K are honest beside accomplices"


def test_a_content_item_that_enough_devices_support_may_trend() -> None:
    counted = CountedTable({"few": 4}, {})
    counted.table.support.devices[1] = 9

    assert counted.compute() == ["few"]


def test_a_fifth_of_the_trends_may_be_genres() -> None:
    counted = CountedTable(
        {f"content {n}": 10 + n for n in range(20)}, {f"genre {n}": 10 + n for n in range(20)}
    )

    found = counted.compute(trend_limit=10)

    assert len(found) == 10
    assert found[:2] == ["content 19", "content 18"]
    assert found[8:] == ["genre 19", "genre 18"]


def test_an_empty_shard_has_no_trends() -> None:
    assert CountedTable({}, {}).compute() == []
