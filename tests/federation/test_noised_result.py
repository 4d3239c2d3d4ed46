"""What a round with noise makes of aggregates; the noise is left out where its place is tested."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from constellation.federated.aggregate import AggregateHeader, AggregateVersion, no_clusters
from constellation.federated.contribution import SIGNALS_PER_HOUR, ContributionBounds
from constellation.federated.likes import DictionaryKey
from federation.merge.aggregates import ShardAggregate
from federation.merge.hourly_counts import HourlyCells, HourlyWindow
from federation.merge.published_clusters import RoundStamp
from federation.merge.result import ModelState, RoundInputs, RoundRules
from federation.merge.terms import Terms, encode_genres
from federation.merge.trends import TrendRules
from federation.messages import parse_model_state, serialise_model_state, serialise_result
from federation.noised_result import compute_noised_result, select_private
from federation.privacy import gaussian
from federation.privacy.budget import Mechanism, make_budget
from federation.privacy.mode import PrivacyMode
from federation.related.dictionary import Dictionary
from federation.related.result import RelatedRules, RelatedState
from federation.round_report import Coverage
from tests.federation.liked import make_households, make_shard_likes

if TYPE_CHECKING:
    from constellation.federated.fixed_point import Integers
    from federation.merge.result import RoundResult

CLOSED_AT = 1_800_000_000
HOUR = CLOSED_AT // 3600
STAMP = RoundStamp(1, 7, CLOSED_AT)
NAMES = [f"film:{number}" for number in range(40)]
KEY = DictionaryKey(1, 1)
RULES = RoundRules(
    trends=TrendRules(surprise=0, floor=1, min_devices=50),
    related=RelatedRules(min_households=50, regularisation=20.0, neighbour_limit=8),
)
BUDGET = make_budget(8.0, 1e-9, gaussian)


@dataclass(frozen=True)
class Silence:
    """A generator that adds no noise, so that wrong sums are seen."""

    def add_noise(self, values: Integers, scale: float) -> Integers:
        assert scale > 0
        return values.copy()

    def compute_epsilon(self, rho: float, delta: float) -> float:
        return gaussian.compute_epsilon(rho, delta)

    def compute_rho(self, epsilon: float, delta: float) -> float:
        return gaussian.compute_rho(epsilon, delta)


class Fleet:
    """Aggregates of private shards, with liked content and one hour of counts."""

    def __init__(self, shards: int = 3, households: int = 1500) -> None:
        self.terms = Terms.empty()
        self.aggregates = [self._make(number, households) for number in range(shards)]
        self.mode = PrivacyMode(BUDGET, Silence())

    def _make(self, number: int, count: int) -> ShardAggregate:
        texts = list(self.terms.contents.texts)
        likes = make_shard_likes(
            make_households(count, number), NAMES, texts=texts, key=KEY, shard_id=number
        )
        self.terms.contents.intern(texts)
        film, drama = self.terms.contents.intern(["film:1"]), self.terms.genres.intern(["Drama"])
        cells = HourlyCells(
            np.concatenate([np.repeat(film, 2), encode_genres(drama)]),
            np.array([HOUR - 2, HOUR - 1, HOUR - 2]),
            np.array([2000, 9000, 2000]),
        )
        return ShardAggregate(
            AggregateVersion(number, 1, 1),
            AggregateHeader("north", 0, 0, 0, count, SIGNALS_PER_HOUR, is_complete=True),
            no_clusters(),
            HourlyWindow().join(cells, 1),
            float(CLOSED_AT),
            f"shard-{number}:1",
            replace(likes, liked_limit=32),
        )

    def compute(
        self, state: ModelState | None = None, *, round_id: int = 7
    ) -> tuple[RoundResult, list[Mechanism]]:
        """Compute a round, and let what it spends be durable; return what it released."""
        plan = self.mode.plan(round_id, CLOSED_AT)
        inputs = RoundInputs(
            replace(STAMP, round_id=round_id),
            self.aggregates,
            None,
            self.terms,
            has_likes=True,
            plan=plan,
        )
        result, _ = compute_noised_result(inputs, state or ModelState(), RULES, plan)
        self.mode.adopt(plan.rows)
        return result, [row.mechanism for row in plan.rows]

    def count_likes(self) -> dict[str, int]:
        counts = np.zeros(len(self.terms.contents.texts), np.int64)
        for each in self.aggregates:
            assert each.likes is not None
            counts[each.likes.contents] += each.likes.devices
        texts = self.terms.contents.texts
        return {texts[number]: int(counts[number]) for number in np.flatnonzero(counts)}


def with_dictionary() -> ModelState:
    """Return the state after a round that released this dictionary."""
    result, _ = Fleet().compute()
    related = RelatedState(Dictionary(1, NAMES))
    return replace(result.model_state, related=related)


def test_a_first_round_releases_an_hour_and_the_likes_of_all_shards() -> None:
    fleet = Fleet()

    result, released = fleet.compute()

    assert released == [Mechanism.HOURS, Mechanism.LIKES]
    noised = result.model_state.noised
    assert noised is not None
    assert noised.likes == fleet.count_likes()
    assert noised.hours == {HOUR - 2: {"film:1": 6000}}  # no genre, and not the hour after it
    assert result.model_state.related.dictionary.version == 1
    assert [each.region for each in result.model_state.related.popular] == [""]
    assert [trend.content_id for trend in result.trends] == ["film:1"]
    assert not result.clusters
    assert not len(result.codebook.cluster_ids)


def test_pairs_are_released_once_every_shard_counts_for_the_dictionary() -> None:
    fleet, state = Fleet(), with_dictionary()

    result, released = fleet.compute(state)
    again, nothing = fleet.compute(result.model_state, round_id=8)

    assert Mechanism.PAIRS in released
    rows = result.model_state.related.rows
    assert len(rows) == 40
    assert all(len(row.neighbours) <= 8 for row in rows)
    assert nothing == []
    assert again.model_state.related == result.model_state.related
    assert again.model_state.noised == result.model_state.noised


def test_pairs_wait_for_a_shard_that_counts_for_an_earlier_dictionary() -> None:
    fleet = Fleet()
    late = fleet.aggregates[1]
    assert late.likes is not None
    earlier = replace(late.likes, dictionary=DictionaryKey(1, 0))
    fleet.aggregates[1] = replace(late, likes=earlier)

    result, released = fleet.compute(with_dictionary())

    assert Mechanism.PAIRS not in released
    assert not result.model_state.related.rows


def test_shards_may_come_in_any_order() -> None:
    payloads = []
    for step in (1, -1):
        fleet = Fleet()
        fleet.aggregates = fleet.aggregates[::step]
        result, _ = fleet.compute(with_dictionary())
        payloads.append(serialise_result(result, STAMP, Coverage()))

    assert payloads[0] == payloads[1]


@pytest.mark.parametrize(("limit", "is_complete"), [(SIGNALS_PER_HOUR, False), (0, True)])
def test_a_shard_that_says_no_bounds_is_left_out(limit: int, *, is_complete: bool) -> None:
    fleet = Fleet()
    first = fleet.aggregates[0]
    header = replace(first.header, hourly_limit=limit, is_complete=is_complete)
    fleet.aggregates[0] = replace(first, header=header)

    assert select_private(fleet.aggregates) == fleet.aggregates[1:]


def test_names_of_few_devices_are_not_released() -> None:
    fleet = Fleet()
    likes = fleet.aggregates[0].likes
    assert likes is not None
    rare = fleet.terms.contents.intern(["rare"])
    likes = replace(
        likes,
        contents=np.append(likes.contents, rare),
        devices=np.append(likes.devices, 40),
    )
    fleet.aggregates[0] = replace(fleet.aggregates[0], likes=likes)

    result, _ = fleet.compute()

    assert result.model_state.noised is not None
    assert "rare" not in result.model_state.noised.likes
    assert b"rare" not in serialise_result(result, STAMP, Coverage())


def test_hours_of_an_outage_are_released_together() -> None:
    fleet = Fleet()
    plan = fleet.mode.plan(1, CLOSED_AT - 5 * 3600)
    row = plan.spend(Mechanism.HOURS, HOUR - 7, ContributionBounds(32, SIGNALS_PER_HOUR))
    assert row is not None
    fleet.mode.adopt(plan.rows)

    _, released = fleet.compute()

    assert released.count(Mechanism.HOURS) == 5
    epochs = [row.data_epoch for row in fleet.mode.ledger.rows if row.mechanism == "hours"]
    assert sorted(epochs) == list(range(HOUR - 7, HOUR - 1))


def test_the_state_survives_in_the_journal() -> None:
    fleet = Fleet()
    result, _ = fleet.compute(with_dictionary())
    payload = serialise_result(result, STAMP, Coverage())

    restored = parse_model_state(serialise_model_state(result.model_state), payload)

    assert restored.noised == result.model_state.noised
    assert restored.related == result.model_state.related
    assert restored.codebook is None


def test_a_spent_budget_keeps_the_likes_of_before() -> None:
    fleet = Fleet()
    first, _ = fleet.compute()
    (row, *_) = fleet.mode.ledger.rows
    fleet.mode = PrivacyMode(BUDGET, Silence())
    fleet.mode.restore([replace(row, data_epoch=0, units=BUDGET.units)])

    second, released = fleet.compute(first.model_state, round_id=8)

    assert released == []
    assert second.model_state.related.popular == first.model_state.related.popular
