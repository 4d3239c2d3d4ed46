from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from constellation.core.globals import GlobalState, GlobalVersion, compute_local_trends
from constellation.core.rows import TermKind
from constellation.core.rules import Rules
from constellation.core.store import HourlyCounts, Term
from constellation.core.table.hourly import HourlyRing
from constellation.core.table.shard_table import Table
from constellation.federated.aggregate import Anchors
from constellation.federated.published import PublishedClusters, PublishedGlobal, RoundKey
from constellation.federated.trends import Direction, Trend

if TYPE_CHECKING:
    from constellation.encoding import Codes

HOUR = 500_000


def make_trend(content_id: str, score: float = 1.0, **fields: str | bool) -> Trend:
    trend = Trend(content_id, "", score, Direction.PEAKING, 5.0)
    return replace(trend, **fields)  # type: ignore[arg-type]  # fields of two types


def make_published(round_id: int, *trends: Trend) -> PublishedGlobal:
    codes: Codes = np.empty((0, 384), np.int8)
    bytes_, numbers = np.empty(0, np.uint8), np.empty(0, np.uint32)
    rates = np.empty(0, np.float32)
    clusters = PublishedClusters((), codes, rates, numbers, bytes_, bytes_, bytes_, numbers, (), ())
    anchors = Anchors(1, 0, numbers, np.empty((0, 384), np.float32))
    return PublishedGlobal(RoundKey(1, round_id), anchors, clusters, trends, closed_at=0)


@pytest.fixture
def state() -> GlobalState:
    """The state of a shard in the region `north` that may serve three trends."""
    return GlobalState(7, "north", 3)


def test_the_same_trends_make_no_new_version(state: GlobalState) -> None:
    assert state.set_local_trends([make_trend("a")])
    assert not state.set_local_trends([make_trend("a")])

    assert state.version == GlobalVersion(7, 1)


def test_a_device_gets_only_what_changed_since_its_version(state: GlobalState) -> None:
    state.set_local_trends([make_trend("a"), make_trend("b")])
    held = state.version
    state.set_local_trends([make_trend("b"), make_trend("c")])

    change = state.change_since(held)

    assert not change.is_reset
    assert [trend.content_id for trend in change.upserts] == ["c"]
    assert change.removed_subjects == [("a", "")]
    assert change.trend_count == 2


@pytest.mark.parametrize("version", [GlobalVersion(), GlobalVersion(6, 1), GlobalVersion(7, 99)])
def test_an_unknown_version_gets_everything(state: GlobalState, version: GlobalVersion) -> None:
    state.set_local_trends([make_trend("a")])

    change = state.change_since(version)

    assert change.is_reset
    assert [trend.content_id for trend in change.upserts] == ["a"]


def test_an_old_version_is_forgotten(state: GlobalState) -> None:
    state.set_local_trends([make_trend("a", 0.0)])
    held = state.version
    for score in range(1, 65):
        state.set_local_trends([make_trend("a", float(score))])

    assert state.change_since(held).is_reset


def test_trends_of_the_federation_go_before_those_of_the_shard(state: GlobalState) -> None:
    state.set_local_trends([make_trend("a", 0.5), make_trend("b"), make_trend("c")])

    state.adopt(
        make_published(
            1,
            make_trend("a", 9.0, is_global=True),
            make_trend("far", region="south"),
            make_trend("near", region="north"),
        )
    )

    assert {(trend.content_id, trend.score) for trend in state.trends()} == {
        ("a", 9.0),
        ("near", 1.0),
        ("b", 1.0),
    }
    assert state.trends()[0].content_id == "a"


def test_a_later_round_is_a_new_version_even_with_the_same_trends(state: GlobalState) -> None:
    assert state.adopt(make_published(1))
    assert state.adopt(make_published(2))

    assert state.round == RoundKey(1, 2)


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
    counted = CountedTable({"many": 9, "few": 4}, {"Drama": 5, "Noir": 4})

    assert counted.compute() == ["many", "Drama"]


def test_a_content_item_that_enough_devices_support_may_trend() -> None:
    counted = CountedTable({"few": 4}, {})
    counted.table.support[1] = 5

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
