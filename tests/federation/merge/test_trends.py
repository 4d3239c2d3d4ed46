from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import pytest

from constellation.federated.trends import WINDOW_HOURS, Direction, compute_strength
from federation.merge.trends import (
    ShardCounts,
    SubjectTrend,
    TrendRules,
    find_trends,
)
from tests.federation.merge.shard_counts import RISING_COUNTS, make_shard

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.federated.trends import Counts

TITLES = 5_000
SHARDS = 20
DEVICES = 100_000
DAYS = 14
RAMPS = 40
RAMP_HOURS = 8
RAMP = np.array([1.3] + [1.6] * (RAMP_HOURS - 1))
STARTS = (245, 282, 312)
"""Hours in which ramps begin: twice while many watch, once while nearly nobody does."""
CALM = (195, 235)
"""Hours before the first of them."""


def _compute_expected(ranks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the devices expected in a shard: Zipf-like by rank, 80 % up and down with the day."""
    swing = 1 + 0.8 * np.sin(2 * np.pi * np.arange(DAYS * 24) / 24)
    expected: NDArray[np.float64] = swing[:, None] * (20_000 / (ranks + 20))
    return expected


@dataclass(frozen=True, slots=True, eq=False)
class ShardHistory:
    """What every shard counted in 14 days, and the ramps put into it."""

    counts: NDArray[np.uint16]
    """Shape (SHARDS, hours, titles)."""
    starts: dict[int, int]
    """The hour in which the ramp of a title begins."""

    def find_trends(self, newest: int, rules: TrendRules) -> list[SubjectTrend]:
        titles = np.arange(self.counts.shape[2])
        shards = [
            ShardCounts(number, f"region-{number % 4}", DEVICES, titles, window.astype(float))
            for number, window in enumerate(self.counts[:, newest - WINDOW_HOURS + 1 : newest + 1])
        ]
        return find_trends(shards, rules, len(titles))

    def find_global_titles(self, newest: int, rules: TrendRules | None = None) -> set[int]:
        found = self.find_trends(newest, rules or TrendRules())
        return {trend.subject for trend in found if trend.is_global}

    def can_trend(self, title: int, hour: int) -> bool:
        """Say whether a trend is true: during a ramp, and for the day that it takes to be over."""
        start = self.starts.get(title, DAYS * 24)
        return start <= hour <= start + RAMP_HOURS + 24


@pytest.fixture(scope="module")
def fleet() -> ShardHistory:
    """Return a fleet with ramps of titles that 40 devices of a shard watch in the quietest hour.

    Of fewer, a shard cannot tell x 1.6 from chance: 3 deviations of 40 are 19, and 24 come on top.
    """
    generator = np.random.default_rng(20)
    expected = _compute_expected(np.arange(TITLES))
    busy = np.flatnonzero(expected.min(axis=0) >= 40)
    titles = generator.choice(busy, RAMPS, replace=False).tolist()
    starts = {title: STARTS[position % len(STARTS)] for position, title in enumerate(titles)}
    for title, start in starts.items():
        expected[start : start + RAMP_HOURS, title] *= RAMP
    counts = np.empty((SHARDS, *expected.shape), np.uint16)
    for shard in counts:
        shard[:] = generator.poisson(expected)
    return ShardHistory(counts, starts)


def test_every_ramp_is_found_within_two_hours_and_little_else(fleet: ShardHistory) -> None:
    hours = [*CALM, *(start + late for start in STARTS for late in (0, 1, 2))]

    found = {hour: fleet.find_global_titles(hour) for hour in hours}

    in_time = [
        title
        for title, start in fleet.starts.items()
        if any(title in found[start + late] for late in (0, 1, 2))
    ]
    false = [(t, hour) for hour in hours for t in found[hour] if not fleet.can_trend(t, hour)]
    assert len(in_time) == RAMPS
    assert len(false) <= 1e-4 * TITLES * len(hours)


@pytest.mark.parametrize("rank", [0, 60, 1_000, 4_900])
def test_fake_devices_of_one_shard_put_nothing_on_the_global_list(rank: int) -> None:
    ranks = np.array([rank, *range(100, TITLES, 100)])
    generator = np.random.default_rng(rank)
    counts = generator.poisson(_compute_expected(ranks), (SHARDS, DAYS * 24, len(ranks))).astype(
        np.uint16
    )
    start = WINDOW_HOURS + 20
    counts[7, start:, 0] += DEVICES // 100
    pushed = ShardHistory(counts, {})
    plain_sum = counts[:, start + 1 - WINDOW_HOURS : start + 1].sum(axis=0, dtype=float)

    listed = [pushed.find_global_titles(hour) for hour in range(start, start + 48)]

    assert listed == [set()] * 48
    assert (
        compute_strength(plain_sum, 0.95, 50).surprise[-1, 0] >= 6
    )  # or the test would show nothing


def test_a_trend_is_global_when_enough_shards_see_it_for_themselves() -> None:
    seen_by_three = [make_shard(n, f"region-{n}", RISING_COUNTS if n < 3 else []) for n in range(5)]
    seen_by_two = [make_shard(n, f"region-{n}", RISING_COUNTS if n < 2 else []) for n in range(5)]

    three = find_trends(seen_by_three, TrendRules(), 1)
    two = find_trends(seen_by_two, TrendRules(), 1)

    assert [(trend.subject, trend.is_global, trend.region) for trend in three] == [(0, True, "")]
    assert [(trend.is_global, trend.region) for trend in two] == [
        (False, "region-0"),
        (False, "region-1"),
    ]


def test_a_trend_of_one_region_carries_its_name() -> None:
    shards = [
        make_shard(n, "north" if n < 2 else "south", RISING_COUNTS if n < 2 else [])
        for n in range(6)
    ]

    found = find_trends(shards, TrendRules(), 1)

    assert [(trend.region, trend.is_global) for trend in found] == [("north", False)]
    assert found[0].direction == Direction.RISING
    weights = 0.95 ** np.arange(WINDOW_HOURS)
    usual = 20 * weights[2:].sum()
    assert found[0].popularity == pytest.approx(400 * weights[:2].sum() + usual)


def test_trends_of_regions_follow_the_global_ones_best_first() -> None:
    least, more, most = RISING_COUNTS, [300.0, 300.0], [400.0, 400.0]
    shards = [
        make_shard(0, "east", RISING_COUNTS, least, [], most, []),
        make_shard(1, "north", RISING_COUNTS, [], most, [], []),
        make_shard(2, "west", RISING_COUNTS, [], [], [], more),
    ]

    found = find_trends(shards, TrendRules(), 5)

    assert [(trend.subject, trend.region) for trend in found] == [
        (0, ""),
        (2, "north"),
        (3, "east"),
        (4, "west"),
        (1, "east"),
    ]


def test_a_trend_that_lasts_stays_global_though_shards_see_less_of_it_than_the_sum() -> None:
    rest = [15.0] * 12  # 6.3 deviations of the sum, 1.4 of a shard

    lasting, never_seen = (
        find_trends([make_shard(n, "", series) for n in range(20)], TrendRules(), 1)
        for series in ([200.0, *rest], rest)
    )

    assert [trend.is_global for trend in lasting] == [True]
    assert [trend.is_global for trend in never_seen] == [False]


def test_a_shard_has_to_pass_its_share_of_the_floor() -> None:
    shards = [make_shard(n, "", [40.0, 40.0]) for n in range(20)]

    found = find_trends(shards, TrendRules(floor=50), 1)

    assert [trend.is_global for trend in found] == [True]


def test_one_device_surprises_no_shard_however_many_there_are() -> None:
    shards = [make_shard(n, "", [0.0] * 166 + [1.0, 1.0], []) for n in range(20)]

    found = find_trends(shards, TrendRules(floor=1, min_devices=20), 2)

    assert [(trend.subject, trend.is_global) for trend in found] == [(0, False)]


def test_a_trend_is_over_after_three_hours_as_usual() -> None:
    lists = [
        find_trends(
            [make_shard(n, "", [*RISING_COUNTS, *[10.0] * quiet]) for n in range(4)],
            TrendRules(),
            1,
        )
        for quiet in (2, 3)
    ]

    assert [len(found) for found in lists] == [1, 0]


def test_directions_follow_a_ramp() -> None:
    ramp = [10.0] * 6 + [20.0, 40.0, 60.0, 80.0, 100.0] + [100.0] * 8 + [60.0, 30.0, 20.0, 20.0]

    directions = []
    for end in range(8, len(ramp) + 1):
        shards = [make_shard(n, "", ramp[:end]) for n in range(4)]
        directions += [trend.direction for trend in find_trends(shards, TrendRules(), 1)]

    changes = [direction for direction, _ in groupby(directions)]
    assert changes == [Direction.RISING, Direction.PEAKING, Direction.FALLING]


def test_a_trend_needs_an_hour_with_enough_devices() -> None:
    shards = [make_shard(n, "", RISING_COUNTS) for n in range(4)]

    lists = [find_trends(shards, TrendRules(min_devices=least), 1) for least in (800, 801)]

    assert [len(found) for found in lists] == [1, 0]


def test_without_a_threshold_what_is_popular_in_enough_shards_is_global() -> None:
    small = TrendRules(floor=1, surprise=0, min_devices=20, min_shards=2)
    shards = [
        make_shard(0, "north", [], [50.0] * 9, []),
        make_shard(1, "south", [], [0.0] * 168, []),
    ]
    shards[1].counts[:, 2] = 1.0

    found = find_trends(shards, small, 3)

    assert [(trend.subject, trend.region) for trend in found] == [(0, ""), (1, "north")]


def _make_mixed_shards(seed: int) -> list[ShardCounts]:
    """Return shards of different sizes that know different subjects."""
    generator = np.random.default_rng(seed)
    shards = []
    for number in range(9):
        subjects = np.flatnonzero(generator.random(60) < 0.8)
        counts: Counts = generator.poisson(30, (WINDOW_HOURS, len(subjects))).astype(float)
        counts[-3:, subjects % 5 == 0] *= 9
        counts[-3:, (subjects % 5 == number % 3)] *= 7
        devices = int(generator.integers(200, 9000))
        region = ("west", "north", "east")[number % 3]
        shards.append(ShardCounts(number * 3, region, devices, subjects, counts))
    return shards


@pytest.mark.parametrize("surprise", [6.0, 0.0])
def test_the_order_of_shards_changes_nothing(surprise: float) -> None:
    shards, rules = _make_mixed_shards(5), TrendRules(surprise=surprise)
    shuffled = [shards[position] for position in np.random.default_rng(1).permutation(len(shards))]

    found = find_trends(shards, rules, 60)

    assert {trend.is_global for trend in found} == {True, False} or not surprise
    assert find_trends(shuffled, rules, 60) == found
    assert find_trends(shards[::-1], rules, 60) == found


def test_a_list_is_cut_at_its_limit_best_first_and_ties_by_number() -> None:
    series = [RISING_COUNTS, [300.0, 300.0], RISING_COUNTS, [250.0, 250.0]]
    shards = [make_shard(n, "north", *series) for n in range(4)]
    alone = [
        make_shard(n, "north" if n < 2 else "", *(series if n < 2 else [[]] * 4)) for n in (0, 1)
    ]

    everywhere = find_trends(shards, TrendRules(limit=3), 4)
    here = find_trends(alone, TrendRules(limit=3), 4)

    assert [trend.subject for trend in everywhere if trend.is_global] == [1, 3, 0]
    assert [(trend.subject, trend.region) for trend in here] == [
        (1, "north"),
        (3, "north"),
        (0, "north"),
    ]
    assert all(trend.is_global for trend in everywhere)  # the fourth is not regional instead


def test_a_shard_that_has_just_started_is_not_surprised_by_everything() -> None:
    old = [make_shard(n, "", []) for n in range(4)]
    young = [make_shard(n, "", []) for n in (4, 5, 6)]
    for shard in young:
        shard.counts[:-5] = 0
        shard.counts[-5:] = 200.0

    found = find_trends([*old, *young], TrendRules(), 1)

    assert not any(trend.is_global for trend in found)


def test_nothing_counted_is_no_trend() -> None:
    empty = ShardCounts(0, "north", 0, np.empty(0, np.int64), np.zeros((WINDOW_HOURS, 0)))

    assert find_trends([], TrendRules(), 0) == []
    assert find_trends([empty], TrendRules(surprise=0, min_devices=0), 0) == []
    assert find_trends([empty], TrendRules(surprise=0, min_devices=0), 5) == []
